"""What was observed of a cluster, as values: nodes, their roles, the conditions of steps. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from pgha.node.report import Follower, Report, Role
from pgha.topology import LOCAL_HOST, Kind, Topology


class ContainerStatus(Enum):
    """A node's container, as its Docker host tells it; UNKNOWN where the host does not answer."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class NodeState:
    """One node as observed. report is None where the node did not answer; `error` says why.

    at_rest: the report was read from the volumes of a stopped container.
    image_id: what its container is made from; "" where that was not seen. outdated: the image's
    name means another image on that host by now. half_made: instead of a container there is one
    that whoever made it did not put on both networks; it never ran.
    shell: how people run a command on its host ("": it is the machine that they are on). next:
    what they can look at where the host refuses us; "": nothing in particular.
    seen_at: when, in seconds of a monotonic clock; no part of what is compared.
    """

    name: str
    kind: Kind
    host: str
    container: ContainerStatus
    report: Report | None = None
    error: str = ""
    at_rest: bool = False
    image_id: str = ""
    outdated: bool = False
    half_made: bool = False
    shell: str = ""
    next: str = ""
    seen_at: float = field(default=0.0, compare=False)

    @property
    def running(self) -> bool:
        return self.container is ContainerStatus.RUNNING

    def typed(self, line: str) -> str:
        """A line for a shell as people type it to have it run on this node's host."""
        return f"{self.shell} {shlex.quote(line)}" if self.shell else line

    @property
    def answers(self) -> bool:
        """The container runs and its node told what is true."""
        return self.running and self.report is not None

    @property
    def is_late(self) -> bool:
        """It may yet answer: its container runs, or the engine that was not heard is this machine's
        own. (A host that is not heard is more likely dead than busy.)"""
        here = self.container is ContainerStatus.UNKNOWN and self.host == LOCAL_HOST
        return self.report is None and (self.running or here)

    @property
    def role(self) -> Role:
        """What the node is now. A data node whose PostgreSQL does not run though it was last told
        to be the primary is fenced: nobody starts it but `serve` (rule 3)."""
        if self.container in (ContainerStatus.STOPPED, ContainerStatus.MISSING):
            return Role.DOWN
        if not self.running or self.report is None:
            return Role.UNKNOWN
        if self.kind is Kind.WITNESS:
            return Role.WITNESS if self.report.wal and self.report.wal.running else Role.DOWN
        postgres, assignment = self.report.postgres, self.report.assignment
        if postgres and postgres.running:
            if postgres.in_recovery is None:
                return Role.UNKNOWN
            return Role.STANDBY if postgres.in_recovery else Role.PRIMARY
        told = assignment.role in (Role.PRIMARY, Role.FENCED)
        return Role.FENCED if told and not assignment.stopped else Role.DOWN

    @property
    def term(self) -> int | None:
        """The highest term that this node has heard of; its timeline counts, since it is a term."""
        if self.report is None:
            return None
        return max(self.report.assignment.term, self.timeline or 0)

    @property
    def timeline(self) -> int | None:
        if self.report is None:
            return None
        for source in (self.report.postgres, self.report.wal, self.report.data):
            if source is not None and source.timeline is not None:
                return source.timeline
        return None

    @property
    def position(self) -> int | None:
        """The LSN where what it has on disk ends; None where that is not known."""
        if self.report is None:
            return None
        postgres, wal, data = self.report.postgres, self.report.wal, self.report.data
        if postgres and postgres.running:
            return postgres.lsn
        if wal is not None:
            return wal.lsn
        if self.report.assignment.position is not None:
            return self.report.assignment.position
        return data.position if data else None

    @property
    def has_data(self) -> bool:
        return self.report is not None and (
            self.report.data is not None or self.report.wal is not None
        )


@dataclass(frozen=True)
class ClusterState:
    """All nodes of a cluster, in the topology's order, as observed at about one time."""

    topology: Topology
    nodes: tuple[NodeState, ...]

    def node(self, name: str) -> NodeState:
        """Raises Usage where there is no such node."""
        self.topology.node(name)
        return next(n for n in self.nodes if n.name == name)

    def having(self, *roles: Role) -> tuple[NodeState, ...]:
        return tuple(n for n in self.nodes if n.role in roles)

    @property
    def primary(self) -> NodeState | None:
        """The node that is the primary; of several that run as one, that of the newest timeline:
        the others were passed over. None where none runs, or two do on one timeline."""
        primaries = self.having(Role.PRIMARY)
        newest = max((n.timeline or 0 for n in primaries), default=0)
        leaders = [n for n in primaries if (n.timeline or 0) == newest]
        return leaders[0] if len(leaders) == 1 else None

    @property
    def overtaken(self) -> bool:
        """There is a primary, and somebody knows of a later term: an election was begun, and who
        gave its word in it takes no more WAL from this primary."""
        return self.primary is not None and self.term > (self.primary.timeline or 0)

    @property
    def answering(self) -> tuple[NodeState, ...]:
        return tuple(n for n in self.nodes if n.answers)

    @property
    def readable(self) -> tuple[NodeState, ...]:
        """Nodes whose assignment is known, stopped ones read at rest included."""
        return tuple(n for n in self.nodes if n.report is not None)

    @property
    def of_another_cluster(self) -> NodeState | None:
        """A node that was made with other nodes than the settings name, if there is one."""
        names = set(self.topology.names)
        return next(
            (n for n in self.readable if n.report and set(n.report.members or names) != names), None
        )

    @property
    def term(self) -> int:
        """The highest term that any node tells of."""
        return max((n.term or 0 for n in self.nodes), default=0)

    def with_nodes(self, *fresh: NodeState) -> ClusterState:
        """The same, with these nodes as they were observed just now."""
        by_name = {n.name: n for n in fresh}
        return replace(self, nodes=tuple(by_name.get(n.name, n) for n in self.nodes))

    def follower(self, name: str) -> Follower | None:
        """What the primary says of `name`; None where it does not follow."""
        if self.primary is None or self.primary.report is None or not self.primary.report.postgres:
            return None
        followers = self.primary.report.postgres.followers
        return next((f for f in followers if f.name == name), None)

    def streams(self, name: str) -> bool:
        """Whether `name` takes WAL from the primary, on its timeline, by the primary's own word."""
        node, primary, follower = self.node(name), self.primary, self.follower(name)
        if primary is None or follower is None or follower.state != "streaming":
            return False
        if node.kind is Kind.WITNESS:
            return node.role is Role.WITNESS
        return node.role is Role.STANDBY and node.timeline == primary.timeline

    @property
    def attached(self) -> tuple[str, ...]:
        """The nodes that every Pgpool-II should have attached now."""
        if self.primary is None:
            return ()
        standbys = (n.name for n in self.topology.data_nodes if self.streams(n.name))
        return self.to_attach(self.primary.name, standbys)

    def half_replaced(self, name: str) -> bool:
        """Whether a node is being made anew, in a cluster that is not: it takes no part yet."""
        report, primary = self.node(name).report, self.primary
        theirs = primary.report if primary else None
        begun = report is not None and report.initialising
        return begun and theirs is not None and not theirs.initialising

    def to_attach(self, primary: str, standbys: Iterable[str]) -> tuple[str, ...]:
        """The nodes to attach where `primary` and `standbys` serve, in the topology's order.

        Without READ_BALANCE the primary alone: a session is opened on every attached node, and
        hangs when one of them dies (docs/pgpool.md).
        """
        wanted = {primary, *standbys} if self.topology.read_balance else {primary}
        return tuple(n.name for n in self.topology.data_nodes if n.name in wanted)


@dataclass(frozen=True)
class Condition:
    """Something that is true of a cluster or not: in words, of certain nodes, as a predicate."""

    words: str
    nodes: tuple[str, ...]
    test: Callable[[ClusterState], bool] = field(compare=False)

    def holds(self, state: ClusterState) -> bool:
        return self.test(state)

    def __and__(self, other: Condition) -> Condition:
        names = tuple(dict.fromkeys(self.nodes + other.nodes))
        return Condition(
            f"{self.words} and {other.words}", names, lambda s: self.holds(s) and other.holds(s)
        )


def anything() -> Condition:
    """What always holds: for a step that needs nothing."""
    return Condition("nothing is needed", (), lambda _: True)


def container_runs(name: str) -> Condition:
    return Condition(
        f"{name}'s container runs and answers", (name,), lambda s: s.node(name).answers
    )


def hears(name: str, others: tuple[str, ...]) -> Condition:
    """The agents of these nodes reach that of `name`, on the backend network."""

    def test(state: ClusterState) -> bool:
        report = state.node(name).report
        agent = report.agent if report else None
        return agent is not None and set(others) <= set(agent.hears)

    return Condition(f"{name} hears {' and '.join(others)}", (name,), test)


def container_stopped(name: str) -> Condition:
    ended = (ContainerStatus.STOPPED, ContainerStatus.MISSING)
    return Condition(
        f"{name}'s container is stopped", (name,), lambda s: s.node(name).container in ended
    )


def has_role(name: str, *roles: Role) -> Condition:
    words = f"{name} is {' or '.join(r.value for r in roles)}"
    return Condition(words, (name,), lambda s: s.node(name).role in roles)


def is_primary(name: str, term: int) -> Condition:
    """`name` is the primary of `term`: it runs on the timeline of that number."""

    def test(state: ClusterState) -> bool:
        node = state.node(name)
        return node.role is Role.PRIMARY and node.timeline is not None and node.timeline == term

    return Condition(f"{name} is the primary on timeline {term}", (name,), test)


def opened(name: str, term: int) -> Condition:
    """`name` is the primary of `term`, a majority has a commit of that, and clients are let in."""

    def test(state: ClusterState) -> bool:
        report = state.node(name).report
        postgres = report.postgres if report is not None else None
        return is_primary(name, term).holds(state) and postgres is not None and postgres.opened

    return Condition(f"{name} lets clients in", (name,), test)


def serves(name: str) -> Condition:
    """`name` is the primary and takes connections."""

    def test(state: ClusterState) -> bool:
        report = state.node(name).report
        accepting = report is not None and report.postgres is not None and report.postgres.accepting
        return state.node(name).role is Role.PRIMARY and accepting

    return Condition(f"{name} serves as the primary", (name,), test)


def pledged(name: str, term: int) -> Condition:
    """`name` takes WAL from nobody below `term`, durably (DESIGN section 4, "Voting")."""

    def test(state: ClusterState) -> bool:
        report = state.node(name).report
        return report is not None and report.assignment.term >= term

    return Condition(f"{name} has given its word for term {term}", (name,), test)


def in_sync(name: str, primary: str) -> Condition:
    return Condition(f"{name} streams from {primary}", (name, primary), lambda s: s.streams(name))


def caught_up(name: str, other: str) -> Condition:
    """`name` has all the WAL that `other` has. A witness that kept none has no position: there is
    nothing to catch up with, and `vote` fails on a node whose WAL cannot be read."""

    def test(state: ClusterState) -> bool:
        mine, theirs = state.node(name), state.node(other)
        if theirs.position is None and theirs.kind is Kind.WITNESS:
            return mine.position is not None
        if mine.position is None or theirs.position is None:
            return False
        # A later timeline goes before a higher LSN, as in Raft a term before an index.
        return (mine.timeline or 0, mine.position) >= (theirs.timeline or 0, theirs.position)

    return Condition(f"{name} has all the WAL of {other}", (name, other), test)


def fenced_at_known_lsn(name: str) -> Condition:
    """`name` is fenced, and where its WAL ends is known."""

    def test(state: ClusterState) -> bool:
        node = state.node(name)
        return node.role is Role.FENCED and node.position is not None

    return Condition(f"{name} is fenced and its last LSN is known", (name,), test)


def door_leads_to(name: str, primary: str, up: tuple[str, ...]) -> Condition:
    """Pgpool-II on `name` runs, sends writes to `primary`, and has exactly `up` attached."""

    def test(state: ClusterState) -> bool:
        report = state.node(name).report
        door = report.door if report else None
        return (
            door is not None
            and door.running
            and door.primary == primary
            and set(door.up) == set(up)
        )

    return Condition(f"Pgpool-II on {name} leads to {primary}", (name,), test)


def doors_closed(name: str) -> Condition:
    def test(state: ClusterState) -> bool:
        node = state.node(name)
        door = node.report.door if node.report else None
        return not node.running or (door is not None and not door.running)

    return Condition(f"Pgpool-II on {name} is stopped", (name,), test)


def services_stopped(name: str) -> Condition:
    """Neither PostgreSQL nor the WAL receiver runs. (A full disk takes no word of whose wish it
    is, and a primary's data are taken for fenced ones then.)"""

    def test(state: ClusterState) -> bool:
        node = state.node(name)
        if not node.running:
            return node.container is not ContainerStatus.UNKNOWN
        return node.role in (Role.DOWN, Role.FENCED)

    return Condition(f"{name}'s services are stopped", (name,), test)
