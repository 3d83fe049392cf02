"""`init` on three hosts, and all that a cluster on a Swarm lives through; what keeps it from it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lab import Lab

from tests.lab.lab_cluster import LabCluster

# `status` is done within 3 s of its own, and a process has to start.
STATUS_S = 5.0
BOOT_S = 120.0


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> Iterator[LabCluster]:
    """Hosts with the image, and nothing else of ours."""
    cluster = LabCluster(lab)
    cluster.remove()
    cluster.load_image()
    try:
        yield cluster
    finally:
        lab.heal()
        cluster.remove()


@pytest.fixture
def bare(fresh: LabCluster) -> Iterator[LabCluster]:
    """The same for one test."""
    fresh.remove()
    try:
        yield fresh
    finally:
        fresh.lab.heal()
        fresh.remove()


def nothing_made(cluster: LabCluster) -> None:
    for host in cluster.hosts:
        names = cluster.docker(host, "ps", "-a", "--format", "{{.Names}}")
        networks = cluster.docker(host, "network", "ls", "--format", "{{.Name}}")
        assert cluster.topology.cluster not in f"{names}{networks}"


# What is in the way, before anything is made


def test_a_blocked_port_is_named_with_both_hosts(bare: LabCluster) -> None:
    rules = (
        "table inet blocked { chain input { type filter hook input priority 0;"
        " udp dport 4789 drop; tcp dport 7946 drop; }; }"
    )
    bare.lab.on("node-1", "nft", "-f", "-", stdin=rules)
    try:
        said = bare.inv("init", check=3).stderr
    finally:
        bare.lab.on("node-1", "nft", "delete", "table", "inet", "blocked")
    for host in ("node-0", "node-2"):
        assert f"{host} does not reach 7946/tcp and 4789/udp of node-1" in said
    assert "of node-0" not in said
    nothing_made(bare)
    assert bare.docker("node-0", "info", "-f", "{{.Swarm.LocalNodeState}}") == "inactive"


def test_a_swarm_that_took_our_subnet_is_found(bare: LabCluster) -> None:
    pool = str(bare.settings.postgres_backend_subnet)
    bare.docker("node-0", "swarm", "init", "--default-addr-pool", pool)
    said = bare.inv("init", check=3).stderr
    assert f"overlaps with the network ingress ({pool}), Swarm's own, on node-0" in said
    nothing_made(bare)


def test_swarms_that_cannot_be_used_are_named(bare: LabCluster) -> None:
    pool = ("--default-addr-pool", "10.200.0.0/16")
    for host in ("node-0", "node-1"):
        bare.docker(host, "swarm", "init", *pool)
    said = bare.inv("init", check=3).stderr
    assert "node-1 is in another Swarm than node-0" in said
    bare.docker("node-1", "swarm", "leave", "--force")
    token = bare.docker("node-0", "swarm", "join-token", "-q", "worker")
    address = bare.docker("node-0", "info", "-f", "{{.Swarm.NodeAddr}}")
    bare.docker("node-1", "swarm", "join", "--token", token, f"{address}:2377")
    # Of a cluster of node-1 and node-2, none is a manager.
    two = {"MASTER_NODE": "node-1", "STANDBY_NODE": "node-2", "WITNESS_NODE": ""}
    said = bare.inv("init", check=3, environ=two).stderr
    assert "No host of the cluster is a manager of its Swarm: docker node promote node-1" in said
    nothing_made(bare)


# A cluster's life


@pytest.fixture(scope="module")
def made(fresh: LabCluster) -> LabCluster:
    """A cluster whose hosts `init` has made a Swarm."""
    fresh.inv("init")
    return fresh


def test_init_makes_a_healthy_cluster_of_hosts_that_were_in_no_swarm(made: LabCluster) -> None:
    assert made.status()["verdict"] == "healthy"
    nodes = made.docker("node-0", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
    assert sorted(line.split()[0] for line in nodes.splitlines()) == list(made.hosts)
    assert len(nodes.split()) == 6
    labels = "{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}} {{end}}"
    seen = [made.docker("node-0", "node", "inspect", "-f", labels, h) for h in made.hosts]
    cluster = made.topology.cluster
    assert [each.split() for each in seen] == [
        [f"pgha.cluster.{cluster}={kind}", f"pgha.role={kind}"]
        for kind in ("data", "data", "witness")
    ]
    assert made.inv("init", check=3).stderr


def test_applications_reach_it_by_its_name_from_every_host(made: LabCluster) -> None:
    made.sql("node-0", "CREATE TABLE seen (host text)")
    for host in made.hosts:
        made.sql(host, f"INSERT INTO seen VALUES ('{host}')")
    assert made.sql("node-2", "SELECT count(*) FROM seen") == "3"


def test_a_users_own_service_is_placed_beside_the_data(made: LabCluster) -> None:
    ids = [
        made.docker(
            *("node-0", "node", "ls", "-q", "--filter", f"node.label=pgha.role={role}"),
        ).split()
        for role in ("data", "witness")
    ]
    assert [len(each) for each in ids] == [2, 1]


def test_the_primary_moves_and_comes_home(made: LabCluster) -> None:
    made.inv("failover")
    assert made.status()["primary"] == "node-1"
    made.inv("failback")
    assert made.status()["primary"] == "node-0"
    made.becomes("healthy")


def test_it_stops_and_starts(made: LabCluster) -> None:
    made.inv("stop")
    assert made.status()["verdict"] == "down"
    made.inv("start")
    made.becomes("healthy")
    assert made.sql("node-0", "SELECT count(*) FROM seen") == "3"


@pytest.fixture(scope="module")
def with_units(made: LabCluster) -> LabCluster:
    made.inv("units")
    return made


@pytest.mark.parametrize("names", [("node-0",), ("node-1",), ("node-2",)], ids=lambda n: n[0])
def test_a_host_that_reboots_comes_back_by_itself(
    with_units: LabCluster, names: tuple[str, ...]
) -> None:
    for name in names:
        with_units.lab.restart(name)
    with_units.becomes("healthy", timeout_s=BOOT_S)


@pytest.mark.parametrize("name", ["node-0", "node-2"])
def test_a_host_that_lost_its_power_comes_back_by_itself(with_units: LabCluster, name: str) -> None:
    with_units.lab.kill(name)
    with_units.becomes("degraded")
    with_units.lab.heal(name)
    with_units.becomes("healthy", timeout_s=BOOT_S)


def test_all_hosts_lose_their_power_at_once_and_the_cluster_comes_back(
    with_units: LabCluster,
) -> None:
    for name in with_units.hosts:
        with_units.lab.kill(name)
    with_units.lab.heal()
    with_units.becomes("healthy", timeout_s=BOOT_S)
    assert with_units.sql("node-2", "SELECT count(*) FROM seen") == "3"


def test_a_swarm_without_its_majority_stops_neither_status_nor_what_runs(
    with_units: LabCluster,
) -> None:
    lab = with_units.lab
    primary = with_units.status()["primary"]
    others = [host for host in with_units.hosts if host != primary]
    try:
        for name in others:
            lab.kill(name)
        begun = time.monotonic()
        seen = with_units.status()
        assert time.monotonic() - begun < STATUS_S
        running = with_units.docker(primary, "ps", "--format", "{{.Names}}")
        assert with_units.container(primary) in running
        assert {n["name"] for n in seen["nodes"] if n["container"] == "running"} == {primary}
        with_units.inv("units", "--remove", check=None)
        with_units.docker(primary, "stop", "-t", "60", with_units.container(primary))
        said = with_units.inv("start", check=None)
        assert said.code in (1, 3)
    finally:
        lab.heal()
    with_units.inv("start")
    with_units.becomes("healthy", timeout_s=BOOT_S)


# A Swarm of somebody's own


def test_a_users_own_swarm_is_used_as_it_is(bare: LabCluster) -> None:
    bare.docker("node-2", "swarm", "init", "--default-addr-pool", "10.210.0.0/16")
    token = bare.docker("node-2", "swarm", "join-token", "-q", "worker")
    address = bare.docker("node-2", "info", "-f", "{{.Swarm.NodeAddr}}")
    for host in ("node-0", "node-1"):
        bare.docker(host, "swarm", "join", "--token", token, f"{address}:2377")
    bare.inv("init", environ={"BACKEND_ENCRYPTION": "on"})
    assert bare.status()["verdict"] == "healthy"
    assert bare.docker("node-2", "swarm", "join-token", "-q", "worker") == token
    options = bare.docker(
        "node-2", "network", "inspect", "-f", "{{json .Options}}", bare.topology.backend_network
    )
    assert '"encrypted"' in options
    for host in bare.hosts:
        bare.sql(host, "SELECT 1")


def test_the_same_command_goes_on_where_one_that_was_cut_off_had_got_to(bare: LabCluster) -> None:
    bare.docker("node-0", "swarm", "init", "--default-addr-pool", "10.200.0.0/16")
    bare.inv("init")
    assert bare.status()["verdict"] == "healthy"
    assert bare.docker("node-0", "info", "-f", "{{.Swarm.Managers}}") == "3"
