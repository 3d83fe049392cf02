"""`recovery`: bring a node back as a follower, as it is, by pg_rewind, or by a new copy. Pure."""

from __future__ import annotations

from pgha.errors import Refused
from pgha.limits import COPY_S, HALT_S
from pgha.node.report import Role
from pgha.operations.last_primary import has_last_primary
from pgha.operations.settle import (
    can_follow,
    complete,
    fence_for_good,
    follow,
    may_be_a_primary,
    opening,
    start_container,
    steer,
)
from pgha.plan import Plan, Stage, Step, stages, verb
from pgha.state import (
    ClusterState,
    Condition,
    ContainerStatus,
    NodeState,
    container_runs,
    has_role,
    is_primary,
)
from pgha.topology import Kind

# A standby that is connected is left this far behind before it counts as lost: it catches up alone.
PATIENCE = ("streaming", "catchup")


def recovery(
    state: ClusterState,
    node: str | None = None,
    *,
    force: bool = False,
    lost: frozenset[str] = frozenset(),
) -> Plan:
    """Plan the return of `node` (None: every node that needs it) as a follower of the primary.

    force: a whole new copy by pg_basebackup, the old data moved aside. lost: whose directories are
    gone; `replacing` makes one of them anew. An empty Plan where nobody needs it. Raises Refused
    where there is no primary to follow, or `node` cannot be reached.
    """
    primary = primary_of(state)
    if node == primary.name:
        raise Refused(f"{node} is the primary: it is what others recover from.", next="inv status")
    wanted = [state.node(node)] if node else [n for n in state.nodes if n.name != primary.name]
    needy = [n for n in wanted if _needs_it(state, n) or (force and node == n.name)]
    away = [n for n in needy if n.name in lost or not _within_reach(n)]
    joining = [n for n in needy if n not in away]
    doors = doors_to(state, primary.name, joining)
    if away and (node or not (joining or doors)):
        if away[0].name in lost:
            raise Refused(_gone(away[0]), next=_anew(away[0]))
        raise Refused(_out_of_reach(away[0]), next=_remedy(state, away[0]))
    if not joining and not doors:
        return Plan(f"{node or 'Every node'} follows {primary.name}: nothing to recover.")
    return Plan(
        _title(joining, primary.name),
        (
            *_returns(state, primary, joining, force),
            *stages(doors, tuple(complete(n.name) for n in joining if state.half_replaced(n.name))),
        ),
        notes=tuple(gone_note(n) if n.name in lost else _out_of_reach(n) for n in away),
    )


def _returns(
    state: ClusterState, primary: NodeState, joining: list[NodeState], force: bool
) -> tuple[Stage, ...]:
    """From what each node is to a follower that the primary counts."""
    term = primary.timeline or 0
    topology = state.topology
    data = [n for n in joining if n.kind is Kind.DATA]
    # What could not be looked at is not copied over unasked: a node whose disk is slow is rewound
    # where it must be, and one that could not be read at rest is told to follow. The verb refuses
    # where its WAL does not fit.
    copied = [n for n in data if force or _surely_empty(n)]
    read = [n for n in data if n.report is not None and n not in copied]
    rewound = [n for n in read if not can_follow(n, primary)]
    # A slot that has lost its WAL is made anew before WAL is asked for. Who only does not count yet
    # is counted last: commits would wait for it as long as it is copied.
    slots = [n for n in joining if not kept(state, n.name)]
    voices = [n for n in joining if n not in slots and not counted(state, n.name)]
    return stages(
        tuple(start_container(topology, n.name) for n in joining if not n.running),
        tuple(fence_for_good(n.name, primary.name) for n in data if may_be_a_primary(n)),
        tuple(_check(n.name, primary.name, term) for n in rewound),
        tuple(_rewind(n.name, primary.name, term) for n in rewound),
        *(admit(state, n.name) for n in slots),
        tuple(_copy(n, primary.name, term) for n in copied),
        tuple(follow(n.name, primary.name, term) for n in joining),
        opening(state, primary, (n.name for n in joining)),
        *(admit(state, n.name) for n in voices),
    )


def primary_of(state: ClusterState) -> NodeState:
    """The primary to follow; who else runs as one on an older timeline was passed over."""
    primary = state.primary
    if primary is not None and state.overtaken:
        raise Refused(
            f"{primary.name} is the primary of term {primary.timeline}, but term {state.term} was "
            "begun: a failover was cut off.",
            next="inv failover",
        )
    if primary is not None:
        return primary
    primaries = state.having(Role.PRIMARY)
    if primaries:
        names = " and ".join(n.name for n in primaries)
        raise Refused(f"{names} both run as a primary on one timeline.", next="inv status")
    next_command = "inv start" if has_last_primary(state) else "inv failover"
    raise Refused("There is no primary to recover from.", next=next_command)


def _title(nodes: list[NodeState], primary: str) -> str:
    if not nodes:
        return f"Put every Pgpool-II right: {primary} is the primary"
    names = " and ".join(n.name for n in nodes)
    return f"Bring {names} back as {'a follower' if len(nodes) == 1 else 'followers'} of {primary}"


def _needs_it(state: ClusterState, node: NodeState) -> bool:
    follower = state.follower(node.name)
    connected = follower is not None and follower.state in PATIENCE
    if not (connected and node.role in (Role.STANDBY, Role.WITNESS)):
        return True
    if state.half_replaced(node.name):
        return True
    return not (kept(state, node.name) and counted(state, node.name))


def _surely_empty(node: NodeState) -> bool:
    return node.report is not None and not node.has_data and not node.report.busy


def _within_reach(node: NodeState) -> bool:
    return node.answers or node.container is ContainerStatus.STOPPED


def gone_note(node: NodeState) -> str:
    """Of a node whose directories are gone, with what to type."""
    return f"{_gone(node)} Next: {_anew(node)}"


def _gone(node: NodeState) -> str:
    return f"{node.name}'s directories on {node.host} are gone, or some of them."


def _anew(node: NodeState) -> str:
    return f"inv recovery --node {node.name} --force"


def _out_of_reach(node: NodeState) -> str:
    if node.container is ContainerStatus.MISSING:
        return f"{node.name} has no container on {node.host}: `inv start` makes it again."
    if node.container is ContainerStatus.PAUSED:
        return f"{node.name}'s container is paused on {node.host}: unpause it first."
    return f"{node.name} cannot be reached: {node.error or 'it does not answer'}"


def _remedy(state: ClusterState, node: NodeState) -> str:
    """No command of ours leads into a container that runs and does not answer."""
    container = state.topology.node(node.name).container
    if node.container is ContainerStatus.MISSING:
        return "inv start"
    return node.typed(f"docker restart {container}") if node.running else "inv status"


def _check(name: str, primary: str, term: int) -> Step:
    """Found out before the node is touched (pg_rewind --dry-run); it changes nothing."""
    return Step(
        f"Check that {name} can be rewound onto {primary}",
        name,
        container_runs(name) & is_primary(primary, term),
        verb("rewind", upstream=primary, check="true", timeout_s=COPY_S),
        container_runs(name),
    )


def _rewind(name: str, primary: str, term: int) -> Step:
    return Step(
        f"Rewind {name} onto {primary}",
        name,
        container_runs(name) & is_primary(primary, term),
        verb("rewind", upstream=primary, timeout_s=COPY_S),
        _stopped_or_standby(name),
    )


def _copy(node: NodeState, primary: str, term: int) -> Step:
    return Step(
        f"Copy {primary} to {node.name}, its old data moved aside",
        node.name,
        container_runs(node.name) & is_primary(primary, term),
        verb("copy", upstream=primary, timeout_s=COPY_S),
        _stopped_or_standby(node.name),
        timeout_s=HALT_S,
    )


def _stopped_or_standby(name: str) -> Condition:
    return has_role(name, Role.FENCED, Role.DOWN, Role.STANDBY)


def kept(state: ClusterState, name: str) -> bool:
    """The primary keeps the WAL that `name` lacks."""
    report = state.primary.report if state.primary else None
    if report is None or report.postgres is None:
        return False
    slot = state.topology.node(name).slot
    return any(s.name == slot and s.wal_status != "lost" for s in report.postgres.slots)


def counted(state: ClusterState, name: str) -> bool:
    """`name` is a voter of the primary; all are, unless it was promoted by force."""
    report = state.primary.report if state.primary else None
    return report is not None and (not report.assignment.voters or name in report.assignment.voters)


def admit(state: ClusterState, name: str) -> Step:
    primary = state.primary.name if state.primary else ""
    return Step(
        f"Let {primary} keep WAL for {name} and count it",
        primary,
        has_role(primary, Role.PRIMARY),
        verb("admit", node=name),
        Condition(
            f"{primary} keeps WAL for {name} and counts it",
            (primary,),
            lambda s: kept(s, name) and counted(s, name),
        ),
    )


def doors_to(state: ClusterState, primary: str, joining: list[NodeState]) -> tuple[Step, ...]:
    """Each Pgpool-II that answers, or will, leads to the primary and has attached who streams."""
    up = state.to_attach(primary, (*state.attached, *(n.name for n in joining)))
    names = [n.name for n in state.nodes if n.answers or n in joining]
    made = [steer(name, primary, up) for name in names]
    back = {n.name for n in joining}
    return tuple(s for s in made if s.node in back or not s.ensures.holds(state))
