"""`start` and `stop`, in the safe order. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pgha.commands import docker
from pgha.errors import Refused
from pgha.limits import HALT_S, PROMOTE_S
from pgha.node.report import Role
from pgha.operations.last_primary import FailoverDecides, last_primary
from pgha.operations.provision import Provision, create_container
from pgha.operations.recovery import gone_note
from pgha.operations.settle import (
    follow,
    opening,
    start_container,
    steer,
    was_following,
)
from pgha.plan import Plan, Run, Stage, Step, stages, verb
from pgha.state import (
    ClusterState,
    ContainerStatus,
    NodeState,
    anything,
    container_runs,
    container_stopped,
    doors_closed,
    serves,
    services_stopped,
)

MAKE_ONLY = "Make what is missing, and start no container"
NOT_RUNNING = (ContainerStatus.STOPPED, ContainerStatus.MISSING)


def start(
    state: ClusterState,
    provision: Provision,
    networks: tuple[Stage, ...] = (),
    lost: frozenset[str] = frozenset(),
) -> Plan:
    """Plan the start of everything that does not run, the last primary first.

    networks: the steps that make networks which are gone; containers need them. lost: whose
    directories are gone; these are left for `recovery`.

    Which node was the last primary is read from the nodes, stopped ones at rest: their assignments
    and pg_control. Where a failover has to decide it, networks and containers that are missing are
    made, and nothing is started: it needs them. Raises Refused where there is nothing to make, or
    it is ambiguous.
    """
    topology = state.topology
    nodes = [n for n in state.nodes if n.name not in lost]
    missing = [n for n in nodes if n.container is ContainerStatus.MISSING]
    # A stopped container asks for the networks that it was made with, and for no others.
    cut_loose = [n for n in nodes if networks and n.container is ContainerStatus.STOPPED]
    made = tuple(
        create_container(provision, topology.node(n.name), instead=n.half_made or n in cut_loose)
        for n in (*missing, *cut_loose)
    )
    try:
        primary = _to_serve(state)
    except FailoverDecides as error:
        if not (missing or networks):
            raise
        notes = (f"{error.message} Next: {error.next}",)
        return Plan(MAKE_ONLY, stages(*networks, *_each_by_itself((made,))), notes=notes)
    others = [n for n in nodes if n.name != primary.name]
    stopped = [n for n in nodes if n.container in NOT_RUNNING]
    away = [n for n in others if not n.answers and n.container not in NOT_RUNNING]
    idle = [n for n in others if not state.streams(n.name) and n not in away]
    joining = [n for n in idle if was_following(n, primary)]
    left = [n.name for n in others if n not in joining and not state.streams(n.name)]
    plan = Plan(
        f"Start the cluster with {primary.name} as the primary",
        stages(
            *networks,
            *_each_by_itself(
                (
                    made,
                    tuple(start_container(topology, n.name) for n in stopped),
                    *_services(state, primary, joining, lost),
                ),
                but=primary.name,
            ),
        ),
        notes=(
            *(f"{name} cannot simply follow: inv recovery --node {name}" for name in left),
            *(gone_note(n) for n in state.nodes if n.name in lost),
        ),
    )
    if not plan.stages:
        return Plan(f"The cluster runs; {primary.name} is the primary.", notes=plan.notes)
    return plan


def _each_by_itself(all_stages: Iterable[Stage], but: str = "") -> tuple[Stage, ...]:
    """A node that cannot be started keeps no other one down, unless all the others need it."""
    return tuple(
        tuple(replace(step, may_fail=step.node != but) for step in stage) for stage in all_stages
    )


def _to_serve(state: ClusterState) -> NodeState:
    """The node that is to be the primary: who is, else who was last. Raises Refused."""
    if state.primary is None and state.having(Role.PRIMARY):
        raise Refused("Two nodes run as a primary on one timeline.", next="inv status")
    paused = [n for n in state.nodes if n.container is ContainerStatus.PAUSED]
    if paused:
        raise Refused(
            f"{paused[0].name}'s container is paused: unpause it first.", next="inv status"
        )
    if state.primary is not None and state.overtaken:
        raise Refused(
            f"{state.primary.name} is the primary of term {state.primary.timeline}, but term "
            f"{state.term} was begun: a failover was cut off.",
            next="inv failover",
        )
    return state.primary or last_primary(state)


def _services(
    state: ClusterState, primary: NodeState, joining: list[NodeState], lost: frozenset[str]
) -> tuple[Stage, ...]:
    """The primary, its followers, every door."""
    name, term = primary.name, primary.timeline or 0
    serving = serves(name)
    serve = Step(
        f"Start {name} as the primary of term {term}",
        name,
        container_runs(name),
        verb("serve", term=term, timeout_s=PROMOTE_S),
        serving,
    )
    up = state.to_attach(name, (*state.attached, *(n.name for n in joining)))
    doors = tuple(
        steer(n.name, name, up, needs=serving)
        for n in state.nodes
        if n.answers or (n.container in NOT_RUNNING and n.name not in lost)
    )
    return stages(
        None if serving.holds(state) else serve,
        tuple(follow(n.name, name, term, serving) for n in joining),
        opening(state, primary, (n.name for n in joining)),
        tuple(step for step in doors if not step.ensures.holds(state)),
    )


def stop(state: ClusterState) -> Plan:
    """Plan the stop: doors, the primary with a checkpoint, then its followers, then the containers.

    The followers go last: a primary that shuts down fast waits until each connected standby has all
    its WAL, the shutdown checkpoint too, so none is left behind on it (PostgreSQL 17, "Shutting
    Down the Server").
    """
    up = [n for n in state.nodes if n.container is ContainerStatus.RUNNING]
    if not up:
        paused = [n.name for n in state.nodes if n.container is ContainerStatus.PAUSED]
        if paused:
            raise Refused(
                f"{paused[0]}'s container is paused: unpause it first.", next="inv status"
            )
        unseen = [n for n in state.nodes if n.container is ContainerStatus.UNKNOWN]
        return Plan("The cluster is stopped.", notes=tuple(map(_left_as_it_is, unseen)))
    topology, answering = state.topology, [n for n in up if n.answers]
    ends = tuple(
        Step(
            f"Stop {n.name}'s container",
            n.name,
            anything(),
            Run(
                (docker.stop(topology.node(n.name).container, timeout_s=int(HALT_S)),), HALT_S + 30
            ),
            container_stopped(n.name),
        )
        for n in up
    )
    return Plan(
        "Stop the cluster",
        stages(
            tuple(
                _halt(n.name, "doors") for n in answering if not doors_closed(n.name).holds(state)
            ),
            tuple(_halt(n.name, "all") for n in answering if n.role is Role.PRIMARY),
            tuple(_halt(n.name, "all") for n in answering if n.role is not Role.PRIMARY),
            ends,
        ),
        notes=tuple(
            _left_as_it_is(n) for n in state.nodes if n not in answering and n.role is Role.UNKNOWN
        ),
    )


def _left_as_it_is(node: NodeState) -> str:
    if node.container is ContainerStatus.RUNNING:
        return f"{node.name} does not answer: its container is stopped as it is."
    if node.container is ContainerStatus.PAUSED:
        return f"{node.name}'s container is paused on {node.host}, and stays so."
    return f"{node.name} is not stopped: {node.host} does not answer."


def _halt(name: str, services: str) -> Step:
    ensures = doors_closed(name) if services == "doors" else services_stopped(name)
    what = "Pgpool-II" if services == "doors" else "PostgreSQL or the WAL receiver"
    return Step(
        f"Stop {what} on {name}",
        name,
        container_runs(name),
        verb("halt", services=services, timeout_s=HALT_S),
        ensures,
    )
