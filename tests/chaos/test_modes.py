"""What an environment may choose: nobody decides but the operator, no rejoining, two nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.watch import until
from tests.chaos.world import GOES_ON_S, ChaosCluster, one_scenario


@contextmanager
def a_cluster(name: str, place: Path, **settings: str) -> Iterator[ChaosCluster]:
    made = ChaosCluster(name, place, **settings)
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()


@pytest.mark.parametrize("off", one_scenario("AUTO_FAILOVER", "AUTO_RECOVERY"))
def test_without_automatic_failover_or_recovery_the_operator_decides(
    tmp_path: Path, off: tuple[str, ...]
) -> None:
    with (
        a_cluster("manual", tmp_path, **dict.fromkeys(off, "off")) as cluster,
        cluster.scenario() as s,
    ):
        s.must_move()
        with faults.kill(cluster, s.primary):
            if "AUTO_FAILOVER" in off:
                s.watch.nothing_is_acknowledged(for_s=6.0)
                assert cluster.role(s.standby) == "standby"
                cluster.inv("failover")
            s.writes_go_on(on=s.standby)
        if "AUTO_RECOVERY" in off:
            until(
                lambda: cluster.role(s.primary) == "fenced",
                timeout_s=GOES_ON_S,
                what=f"{s.primary} is fenced",
            )
            said = [p["remedy"] for p in cluster.status()["problems"] if p["node"] == s.primary]
            assert any("recovery" in remedy for remedy in said), said
            cluster.inv("recovery")


def test_two_nodes_a_postgresql_whose_agent_answers_fails_over_by_itself(tmp_path: Path) -> None:
    with (
        a_cluster("two", tmp_path, WITNESS_NODE="") as cluster,
        cluster.scenario() as s,
    ):
        s.must_move()
        faults.kill_postgres(cluster, s.primary).begin()
        s.writes_go_on(on=s.standby)


def test_two_nodes_a_silent_host_waits_for_the_operator(tmp_path: Path) -> None:
    """Who may force it; what comes back obeys, and is a standby of the one that was forced."""
    with (
        a_cluster("silent", tmp_path, WITNESS_NODE="") as cluster,
        cluster.scenario(loses=True) as s,
    ):
        with faults.kill(cluster, s.primary):
            s.watch.nothing_is_acknowledged(for_s=6.0)
            assert cluster.role(s.standby) == "standby"
        s.writes_go_on()
        cluster.heals()
        s.must_move()
        with faults.kill(cluster, s.primary):
            cluster.inv("failover", "--force", "--yes")
            s.writes_go_on(on=s.standby)
        s.writes_go_on(on=s.standby)
