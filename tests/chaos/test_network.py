"""Links are cut silently: of one node, of a pair, in one direction."""

from __future__ import annotations

import time

import pytest

from tests.chaos import faults, net
from tests.chaos.faults import all_of
from tests.chaos.net import Way
from tests.chaos.world import NIGHTLY, ChaosCluster, at_night, one_scenario

CLUSTER = "network"
ONE_WAY = (Way.IN, Way.OUT)


def test_a_cut_is_of_the_direction_that_it_says(cluster: ChaosCluster) -> None:
    """Of the faults themselves: a one-way cut that cut both ways would prove nothing."""
    node, peer, third = cluster.names
    for way, inwards, outwards in ((Way.IN, False, True), (Way.OUT, True, False)):
        for cut in (net.isolate, net.cut_backend, net.cut_from_nodes):
            with cut(cluster, node, way=way):
                assert net.arrives(cluster, peer, node) is inwards, (cut, way)
                assert net.arrives(cluster, node, peer) is outwards, (cut, way)
        with net.cut_pair(cluster, node, peer, way=way):
            assert net.arrives(cluster, peer, node) is inwards, way
            assert net.arrives(cluster, node, peer) is outwards, way
            assert net.arrives(cluster, third, node)
            assert net.arrives(cluster, node, third)


def test_the_primarys_host_is_cut_off_from_everybody(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with net.isolate(cluster, s.primary):
            s.writes_go_on(on=s.standby)
            s.writes_go_on(on=s.standby, door="pool")
        s.writes_go_on(on=s.standby)


def test_sessions_that_were_open_before_the_cut_go_on_writing_through_it(
    cluster: ChaosCluster,
) -> None:
    """The nodes do not hear the primary any more, clients still reach it by either network."""
    with cluster.scenario() as s:
        s.must_move()
        with net.cut_from_nodes(cluster, s.primary):
            s.writes_go_on(on=s.standby)
            s.writes_go_on(on=s.standby, door="direct-long")
        s.writes_go_on(on=s.standby)


@pytest.mark.parametrize("way", ONE_WAY)
def test_the_primarys_backend_network_is_cut_in_one_direction(
    cluster: ChaosCluster, way: Way
) -> None:
    """Without an answer it has no majority, whichever half of the way is gone."""
    with cluster.scenario() as s:
        s.must_move()
        with net.cut_backend(cluster, s.primary, way=way):
            s.writes_go_on(on=s.standby)


def test_the_primarys_backend_network_is_disconnected(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with net.disconnect(cluster, s.primary):
            s.writes_go_on(on=s.standby)


PAIRS = (("primary", "standby"), ("primary", "witness"), ("standby", "witness"))


@pytest.mark.parametrize("pairs", one_scenario(*PAIRS))
def test_the_link_of_a_pair_is_cut_and_writes_go_on(
    cluster: ChaosCluster, pairs: tuple[tuple[str, str], ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for one, other in pairs:
            with net.cut_pair(cluster, s.node(one), s.node(other)):
                # ELECTION_TIMEOUT, several times: nobody may ask for votes and get them.
                time.sleep(4.0)
                s.writes_go_on(on=s.primary)
            cluster.heals()
            s.writes_go_on(on=s.primary)


@pytest.mark.parametrize("ways", one_scenario(*ONE_WAY))
def test_the_link_of_primary_and_standby_is_cut_in_one_direction(
    cluster: ChaosCluster, ways: tuple[Way, ...]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for way in ways:
            with net.cut_pair(cluster, s.primary, s.standby, way=way):
                time.sleep(4.0)
                s.writes_go_on(on=s.primary)
            cluster.heals()


@pytest.mark.parametrize("role", ["standby", *at_night("witness")])
def test_another_nodes_host_is_cut_off_and_writes_go_on(cluster: ChaosCluster, role: str) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        with net.isolate(cluster, s.node(role)):
            time.sleep(4.0)
            s.writes_go_on(on=s.primary)


def test_nobody_reaches_anybody_and_nothing_is_acknowledged(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        with all_of(*(net.cut_from_nodes(cluster, name) for name in cluster.names)):
            # What was under way when the cut began may still be answered.
            time.sleep(1.0)
            s.watch.nothing_is_acknowledged(for_s=5.0)
        s.writes_go_on()


def test_a_link_that_comes_and_goes_does_not_drag_the_primary_about(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        for _ in range(20 if NIGHTLY else 4):
            with net.isolate(cluster, s.standby):
                time.sleep(2.0)
            time.sleep(0.5)
        s.writes_go_on(on=s.primary)


def test_the_new_primary_is_cut_off_as_soon_as_it_leads(cluster: ChaosCluster) -> None:
    """The first primary is back, but has WAL that only it had, and the one to whom it could rewind
    is away: it must not lead. As soon as they hear each other again, it goes on."""
    with cluster.scenario() as s:
        with net.isolate(cluster, s.primary):
            s.writes_go_on(on=s.standby)
        with net.cut_from_nodes(cluster, s.standby):
            time.sleep(4.0)
        s.writes_go_on()


def test_two_failovers_one_after_the_other(cluster: ChaosCluster) -> None:
    """The first primary has come back as a standby in between, and leads again."""
    with cluster.scenario() as s:
        with net.isolate(cluster, s.primary):
            s.writes_go_on(on=s.standby)
        cluster.heals()
        with net.cut_from_nodes(cluster, s.standby):
            s.writes_go_on(on=s.primary)
        s.writes_go_on()


def test_the_primary_is_cut_off_while_the_witness_is_away(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        with faults.kill(cluster, s.witness):
            s.writes_go_on(on=s.primary)
            with net.isolate(cluster, s.primary):
                time.sleep(1.0)
                s.watch.nothing_is_acknowledged(for_s=4.0)
        s.writes_go_on()
