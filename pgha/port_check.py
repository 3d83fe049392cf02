"""Has hosts knock at one another's ports before a Swarm needs them; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from pgha.at_once import at_once
from pgha.commands import docker
from pgha.errors import CommandFailed
from pgha.hosts import Host
from pgha.limits import HELPER_S, PORTS_S
from pgha.operations.provision import HELPER_LABEL, Provision
from pgha.operations.swarm_ports import Doorbell, doorbells
from pgha.remote import Reach
from pgha.site import PortFacts, Site


def look_at_ports(reach: Reach, provision: Provision, site: Site) -> Site:
    """The same site, with what each host found out; unchanged where nothing is to be looked at.

    A helper container on each host, all at once: it listens and knocks.
    """
    bells = doorbells(site, provision)
    if not bells:
        return site
    node = {n.host: n.name for n in provision.topology.nodes}

    def job(bell: Doorbell) -> Callable[[], PortFacts]:
        others = tuple(b for b in bells if b is not bell)
        return lambda: _knock(reach.host(node[bell.host]), provision, bell, others)

    answers = at_once({b.host: job(b) for b in bells}, timeout_s=PORTS_S + HELPER_S + 1)
    for host, answer in answers.items():
        if not isinstance(answer, PortFacts):
            answer.message = f"{host}'s ports could not be looked at: {answer.message}"
            raise answer
    found = {host: answer for host, answer in answers.items() if isinstance(answer, PortFacts)}
    return Site(tuple(replace(h, ports=found.get(h.name)) for h in site.hosts))


def _knock(
    host: Host, provision: Provision, bell: Doorbell, others: tuple[Doorbell, ...]
) -> PortFacts:
    request = {
        "name": bell.host,
        "listen": bell.ports if bell.listens else (),
        "peers": [
            {"name": o.host, "address": o.address, "ports": o.ports, "listens": o.listens}
            for o in others
        ],
        "limit_s": PORTS_S,
    }
    cluster = provision.topology.cluster
    command = docker.run_helper(
        provision.image,
        ("pgha-node", "ports"),
        # It takes the ports that it looks at.
        name=f"{cluster}-ports",
        labels={HELPER_LABEL: cluster},
        network="host",
        stdin=json.dumps(request),
    )
    answer = host.run(command, timeout_s=PORTS_S + HELPER_S)
    try:
        document = json.loads(answer.stdout)
        return PortFacts(
            taken=tuple(document["taken"]),
            answered=tuple((peer, port) for peer, port in document["answered"]),
            heard=tuple((peer, port) for peer, port in document["heard"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"The look at {bell.host}'s ports told something else than was expected.", status=0
        ) from error
