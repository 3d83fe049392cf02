"""Two workers: one with the clusters, one at a time, and one with what has none.

Two clusters at once starve each other's probes on two cores. What only starts processes runs beside
a cluster, at a lower priority.
"""

from __future__ import annotations

import os

import pytest

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


def _alone(item: pytest.Item) -> bool:
    return item.path.stem in _WITHOUT_A_CLUSTER


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "integration":
            item.add_marker(pytest.mark.xdist_group("processes" if _alone(item) else "clusters"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and _alone(item) and os.nice(0) == 0:
        os.nice(_NICE)
