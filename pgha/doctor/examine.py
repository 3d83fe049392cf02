"""Looks at every host and node at once, and changes nothing. What cannot be seen is a fact too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from pgha.at_once import at_once
from pgha.commands.base import Command
from pgha.commands.docker_answers import EngineInfo
from pgha.doctor.drift import Held, ask_held, expected, parse_held
from pgha.doctor.facts import Facts, Failure, HostFacts, NodeFacts
from pgha.doctor.vitals import Vitals, ask_vitals, parse_vitals
from pgha.drift import of_images
from pgha.engine import ask_engine
from pgha.errors import PghaError
from pgha.hosts import Host
from pgha.image import image_of
from pgha.limits import DOCKER_S, DOCTOR_S
from pgha.operations.networks import network_obstacles
from pgha.operations.provision import Provision
from pgha.remote import Reach
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.survey import survey
from pgha.topology import LOCAL_HOST, Node
from pgha.units import unit_name
from pgha.verdict import judge

T = TypeVar("T")
# Its connection, its engine and its directories: what hangs is given up then.
HOST_S = 2 * DOCTOR_S + DOCKER_S


def examine(reach: Reach, provision: Provision, state: ClusterState) -> Facts:
    """state: what `status` saw a moment ago."""
    topology = provision.topology
    on = {host: tuple(n for n in topology.nodes if n.host == host) for host in topology.hosts}
    seen = at_once(
        {host: _job(reach, provision, state, nodes) for host, nodes in on.items()},
        timeout_s=HOST_S,
    )
    hosts, nodes = list[HostFacts](), list[NodeFacts]()
    for name, answer in seen.items():
        if isinstance(answer, PghaError):
            hosts.append(HostFacts(name, reached=_failure(answer)))
            nodes += [NodeFacts(n.name, name) for n in on[name]]
        else:
            hosts.append(answer[0])
            nodes += answer[1]
    memory = {h.name: h.engine.memory_bytes for h in hosts if isinstance(h.engine, EngineInfo)}
    nodes = [_with_wanted(provision, n, memory) for n in nodes]
    verdict, problems = judge(state)
    first = problems[0] if problems else None
    return Facts(
        cluster=topology.cluster,
        image=provision.image,
        single=topology.hosts == (LOCAL_HOST,),
        now_s=time.time(),
        hosts=tuple(hosts),
        nodes=tuple(sorted(nodes, key=lambda node: topology.names.index(node.name))),
        verdict=verdict.value,
        problem=first.message if first else "",
        remedy=first.remedy if first else "",
        drifted=tuple(of_images(state)),
        networks=_tried(lambda: _networks(reach, provision)) if _all_look(hosts) else None,
    )


def _all_look(hosts: list[HostFacts]) -> bool:
    """Whether every host has an engine that answers, and the image of the helpers."""
    return all(isinstance(h.engine, EngineInfo) and h.image_id for h in hosts)


def _networks(reach: Reach, provision: Provision) -> tuple[str, ...] | None:
    if not provision.topology.swarm:
        return None
    return network_obstacles(survey(reach, provision), provision)


def _job(
    reach: Reach, provision: Provision, state: ClusterState, nodes: tuple[Node, ...]
) -> Callable[[], tuple[HostFacts, list[NodeFacts]]]:
    return lambda: _host(reach, provision, state, nodes)


def _host(
    reach: Reach, provision: Provision, state: ClusterState, nodes: tuple[Node, ...]
) -> tuple[HostFacts, list[NodeFacts]]:
    """Raises Unreachable where the host does not answer."""
    host = reach.host(nodes[0].name)
    host.run(Command(("true",)), timeout_s=DOCTOR_S)  # the connection is open now
    begun = time.time()
    vitals = _tried(lambda: _vitals(host, nodes))
    ended = time.time()
    engine = _tried(lambda: ask_engine(host, timeout_s=DOCTOR_S))
    facts = HostFacts(host.name, vitals=vitals, engine=engine)
    if isinstance(vitals, Vitals):
        half = (ended - begun) / 2
        facts = replace(facts, offset_s=vitals.now_s - (begun + half), uncertain_s=half)
        if vitals.systemd:
            facts = replace(facts, units=_units(host, nodes))
    if isinstance(engine, Failure):
        return facts, [NodeFacts(n.name, host.name) for n in nodes]
    image = image_of(host, provision.image)
    facts = replace(facts, image_id=image.id if image else "")
    return facts, [_node(reach, n, state.node(n.name)) for n in nodes]


def _tried(job: Callable[[], T]) -> T | Failure:
    try:
        return job()
    except PghaError as error:
        return _failure(error)


def _failure(error: PghaError) -> Failure:
    return Failure(" ".join((error.message, *error.details[:1])), error.next)


def _vitals(host: Host, nodes: tuple[Node, ...]) -> Vitals | Failure:
    paths = [path for node in nodes for path in node.volumes.all()]
    answer = host.run(ask_vitals(paths), timeout_s=DOCTOR_S)
    try:
        return parse_vitals(answer.stdout)
    except ValueError as error:
        return Failure(f"It does not say how it is: {error}.")


def _units(host: Host, nodes: tuple[Node, ...]) -> frozenset[str]:
    def enabled(node: Node) -> bool:
        words = ("systemctl", "--quiet", "is-enabled", unit_name(node))
        return host.run(Command(words), timeout_s=DOCTOR_S, check=False).status == 0

    return frozenset(node.name for node in nodes if enabled(node))


def _node(reach: Reach, node: Node, seen: NodeState) -> NodeFacts:
    if seen.container is ContainerStatus.MISSING:
        return NodeFacts(node.name, node.host, exists=False)
    held: Held | Failure | None = None
    if seen.running:
        held = _tried(
            lambda: parse_held(
                reach.container(node.name).run(ask_held(), timeout_s=DOCTOR_S).stdout
            )
        )
    return NodeFacts(node.name, node.host, exists=True, held=held)


def _with_wanted(provision: Provision, node: NodeFacts, memory: Mapping[str, int]) -> NodeFacts:
    """What its files should be follows from the memory of all hosts."""
    if not node.exists or node.host not in memory:
        return node
    return replace(node, wanted=expected(provision, provision.topology.node(node.name), memory))
