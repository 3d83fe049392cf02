"""`init` on three hosts, all that a cluster on a Swarm lives through, and what keeps it from it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.image import IMAGE
from tests.lab.hosts import Hosts

# `status` is done within 3 s of its own, and a process has to start.
STATUS_S = 5.0
BOOT_S = 120.0
POOL = ("--default-addr-pool", "10.210.0.0/16")
STATE = ("info", "--format", "{{.Swarm.LocalNodeState}}")


@pytest.fixture
def bare(fresh: Hosts) -> Iterator[Hosts]:
    """The same for one test."""
    fresh.wipe()
    try:
        yield fresh
    finally:
        fresh.lab.heal()
        fresh.wipe()


# What is in the way, before anything is made


def test_a_blocked_port_is_named_with_both_hosts(bare: Hosts) -> None:
    rules = (
        "table inet blocked { chain input { type filter hook input priority 0;"
        " udp dport 4789 drop; tcp dport 7946 drop; }; }"
    )
    bare.lab.on("node-1", "nft", "-f", "-", stdin=rules)
    try:
        said = bare.cluster.inv("init", check=3).stderr
    finally:
        bare.lab.on("node-1", "nft", "delete", "table", "inet", "blocked")
    for host in ("node-0", "node-2"):
        assert f"{host} does not reach 7946/tcp and 4789/udp of node-1" in said
    assert "of node-0" not in said
    bare.nothing_is_made()
    assert [bare.docker(host, *STATE) for host in bare.names] == ["inactive"] * 3


def test_a_swarm_that_took_our_subnet_is_found(bare: Hosts) -> None:
    subnet = str(bare.cluster.settings.postgres_backend_subnet)
    bare.docker("node-0", "swarm", "init", "--default-addr-pool", subnet)
    said = bare.cluster.inv("init", check=3).stderr
    assert f"overlaps with the network ingress ({subnet}), Swarm's own, on node-0" in said
    bare.nothing_is_made()


def test_swarms_that_cannot_be_used_are_named(bare: Hosts) -> None:
    for host in ("node-0", "node-1"):
        bare.docker(host, "swarm", "init", *POOL)
    said = bare.cluster.inv("init", check=3).stderr
    assert "node-1 is in another Swarm than node-0" in said
    bare.docker("node-1", "swarm", "leave", "--force")
    bare.join("node-1", "node-0")
    # Of a cluster of node-1 and node-2, none is a manager.
    two = {"MASTER_NODE": "node-1", "STANDBY_NODE": "node-2", "WITNESS_NODE": ""}
    said = bare.cluster.inv("init", check=3, environ=two).stderr
    assert "No host of the cluster is a manager of its Swarm: docker node promote node-1" in said
    bare.nothing_is_made()


# What an engine that leaves a Swarm in disorder leaves behind: a network's namespace with its end
# of the tunnels, numbered as Swarm numbers its first ones.
_OUTLIVES = """
for number in 4096 4097 4098; do
    name=/run/docker/netns/1-outlives$number
    touch $name && unshare --net=$name true
    ip link add outlives type vxlan id $number dstport 4789 proxy l2miss l3miss
    ip link set outlives netns $name && nsenter --net=$name ip link set outlives up
done
"""


def test_a_port_that_networks_of_an_earlier_swarm_hold_is_named_and_given_back_as_said(
    bare: Hosts,
) -> None:
    bare.lab.on("node-2", "sh", "-ec", _OUTLIVES)
    said = bare.cluster.inv("init", check=3).stderr
    assert "4789/udp of node-2 is in use" in said
    bare.nothing_is_made()
    command = said.partition("on node-2 as root: ")[2].strip()
    bare.lab.on("node-2", "sh", "-c", command)
    bare.cluster.inv("init")
    assert bare.sql("node-2", "SELECT 1") == "1"
    bare.cluster.becomes("healthy")


# A cluster's life


@pytest.fixture(scope="module")
def made(fresh: Hosts) -> Iterator[Hosts]:
    """A cluster whose hosts `init` has made a Swarm."""
    try:
        fresh.cluster.inv("init")
        fresh.sql("node-0", "CREATE TABLE seen (host text)")
        yield fresh
    finally:
        fresh.lab.heal()
        fresh.wipe()


def test_init_makes_a_healthy_cluster_of_hosts_that_were_in_no_swarm(made: Hosts) -> None:
    assert made.cluster.status()["verdict"] == "healthy"
    listed = made.docker("node-0", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
    assert sorted(line.split()[0] for line in listed.splitlines()) == list(made.names)
    assert sorted(listed.split()[1::2]) == ["Leader", "Reachable", "Reachable"]
    labels = "{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}} {{end}}"
    seen = [made.docker("node-0", "node", "inspect", "-f", labels, h) for h in made.names]
    assert [each.split() for each in seen] == [
        [f"pgha.cluster.{made.cluster.name}={kind}", f"pgha.role={kind}"]
        for kind in ("data", "data", "witness")
    ]
    made.cluster.inv("init", check=3)


def test_a_service_is_placed_beside_the_data_by_our_labels(made: Hosts) -> None:
    words = ("service", "create", "--quiet", "--detach", "--name", "app", "--mode", "global")
    where = ("--no-resolve-image", "--constraint", "node.labels.pgha.role==data")
    # A virtual address would need IPVS, which not every kernel below a lab has.
    network = ("--network", f"{made.cluster.name}-frontend", "--endpoint-mode", "dnsrr")
    made.docker("node-0", *words, *where, *network, "--entrypoint", "sleep", IMAGE, "600")
    try:
        running = ("--filter", "desired-state=running", "--format", "{{.Node}}")
        placed = made.docker("node-0", "service", "ps", *running, "app").split()
        assert sorted(placed) == ["node-0", "node-1"]
    finally:
        made.docker("node-0", "service", "rm", "app")


def test_applications_reach_it_by_its_name_from_every_host(made: Hosts) -> None:
    for host in made.names:
        made.sql(host, f"INSERT INTO seen VALUES ('{host}')")
    assert made.sql("node-2", "SELECT count(DISTINCT host) FROM seen") == "3"


def test_the_primary_moves_and_comes_home(made: Hosts) -> None:
    made.cluster.inv("failover")
    assert made.cluster.status()["primary"] == "node-1"
    made.cluster.inv("failback")
    assert made.cluster.status()["primary"] == "node-0"
    made.cluster.becomes("healthy")


def test_it_stops_and_starts(made: Hosts) -> None:
    made.cluster.inv("stop")
    assert made.cluster.status()["verdict"] == "down"
    made.cluster.inv("start")
    made.cluster.becomes("healthy")


@pytest.fixture(scope="module")
def with_units(made: Hosts) -> Hosts:
    made.cluster.inv("units")
    return made


@pytest.mark.parametrize("name", ["node-0", "node-1", "node-2"])
def test_a_host_that_reboots_comes_back_by_itself(with_units: Hosts, name: str) -> None:
    with_units.lab.restart(name)
    with_units.cluster.becomes("healthy", within_s=BOOT_S)


def test_a_host_that_lost_its_power_comes_back_by_itself(with_units: Hosts) -> None:
    primary = with_units.primary()
    with_units.lab.kill(primary)
    with_units.cluster.becomes("degraded", within_s=BOOT_S)
    with_units.lab.heal(primary)
    with_units.cluster.becomes("healthy", within_s=BOOT_S)


def test_all_hosts_lose_their_power_at_once_and_the_cluster_comes_back(with_units: Hosts) -> None:
    with_units.sql("node-2", "INSERT INTO seen VALUES ('before')")
    for name in with_units.names:
        with_units.lab.kill(name)
    with_units.lab.heal()
    with_units.cluster.becomes("healthy", within_s=BOOT_S)
    assert with_units.sql("node-2", "SELECT count(*) FROM seen WHERE host = 'before'") == "1"


def test_a_swarm_without_its_majority_stops_neither_status_nor_what_runs(
    with_units: Hosts,
) -> None:
    cluster, lab = with_units.cluster, with_units.lab
    primary = with_units.primary()
    others = [host for host in with_units.names if host != primary]
    try:
        for name in others:
            lab.kill(name)
        begun = time.monotonic()
        seen = cluster.status()
        assert time.monotonic() - begun < STATUS_S
        assert {n["name"] for n in seen["nodes"] if n["container"] == "running"} == {primary}
    finally:
        lab.heal()
    cluster.becomes("healthy", within_s=BOOT_S)


# A Swarm of somebody's own


def test_a_users_own_swarm_is_used_as_it_is(bare: Hosts) -> None:
    bare.docker("node-2", "swarm", "init", *POOL)
    for host in ("node-0", "node-1"):
        bare.join(host, "node-2")
    token = bare.docker("node-2", "swarm", "join-token", "--quiet", "worker")
    bare.cluster.inv("init")
    assert bare.cluster.status()["verdict"] == "healthy"
    assert bare.docker("node-2", "swarm", "join-token", "--quiet", "worker") == token
    assert bare.docker("node-2", "info", "--format", "{{.Swarm.Managers}}") == "1"
    for host in bare.names:
        assert bare.sql(host, "SELECT 1") == "1"


def test_the_backend_is_encrypted_or_it_is_said_why_it_cannot_be(bare: Hosts) -> None:
    done = bare.cluster.inv("init", check=None, environ={"BACKEND_ENCRYPTION": "on"})
    if done.code == 3:
        assert "kernel has no ESP" in done.stderr
        bare.nothing_is_made()
        return
    assert bare.cluster.status()["verdict"] == "healthy"
    words = ("network", "inspect", "--format", "{{json .Options}}")
    assert '"encrypted"' in bare.docker("node-0", *words, f"{bare.cluster.name}-backend")


def test_hosts_join_the_swarm_that_one_of_them_is_in(bare: Hosts) -> None:
    bare.docker("node-1", "swarm", "init", *POOL)
    token = bare.docker("node-1", "swarm", "join-token", "--quiet", "manager")
    done = bare.cluster.inv("init")
    assert "The Swarm of node-1 gets new join tokens" in done.stderr
    assert "SWMTKN" not in done.stdout + done.stderr
    assert bare.docker("node-1", "info", "--format", "{{.Swarm.Managers}}") == "3"
    assert bare.docker("node-1", "swarm", "join-token", "--quiet", "manager") != token
    assert bare.cluster.status()["verdict"] == "healthy"
