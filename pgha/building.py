"""`build`: the image on every host, as an Outcome like every other command's."""

from __future__ import annotations

import time

from pgha.execute import Listener, Outcome, StepDone
from pgha.image import build as build_image
from pgha.image import foreseen
from pgha.plan import Plan, Run, Step
from pgha.remote import Reach
from pgha.settings import Settings
from pgha.state import ClusterState, ContainerStatus, NodeState, anything
from pgha.topology import Topology


def build(
    reach: Reach, settings: Settings, topology: Topology, listener: Listener, dry_run: bool
) -> Outcome:
    """See to it that every host has the image; hosts that have it are left alone.

    Raises Refused where no engine answers or no base can be made, Failed on the way.
    """
    begun, done = time.monotonic(), []
    plan = _plan(reach, settings, topology)
    if not dry_run and plan.stages:
        listener.planned(plan)
        for step in plan.steps:
            listener.started(step)
            result = build_image(reach.host(step.node), settings, listener.said)
            done.append(StepDone(step, result.seconds))
            listener.finished(done[-1])
    nothing_seen = tuple(
        NodeState(n.name, n.kind, n.host, ContainerStatus.UNKNOWN) for n in topology.nodes
    )
    state = ClusterState(topology, nothing_seen)
    return Outcome(plan, tuple(done), state, time.monotonic() - begun)


def _plan(reach: Reach, settings: Settings, topology: Topology) -> Plan:
    """A step for each host whose image is another one than would be built."""
    steps, name = [], ""
    for host in topology.hosts:
        node = next(n for n in topology.nodes if n.host == host)
        name, commands = foreseen(reach.host(node.name), settings)
        if commands:
            title = f"Make the image {name} on {host}"
            steps.append(Step(title, node.name, anything(), Run(commands), anything()))
    if not steps:
        return Plan(f"The image {name} is up to date.")
    return Plan(f"Make the image {name}", tuple((step,) for step in steps))
