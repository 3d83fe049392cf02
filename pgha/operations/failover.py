"""`failover` and `failback`: a graceful move; `promotion` plans where the primary is gone. Pure."""

from __future__ import annotations

from pgha.errors import Refused
from pgha.limits import FENCE_S, PROMOTE_S
from pgha.node.report import Role
from pgha.operations.promotion import promotion
from pgha.operations.settle import (
    can_follow,
    follow,
    in_order,
    not_followers,
    opening,
    steer,
    take_over,
    vote,
)
from pgha.plan import Plan, PositionOf, Step, stages, verb
from pgha.state import (
    ClusterState,
    NodeState,
    fenced_at_known_lsn,
    has_role,
    in_sync,
    is_primary,
)
from pgha.topology import Kind

# A fast shutdown waits until every standby has all the WAL: what lags is a client's outage.
HAND_OVER_LAG_BYTES = 64 * 1024 * 1024


def failover(state: ClusterState, to: str | None = None, *, force: bool = False) -> Plan:
    """Plan the move of the primary to the standby `to` (None: the one that has most).

    An empty Plan where `to` is the primary already; the rest of an earlier run that was cut off.
    force: also without a majority; the Plan then says what may be lost.
    Raises Refused where nobody may take over.
    """
    if to is not None and state.node(to).kind is Kind.WITNESS:
        raise Refused(f"{to} is the witness: it has no database.", next="inv status")
    primaries, primary = state.having(Role.PRIMARY), state.primary
    if primary is None and primaries:
        names = " and ".join(n.name for n in primaries)
        raise Refused(
            f"{names} both run as a primary on one timeline: nothing is moved.", next="inv status"
        )
    if len(primaries) > 1 and primary is not None:
        older = next(n for n in primaries if n is not primary)
        raise Refused(
            f"{older.name} runs as a primary too, though {primary.name} took over from it.",
            next=f"inv recovery --node {older.name}",
        )
    if primary is None or state.overtaken:
        return promotion(state, to, force)
    if to in (None, primary.name):
        unfinished = _unfinished(state, primary)
        if unfinished.stages:
            return unfinished
    if to == primary.name:
        return Plan(f"{to} is the primary already.")
    return _hand_over(state, primary, _heir(state, primary, to))


def failback(state: ClusterState, *, force: bool = False) -> Plan:
    """Plan the move of the primary home, to MASTER_NODE; an empty Plan where it is there."""
    return failover(state, state.topology.home, force=force)


def _unfinished(state: ClusterState, primary: NodeState) -> Plan:
    """What a move that was cut off after the promotion has left to do: nodes that are still of an
    earlier term or have only given their word for this one, and doors that lead elsewhere."""
    term = primary.timeline or 0
    joining = [n.name for n in state.answering if _left_behind(state, n, primary)]
    up = state.to_attach(primary.name, (*state.attached, *joining))
    doors = tuple(steer(n.name, primary.name, up) for n in state.answering)
    doors = tuple(step for step in doors if not step.ensures.holds(state))
    let_in = opening(state, primary, joining)
    if not joining and let_in is None and not any(_astray(state, s.node, up) for s in doors):
        return Plan("Nothing is left to do.")
    return Plan(
        f"Finish the move of the primary to {primary.name}",
        stages(tuple(follow(name, primary.name, term) for name in joining), let_in, doors),
    )


def _left_behind(state: ClusterState, node: NodeState, primary: NodeState) -> bool:
    if node.name == primary.name or node.report is None or state.streams(node.name):
        return False
    assignment = node.report.assignment
    told = assignment.term == primary.timeline and assignment.upstream == primary.name
    return not (told and not assignment.stopped) and can_follow(node, primary)


def _astray(state: ClusterState, name: str, up: tuple[str, ...]) -> bool:
    """Whether the Pgpool-II on `name` was left with the view of before the move, or was never told
    to run. One that was and does not is a fault of its own, and no reason to hold a move back."""
    report = state.node(name).report
    if report is None or report.door is None:
        return False
    if not report.door.running:
        return not report.assignment.doors
    return bool(report.door.backends) and set(report.door.up) != set(up)


def _heir(state: ClusterState, primary: NodeState, to: str | None) -> NodeState:
    """The standby that takes over: the named one, else the one that lags least. Raises Refused."""
    if to is None:
        streaming = [n for n in state.having(Role.STANDBY) if state.streams(n.name)]
        if not streaming:
            raise Refused(
                f"No standby streams from {primary.name}: nobody can take over.",
                next="inv recovery",
            )
        return max(streaming, key=lambda n: n.position or 0)
    heir = state.node(to)
    if not state.streams(to):
        raise Refused(
            f"{to} is {heir.role.value} and does not stream from {primary.name}.",
            next=f"inv recovery --node {to}",
        )
    return heir


def _require_little_lag(state: ClusterState, heir: NodeState) -> None:
    follower = state.follower(heir.name)
    if follower is not None and follower.lag_bytes > HAND_OVER_LAG_BYTES:
        megabytes = follower.lag_bytes // (1024 * 1024)
        raise Refused(
            f"{heir.name} lags by {megabytes} MB: a hand-over would stop writes until it has them.",
            next="inv status --watch",
        )


def _electors(
    state: ClusterState, old: str, others: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who gives its word before the fence, and who after it.

    With the heir's own they must be a majority: else the next election, held without the heir,
    could use its timeline's number again. A voter takes no more WAL from the old primary: before
    the fence as many vote as the old primary can spare, so that writes go on until then. Without
    quorum commit a promotion that leaves somebody out is one by force, and takes a number apart.
    """
    topology = state.topology
    if not topology.quorum_commit:
        return (), ()
    needed = topology.majority - 1
    spare = max(0, len(others) + 1 - topology.acknowledgements)
    # The witness first: it is the quickest to follow again. The fenced one last: it is busy.
    ranked = sorted(others, key=lambda name: state.node(name).kind is not Kind.WITNESS)
    before = ranked[: min(needed, spare)]
    after = [*ranked[len(before) :], old][: needed - len(before)]
    return in_order(before, state), in_order(after, state)


def _hand_over(state: ClusterState, primary: NodeState, heir: NodeState) -> Plan:
    """Raft's leadership transfer: the primary stops, the heir has all and is promoted."""
    _require_little_lag(state, heir)
    old, new, term = primary.name, heir.name, state.term + 1
    fence = Step(
        f"Fence {old}",
        old,
        in_sync(new, old),
        verb("fence", to=new, reason=f"hand-over to {new}", timeout_s=FENCE_S),
        has_role(old, Role.FENCED),
    )
    # The primary's last LSN is known only once it is fenced: the promotion is given it, and the
    # verb refuses on a node that has not all of it (rule 2).
    promote = Step(
        f"Promote {new}",
        new,
        fenced_at_known_lsn(old),
        verb("promote", term=term, lsn=PositionOf((old,)), timeout_s=PROMOTE_S),
        is_primary(new, term),
    )
    # Only who streams now surely can follow: another one would fail the rest of the move.
    others = [n.name for n in state.nodes if state.streams(n.name) and n is not heir]
    before, after = _electors(state, old, others)
    words = 1 + len(before) + len(after)
    if state.topology.quorum_commit and words < state.topology.majority:
        raise Refused(
            f"{words} of {len(state.nodes)} nodes could give their word for {new}, and "
            f"{state.topology.majority} are needed: nobody could write to it either.",
            next="inv recovery",
        )
    doors = [n.name for n in state.answering]
    up = state.to_attach(new, (*state.attached, old))
    return Plan(
        f"Move the primary from {old} to {new}",
        stages(
            tuple(vote(name, term, new) for name in before),
            fence,
            tuple(vote(name, term, new) for name in after),
            promote,
            *take_over(
                new,
                term,
                quick=in_order(others, state),
                slow=(old,),
                doors=doors,
                up=up,
                awaited=state.topology.acknowledgements,
            ),
        ),
        notes=not_followers(state, (old, new, *others)),
    )
