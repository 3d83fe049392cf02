"""How hosts become one Swarm, and everything that can keep them from it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from pgha.commands import swarm
from pgha.commands.base import Secret
from pgha.commands.docker_answers import EngineInfo, NetworkInfo, parse_info, parse_networks
from pgha.commands.swarm_answers import SwarmInfo, SwarmNode, parse_swarm_nodes
from pgha.operations.networks import free_part, network_notes, network_obstacles, network_stages
from pgha.operations.provision import Provision
from pgha.operations.swarm import (
    free_pool,
    managers_to_add,
    swarm_obstacles,
    swarm_plan,
    trouble,
)
from pgha.operations.swarm_ports import doorbells
from pgha.plan import Relay, Run
from pgha.settings import parse
from pgha.site import HostFacts, PortFacts, Site
from pgha.topology import topology

ENGINE = EngineInfo("h", "26.1", "Debian", "x86_64", 2, 4 << 30, "overlay2", "/d")
NAMES = ("node-0", "node-1", "node-2")
ALL_PORTS = ("2377/tcp", "7946/tcp", "7946/udp", "4789/udp")


def provision(more: str = "") -> Provision:
    settings = parse(f"MODE=ha\nWITNESS_NODE=node-2\n{more}", source="t", environ={})
    return Provision(settings, topology(settings), "pgha:test")


def host(name: str, seen: SwarmInfo | None = None, **more: object) -> HostFacts:
    number = 10 + int(name[-1])
    facts = HostFacts(
        name,
        engine=replace(ENGINE, name=f"{name}.example", swarm=seen or SwarmInfo()),
        image=True,
        networks=(NetworkInfo("1", "bridge", "bridge", ("172.17.0.0/16",), {}, ()),),
        routes=("192.168.56.0/24 eth0", "172.17.0.0/16 docker0"),
        addresses=(f"eth0 192.168.56.{number}/24", "docker0 172.17.0.1/16"),
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def member(name: str, *, manager: bool = True, of: tuple[str, ...] = NAMES) -> HostFacts:
    """A host that is in a Swarm already, with these managers."""
    remotes = {f"id-{m}": f"192.168.56.{10 + int(m[-1])}:2377" for m in of}
    seen = SwarmInfo(
        "active",
        manager=manager,
        managers=len(of) if manager else 0,
        node=f"id-{name}",
        address=f"192.168.56.{10 + int(name[-1])}",
        remotes=remotes,
    )
    listed = tuple(SwarmNode(f"id-{m}", m, "Ready", "Active", "Reachable") for m in NAMES)
    return host(name, seen, swarm_nodes=listed if manager else ())


def site(*hosts: HostFacts) -> Site:
    """These hosts, and the others of the three as they are on a fresh machine."""
    given = {h.name: h for h in hosts}
    return Site(tuple(given.get(name) or host(name) for name in NAMES))


def lines(of: Site, by: Provision | None = None) -> list[str]:
    """Every command, and the node on whose host it is run."""
    made = network_stages(of, by or provision())
    return [
        f"{node}$ {command.shown}"
        for stage in made
        for step in stage
        for node, command in step.placed()
    ]


def test_hosts_that_are_in_no_swarm_become_one() -> None:
    assert lines(site()) == [
        "node-0$ docker swarm init --advertise-addr 192.168.56.10"
        " --default-addr-pool 10.200.0.0/16",
        "node-0$ docker swarm join-token --quiet manager",
        "node-1$ xargs docker swarm join --advertise-addr 192.168.56.11 192.168.56.10:2377"
        " --token < ***",
        "node-0$ docker swarm join-token --quiet manager",
        "node-2$ xargs docker swarm join --advertise-addr 192.168.56.12 192.168.56.10:2377"
        " --token < ***",
        "node-0$ docker swarm join-token --rotate --quiet manager",
        "node-0$ docker info --format '{{.Swarm.NodeID}}'",
        "node-0$ xargs docker node update --label-add pgha.role=data"
        " --label-add pgha.cluster.postgres-cluster=data < ***",
        "node-1$ docker info --format '{{.Swarm.NodeID}}'",
        "node-0$ xargs docker node update --label-add pgha.role=data"
        " --label-add pgha.cluster.postgres-cluster=data < ***",
        "node-2$ docker info --format '{{.Swarm.NodeID}}'",
        "node-0$ xargs docker node update --label-add pgha.role=witness"
        " --label-add pgha.cluster.postgres-cluster=witness < ***",
        "node-0$ docker network create --driver overlay --attachable --subnet 10.0.0.0/24"
        " --ip-range 10.0.0.128/25 --label io.pgha.cluster=postgres-cluster"
        " postgres-cluster-backend",
        "node-0$ docker network create --driver overlay --attachable --subnet 10.0.1.0/24"
        " --label io.pgha.cluster=postgres-cluster postgres-cluster-frontend",
    ]
    assert network_obstacles(site(), provision()) == ()
    assert network_notes(site(), provision()) == ()


def test_hosts_join_one_after_the_other_and_are_labelled_at_once() -> None:
    made = network_stages(site(), provision())
    assert [len(stage) for stage in made] == [1, 1, 1, 1, 3, 1]
    actions = [step.action for stage in made for step in stage]
    assert sum(isinstance(a, Relay) for a in actions) == 5
    assert sum(isinstance(a, Run) for a in actions) == 3


def test_the_users_own_swarm_is_used_as_it_is() -> None:
    of = site(*(member(name) for name in NAMES))
    assert network_obstacles(of, provision()) == ()
    assert not any("swarm" in line.lower().split("{{")[0] for line in lines(of))
    assert network_notes(of, provision()) == ()


def test_hosts_outside_join_the_swarm_that_others_are_in() -> None:
    of = site(member("node-1", of=("node-1",)))
    plan = swarm_plan(of, provision())
    assert (plan.head, plan.remote, plan.pool) == ("node-1", "192.168.56.11:2377", "")
    assert [(j.host, j.manager) for j in plan.joining] == [("node-0", True), ("node-2", True)]
    assert network_notes(of, provision()) == (
        "The Swarm of node-1 gets new join tokens: node-0 and node-2 join by the present ones.",
    )


def test_a_swarm_with_too_few_managers_is_remarked_upon() -> None:
    first = member("node-0", of=("node-0",))
    others = [member(n, manager=False, of=("node-0",)) for n in ("node-1", "node-2")]
    assert network_notes(site(first, *others), provision()) == (
        "The Swarm of node-0 has 1 manager: while one is away, no node can be started. docker node "
        "promote makes others managers too.",
    )


def test_a_manager_that_listens_elsewhere_is_joined_there() -> None:
    facts = member("node-0", of=("node-0",))
    assert facts.engine is not None
    remotes = {"id-node-0": "192.168.56.10:4000"}
    moved = replace(
        facts, engine=replace(facts.engine, swarm=replace(facts.engine.swarm, remotes=remotes))
    )
    assert swarm_plan(site(moved), provision()).remote == "192.168.56.10:4000"


def test_the_home_host_is_asked_first_where_it_is_a_manager() -> None:
    of = site(member("node-0", manager=False), member("node-1"), member("node-2"))
    assert swarm_plan(of, provision()).head == "node-1"
    of = site(*(member(name) for name in NAMES))
    assert swarm_plan(of, provision("MASTER_NODE=node-1\nSTANDBY_NODE=node-0\n")).head == "node-1"


@pytest.mark.parametrize(
    ("managers", "joining", "more"),
    [
        *((1, 0, 0), (1, 1, 0), (1, 2, 2), (1, 3, 2), (1, 4, 4), (1, 9, 4)),
        *((2, 1, 1), (2, 2, 1), (3, 1, 0), (3, 2, 2), (5, 3, 0), (7, 2, 0)),
    ],
)
def test_managers_are_an_odd_number_and_five_at_most(
    managers: int, joining: int, more: int
) -> None:
    assert managers_to_add(managers, joining) == more


def test_the_pool_of_a_new_swarm_overlaps_with_nobody() -> None:
    busy = host("node-1", routes=("10.200.0.0/16 tun0", "10.201.64.0/24 tun0"))
    assert free_pool(site(busy), provision()) == "10.202.0.0/16"
    assert free_pool(site(host("node-1", routes=("10.0.0.0/8 tun0",))), provision()) == (
        "172.31.0.0/16"
    )
    taken = provision("POSTGRES_FRONTEND_SUBNET=10.200.3.0/24\n")
    assert free_pool(site(), taken) == "10.201.0.0/16"
    pools = replace(ENGINE, pools=("10.0.0.0/8",))
    assert free_pool(site(host("node-2", engine=pools)), provision()) == "172.31.0.0/16"
    nothing = ("10.0.0.0/8 a", "172.16.0.0/12 a", "192.168.0.0/16 a")
    (said,) = swarm_obstacles(site(host("node-0", routes=nothing)), provision())
    assert said.startswith("No subnet is free for a new Swarm's own networks")


def test_docker_takes_addresses_by_itself_where_none_of_ours_is() -> None:
    def part(subnet: str, *fixed: str) -> str:
        return free_part(subnet, map(IPv4Address, fixed))

    assert part("10.0.0.0/24", "10.0.0.11", "10.0.0.12") == "10.0.0.128/25"
    assert part("10.0.0.0/24", "10.0.0.200", "10.0.0.11") == "10.0.0.128/26"
    assert part("10.0.0.0/24", "10.0.0.200", "10.0.0.201") == "10.0.0.0/25"
    assert part("10.0.1.0/24", "10.0.0.200") == ""
    assert part("10.0.0.0/29", *(f"10.0.0.{n}" for n in range(8))) == ""


def test_an_overlay_that_is_there_is_used_and_one_that_does_not_fit_is_named() -> None:
    def seen(**more: Any) -> Site:
        fits = NetworkInfo(
            *("9", "postgres-cluster-backend", "overlay", ("10.0.0.0/24",), {}, ()), attachable=True
        )
        network = replace(fits, **more)
        first = member("node-0")
        return site(
            replace(first, networks=(*first.networks, network)), member("node-1"), member("node-2")
        )

    assert network_obstacles(seen(), provision()) == ()
    assert not any("postgres-cluster-backend" in line for line in lines(seen()))
    assert any("postgres-cluster-frontend" in line for line in lines(seen()))
    for more, by, words in (
        ({"attachable": False}, "", "exists, but not --attachable"),
        ({"driver": "bridge"}, "", "exists on node-0 as a bridge, not as overlay"),
        ({"subnets": ("10.9.0.0/24",)}, "", "exists on node-0 with 10.9.0.0/24, not 10.0.0.0/24"),
        ({}, "BACKEND_ENCRYPTION=on\n", "exists without encryption"),
    ):
        (said,) = network_obstacles(seen(**more), provision(by))
        assert words in said


def test_the_backend_alone_is_encrypted() -> None:
    made = [
        line for line in lines(site(), provision("BACKEND_ENCRYPTION=on\n")) if "overlay" in line
    ]
    assert ["--opt encrypted" in line for line in made] == [True, False]


def test_a_kernel_that_cannot_encrypt_is_named_where_it_has_to() -> None:
    of = site(host("node-1", esp=False), host("node-2", esp=True))
    assert network_obstacles(of, provision()) == ()
    assert network_obstacles(of, provision("BACKEND_ENCRYPTION=on\n")) == (
        "node-1's kernel has no ESP (CONFIG_INET_ESP), which BACKEND_ENCRYPTION=on needs.",
    )


def test_the_network_that_a_swarm_took_for_itself_is_found_before_anything_is_made() -> None:
    ingress = NetworkInfo("3", "ingress", "overlay", ("10.0.0.0/24",), {}, ())
    hosts = [replace(m, networks=(*m.networks, ingress)) for m in map(member, NAMES)]
    found = network_obstacles(site(*hosts), provision())
    assert found[0] == (
        "10.0.0.0/24 (postgres-cluster-backend) overlaps with the network ingress (10.0.0.0/24), "
        "Swarm's own, on node-0."
    )
    assert len(found) == 3


# ---- What is in the way


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (SwarmInfo(), ""),
        (SwarmInfo("active"), ""),
        (SwarmInfo("active", "worker's trouble passes"), ""),
        (SwarmInfo("active", manager=True), ""),
        (SwarmInfo("locked"), "node-1's Swarm is locked: docker swarm unlock, on node-1."),
        (
            SwarmInfo("pending", "no route"),
            "node-1 looks for its Swarm's managers (no route): start those, or docker swarm leave, "
            "on node-1.",
        ),
        (SwarmInfo("error"), "node-1's Swarm does not work: docker swarm leave, on node-1."),
        (
            SwarmInfo("active", "no  leader.\n", manager=True),
            "node-1's Swarm has lost the majority of its managers (no leader): start them, or "
            "docker swarm init --force-new-cluster, on node-1.",
        ),
    ],
    ids=lambda value: value.state if isinstance(value, SwarmInfo) else "",
)
def test_a_swarm_that_is_not_in_order_is_named(seen: SwarmInfo, said: str) -> None:
    assert trouble("node-1", seen) == said
    if said:
        assert swarm_obstacles(site(host("node-1", seen)), provision()) == (said,)


def test_a_swarm_whose_managers_are_others_is_refused_with_the_command_that_helps() -> None:
    workers = [member(n, manager=False, of=("node-8", "node-9")) for n in NAMES]
    assert swarm_obstacles(site(*workers), provision()) == (
        "No host of the cluster is a manager of its Swarm: docker node promote node-0.example or "
        "node-1.example or node-2.example, on a manager (192.168.56.18:2377, 192.168.56.19:2377).",
    )


def test_a_worker_beside_managers_will_do() -> None:
    of = site(member("node-0"), member("node-1", manager=False), member("node-2", manager=False))
    assert swarm_obstacles(of, provision()) == ()


def test_hosts_in_different_swarms_are_refused_and_named() -> None:
    stranger = member("node-1")
    assert stranger.engine is not None
    other = replace(stranger.engine.swarm, node="id-elsewhere")
    stranger = replace(stranger, engine=replace(stranger.engine, swarm=other))
    assert swarm_obstacles(site(member("node-0"), stranger, member("node-2")), provision()) == (
        "node-1 is in another Swarm than node-0: docker swarm leave, on one of them.",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("Down", "Active", "Unreachable"), "node-2 is down in its Swarm"),
        (("Ready", "Active", "Unreachable"), "node-2 is an unreachable manager in its Swarm"),
        (("Ready", "Drain", ""), "node-2 is drained in its Swarm"),
    ],
)
def test_a_member_that_its_swarm_does_not_use_is_named(
    line: tuple[str, str, str], said: str
) -> None:
    first = member("node-0")
    listed = (*first.swarm_nodes[:2], SwarmNode("id-node-2", "x", *line))
    of = site(replace(first, swarm_nodes=listed), member("node-1"), member("node-2"))
    assert swarm_obstacles(of, provision()) == (f"{said}: docker node ls, on node-0.",)


def test_a_host_with_several_addresses_needs_a_word() -> None:
    both = ("eth0 10.0.2.15/24", "eth1 192.168.56.11/24", "docker0 172.17.0.1/16")
    of = site(host("node-1", addresses=both))
    assert swarm_obstacles(of, provision()) == (
        "node-1 has several addresses, 10.0.2.15 (eth0), 192.168.56.11 (eth1): set SWARM_INTERFACE "
        "to the interface or the subnet at which hosts reach one another.",
    )
    for word in ("eth1", "192.168.56.0/24"):
        named = provision(f"SWARM_INTERFACE={word}\n")
        others = [
            host(n, addresses=(f"eth1 192.168.56.1{n[-1]}/24",)) for n in ("node-0", "node-2")
        ]
        fits = site(host("node-1", addresses=both), *others)
        assert swarm_obstacles(fits, named) == ()
        assert swarm_plan(fits, named).joining[0].address == "192.168.56.11"
    (said, *_) = swarm_obstacles(of, provision("SWARM_INTERFACE=eth7\n"))
    assert said == (
        "node-0 has no address, or several, for SWARM_INTERFACE=eth7: it has 192.168.56.10 (eth0)."
    )
    (said,) = swarm_obstacles(site(host("node-1", addresses=())), provision())
    assert said == "node-1 has no address at which other hosts could reach it."


def test_an_engine_that_swarm_does_not_allow_is_named() -> None:
    of = site(host("node-2", engine=replace(ENGINE, live_restore=True)))
    (said,) = swarm_obstacles(of, provision())
    assert said.startswith("node-2's engine has live-restore on, which Swarm does not allow")


# ---- Ports


def looked(
    name: str, *, answered: tuple[str, ...] = NAMES, taken: tuple[str, ...] = ()
) -> PortFacts:
    """What this host found out where only these hosts answered it."""
    pairs = tuple((peer, port) for peer in answered if peer != name for port in ALL_PORTS)
    return PortFacts(taken=taken, answered=pairs)


def test_every_host_rings_at_every_other_one() -> None:
    bells = doorbells(site(), provision())
    assert [(b.host, b.address, b.ports, b.listens) for b in bells] == [
        (name, f"192.168.56.{10 + n}", ALL_PORTS, True) for n, name in enumerate(NAMES)
    ]
    here = [replace(host(n), ports=looked(n)) for n in NAMES]
    assert network_obstacles(site(*here), provision()) == ()


def test_of_hosts_in_a_swarm_only_what_takes_connections_is_tried() -> None:
    of = site(member("node-0", of=("node-0",)), member("node-1", manager=False, of=("node-0",)))
    assert [(b.host, b.ports, b.listens) for b in doorbells(of, provision())] == [
        ("node-0", ("2377/tcp", "7946/tcp"), False),
        ("node-1", ("7946/tcp",), False),
        ("node-2", ("7946/tcp", "7946/udp", "4789/udp"), True),
    ]


def test_nobody_rings_where_something_else_is_in_the_way() -> None:
    assert doorbells(site(host("node-1", SwarmInfo("locked"))), provision()) == ()
    assert doorbells(site(host("node-1", image=False)), provision()) == ()


def test_a_blocked_port_is_named_with_both_hosts() -> None:
    deaf = looked("node-1", answered=("node-2",))
    of = site(
        replace(host("node-0"), ports=looked("node-0")),
        replace(host("node-1"), ports=deaf),
        replace(host("node-2"), ports=looked("node-2")),
    )
    assert network_obstacles(of, provision()) == (
        "node-1 does not reach 2377/tcp and 7946/tcp and 7946/udp and 4789/udp of node-0 "
        "(192.168.56.10): open it in the firewalls between them.",
    )


def test_who_was_heard_did_come_through() -> None:
    deaf = looked("node-1", answered=("node-2",))
    heard = tuple(("node-1", port) for port in ALL_PORTS)
    of = site(
        replace(host("node-0"), ports=replace(looked("node-0"), heard=heard)),
        replace(host("node-1"), ports=deaf),
        replace(host("node-2"), ports=looked("node-2")),
    )
    assert network_obstacles(of, provision()) == ()


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (
            ("2377/tcp", "7946/udp"),
            "2377/tcp and 7946/udp of node-2 is in use, though that is in no Swarm: an engine that "
            "has left one can keep them until systemctl restart docker, on node-2.",
        ),
        (
            ("4789/udp",),
            "4789/udp of node-2 is in use, though that is in no Swarm: by a program, or by "
            "networks that outlived a Swarm which it has left. A boot ends these, or, on node-2 "
            "as root: "
            "systemctl stop docker; umount /run/docker/netns/1-*; systemctl start docker",
        ),
    ],
)
def test_a_port_that_somebody_else_uses_is_named(taken: tuple[str, ...], said: str) -> None:
    busy = looked("node-2", taken=taken)
    of = site(
        replace(host("node-0"), ports=looked("node-0")),
        replace(host("node-1"), ports=looked("node-1")),
        replace(host("node-2"), ports=busy),
    )
    assert network_obstacles(of, provision()) == (said,)


# ---- Commands and answers


def test_a_token_is_in_no_command_that_we_build() -> None:
    join = replace(swarm.join("192.168.56.11", "192.168.56.10:2377"), stdin=Secret("SWMTKN-1-x"))
    assert "SWMTKN" not in join.shown
    assert "SWMTKN" not in repr(join)
    assert not any("SWMTKN" in word for word in join.words)


def test_what_an_engine_says_of_its_swarm() -> None:
    document = {
        "Name": "vm",
        "ServerVersion": "26.1.5",
        "OperatingSystem": "Debian GNU/Linux 13",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 25276514304,
        "Driver": "overlay2",
        "DockerRootDir": "/var/lib/docker",
        "DefaultAddressPools": [{"Base": "172.30.0.0/16", "Size": 24}],
        "Swarm": {
            "NodeID": "abc",
            "NodeAddr": "10.9.0.2",
            "LocalNodeState": "active",
            "ControlAvailable": True,
            "Error": "",
            "RemoteManagers": [{"NodeID": "abc", "Addr": "10.9.0.2:2377"}],
            "Managers": 1,
            "Nodes": 1,
            "Cluster": {"ID": "xyz", "DataPathPort": 4790},
        },
    }
    engine = parse_info(json.dumps(document))
    assert engine is not None
    assert engine.pools == ("172.30.0.0/16",)
    assert engine.swarm == SwarmInfo(
        "active", "", True, 1, "abc", "10.9.0.2", {"abc": "10.9.0.2:2377"}, 4790
    )
    document["Swarm"] = {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    }
    engine = parse_info(json.dumps(document))
    assert engine is not None
    assert engine.swarm == SwarmInfo()


def test_a_swarms_list_of_its_hosts_is_read() -> None:
    line = {
        "Availability": "Active",
        "EngineVersion": "26.1.5",
        "Hostname": "node-0",
        "ID": "abc",
        "ManagerStatus": "Leader",
        "Self": True,
        "Status": "Ready",
        "TLSStatus": "Ready",
    }
    assert parse_swarm_nodes(json.dumps(line)) == (
        SwarmNode("abc", "node-0", "Ready", "Active", "Leader"),
    )


def test_an_overlay_says_whether_it_is_attachable_and_encrypted() -> None:
    document: dict[str, object] = {
        "id": "1",
        "name": "x",
        "driver": "overlay",
        "labels": {},
        "ipam": [{"Subnet": "10.0.0.0/24"}],
        "attachable": True,
        "options": {"com.docker.network.driver.overlay.vxlanid_list": "4097", "encrypted": ""},
        "containers": None,
    }
    network = parse_networks(json.dumps(document))["x"]
    assert (network.attachable, network.encrypted) == (True, True)
    network = parse_networks(json.dumps(document | {"options": None}))["x"]
    assert (network.attachable, network.encrypted) == (True, False)
