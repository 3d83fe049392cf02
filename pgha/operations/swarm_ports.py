"""The ports that a Swarm needs between its hosts: who knocks where, and what that shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgha.operations.provision import Provision
from pgha.operations.swarm import SWARM_PORT, swarm_obstacles, swarm_plan
from pgha.site import HostFacts, Site

# Docker's manual, "Getting started with Swarm mode", "Open protocols and ports between the hosts".
GOSSIP = ("7946/tcp", "7946/udp")
# A network's own namespace is kept alive by this mount alone. The engine must not be using it.
FREE_THE_DATA_PORT = "systemctl stop docker; umount /run/docker/netns/1-*; systemctl start docker"


@dataclass(frozen=True)
class Doorbell:
    """One host to its peers. ports: at which it must be reached; listens: one of ours listens there
    meanwhile. Else its own engine does, and of UDP ports nobody can tell."""

    host: str
    address: str
    ports: tuple[str, ...]
    listens: bool


def doorbells(site: Site, provision: Provision) -> tuple[Doorbell, ...]:
    """What to knock at; nothing where it is not known who is to be reached where."""
    if not provision.topology.swarm or len(site.hosts) < 2:
        return ()
    if any(h.engine is None or not h.image for h in site.hosts):
        return ()
    if swarm_obstacles(site, provision):
        return ()
    plan = swarm_plan(site, provision)
    joining = {j.host: j for j in plan.joining}
    data = f"{_data_port(site, plan.head)}/udp"
    found = []
    for facts in site.hosts:
        swarm = facts.engine.swarm if facts.engine else None
        assert swarm is not None
        if swarm.state == "active":
            port = swarm.remotes.get(swarm.node, f":{SWARM_PORT}").rpartition(":")[2]
            manage = (f"{port}/tcp",) if swarm.manager else ()
            found.append(Doorbell(facts.name, swarm.address, (*manage, GOSSIP[0]), False))
            continue
        joins = joining.get(facts.name)
        manage = (f"{SWARM_PORT}/tcp",) if joins is None or joins.manager else ()
        address = joins.address if joins else plan.address
        found.append(Doorbell(facts.name, address, (*manage, *GOSSIP, data), True))
    return tuple(found)


def port_obstacles(site: Site, provision: Provision) -> Iterator[str]:
    """Each pair of hosts of which one does not reach the other, with the ports."""
    facts = {h.name: h for h in site.hosts if h.ports is not None}
    bells = [bell for bell in doorbells(site, provision) if bell.host in facts]
    for bell in bells:
        yield from _in_use(facts[bell.host], bell)
        for other in bells:
            missing = _missing(facts[other.host], facts[bell.host], bell)
            if other is not bell and missing:
                yield (
                    f"{other.host} does not reach {_listed(missing)} of {bell.host} "
                    f"({bell.address}): open it in the firewalls between them."
                )


def _in_use(host: HostFacts, bell: Doorbell) -> Iterator[str]:
    """The ports of ours that somebody else has, with what gives them back.

    The engine listens at all of them but the last, where the data comes in: that is the kernel's,
    for a network of the Swarm that was left, and an engine that starts anew lets it live on.
    """
    assert host.ports is not None
    if not bell.listens:
        return
    *listening, data = bell.ports
    taken = tuple(port for port in listening if port in host.ports.taken)
    if taken:
        yield (
            f"{_listed(taken)} of {bell.host} is in use, though that is in no Swarm: an engine "
            f"that has left one can keep them until systemctl restart docker, on {bell.host}."
        )
    if data in host.ports.taken:
        yield (
            f"{data} of {bell.host} is in use, though that is in no Swarm: by a program, or by "
            "networks that outlived a Swarm which it has left. A boot ends these, or, on "
            f"{bell.host} as root: {FREE_THE_DATA_PORT}"
        )


def _missing(knocker: HostFacts, host: HostFacts, bell: Doorbell) -> tuple[str, ...]:
    """What did not come through. Heard is enough: an answer goes back the way it came."""
    assert knocker.ports is not None
    assert host.ports is not None
    return tuple(
        port
        for port in bell.ports
        if port not in host.ports.taken
        and (bell.host, port) not in knocker.ports.answered
        and (knocker.name, port) not in host.ports.heard
    )


def _data_port(site: Site, head: str) -> int:
    engine = next(h for h in site.hosts if h.name == head).engine
    return engine.swarm.data_port if engine else 4789


def _listed(ports: tuple[str, ...]) -> str:
    return " and ".join(ports)
