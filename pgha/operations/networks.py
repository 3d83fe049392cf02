"""The cluster's networks: bridges on one host, overlays of a Swarm over several. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from pgha.commands import docker, swarm
from pgha.commands.base import Command
from pgha.commands.docker_answers import NetworkInfo
from pgha.limits import DOCKER_S, SWARM_AGAIN_S
from pgha.operations.provision import CLUSTER_LABEL, Provision
from pgha.operations.swarm import Joining, SwarmPlan, swarm_obstacles, swarm_plan
from pgha.operations.swarm_ports import port_obstacles
from pgha.plan import Relay, Run, Stage, Step, stages
from pgha.site import HostFacts, Site
from pgha.state import anything

# Labels of a Swarm's hosts, for the constraints of services that belong beside the database.
ROLE_LABEL = "pgha.role"
CLUSTER_ROLE_LABEL = "pgha.cluster."


def network_stages(site: Site, provision: Provision) -> tuple[Stage, ...]:
    """The steps after which both networks are there; for a site without `network_obstacles`."""
    if not provision.topology.swarm:
        return stages(tuple(_bridges(site, provision)))
    plan = swarm_plan(site, provision)
    roles = sorted({_role(j) for j in plan.joining})
    return stages(
        _make_swarm(plan, provision) if plan.pool else None,
        # One after the other: managers change their own number at each.
        *(_join(j, plan, provision) for j in plan.joining),
        _rotate(plan, provision, roles) if roles else None,
        tuple(_label(host, plan, provision) for host in site.hosts),
        _overlays(site, provision, plan),
    )


def lost_networks(site: Site, provision: Provision) -> tuple[Stage, ...]:
    """The steps that make again what somebody has taken away (`docker network prune`) while the
    cluster was down. Nothing where a host is not seen, or the Swarm itself is another one: Docker
    says then why a container does not start."""
    if any(host.error for host in site.hosts):
        return ()
    if not provision.topology.swarm:
        return stages(tuple(_bridges(site, provision)))
    if network_obstacles(site, provision):
        return ()
    plan = swarm_plan(site, provision)
    return () if plan.pool or plan.joining else stages(_overlays(site, provision, plan))


def network_notes(site: Site, provision: Provision) -> tuple[str, ...]:
    """What people should know of the Swarm that their hosts will be in."""
    if not provision.topology.swarm:
        return ()
    plan = swarm_plan(site, provision)
    if plan.pool:
        return ()
    notes = list[str]()
    if plan.joining:
        join = "joins" if len(plan.joining) == 1 else "join"
        notes.append(
            f"The Swarm of {plan.head} gets new join tokens: {_names(plan.joining)} {join} by the "
            "present ones."
        )
    engine = next(h for h in site.hosts if h.name == plan.head).engine
    managers = engine.swarm.managers if engine else 0
    managers += sum(j.manager for j in plan.joining)
    if 0 < managers < min(3, len(site.hosts)):
        notes.append(
            f"The Swarm of {plan.head} has {managers} manager{'s' * (managers > 1)}: while one is "
            "away, no node can be started. docker node promote makes others managers too."
        )
    return tuple(notes)


# --- steps ---------------------------------------------------------------------------------------


def _bridges(site: Site, provision: Provision) -> Iterator[Step]:
    labels = {CLUSTER_LABEL: provision.topology.cluster}
    for host in site.hosts:
        there = {network.name for network in host.networks}
        wanted = provision.topology.networks
        made = [docker.network_create(n, s, labels) for n, s in wanted if n not in there]
        if made:
            yield _run(f"Create the networks on {host.name}", host.name, provision, *made)


def _overlays(site: Site, provision: Provision, plan: SwarmPlan) -> Step | None:
    topology, settings = provision.topology, provision.settings
    head = next(h for h in site.hosts if h.name == plan.head)
    there = {network.name for network in head.networks}
    made = [
        swarm.overlay_create(
            name,
            subnet,
            {CLUSTER_LABEL: topology.cluster},
            encrypted=settings.backend_encryption and name == topology.backend_network,
            chosen=free_part(subnet, (IPv4Address(n.address) for n in topology.nodes)),
        )
        for name, subnet in topology.networks
        if name not in there
    ]
    if not made:
        return None
    return _run("Create the networks over all hosts", plan.head, provision, *made)


def free_part(subnet: str, fixed: Iterable[IPv4Address]) -> str:
    """The largest part of the subnet, the last of those, that holds no fixed address: out of it
    Docker takes addresses by itself, one for each host at least, and so never one of ours.
    "" where it is the whole subnet, or there is none."""
    whole, taken = IPv4Network(subnet), set(fixed)
    for prefix in range(whole.prefixlen, 31):
        for part in reversed(list(whole.subnets(new_prefix=prefix))):
            if not any(address in part for address in taken):
                return "" if part == whole else str(part)
    return ""


def _make_swarm(plan: SwarmPlan, provision: Provision) -> Step:
    title = f"Make a Swarm on {plan.head}, at {plan.address}"
    return _run(title, plan.head, provision, swarm.init(plan.address, plan.pool))


def _join(joining: Joining, plan: SwarmPlan, provision: Provision) -> Step:
    role = _role(joining)
    return Step(
        f"Let {joining.host} join the Swarm as a {role}, at {joining.address}",
        _node(joining.host, provision),
        anything(),
        Relay(
            _node(plan.head, provision),
            swarm.join_token(role),
            swarm.join(joining.address, plan.remote),
            DOCKER_S,
        ),
        anything(),
    )


def _rotate(plan: SwarmPlan, provision: Provision, roles: list[str]) -> Step:
    """Each token stood in a process list while a host joined."""
    commands = tuple(swarm.rotate_token(role) for role in roles)
    step = _run("Exchange the Swarm's join tokens", plan.head, provision, *commands)
    return replace(step, action=Run(commands, hidden=True))


def _label(host: HostFacts, plan: SwarmPlan, provision: Provision) -> Step:
    topology = provision.topology
    node = topology.node(_node(host.name, provision))
    kind = node.kind.value
    labels = {ROLE_LABEL: kind, f"{CLUSTER_ROLE_LABEL}{topology.cluster}": kind}
    return Step(
        f"Label {host.name} in the Swarm: {ROLE_LABEL}={kind}",
        _node(plan.head, provision),
        anything(),
        # Who joined a moment ago is still being changed by the Swarm itself.
        Relay(node.name, swarm.own_id(), swarm.label(labels), DOCKER_S, again_s=SWARM_AGAIN_S),
        anything(),
    )


def _run(title: str, host: str, provision: Provision, *commands: Command) -> Step:
    return Step(title, _node(host, provision), anything(), Run(commands), anything())


def _node(host: str, provision: Provision) -> str:
    """A node on this host: steps are named by nodes."""
    return next(n.name for n in provision.topology.nodes if n.host == host)


def _role(joining: Joining) -> str:
    return swarm.MANAGER if joining.manager else swarm.WORKER


def _names(joining: Iterable[Joining]) -> str:
    return " and ".join(j.host for j in joining)


# --- what is in the way --------------------------------------------------------------------------


def network_obstacles(site: Site, provision: Provision) -> tuple[str, ...]:
    """What keeps the networks from being made, or used as they are; each in a sentence."""
    found = list[str]()
    if provision.topology.swarm:
        found += swarm_obstacles(site, provision)
        found += port_obstacles(site, provision)
        if provision.settings.backend_encryption:
            found += (_no_esp(h.name) for h in site.hosts if h.esp is False)
    for facts in site.hosts:
        for name, subnet in provision.topology.networks:
            found += _of_network(facts, provision, name, subnet)
    return tuple(found)


def _no_esp(host: str) -> str:
    # Docker says so in its log alone, and sends nothing between the hosts.
    return f"{host}'s kernel has no ESP (CONFIG_INET_ESP), which BACKEND_ENCRYPTION=on needs."


def _of_network(facts: HostFacts, provision: Provision, name: str, subnet: str) -> Iterator[str]:
    wanted = IPv4Network(subnet)
    ours = next((n for n in facts.networks if n.name == name), None)
    if ours is not None:
        yield from _of_ours(facts, provision, ours, subnet)
    for network in facts.networks:
        others = (IPv4Network(s, strict=False) for s in network.subnets if ":" not in s)
        if network is not ours and any(wanted.overlaps(other) for other in others):
            taken = f"the network {network.name} ({' and '.join(network.subnets)})"
            whose = ", Swarm's own," if network.name == "ingress" else ""
            yield f"{subnet} ({name}) overlaps with {taken}{whose} on {facts.name}."
    if ours is not None:
        return  # its own route is among the host's routes
    named = {s for network in facts.networks for s in network.subnets}
    for route in facts.routes:
        destination, interface = route.split()
        if destination not in named and wanted.overlaps(ipaddress.ip_network(destination)):
            taken = f"{facts.name}'s route to {destination} by {interface}"
            yield f"{subnet} ({name}) overlaps with {taken}."


def _of_ours(
    facts: HostFacts, provision: Provision, network: NetworkInfo, subnet: str
) -> Iterator[str]:
    topology, name = provision.topology, network.name
    if network.subnets != (subnet,):
        has = " and ".join(network.subnets) or "no subnet"
        yield f"The network {name} exists on {facts.name} with {has}, not {subnet}."
    driver = "overlay" if topology.swarm else "bridge"
    encrypted = provision.settings.backend_encryption and name == topology.backend_network
    if network.driver != driver:
        yield f"The network {name} exists on {facts.name} as a {network.driver}, not as {driver}."
    elif topology.swarm and not network.attachable:
        yield f"The network {name} exists, but not --attachable: containers cannot join it."
    elif topology.swarm and encrypted and not network.encrypted:
        yield f"The network {name} exists without encryption, and BACKEND_ENCRYPTION is on."
