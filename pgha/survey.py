"""Surveys the hosts before `init`: everything that could be in its way, all hosts at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pgha.at_once import at_once
from pgha.commands import docker, swarm
from pgha.commands.docker_answers import (
    ContainerInfo,
    NetworkInfo,
    parse_images,
    parse_inspect,
    parse_network_list,
    parse_networks,
)
from pgha.commands.swarm_answers import SwarmNode, parse_swarm_nodes
from pgha.engine import ask_engine
from pgha.errors import CommandFailed, PghaError
from pgha.limits import DOCKER_S, SURVEY_S
from pgha.operations.provision import CLUSTER_LABEL, HELPER_LABEL, Provision
from pgha.operations.swarm import trouble
from pgha.port_check import look_at_ports
from pgha.remote import Host, Reach
from pgha.site import HostFacts, Site, VolumeFacts
from pgha.topology import Node


def survey(reach: Reach, provision: Provision, *, ports: bool = True) -> Site:
    """Look at every host; nothing is changed. What cannot be seen is said in `error`. ports: knock
    at those between the hosts too, where that is of interest."""
    topology = provision.topology
    first = {n.host: n for n in reversed(topology.nodes)}
    jobs = {h: (lambda h=h: _host(reach, provision, first[h])) for h in topology.hosts}
    site = _seen(at_once(jobs, timeout_s=SURVEY_S + DOCKER_S))
    return look_at_ports(reach, provision, site) if ports else site


def survey_networks(reach: Reach, provision: Provision) -> Site:
    """Every host's engine and networks alone, as `survey` sees them."""
    topology = provision.topology
    first = {n.host: n for n in reversed(topology.nodes)}

    def look(node: Node) -> HostFacts:
        host = reach.host(node.name)
        engine = ask_engine(host, timeout_s=DOCKER_S)
        if topology.swarm and trouble(node.host, engine.swarm):
            return HostFacts(node.host, error="its engine cannot tell of networks.")
        listed = _swarm_nodes(host) if engine.swarm.manager else ()
        return HostFacts(node.host, engine=engine, networks=_networks(host), swarm_nodes=listed)

    jobs = {h: (lambda h=h: look(first[h])) for h in topology.hosts}
    return _seen(at_once(jobs, timeout_s=DOCKER_S))


def _seen(answers: Mapping[str, HostFacts | PghaError]) -> Site:
    return Site(
        tuple(
            HostFacts(name, error=answer.in_full) if isinstance(answer, PghaError) else answer
            for name, answer in answers.items()
        )
    )


def _host(reach: Reach, provision: Provision, node: Node) -> HostFacts:
    host = reach.host(node.name)
    engine = ask_engine(host, timeout_s=DOCKER_S)
    if provision.topology.swarm and trouble(node.host, engine.swarm):
        # Without a majority of its managers a Swarm answers nothing, and an engine may wait for it.
        return HostFacts(node.host, engine=engine, image=True)
    present = host.run(docker.image_inspect(provision.image), timeout_s=DOCKER_S, check=False)
    image = bool(parse_images(present.stdout)) if present.status == 0 else False
    containers, cluster = _containers(host), provision.topology.cluster
    facts = HostFacts(
        node.host,
        engine=engine,
        image=image,
        containers=tuple((name, c.labels.get(CLUSTER_LABEL, "")) for name, c in containers.items()),
        in_use=tuple(_in_use(containers.values(), cluster)),
        networks=_networks(host),
        swarm_nodes=_swarm_nodes(host) if engine.swarm.manager else (),
    )
    return _directories(host, provision, node, facts) if image else facts


def _containers(host: Host) -> Mapping[str, ContainerInfo]:
    """Every container by its name, whoever's it is: a name in use is in the way."""
    names = host.run(docker.container_names(), timeout_s=DOCKER_S).stdout.split()
    if not names:
        return {}
    answer = host.run(docker.inspect(*names), timeout_s=DOCKER_S, check=False)
    return parse_inspect(answer.stdout)


def _in_use(containers: Iterable[ContainerInfo], cluster: str) -> Iterator[tuple[str, str]]:
    """The directories of what runs, and is not this cluster's, by its container's name."""
    for container in containers:
        ours = container.labels.get(CLUSTER_LABEL) == cluster or HELPER_LABEL in container.labels
        if container.state in ("running", "paused", "restarting") and not ours:
            yield from ((container.name, source) for source in container.mounts.values())


def _networks(host: Host) -> tuple[NetworkInfo, ...]:
    names = parse_network_list(host.run(docker.network_list(), timeout_s=DOCKER_S).stdout)
    answer = host.run(docker.network_inspect(*names), timeout_s=DOCKER_S, check=False)
    return tuple(parse_networks(answer.stdout).values())


def _swarm_nodes(host: Host) -> tuple[SwarmNode, ...]:
    return parse_swarm_nodes(host.run(swarm.nodes(), timeout_s=DOCKER_S, check=False).stdout)


def _directories(host: Host, provision: Provision, node: Node, facts: HostFacts) -> HostFacts:
    """With the volumes of all nodes of this host, its routes and its addresses: seen by a helper
    container that changes nothing."""
    nodes = [n for n in provision.topology.nodes if n.host == node.host]
    paths = [path for n in nodes for path in n.volumes.all()]
    command = docker.run_helper(
        provision.image,
        ("pgha-node", "survey"),
        labels={HELPER_LABEL: provision.topology.cluster},
        mounts=(docker.Mount("/", "/host", read_only=True),),
        network="host",
        stdin=json.dumps({"root": "/host", "paths": paths}),
    )
    answer = host.run(command, timeout_s=SURVEY_S)
    try:
        document = json.loads(answer.stdout)
        volumes = tuple(
            VolumeFacts(**{**v, "entries": tuple(v["entries"])}) for v in document["volumes"]
        )
        routes, addresses = tuple(document["routes"]), tuple(document["addresses"])
        esp = document["esp"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"The survey of {node.host} told something else than was expected.", status=0
        ) from error
    return replace(facts, volumes=volumes, routes=routes, addresses=addresses, esp=esp)
