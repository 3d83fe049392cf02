"""A clock that jumps and a machine that is busy are no reason to elect anybody."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.chaos import clock
from tests.chaos.faults import all_of, busy
from tests.chaos.world import NIGHTLY, ChaosCluster, one_scenario

HOUR_S = 3600
BUSY_S = 1800.0 if NIGHTLY else 15.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    made = ChaosCluster("clock", tmp_path_factory.mktemp("clock"), **clock.build())
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()


@pytest.mark.parametrize("roles", one_scenario("primary", "standby", "witness"))
def test_a_nodes_clock_jumps_an_hour_ahead_and_back_and_nobody_is_elected(
    cluster: ChaosCluster, roles: tuple[str, ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for node in map(s.node, roles):
            with clock.set_clock(cluster, node, HOUR_S):
                assert clock.wall_clock(cluster, node) > time.time() + HOUR_S - 60
                # Longer than any limit of the election's.
                time.sleep(4.0)
                s.writes_go_on(on=s.primary)
            time.sleep(3.0)
            s.writes_go_on(on=s.primary)


def test_all_cores_are_busy_on_every_node_and_nobody_is_elected(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        with all_of(*(busy(cluster, name) for name in cluster.names)):
            time.sleep(BUSY_S)
            s.writes_go_on(on=s.primary)
