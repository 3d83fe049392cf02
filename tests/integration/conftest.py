"""Two workers: one with the clusters, one at a time, and one with what has none.

Two clusters at once starve each other's probes on two cores. What only starts processes runs beside
a cluster, at a lower priority.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_WITHOUT_A_CLUSTER = frozenset(
    {
        "test_image",
        "test_invoke_traps",
        "test_machines",
        "test_packaging",
        "test_remote",
        "test_remote_containers",
    }
)
_NICE = 10


class _TwoKinds(LoadScopeScheduling):  # type: ignore[misc]
    """All tests with clusters are one worker's, all others another one's."""

    def _split_scope(self, nodeid: str) -> str:
        return "processes" if _has_none(Path(nodeid.partition("::")[0])) else "clusters"


def _has_none(file: Path) -> bool:
    return file.stem in _WITHOUT_A_CLUSTER


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _TwoKinds:
    return _TwoKinds(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and _has_none(item.path) and os.nice(0) == 0:
        os.nice(_NICE)
