"""Observes a cluster: the engines' word on the containers, and one probe a node, all at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pgha.at_once import at_once
from pgha.commands import docker
from pgha.commands.docker_answers import ContainerLine, parse_ps
from pgha.errors import CommandFailed, PghaError, Unreachable
from pgha.hosts import NOT_FOUND
from pgha.limits import AT_REST_S, ENGINE_S, OBSERVE_S, SPARE_S
from pgha.node.report import Report, from_json
from pgha.nodes import Nodes
from pgha.operations.provision import CLUSTER_LABEL, Provision
from pgha.remote import Reach
from pgha.state import ContainerStatus, NodeState
from pgha.topology import Node, Topology

_STATUS = {
    "running": ContainerStatus.RUNNING,
    "paused": ContainerStatus.PAUSED,
    "created": ContainerStatus.STOPPED,
    "exited": ContainerStatus.STOPPED,
    "dead": ContainerStatus.STOPPED,
    "removing": ContainerStatus.STOPPED,
    "restarting": ContainerStatus.STOPPED,
}


@dataclass(frozen=True)
class Seen:
    """A probe's report, and when it was taken, in seconds of a monotonic clock."""

    report: Report
    at: float


def observe(
    reach: Reach,
    nodes: Nodes,
    topology: Topology,
    names: tuple[str, ...] | None = None,
    *,
    timeout_s: float = OBSERVE_S,
) -> tuple[NodeState, ...]:
    """The state of these nodes (None: of all), after `timeout_s` seconds at the latest.

    A host or node that does not answer is in it as such; nothing is raised for it.
    """
    wanted = [n for n in topology.nodes if names is None or n.name in names]

    def listing(host_node: str) -> Callable[[], object]:
        return lambda: _containers(reach, topology, host_node)

    def probe(name: str) -> Callable[[], object]:
        return lambda: Seen(
            nodes.ask(name, "probe", {}, timeout_s=timeout_s - SPARE_S).report, time.monotonic()
        )

    by_host = {n.host: n.name for n in wanted}
    jobs: dict[tuple[str, str], Callable[[], object]] = {
        **{("engine", host): listing(name) for host, name in by_host.items()},
        **{("node", n.name): probe(n.name) for n in wanted},
    }
    answers = at_once(jobs, timeout_s=timeout_s)
    return tuple(
        replace(
            _node_state(n, topology, answers["engine", n.host], answers["node", n.name]),
            image_id=reach.container(n.name).image_id,
            shell=reach.shell(n.name),
        )
        for n in wanted
    )


def _containers(reach: Reach, topology: Topology, node: str) -> Mapping[str, ContainerLine]:
    host = reach.host(node)
    told = host.run(docker.ps({CLUSTER_LABEL: topology.cluster}), timeout_s=ENGINE_S, check=False)
    if told.status == NOT_FOUND:
        raise Unreachable(f"There is no docker program on {host.name}.")
    if told.status != 0:
        why = " ".join(told.stderr.split())
        raise Unreachable(f"No Docker engine answers on {host.name}{f': {why}' if why else '.'}")
    return {line.name: line for line in parse_ps(told.stdout)}


def _node_state(node: Node, topology: Topology, engine: object, probe: object) -> NodeState:
    """Put together what the engine and the node said."""
    base = NodeState(
        node.name, node.kind, node.host, ContainerStatus.UNKNOWN, seen_at=time.monotonic()
    )
    report = probe.report if isinstance(probe, Seen) else None
    error = probe.message if isinstance(probe, PghaError) else ""
    if isinstance(engine, PghaError):
        if report is not None:  # The engine hangs; the node itself is alive.
            return replace(base, container=ContainerStatus.RUNNING, report=report)
        return replace(base, error=engine.in_full, next=engine.next)
    assert isinstance(engine, Mapping)
    line = engine.get(node.container)
    if line is None:
        return replace(base, container=ContainerStatus.MISSING)
    if line.state == "created" and topology.frontend_network not in line.networks:
        return replace(base, container=ContainerStatus.MISSING, half_made=True)
    status = _STATUS.get(line.state, ContainerStatus.UNKNOWN)
    # The engine lists the image by its name as long as that name still means it, else by its id.
    base = replace(base, outdated=line.image.startswith("sha256:"))
    if status is not ContainerStatus.RUNNING:
        return replace(base, container=status)
    return replace(base, container=status, report=report, error="" if report else error)


def at_rest(reach: Reach, provision: Provision, seen: NodeState) -> NodeState:
    """The same node with its report read from the volumes, where its container does not run.

    Nothing is changed: a helper container mounts the volumes and probes them.
    """
    node = provision.topology.node(seen.name)
    if seen.container not in (ContainerStatus.STOPPED, ContainerStatus.MISSING):
        return seen
    command = provision.helper(node, ("pgha-node", "probe", "offline=true"), reads=True)
    try:
        answer = reach.host(node.name).run(command, timeout_s=AT_REST_S)
        report = from_json(json.loads(answer.stdout)["report"])
    except CommandFailed as error:
        # Docker's last words say why its client has the status 125.
        return replace(seen, error=" ".join((error.message, *error.details[-1:])))
    except PghaError as error:
        return replace(seen, error=error.in_full)
    except (ValueError, KeyError):
        return replace(seen, error=f"{node.name}'s volumes tell nothing of a node.")
    return replace(seen, report=report, at_rest=True)
