"""What every scenario begins with: a cluster of its module's own, healthy, with clients at work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.world import ChaosCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Signals to other users' processes and foreign network namespaces are for root."""
    missing = [tool for tool in ("nft", "nsenter") if shutil.which(tool) is None]
    why = "needs root" if os.geteuid() != 0 else f"needs {' and '.join(missing)}" if missing else ""
    here = Path(__file__).parent
    for item in items:
        if why and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChaosCluster]:
    """The module says its cluster's name as CLUSTER."""
    name = request.module.CLUSTER
    made = ChaosCluster(name, tmp_path_factory.mktemp(name))
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()
