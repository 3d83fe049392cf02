"""How the hosts become one Swarm, or what keeps them from it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from pgha.commands.swarm_answers import NO_SWARM, SwarmInfo, SwarmNode
from pgha.operations.provision import Provision
from pgha.site import HostFacts, Site

# Docker's manual, "Administer and maintain a swarm of Docker Engines": more managers cost more than
# they are worth, and an even number tolerates no more losses than the odd one below it.
MOST_MANAGERS = 5
SWARM_PORT = 2377
# What a new Swarm's own networks may come out of: the first of these that nobody else uses. Its
# default begins with 10.0.0.0/24, as our backend network does.
POOLS = (
    *(f"10.{number}.0.0/16" for number in range(200, 255)),
    *(f"172.{number}.0.0/16" for number in range(31, 15, -1)),
    *(f"192.168.{number}.0/20" for number in range(240, -1, -16)),
)


@dataclass(frozen=True)
class Joining:
    """A host that is to join. address: where the others reach it."""

    host: str
    address: str
    manager: bool


@dataclass(frozen=True)
class SwarmPlan:
    """What is to be done, and by whom.

    head: a host of ours that answers for the Swarm: it makes networks and sets labels.
    address: what it advertises. remote: host:port where the others join.
    pool: of the Swarm that is made on it; "" where there is one.
    """

    head: str
    address: str
    remote: str
    pool: str
    joining: tuple[Joining, ...]


def swarm_plan(site: Site, provision: Provision) -> SwarmPlan:
    """How the hosts become one Swarm; for a site in which `swarm_obstacles` finds none."""
    members = [h for h in site.hosts if _swarm(h).state == "active"]
    head = _head(site, provision) or _home(site, provision)
    outside = [h for h in site.hosts if h not in members and h is not head]
    swarm, wanted = _swarm(head), provision.settings.swarm_interface
    managers = swarm.managers or 1
    more = managers_to_add(managers, len(outside))
    joining = tuple(
        Joining(host.name, _address(host, wanted), number < more)
        for number, host in enumerate(outside)
    )
    if members:
        remote = swarm.remotes.get(swarm.node, f"{swarm.address}:{SWARM_PORT}")
        return SwarmPlan(head.name, swarm.address, remote, "", joining)
    address = _address(head, wanted)
    pool = free_pool(site, provision)
    return SwarmPlan(head.name, address, f"{address}:{SWARM_PORT}", pool or "", joining)


def managers_to_add(managers: int, joining: int) -> int:
    """How many of those that join become managers: the Swarm then has an odd number of them, and
    MOST_MANAGERS at most. Two hosts have one: losing either of two would lose the majority."""
    target = min(MOST_MANAGERS, managers + joining)
    target -= 1 - target % 2
    return max(0, target - managers)


def free_pool(site: Site, provision: Provision) -> str | None:
    """The first of POOLS that overlaps with nothing that is known of any host."""
    topology = provision.topology
    used = {IPv4Network(topology.backend_subnet), IPv4Network(topology.frontend_subnet)}
    for facts in site.hosts:
        pools = facts.engine.pools if facts.engine else ()
        subnets = (s for network in facts.networks for s in network.subnets)
        routes = (route.split()[0] for route in facts.routes)
        used |= {IPv4Network(s, strict=False) for s in (*pools, *subnets, *routes) if ":" not in s}
    return next((p for p in POOLS if not any(u.overlaps(IPv4Network(p)) for u in used)), None)


# --- what is in the way --------------------------------------------------------------------------


def swarm_obstacles(site: Site, provision: Provision) -> tuple[str, ...]:
    """What keeps the hosts from being one Swarm, each in a sentence. A host that does not answer is
    said elsewhere."""
    known = Site(tuple(h for h in site.hosts if h.engine is not None))
    found = [sentence for h in known.hosts if (sentence := trouble(h.name, _swarm(h)))]
    if found:
        return tuple(found)
    members = [h for h in known.hosts if _swarm(h).state == "active"]
    head = _head(known, provision)
    if members and head is None:
        names = " or ".join(h.engine.name for h in members if h.engine)
        managers = ", ".join(sorted({a for h in members for a in _swarm(h).remotes.values()}))
        return (
            f"No host of the cluster is a manager of its Swarm: docker node promote {names}, on a "
            f"manager ({managers}).",
        )
    if head is not None:
        found += _of_members(head, [h for h in members if h is not head])
    joining = [h for h in known.hosts if h not in members]
    found += (_live_restore(h.name) for h in joining if h.engine and h.engine.live_restore)
    found += _of_addresses(provision, joining)
    if not members and len(known.hosts) == len(site.hosts) and not free_pool(site, provision):
        found.append(
            "No subnet is free for a new Swarm's own networks: make it by hand, with docker swarm "
            "init --default-addr-pool."
        )
    return tuple(found)


def trouble(host: str, swarm: SwarmInfo) -> str:
    """What is wrong with a host's Swarm, in a sentence; "" where it is in order, or there is none.
    Without a majority of the managers running containers go on, but none can start."""
    said = " ".join(swarm.error.split()).rstrip(".")
    because = f" ({said})" if said else ""
    match swarm.state:
        case "locked":
            return f"{host}'s Swarm is locked: docker swarm unlock, on {host}."
        case "pending":
            return (
                f"{host} looks for its Swarm's managers{because}: start those, or docker swarm "
                f"leave, on {host}."
            )
        case "error":
            return f"{host}'s Swarm does not work{because}: docker swarm leave, on {host}."
        case "active" if swarm.manager and said:
            return (
                f"{host}'s Swarm has lost the majority of its managers{because}: start them, or "
                f"docker swarm init --force-new-cluster, on {host}."
            )
    return ""


def _of_members(head: HostFacts, others: list[HostFacts]) -> Iterator[str]:
    listed = {node.id: node for node in head.swarm_nodes}
    for host in (head, *others):
        node = listed.get(_swarm(host).node)
        if node is None:
            yield (
                f"{host.name} is in another Swarm than {head.name}: docker swarm leave, on one of "
                "them."
            )
        elif why := _unfit(node):
            yield f"{host.name} is {why} in its Swarm: docker node ls, on {head.name}."


def _unfit(node: SwarmNode) -> str:
    if node.status != "Ready":
        return node.status.lower()
    if node.manager == "Unreachable":
        return "an unreachable manager"
    return "" if node.availability != "Drain" else "drained"


def _live_restore(host: str) -> str:
    return (
        f"{host}'s engine has live-restore on, which Swarm does not allow: "
        f'"live-restore": false in '
        f"/etc/docker/daemon.json, and systemctl reload docker, on {host}."
    )


def _of_addresses(provision: Provision, joining: list[HostFacts]) -> Iterator[str]:
    """Each host that joins needs one address at which the others reach it."""
    wanted = provision.settings.swarm_interface
    for host in joining:
        # Without its image a host was not looked at: that is said elsewhere.
        if not host.image or len(chosen(host, wanted)) == 1:
            continue
        shown = ", ".join(f"{a.ip} ({name})" for name, a in own_addresses(host)) or "none"
        if wanted:
            yield (
                f"{host.name} has no address, or several, for SWARM_INTERFACE={wanted}: it has "
                f"{shown}."
            )
        else:
            yield (
                f"{host.name} has several addresses, {shown}: set SWARM_INTERFACE to the interface "
                "or the subnet at which hosts reach one another."
                if shown != "none"
                else f"{host.name} has no address at which other hosts could reach it."
            )


# --- addresses -----------------------------------------------------------------------------------


def own_addresses(host: HostFacts) -> tuple[tuple[str, IPv4Interface], ...]:
    """The host's interfaces and addresses, without those of Docker's own bridges."""
    bridges = [
        IPv4Network(subnet, strict=False)
        for network in host.networks
        if network.driver == "bridge"
        for subnet in network.subnets
        if ":" not in subnet
    ]
    seen = (line.split() for line in host.addresses)
    addresses = ((name, IPv4Interface(address)) for name, address in seen)
    return tuple(
        (name, a)
        for name, a in addresses
        if not a.ip.is_link_local and not any(a.ip in bridge for bridge in bridges)
    )


def chosen(host: HostFacts, wanted: str) -> tuple[str, ...]:
    """The addresses that SWARM_INTERFACE means: an interface, a subnet, or nothing said."""
    subnet = ipaddress.IPv4Network(wanted) if "/" in wanted else None
    return tuple(
        str(address.ip)
        for name, address in own_addresses(host)
        if not wanted or (address.ip in subnet if subnet else name == wanted)
    )


def _address(host: HostFacts, wanted: str) -> str:
    return chosen(host, wanted)[0]


def _swarm(host: HostFacts) -> SwarmInfo:
    return host.engine.swarm if host.engine else NO_SWARM


def _home(site: Site, provision: Provision) -> HostFacts:
    return site.of(provision.topology.node(provision.topology.home))


def _head(site: Site, provision: Provision) -> HostFacts | None:
    """Who answers for the Swarm that there is: the home host, else the first that does."""
    home = provision.topology.node(provision.topology.home).host
    managers = [h for h in site.hosts if _swarm(h).state == "active" and _swarm(h).manager]
    return min(managers, key=lambda h: h.name != home, default=None)
