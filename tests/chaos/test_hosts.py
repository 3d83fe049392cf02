"""Hosts die, stall, come back; one, two, or all of them."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.chaos import faults
from tests.chaos.faults import Process
from tests.chaos.watch import until
from tests.chaos.world import (
    GOES_ON_S,
    NIGHTLY,
    ChaosCluster,
    Scenario,
    all_at_once,
    at_night,
    one_scenario,
)

CLUSTER = "hosts"
ORDERS = list(itertools.permutations(("primary", "standby", "witness")))
RESTARTS = 50 if NIGHTLY else 2


def test_the_primarys_container_is_killed_and_it_comes_back_as_a_standby(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with faults.kill(cluster, s.primary):
            s.writes_go_on(on=s.standby)
            s.writes_go_on(on=s.standby, door="pool")


def test_the_primarys_container_is_stopped_in_good_order_and_the_standby_takes_over(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with faults.stop(cluster, s.primary):
            s.writes_go_on(on=s.standby)


def test_the_primarys_power_fails_for_a_moment(cluster: ChaosCluster) -> None:
    """It leads again, or is passed over: both are right."""
    with cluster.scenario() as s:
        faults.restart(cluster, s.primary).begin()
        s.writes_go_on()


def test_the_primary_is_stalled_and_acknowledges_nothing_when_it_goes_on(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with s.asleep(s.primary, faults.pause(cluster, s.primary)):
            s.writes_go_on(on=s.standby)
        s.writes_go_on(on=s.standby)


def test_a_primary_that_wakes_up_without_its_agent_shows_nobody_what_is_past(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with s.asleep(s.primary, faults.pause(cluster, s.primary)):
            faults.kill_agent(cluster, s.primary).begin()
            s.writes_go_on(on=s.standby)
        s.writes_go_on(on=s.standby)


@pytest.mark.parametrize("roles", one_scenario("standby", "witness"))
@pytest.mark.parametrize("how", [faults.kill, *at_night(faults.pause)])
def test_another_node_is_lost_and_writes_go_on(
    cluster: ChaosCluster, roles: tuple[str, ...], how: faults.OfNode
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for role in roles:
            with how(cluster, s.node(role)):
                s.writes_go_on(on=s.primary)
                s.writes_go_on(on=s.primary, door="pool")
                assert cluster.status()["verdict"] == "degraded"
            cluster.heals()


@pytest.mark.parametrize("order", [("witness", "standby"), *at_night(("standby", "witness"))])
def test_two_of_three_die_and_nothing_is_acknowledged_until_one_is_back(
    cluster: ChaosCluster, order: tuple[str, str]
) -> None:
    with cluster.scenario() as s, faults.kill(cluster, s.node(order[0])):
        s.writes_go_on(on=s.primary)
        with faults.kill(cluster, s.node(order[1])):
            s.watch.nothing_is_acknowledged(for_s=4.0)
            status = cluster.status()
            assert status["verdict"] in ("down", "degraded")
            assert status["problems"], status
        s.writes_go_on()


def test_the_primary_and_the_witness_die_and_the_standby_alone_is_not_promoted(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        with faults.kill(cluster, s.witness):
            s.writes_go_on(on=s.primary)
            with faults.kill(cluster, s.primary):
                s.watch.nothing_is_acknowledged(for_s=6.0)
                assert cluster.role(s.standby) != "primary"
        s.writes_go_on()


def test_a_passed_over_primary_restarts_twice_in_a_row(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with faults.kill(cluster, s.primary):
            s.writes_go_on(on=s.standby)
        faults.restart(cluster, s.primary).begin()
        faults.restart(cluster, s.primary).begin()
        s.writes_go_on(on=s.standby)


def test_the_old_primary_restarts_in_the_middle_of_the_promotion(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        with faults.kill(cluster, s.primary):
            wait_for_a_later_term(cluster, s, s.witness)
        s.writes_go_on()


def test_the_winner_dies_in_the_middle_of_its_promotion(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s, faults.kill(cluster, s.primary):
        wait_for_a_later_term(cluster, s, s.witness)
        faults.restart(cluster, s.standby).begin()
        s.writes_go_on(on=s.standby)


def wait_for_a_later_term(cluster: ChaosCluster, s: Scenario, node: str) -> None:
    """Until a node has voted, by the file in which its vote is durable."""
    until(
        lambda: cluster.term_on_disk(node) > s.before.term,
        timeout_s=GOES_ON_S,
        what=f"{node} votes for a later term",
    )


def test_the_standby_takes_over_while_it_still_catches_up(cluster: ChaosCluster) -> None:
    """What it lacks was acknowledged by the witness alone: it must fetch it there first."""

    def receiver(found: tuple[Process, ...]) -> tuple[Process, ...]:
        return tuple(p for p in found if "walreceiver" in p.words)

    with cluster.scenario() as s:
        s.must_move()
        with faults.freeze("stop the WAL receiver", cluster, s.standby, receiver):
            before = len(s.watch.history().acknowledged)
            until(
                lambda: len(s.watch.history().acknowledged) > before + 200,
                timeout_s=GOES_ON_S,
                what="200 writes are acknowledged without the standby",
            )
            faults.kill(cluster, s.primary).begin()
        s.writes_go_on(on=s.standby)
        all_at_once([("start", cluster.container(s.primary))])


@pytest.mark.parametrize("order", [ORDERS[-1], *at_night(*ORDERS[:-1])])
def test_all_hosts_die_and_start_again_in_any_order(
    cluster: ChaosCluster, order: tuple[str, ...]
) -> None:
    with cluster.scenario() as s:
        all_at_once([("kill", cluster.container(name)) for name in cluster.names])
        for role in order:
            all_at_once([("start", cluster.container(s.node(role)))])
        s.writes_go_on()


@pytest.mark.parametrize("late", ["primary", *at_night("standby", "witness")])
def test_all_hosts_die_and_two_of_them_come_back(cluster: ChaosCluster, late: str) -> None:
    with cluster.scenario() as s:
        all_at_once([("kill", cluster.container(name)) for name in cluster.names])
        early = [name for name in cluster.names if name != s.node(late)]
        all_at_once([("start", cluster.container(name)) for name in early])
        s.writes_go_on()
        all_at_once([("start", cluster.container(s.node(late)))])


def test_an_older_primary_that_starts_first_and_alone_waits(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        faults.kill(cluster, s.primary).begin()
        s.writes_go_on(on=s.standby)
        all_at_once([("kill", cluster.container(s.node(r))) for r in ("standby", "witness")])
        all_at_once([("start", cluster.container(s.primary))])
        s.watch.nothing_is_acknowledged(for_s=5.0)
        assert cluster.role(s.primary) != "primary"
        all_at_once([("start", cluster.container(s.node(r))) for r in ("standby", "witness")])
        s.writes_go_on()


def test_a_node_that_comes_and_goes_does_not_drag_the_primary_about(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for _ in range(20 if NIGHTLY else 4):
            with faults.pause(cluster, s.standby):
                time.sleep(2.0)
            time.sleep(0.5)
        s.writes_go_on(on=s.primary)


def test_stop_and_start_of_all_nodes_again_and_again(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        for _ in range(RESTARTS):
            cluster.inv("stop")
            s.watch.nothing_is_acknowledged(for_s=0.2)
            cluster.inv("start")
            s.writes_go_on()
