"""The other half of `failover`: there is no primary, a majority gives its word to a standby. Pure.

Raft's election by an operator's word: voters take no more WAL, the heir fetches what any of them has
beyond its own, and is promoted onto the timeline of the new term.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pgha.commands.lsn import is_beginning_of
from pgha.errors import Refused
from pgha.limits import FENCE_S, FETCH_S, HALT_S, PROMOTE_S, START_S, VOTE_S
from pgha.node.report import Role
from pgha.operations.last_primary import has_last_primary
from pgha.operations.settle import data_in_order, not_followers, start_container, take_over
from pgha.plan import Plan, PositionOf, Step, stages, verb
from pgha.state import (
    ClusterState,
    Condition,
    ContainerStatus,
    NodeState,
    caught_up,
    container_runs,
    has_role,
    is_primary,
    pledged,
)
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


def promotion(state: ClusterState, to: str | None, force: bool) -> Plan:
    """Plan the promotion of `to` (None: who has most); the primary is gone, fenced or overtaken.

    Raises Refused where nobody can take over, and, unless `force`, where something may be lost.
    """
    heir = _heir(state, to, force)
    voters = _voters(state, heir, force)
    election = Election(heir, state.term + 1, voters, len(voters) >= state.topology.majority, force)
    loses = _what_may_be_lost(state, election, force)
    here = [n for n in state.nodes if n.answers or n in voters]
    joining = election.joining
    up = data_in_order((heir.name, *(n.name for n in joining)), state)
    quick = [n.name for n in joining if n.kind is Kind.WITNESS or n.role is Role.STANDBY]
    slow = [n.name for n in joining if n.name not in quick]
    passed_over = [n for n in here if n not in voters and _may_be_a_primary(n)]
    return Plan(
        f"Promote {heir.name}: there is no primary",
        stages(
            *_steps_to_the_vote(state, election),
            *_steps_of_the_heir(state, election),
            *take_over(
                heir.name,
                election.term,
                quick=quick,
                slow=slow,
                doors=[n.name for n in here],
                up=up,
            ),
            tuple(_fence(n.name, heir.name) for n in passed_over),
        ),
        loses=loses,
        notes=not_followers(state, (heir.name, *(n.name for n in joining))),
    )


# --- who -----------------------------------------------------------------------------------------


def _heir(state: ClusterState, to: str | None, force: bool) -> NodeState:
    """A data node of the newest timeline; of these a running standby before one that has to be
    started, then who has most: what it lacks it fetches. Raises Refused."""
    able = [n for n in state.nodes if n.kind is Kind.DATA and n.has_data and _within_reach(n)]
    standbys = [n for n in able if n.role is Role.STANDBY]
    if not able:
        raise Refused("No data node can be reached: nobody can take over.", next="inv status")
    if not standbys and not state.overtaken and has_last_primary(state):
        raise Refused(
            "No standby runs that could take over, and the last primary is known.", next="inv start"
        )
    newest = max(n.timeline or 0 for n in able)
    best = max([n for n in able if n.timeline == newest] or able, key=_how_far)
    if to is None or to == best.name:
        return best
    heir = state.node(to)
    if heir not in able or (best.role is Role.STANDBY and heir.role is not Role.STANDBY):
        raise Refused(
            f"{to} is {heir.role.value}, no standby.", next=f"inv failover --to {best.name}"
        )
    if (heir.timeline or 0) < newest and best.answers and not force:
        raise Refused(
            f"{to} is on timeline {heir.timeline}, and {best.name} on {best.timeline}: {to} was "
            "passed over.",
            next=f"inv failover --to {best.name}",
        )
    return heir


def _how_far(node: NodeState) -> tuple[bool, bool, int]:
    postgres = node.report.postgres if node.report else None
    stands_by = node.role is Role.STANDBY
    return (stands_by, stands_by and bool(postgres and postgres.accepting), node.position or 0)


def _within_reach(node: NodeState) -> bool:
    """It answers, or its stopped container was read and can be started."""
    return node.answers or (node.container is ContainerStatus.STOPPED and node.report is not None)


def _voters(state: ClusterState, heir: NodeState, force: bool) -> tuple[NodeState, ...]:
    """Whose word is asked. With quorum commit any majority has each acknowledged write (rule 2): those
    who surely can vote at once, and more only where they are no majority. Without it only the old
    primary has all, so everybody is asked. force: those who answer must do."""
    answering = [n for n in state.answering if n.name != heir.name]
    stopped = [n for n in state.nodes if not n.answers and n != heir and _within_reach(n)]
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
    """It can surely vote: a witness, a standby that takes connections, a stopped PostgreSQL that knows
    where its WAL ends, and an overtaken primary, which is fenced first."""
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


def _may_be_a_primary(node: NodeState) -> bool:
    """A PostgreSQL runs there that was not started as a standby."""
    postgres = node.report.postgres if node.report else None
    return node.answers and postgres is not None and postgres.running and not postgres.in_recovery


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


# --- what may be lost ----------------------------------------------------------------------------


def _what_may_be_lost(state: ClusterState, election: Election, force: bool) -> str:
    """ "" where no acknowledged write can be lost; else a sentence that `force` accepts.

    Raises Refused where something may be lost and `force` was not given.
    """
    topology, heir = state.topology, election.heir
    if election.given_up:
        newer = election.given_up[0]
        return (
            f"Acknowledged writes may be lost: {newer.name} has WAL of timeline {newer.timeline}, and "
            f"{heir.name} none beyond timeline {heir.timeline}."
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


# --- steps ---------------------------------------------------------------------------------------


def _steps_to_the_vote(state: ClusterState, election: Election) -> tuple[tuple[Step, ...], ...]:
    containers = {n.name: n.container for n in state.topology.nodes}
    return stages(
        tuple(
            start_container(n.name, containers[n.name], _up(n.name))
            for n in election.voters
            if not n.answers
        ),
        tuple(_fence(n.name, election.heir.name) for n in election.voters if _may_be_a_primary(n)),
        tuple(_vote(n.name, election.term) for n in election.voters),
    )


def _steps_of_the_heir(state: ClusterState, election: Election) -> tuple[tuple[Step, ...], ...]:
    heir, term, sources = election.heir, election.term, election.sources
    given = not election.majority and state.topology.quorum_commit
    promote = Step(
        f"Promote {heir.name}",
        heir.name,
        pledged(heir.name, term),
        verb(
            "promote",
            term=term,
            lsn=PositionOf((heir.name, *(n.name for n in sources))),
            voters=",".join(n.name for n in election.voters) if given else None,
            timeout_s=PROMOTE_S,
        ),
        is_primary(heir.name, term),
    )
    stand_by = _stand_by(heir.name, term) if heir.role is not Role.STANDBY else None
    return stages(stand_by, *(_fetch(heir.name, n.name, term) for n in sources), promote)


def _up(name: str) -> Condition:
    """The container runs, and so does the standby that it was told to be: a vote asks PostgreSQL
    where its log ends."""

    def test(state: ClusterState) -> bool:
        node = state.node(name)
        if not node.answers or node.report is None:
            return False
        assignment, postgres = node.report.assignment, node.report.postgres
        if assignment.role is not Role.STANDBY or assignment.stopped:
            return True
        return postgres is not None and postgres.accepting

    return Condition(f"{name} runs what it was told to be", (name,), test)


def _fence(name: str, heir: str) -> Step:
    return Step(
        f"Fence {name}",
        name,
        container_runs(name),
        verb("fence", reason=f"passed over by {heir}", checkpoint_s=0, timeout_s=FENCE_S),
        has_role(name, Role.FENCED),
    )


def _vote(name: str, term: int) -> Step:
    return Step(
        f"Let {name} give its word for term {term}",
        name,
        container_runs(name),
        verb("vote", term=term, timeout_s=VOTE_S),
        pledged(name, term),
    )


def _stand_by(name: str, term: int) -> Step:
    """The majority has given its word by now: no other primary can come of what is started here."""
    return Step(
        f"Start {name} as a standby of nobody",
        name,
        pledged(name, term),
        verb("stand_by", timeout_s=HALT_S),
        has_role(name, Role.STANDBY),
        timeout_s=START_S,
    )


def _fetch(heir: str, source: str, term: int) -> Step:
    """The votes have told where each log ends: often there is nothing to fetch."""
    return Step(
        f"Fetch what {source} has beyond {heir}",
        heir,
        pledged(heir, term) & pledged(source, term),
        verb("fetch", source=source, timeout_s=FETCH_S),
        caught_up(heir, source),
        if_needed=True,
    )
