"""Who may take over, by whose word, and what may be lost by it: Raft's rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgha.commands.lsn import is_beginning_of
from pgha.errors import Refused
from pgha.node.report import Role
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Kind


@dataclass(frozen=True)
class Election:
    """Who takes over, in which term, by whose word.

    majority: whether that is one. force: WAL of a later timeline than the heir's is given up.
    """

    heir: NodeState
    term: int
    voters: tuple[NodeState, ...]
    majority: bool
    force: bool

    @property
    def others(self) -> tuple[NodeState, ...]:
        return tuple(n for n in self.voters if n.name != self.heir.name)

    @property
    def sources(self) -> tuple[NodeState, ...]:
        """Voters that may have WAL which the heir lacks: those whose log is not of an older term.
        The verb `fetch` refuses where the heir's own log is no beginning of theirs."""
        mine = self.heir.timeline or 0
        return tuple(
            n
            for n in self.others
            if n not in self.given_up and (n.timeline is None or n.timeline >= mine)
        )

    @property
    def given_up(self) -> tuple[NodeState, ...]:
        """Voters whose log is of a later term, where an operator says that it does not count."""
        mine = self.heir.timeline or 0
        return tuple(n for n in self.others if self.force and (n.timeline or 0) > mine)

    @property
    def joining(self) -> tuple[NodeState, ...]:
        """Voters that can follow the heir: it has all of their log, or they are of its past."""
        return tuple(n for n in self.others if n in self.sources or _in_past(n, self.heir))


def within_reach(node: NodeState) -> bool:
    """It answers, or its stopped container was read and can be started."""
    return node.answers or (node.container is ContainerStatus.STOPPED and node.report is not None)


def voters_for(state: ClusterState, heir: NodeState, force: bool) -> tuple[NodeState, ...]:
    """Whose word is asked.

    With quorum commit any majority has each acknowledged write (rule 2): those who surely can vote,
    and more only where they are no majority. Without it only the old primary has all, so everybody
    is asked. force: those who answer must do.
    """
    answering = [n for n in state.answering if n.name != heir.name]
    stopped = [n for n in state.nodes if not n.answers and n != heir and within_reach(n)]
    ready = [heir, *(n for n in answering if _is_ready(n))]
    rest = [n for n in answering if n not in ready]
    if not state.topology.quorum_commit:
        return _in_order(state, (*ready, *rest, *(() if force else stopped)))
    majority = state.topology.majority
    for more in (rest, () if force else stopped):
        if len(ready) < majority:
            ready.extend(sorted(more, key=_how_easily)[: majority - len(ready)])
    return _in_order(state, ready)


def _is_ready(node: NodeState) -> bool:
    """It can surely vote: a witness, a standby that takes connections, a stopped PostgreSQL that
    knows where its WAL ends, and an overtaken primary, which is fenced first."""
    if node.report is None or not node.answers:
        return False
    if node.kind is Kind.WITNESS:
        return True
    postgres = node.report.postgres
    if node.role in (Role.STANDBY, Role.PRIMARY):
        return postgres is not None and postgres.accepting
    return node.role in (Role.FENCED, Role.DOWN) and node.position is not None


def _how_easily(node: NodeState) -> tuple[bool, bool]:
    """The witness first, then standbys, then who may have been a primary."""
    standby = bool(node.report and node.report.assignment.role is Role.STANDBY)
    return (node.kind is not Kind.WITNESS, not standby)


def _in_order(state: ClusterState, nodes: Iterable[NodeState]) -> tuple[NodeState, ...]:
    names = {n.name for n in nodes}
    return tuple(n for n in state.nodes if n.name in names)


def _in_past(node: NodeState, heir: NodeState) -> bool:
    """Whether a log of an older timeline is known to be a beginning of the heir's."""
    if node.kind is Kind.WITNESS:
        return True
    postgres = heir.report.postgres if heir.report else None
    if postgres is None or node.timeline is None or node.position is None:
        return False
    return is_beginning_of(
        node.timeline, node.position, postgres.history, postgres.timeline or heir.timeline or 0
    )


def what_may_be_lost(state: ClusterState, election: Election, force: bool) -> str:
    """ "" where no acknowledged write can be lost; else a sentence that `force` accepts.

    Raises Refused where something may be lost and `force` was not given.
    """
    topology, heir = state.topology, election.heir
    if election.given_up:
        newer = election.given_up[0]
        return (
            f"Acknowledged writes may be lost: {newer.name} has WAL of timeline {newer.timeline}, "
            f"and {heir.name} none beyond timeline {heir.timeline}."
        )
    silent = [n for n in state.nodes if n not in election.voters]
    if not silent or (topology.quorum_commit and election.majority):
        return ""
    names = " and ".join(n.name for n in silent)
    if topology.quorum_commit:
        why = (
            f"{len(election.voters)} of {len(topology.nodes)} nodes answer and {topology.majority} "
            f"are needed: {names} may have acknowledged writes that {heir.name} lacks"
        )
    else:
        why = f"replication is asynchronous and {names} cannot be asked what {heir.name} lacks"
    size = _how_much(silent, heir)
    if not force:
        raise Refused(
            f"{why[0].upper()}{why[1:]} ({size}).",
            next=f"inv failover --to {heir.name} --force",
            details=tuple(f"{n.name}: {n.error or n.container.value}." for n in silent),
        )
    return f"Acknowledged writes may be lost: {why} ({size})."


def _how_much(silent: list[NodeState], heir: NodeState) -> str:
    ahead = [n.position - (heir.position or 0) for n in silent if n.position is not None]
    if ahead and max(ahead) > 0:
        return f"at least {max(ahead)} bytes of WAL"
    return "how much is not known"
