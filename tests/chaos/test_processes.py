"""Processes die or hang, on each kind of node."""

from __future__ import annotations

import time

import pytest

from tests.chaos import faults, net
from tests.chaos.faults import Fault
from tests.chaos.watch import until
from tests.chaos.world import GOES_ON_S, ChaosCluster, one_scenario

CLUSTER = "processes"
EACH = one_scenario("primary", "standby", "witness")


def hold(fault: Fault, for_s: float) -> None:
    """Let a fault last. The time is the fault itself, no wait for something to become true."""
    with fault:
        time.sleep(for_s)


def test_all_of_the_primarys_postgresql_is_killed_and_the_standby_takes_over(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        faults.kill_postgres(cluster, s.primary).begin()
        s.writes_go_on(on=s.standby)
        s.writes_go_on(on=s.standby, door="pool")


def test_one_backend_is_killed_and_postgresql_recovers_in_place(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        faults.kill_backend(cluster, s.primary).begin()
        s.writes_go_on(on=s.primary)


def test_what_waits_for_a_majority_is_not_seen_after_a_restart_in_place(
    cluster: ChaosCluster,
) -> None:
    """No WAL reaches the others, though their agents hear from the primary."""
    client = cluster.client
    client.psql("CREATE TABLE IF NOT EXISTS waits (n int); DELETE FROM waits", door=False)
    with cluster.scenario() as s:
        s.must_stay()

        def here(sql: str) -> str:
            """Past the gate, as the node's own verbs."""
            words = ("psql", "-XAt", "-p", str(cluster.settings.pgport), "postgres", "-c", sql)
            return cluster.engine(s.primary)(
                "exec", "-u", "postgres", cluster.container(s.primary), *words, check=False
            ).strip()

        with net.cut_streams(cluster, s.primary):
            # Its session dies with the server's crash, and it ends.
            inserting = client.begin("INSERT INTO waits VALUES (1)", door=False)
            waiting = "wait_event = 'SyncRep' AND query LIKE 'INSERT INTO waits%'"
            until(
                lambda: here(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}") == "1",
                timeout_s=GOES_ON_S,
                what="the row waits for a majority",
            )
            faults.kill_backend(cluster, s.primary).begin()
            until(
                lambda: here("SELECT n FROM waits") == "1",
                timeout_s=GOES_ON_S,
                what="PostgreSQL has recovered, and has the row",
            )
            assert inserting.wait(timeout=GOES_ON_S) != 0
            end = time.monotonic() + 5.0
            while time.monotonic() < end:
                with pytest.raises(AssertionError):
                    client.psql("SELECT n FROM waits", door=False)
        s.writes_go_on(on=s.primary)
        assert client.psql("SELECT n FROM waits", door=False) == "1"


def test_the_standbys_postgresql_is_killed_and_it_comes_back(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        faults.kill_postgres(cluster, s.standby).begin()
        s.writes_go_on(on=s.primary)


@pytest.mark.parametrize("roles", EACH)
def test_an_agent_is_killed_and_is_there_again_before_anybody_is_elected(
    cluster: ChaosCluster, roles: tuple[str, ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for role in roles:
            faults.kill_agent(cluster, s.node(role)).begin()
            s.writes_go_on(on=s.primary)
            cluster.heals()


def test_the_primarys_agent_hangs_and_the_standby_takes_over(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with faults.freeze_agent(cluster, s.primary):
            s.writes_go_on(on=s.standby)


@pytest.mark.parametrize("roles", one_scenario("standby", "witness"))
def test_another_agent_hangs_and_the_primary_stays(
    cluster: ChaosCluster, roles: tuple[str, ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for role in roles:
            hold(faults.freeze_agent(cluster, s.node(role)), 5.0)
            s.writes_go_on(on=s.primary)
            cluster.heals()


@pytest.mark.parametrize("roles", EACH)
def test_main_hangs_and_nothing_changes(cluster: ChaosCluster, roles: tuple[str, ...]) -> None:
    """On one node or on all of them: what they would look after does not need it just now."""
    with cluster.scenario() as s:
        s.must_stay()
        with faults.all_of(*(faults.freeze_main(cluster, s.node(role)) for role in roles)):
            time.sleep(5.0)
        s.writes_go_on(on=s.primary)


def test_the_agent_dies_while_main_hangs_on_the_primary(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        # Nobody there can end its PostgreSQL: the quorum alone keeps it from acknowledging. Clients
        # that try it first get no further meanwhile, so it is the standby's probe that is asked.
        s.must_move()
        with s.unattended(s.primary, faults.freeze_main(cluster, s.primary)):
            faults.kill_agent(cluster, s.primary).begin()
            s.writes_go_on(on=s.standby, door="")
        s.writes_go_on(on=s.standby)


@pytest.mark.parametrize("what", ["postmaster", "postgres"])
def test_postgresql_hangs_on_the_primary_and_no_rule_is_broken(
    cluster: ChaosCluster, what: str
) -> None:
    """Whether somebody else takes over meanwhile is not said: only that it heals."""
    with cluster.scenario() as s:
        freeze = {"postmaster": faults.freeze_postmaster, "postgres": faults.freeze_postgres}
        hold(freeze[what](cluster, s.primary), 8.0)
        s.writes_go_on()


def test_postgresql_hangs_on_the_standby_and_writes_go_on(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        with faults.freeze_postgres(cluster, s.standby):
            s.writes_go_on(on=s.primary)


@pytest.mark.parametrize("roles", EACH)
def test_a_pgpool_is_killed_and_is_started_again(
    cluster: ChaosCluster, roles: tuple[str, ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for role in roles:
            faults.kill_pgpool(cluster, s.node(role)).begin()
            s.writes_go_on(door="pool")
            cluster.heals()


def test_the_witnesss_receiver_is_killed_and_is_started_again(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        faults.kill_receiver(cluster, s.witness).begin()
        s.writes_go_on(on=s.primary)


def test_the_primarys_agent_and_postgresql_die_together(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        faults.kill_agent(cluster, s.primary).begin()
        faults.kill_postgres(cluster, s.primary).begin()
        s.writes_go_on()
