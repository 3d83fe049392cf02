"""The other half of `failover`: there is no primary, a majority gives its word to a standby. Pure.

Raft's election by an operator's word: voters take no more WAL, the heir fetches what any of them
has beyond its own, and is promoted onto the timeline of the new term.
"""

from __future__ import annotations

from pgha.errors import Refused
from pgha.limits import FETCH_S, PROMOTE_S, START_S
from pgha.node.report import Role
from pgha.operations.election import Election, voters_for, what_may_be_lost, within_reach
from pgha.operations.last_primary import has_last_primary
from pgha.operations.settle import (
    fence_for_good,
    may_be_a_primary,
    not_followers,
    start_container,
    take_over,
    vote,
)
from pgha.plan import Plan, PositionOf, Stage, Step, stages, verb
from pgha.state import (
    ClusterState,
    Condition,
    NodeState,
    caught_up,
    has_role,
    is_primary,
    pledged,
)
from pgha.topology import Kind

# A forced promotion begins a new hundred of terms, each heir APART from the others in it: so many
# moves can go on on either side before a number could be used twice. (Six nodes at most have data.)
FORCED_TERMS = 100
APART = 16


def promotion(state: ClusterState, to: str | None, force: bool) -> Plan:
    """Plan the promotion of `to` (None: who has most); the primary is gone, fenced or overtaken.

    Raises Refused where nobody can take over, and, unless `force`, where something may be lost.
    """
    heir = _heir(state, to, force)
    voters = voters_for(state, heir, force)
    majority = len(voters) >= state.topology.majority
    term = state.term + 1 if majority else _term_apart(state, heir)
    election = Election(heir, term, voters, majority, force)
    loses = what_may_be_lost(state, election, force)
    here = [n for n in state.nodes if n.answers or n in voters]
    joining = election.joining
    up = state.to_attach(heir.name, (n.name for n in joining))
    quick = [n.name for n in joining if n.kind is Kind.WITNESS or n.role is Role.STANDBY]
    slow = [n.name for n in joining if n.name not in quick]
    passed_over = [n for n in here if n not in voters and may_be_a_primary(n)]
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
                awaited=_awaited(state, election),
            ),
            tuple(fence_for_good(n.name, heir.name) for n in passed_over),
        ),
        loses=loses,
        notes=not_followers(state, (heir.name, *(n.name for n in joining))),
    )


def _term_apart(state: ClusterState, heir: NodeState) -> int:
    """A term that nobody else comes to, for a promotion without a majority.

    Those who do not answer may elect somebody as well, and no number may be used by two logs: they
    would look like one, and a follower of the one be counted by the other.
    """
    place = state.topology.names.index(heir.name)
    return (state.term // FORCED_TERMS + 1) * FORCED_TERMS + place * APART


def _heir(state: ClusterState, to: str | None, force: bool) -> NodeState:
    """A data node of the newest timeline; of these a running standby before one that has to be
    started, then who has most: what it lacks it fetches. Raises Refused."""
    able = [n for n in state.nodes if n.kind is Kind.DATA and n.has_data and within_reach(n)]
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
    if heir not in able:
        raise Refused(
            f"{to} is {heir.role.value} and cannot take over.",
            next=f"inv failover --to {best.name}",
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


def _steps_to_the_vote(state: ClusterState, election: Election) -> tuple[Stage, ...]:
    return stages(
        tuple(
            start_container(state.topology, n.name, _up(n.name))
            for n in election.voters
            if not n.answers
        ),
        tuple(
            fence_for_good(n.name, election.heir.name)
            for n in election.voters
            if may_be_a_primary(n)
        ),
        tuple(vote(n.name, election.term, election.heir.name) for n in election.voters),
    )


def _given(state: ClusterState, election: Election) -> bool:
    """Whether its voters are all that count from now on, by an operator's word."""
    return state.topology.quorum_commit and not election.majority


def _awaited(state: ClusterState, election: Election) -> int:
    """How many followers a commit of the heir's waits for."""
    return len(election.voters) // 2 if _given(state, election) else state.topology.acknowledgements


def _steps_of_the_heir(state: ClusterState, election: Election) -> tuple[Stage, ...]:
    heir, term, sources = election.heir, election.term, election.sources
    promote = Step(
        f"Promote {heir.name}",
        heir.name,
        pledged(heir.name, term),
        verb(
            "promote",
            term=term,
            lsn=PositionOf((heir.name, *(n.name for n in sources))),
            voters=",".join(n.name for n in election.voters) if _given(state, election) else None,
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


def _stand_by(name: str, term: int) -> Step:
    """The majority has given its word by now: no other primary can come of what is started here."""
    return Step(
        f"Start {name} as a standby of nobody",
        name,
        pledged(name, term),
        verb("stand_by", timeout_s=START_S),
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
