"""Whole hosts die, stall, lose their link, and come back; clients run on a host that lives."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.chaos.faults import all_of
from tests.lab import host_faults
from tests.lab.cluster import LabChaosCluster, running
from tests.lab.host_faults import OfHost


@pytest.fixture(scope="module")
def cluster(four: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabChaosCluster]:
    with running(LabChaosCluster(four, "hosts", tmp_path_factory.mktemp("hosts"))) as made:
        yield made


# Once a minute a host looks again for those from whom it heard of the Swarm's networks (Docker's
# NetworkDB, rejoinClusterInterval), and gives that ten seconds.
HEARD_AGAIN_S = 90.0
AWAY = (host_faults.kill, host_faults.isolate, host_faults.silence)


@pytest.mark.parametrize("how", AWAY, ids=lambda how: how.__name__)
def test_the_primarys_host_is_gone_and_comes_back_as_a_standbys(
    cluster: LabChaosCluster, how: OfHost
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with how(cluster.lab, s.primary):
            s.writes_go_on(on=s.standby)
            s.writes_go_on(on=s.standby, door="pool")
        s.writes_go_on(on=s.standby)


def test_the_primarys_host_is_stalled_and_acknowledges_nothing_when_it_goes_on(
    cluster: LabChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        with s.asleep(s.primary, host_faults.pause(cluster.lab, s.primary)):
            s.writes_go_on(on=s.standby)
        s.writes_go_on(on=s.standby)


@pytest.mark.parametrize("role", ["standby", "witness"])
def test_another_host_dies_and_writes_go_on(cluster: LabChaosCluster, role: str) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        with host_faults.kill(cluster.lab, s.node(role)):
            s.writes_go_on(on=s.primary)


@pytest.mark.parametrize("pair", [("primary", "standby"), ("primary", "witness")])
def test_two_hosts_are_cut_from_one_another_and_nobody_is_elected(
    cluster: LabChaosCluster, pair: tuple[str, str]
) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        one, other = map(s.node, pair)
        with host_faults.cut(cluster.lab, one, other):
            time.sleep(4.0)
            s.writes_go_on(on=s.primary)


def test_the_primarys_packets_to_the_standby_alone_vanish(cluster: LabChaosCluster) -> None:
    with cluster.scenario() as s:
        s.must_stay()
        with host_faults.cut(cluster.lab, s.primary, s.standby, one_way=True):
            time.sleep(4.0)
            s.writes_go_on(on=s.primary)


def test_the_primarys_host_reboots_and_its_node_comes_back(cluster: LabChaosCluster) -> None:
    with cluster.scenario() as s:
        host_faults.reboot(cluster.lab, s.primary).begin()
        s.writes_go_on()


def test_two_of_three_hosts_are_gone_and_nothing_is_acknowledged(cluster: LabChaosCluster) -> None:
    with cluster.scenario() as s:
        gone = (host_faults.kill(cluster.lab, name) for name in (s.standby, s.witness))
        with all_of(*gone):
            s.watch.nothing_is_acknowledged(for_s=5.0)
        s.writes_go_on()


def test_all_hosts_lose_their_power_at_once(cluster: LabChaosCluster) -> None:
    """The nodes are back with their hosts; clients elsewhere as soon as Swarm lets them hear it."""
    with cluster.scenario() as s:
        with all_of(*(host_faults.kill(cluster.lab, name) for name in cluster.names)):
            s.watch.nothing_is_acknowledged(for_s=1.0)
        cluster.heals()
        s.watch.writes_go_on("direct", timeout_s=HEARD_AGAIN_S)
