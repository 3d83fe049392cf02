"""What a state amounts to: a verdict, and each problem with the command that helps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from pgha.drift import of_images
from pgha.node.report import Role
from pgha.problem import Problem
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Kind

__all__ = ["Problem", "Verdict", "judge"]

# What a standby may lag by before people are told.
LAG_WARNING_BYTES = 64 * 1024 * 1024
# Disks: less than this share free, or less than this much.
DISK_WARNING_SHARE = 0.10
DISK_WARNING_BYTES = 1024 * 1024 * 1024


class Verdict(Enum):
    """The state of the whole; the exit code of `status` follows from it."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    SPLIT_BRAIN = "split-brain"

    @property
    def exit_code(self) -> int:
        return {Verdict.HEALTHY: 0, Verdict.DEGRADED: 4}.get(self, 5)


def judge(state: ClusterState) -> tuple[Verdict, tuple[Problem, ...]]:
    """The verdict and every problem, the gravest first."""
    primaries = state.having(Role.PRIMARY)
    if len(primaries) > 1:
        first = (_split_brain(state, primaries),)
        return Verdict.SPLIT_BRAIN, (*first, *_of_all_nodes(state), *of_images(state))
    if not any(n.has_data or n.container is not ContainerStatus.MISSING for n in state.nodes):
        unknown = any(n.container is ContainerStatus.UNKNOWN for n in state.nodes)
        if not unknown:
            # What the volumes hold is not read here: `init` refuses where they hold something.
            remedy = "inv init, or inv start where a cluster's directories are still there"
            nothing = Problem("not-initialised", None, "No node has a container.", remedy)
            return Verdict.DOWN, (nothing,)
    down = (*_no_primary(state), *_no_quorum(state))
    problems = (
        *_members(state),
        *_initialising(state),
        *_overtaken(state),
        *down,
        *_of_all_nodes(state),
    )
    if down and down[0].code == "stopped":
        return Verdict.DOWN, down  # that each of its nodes is stopped says nothing more
    # Another image is news, and no reason to call anybody at night: the verdict is without it.
    told = (*problems, *of_images(state))
    if down:
        return Verdict.DOWN, told
    return (Verdict.DEGRADED if problems else Verdict.HEALTHY), told


def _split_brain(state: ClusterState, primaries: tuple[NodeState, ...]) -> Problem:
    told = ", ".join(f"{n.name} on timeline {n.timeline}" for n in primaries)
    message = f"{len(primaries)} nodes run as a primary: {told}."
    if state.primary is None:
        return Problem("split-brain", None, message, "inv stop")
    older = next(n for n in primaries if n is not state.primary)
    return Problem("split-brain", None, message, f"inv recovery --node {older.name}")


def _no_primary(state: ClusterState) -> Iterator[Problem]:
    if state.primary is not None:
        return
    answering = len(state.answering)
    if answering == 0 and all(n.role is Role.DOWN for n in state.nodes):
        yield Problem("stopped", None, "The cluster is stopped.", "inv start")
    elif state.having(Role.STANDBY):
        message = "There is no primary: nothing can be written."
        yield Problem("no-primary", None, message, _instead(state))
    elif answering == 0 and not all(n.role is Role.DOWN for n in state.nodes):
        message = "No node answered in time: whether one of them is the primary is not known."
        yield Problem("no-primary", None, message, "inv status")
    else:
        yield Problem("no-primary", None, "No node serves as the primary.", "inv start")


def _members(state: ClusterState) -> Iterator[Problem]:
    node = state.of_another_cluster
    if node is not None and node.report is not None:
        yield Problem(
            "other-nodes",
            node.name,
            f"{node.name} was made with {', '.join(node.report.members)}, and the settings name "
            f"{', '.join(state.topology.names)}: nothing but `inv stop` changes it.",
            "name the same nodes again (MASTER_NODE, STANDBY_…_NODE, WITNESS_NODE)",
        )


def _initialising(state: ClusterState) -> Iterator[Problem]:
    """Such a node denies its vote and is not tended: it serves, and is no member yet."""
    names = [n.name for n in state.answering if n.report and n.report.initialising]
    if not names:
        return
    who, takes = " and ".join(names), "takes" if len(names) == 1 else "take"
    anew = state.half_replaced(names[0])
    command = f"inv recovery --node {names[0]}" if anew else "inv init"
    yield Problem(
        "init-unfinished",
        names[0],
        f"`{command.partition(' --')[0]}` has not come to its end: {who} {takes} no part in a "
        "failover yet.",
        command,
    )


def _overtaken(state: ClusterState) -> Iterator[Problem]:
    primary = state.primary
    if primary is not None and state.overtaken:
        yield Problem(
            "overtaken",
            primary.name,
            f"{primary.name} is the primary of term {primary.timeline}, but term {state.term} was "
            "begun: a failover was cut off.",
            "inv failover",
        )


def _no_quorum(state: ClusterState) -> Iterator[Problem]:
    """Writers wait: fewer followers stream than a commit waits for (PostgreSQL 17, "Synchronous
    Replication")."""
    primary = state.primary
    if primary is None or not state.topology.quorum_commit or primary.report is None:
        return
    postgres, voters = primary.report.postgres, primary.report.assignment.voters
    if postgres is None or not postgres.quorum:
        return
    counted = voters or state.topology.names
    wanted = len(counted) // 2
    streaming = {f.name for f in postgres.followers if f.state == "streaming"}
    away = [name for name in counted if name != primary.name and name not in streaming]
    lacking = wanted - (len(counted) - 1 - len(away))
    if lacking > 0:
        yield Problem(
            "no-quorum",
            primary.name,
            f"{primary.name} waits for {_followers(wanted)} on disk: writes stand still until "
            f"{_come_back(lacking, away)}.",
            f"inv recovery --node {away[0]}",
        )


def _followers(count: int) -> str:
    have = "1 follower that has" if count == 1 else f"{count} followers that have"
    return f"{have} its commits"


def _come_back(count: int, away: Sequence[str]) -> str:
    """`count` of those who are away are there again."""
    if count == 1:
        return f"{' or '.join(away)} is back"
    if count == len(away):
        return f"{' and '.join(away)} are back"
    return f"{count} of {', '.join(away)} are back"


def _of_all_nodes(state: ClusterState) -> Iterator[Problem]:
    for node in state.nodes:
        yield from _of_container(state, node)
        if node.answers:
            yield from _of_role(state, node)
            yield from _of_replication(state, node)
            yield from _of_door(state, node)
            yield from _of_disks(node)
            yield from _of_agent(state, node)


def _of_container(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    status, name = node.container, node.name
    if status is ContainerStatus.UNKNOWN:
        message = f"{node.host} does not answer: {node.error or 'no more is known'}"
        yield Problem("host-unreachable", name, message, node.next or node.typed("docker info"))
    elif status is ContainerStatus.MISSING:
        yield Problem(
            "container-missing", name, f"{name} has no container on {node.host}.", "inv start"
        )
    elif status is ContainerStatus.STOPPED:
        remedy = f"inv recovery --node {name}" if state.primary else _instead(state)
        yield Problem("container-stopped", name, f"{name}'s container is stopped.", remedy)
    elif status is ContainerStatus.PAUSED:
        message = f"{name}'s container is paused on {node.host}."
        remedy = node.typed(f"docker unpause {state.topology.node(name).container}")
        yield Problem("container-paused", name, message, remedy)
    elif node.report is None:
        message = f"{name} does not answer: {node.error or 'no more is known'}"
        # It may be slow: `recovery` asks with more patience before it says that it is lost.
        yield Problem("node-silent", name, message, f"inv recovery --node {name}")


def _of_role(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    name, report = node.name, node.report
    if report is None:
        return
    if node.role is Role.FENCED:
        agent = report.agent
        reason = report.assignment.reason or "it was the primary before it restarted"
        reason = (agent.why.rstrip(".") if agent is not None else "") or reason
        whole = " --force" if agent is not None and agent.needs_copy else ""
        remedy = f"inv recovery --node {name}{whole}" if state.primary else ""
        message = f"{name} is fenced ({reason}): it serves nobody until it is a follower again."
        yield Problem("fenced", name, message, remedy or _instead(state))
    elif node.role is Role.DOWN:
        what = "receives no WAL" if node.kind is Kind.WITNESS else "runs no PostgreSQL"
        error = report.wal.error if report.wal else report.postgres.error if report.postgres else ""
        remedy = f"inv recovery --node {name}" if state.primary else _instead(state)
        yield Problem("down", name, f"{name} {what}{_because(error)}.", remedy)
    elif node.role is Role.UNKNOWN:
        error = report.postgres.error if report.postgres else ""
        message = f"PostgreSQL on {name} takes no connection{_because(error)}."
        yield Problem("not-accepting", name, message, "inv status --watch")


def _because(error: str) -> str:
    """What a node said is wrong, at the end of a sentence."""
    return f": {error.rstrip('.')}" if error else ""


def _instead(state: ClusterState) -> str:
    """What helps where no node is the primary: a standby takes over by a majority's word only."""
    majority = len(state.answering) >= state.topology.majority
    return "inv failover" if majority and state.having(Role.STANDBY) else "inv start"


def _of_replication(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    primary, name = state.primary, node.name
    if primary is None:
        return
    if name == primary.name:
        yield from _of_primary(state, node)
        return
    follower = state.follower(name)
    if node.role in (Role.STANDBY, Role.WITNESS) and not state.streams(name):
        if follower is not None and follower.state == "catchup":
            message = f"{name} catches up: {_size(follower.lag_bytes)} behind {primary.name}."
            yield Problem("catching-up", name, message, "inv status --watch")
        else:
            message = f"{name} does not stream from {primary.name}."
            yield Problem("not-streaming", name, message, f"inv recovery --node {name}")
    elif follower is not None and follower.lag_bytes > LAG_WARNING_BYTES:
        message = f"{name} is {_size(follower.lag_bytes)} behind {primary.name}."
        yield Problem("lagging", name, message, "inv status --watch")


def _of_primary(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    report = node.report
    if report is None or report.postgres is None:
        return
    others = {n.slot: n.name for n in state.topology.others(node.name)}
    for slot in report.postgres.slots:
        if slot.name in others and slot.wal_status == "lost":
            behind = others[slot.name]
            message = f"{node.name} no longer has the WAL that {behind} lacks."
            yield Problem("slot-lost", behind, message, f"inv recovery --node {behind} --force")
    if report.postgres.accepting and not report.postgres.opened:
        message = f"{node.name} lets no client in yet: no majority has a commit of its term."
        yield Problem("not-open", node.name, message, "inv status --watch")
    voters = report.assignment.voters
    left_out = [n for n in state.topology.names if voters and n not in voters]
    for name in left_out:
        message = f"{name} does not count for the quorum since a forced failover."
        yield Problem("not-counted", name, message, f"inv recovery --node {name}")


def _of_door(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    door, primary = node.report.door if node.report else None, state.primary
    if door is None or primary is None:
        return
    if not door.running:
        message = f"Pgpool-II on {node.name} does not run{_because(door.error)}."
        yield Problem("door-down", node.name, message, "inv recovery")
    elif door.error and not door.backends:
        message = f"Pgpool-II on {node.name} does not tell its state: {door.error}"
        yield Problem("door-silent", node.name, message, "inv recovery")
    elif door.primary != primary.name:
        message = (
            f"Pgpool-II on {node.name} leads to {door.primary or 'nobody'}, not to {primary.name}."
        )
        yield Problem("door-astray", node.name, message, "inv recovery")
    else:
        wrong = set(door.up) ^ set(state.attached)
        if wrong:
            names = " and ".join(sorted(wrong))
            message = f"Pgpool-II on {node.name} sees {names} otherwise than PostgreSQL does."
            yield Problem("door-view", node.name, message, "inv recovery")


def _of_disks(node: NodeState) -> Iterator[Problem]:
    for disk in node.report.disks if node.report else ():
        scarce = disk.free_bytes < disk.total_bytes * DISK_WARNING_SHARE
        if scarce and disk.free_bytes < DISK_WARNING_BYTES:
            free = f"{_size(disk.free_bytes)} are free of {_size(disk.total_bytes)}"
            message = f"{node.name}: {free} at {disk.path}."
            yield Problem("disk-low", node.name, message, "inv status --watch")


def _of_agent(state: ClusterState, node: NodeState) -> Iterator[Problem]:
    """Who does not hear the others cannot vote for them in time."""
    report = node.report
    if report is None or report.agent is None or report.assignment.stopped:
        return
    agent, name = report.agent, node.name
    if not agent.running:
        message = f"{name}'s agent does not run: it takes no part in a failover."
        remedy = node.typed(f"docker restart {state.topology.node(name).container}")
        yield Problem("agent-down", name, message, remedy)
        return
    if agent.why and node.role is not Role.FENCED:
        whole = " --force" if agent.needs_copy else ""
        remedy = f"inv recovery --node {name}{whole}" if state.primary else "inv status --watch"
        yield Problem("agent-says", name, f"{name}: {agent.why.rstrip('.')}.", remedy)
    there = [n for n in state.answering if n.name != name and n.report and n.report.agent]
    deaf = [
        n.name
        for n in there
        if n.report and n.report.agent and n.report.agent.running and n.name not in agent.hears
    ]
    for other in deaf:
        message = f"{name}'s agent does not hear {other}'s: the network between them is cut."
        yield Problem("unheard", name, message, "inv status --watch")


def _size(size_bytes: int) -> str:
    """Bytes in the unit that people read."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
