"""Steps of several operations: who can, follows the primary, and every door leads there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pgha.commands.docker import start
from pgha.commands.lsn import is_beginning_of
from pgha.limits import (
    CONFIRM_S,
    COPY_S,
    FENCE_S,
    FOLLOW_S,
    START_AGAIN_S,
    START_S,
    STEER_S,
    VOTE_S,
)
from pgha.node.report import Role
from pgha.plan import Run, Stage, Step, stages, verb
from pgha.state import (
    ClusterState,
    Condition,
    NodeState,
    anything,
    container_runs,
    door_leads_to,
    has_role,
    in_sync,
    is_primary,
    opened,
    pledged,
)
from pgha.topology import Kind, Topology


def start_container(topology: Topology, name: str, ensures: Condition | None = None) -> Step:
    """Start a stopped container; its main process then starts what the node was last told to be."""
    again_s = START_AGAIN_S if topology.swarm else 0.0
    return Step(
        f"Start {name}'s container",
        name,
        anything(),
        Run((start(topology.node(name).container),), again_s=again_s),
        ensures or container_runs(name),
        timeout_s=START_S,
    )


def may_be_a_primary(node: NodeState) -> bool:
    """A PostgreSQL runs there that was not started as a standby: it is fenced first."""
    postgres = node.report.postgres if node.report else None
    return node.answers and postgres is not None and postgres.running and not postgres.in_recovery


def fence_for_good(name: str, primary: str) -> Step:
    """Nobody waits for its checkpoint: it finds no majority any more."""
    return Step(
        f"Fence {name}",
        name,
        container_runs(name),
        verb("fence", reason=f"passed over by {primary}", checkpoint_s=0, timeout_s=FENCE_S),
        has_role(name, Role.FENCED),
    )


def vote(name: str, term: int, heir: str) -> Step:
    arguments: dict[str, Any] = {"term": term, "for": heir}
    return Step(
        f"Let {name} vote for {heir} in term {term}",
        name,
        container_runs(name),
        verb("vote", timeout_s=VOTE_S, **arguments),
        pledged(name, term),
    )


def follow(name: str, primary: str, term: int, needs: Condition | None = None) -> Step:
    """`name` takes WAL from `primary`, and `primary` counts it. The verb refuses by itself where
    the node's own WAL is no beginning of the primary's history: PostgreSQL counts acknowledgements
    by LSN, not by timeline."""
    return Step(
        f"Let {name} follow {primary}",
        name,
        needs or is_primary(primary, term),
        verb("follow", upstream=primary, term=term, timeout_s=FOLLOW_S),
        in_sync(name, primary),
        timeout_s=FOLLOW_S,
    )


def confirm(name: str, term: int) -> Step:
    """A majority has a commit of the primary's own term; only then it lets clients in."""
    return Step(
        f"Let clients in on {name}",
        name,
        is_primary(name, term),
        verb("confirm", term=term, wait_s=int(CONFIRM_S), timeout_s=CONFIRM_S + 10.0),
        opened(name, term),
    )


def opening(state: ClusterState, primary: NodeState, joining: Iterable[str]) -> Step | None:
    """`confirm`, where the primary lets nobody in and will have a majority with those that join.

    Without one nobody can be let in; its agent does it when there is one.
    """
    step, coming = confirm(primary.name, primary.timeline or 0), set(joining)
    told = primary.report.assignment.voters if primary.report else ()
    voters = told or state.topology.names
    there = [v for v in voters if v != primary.name and (state.streams(v) or v in coming)]
    enough = not state.topology.quorum_commit or len(there) >= len(voters) // 2
    return step if enough and not step.ensures.holds(state) else None


def steer(name: str, primary: str, up: Iterable[str], needs: Condition | None = None) -> Step:
    """Pgpool-II on `name` leads to `primary`, with exactly `up` attached."""
    attached = tuple(up)
    return Step(
        f"Steer Pgpool-II on {name} to {primary}",
        name,
        needs or container_runs(name) & has_role(primary, Role.PRIMARY),
        verb("steer", primary=primary, up=",".join(attached), timeout_s=STEER_S),
        door_leads_to(name, primary, attached),
    )


def take_over(
    new: str,
    term: int,
    *,
    quick: Sequence[str],
    slow: Sequence[str],
    doors: Sequence[str],
    up: tuple[str, ...],
    awaited: int,
) -> tuple[Stage, ...]:
    """What comes after the promotion of `new`.

    Writes on the new primary wait for the quorum, `awaited` followers: who is quickest to follow
    goes first, beside the doors. A witness takes a tenth of a second; a PostgreSQL that has to
    start first (`slow`) comes after, unless it is waited for. `up`: who is attached to every
    Pgpool-II in the end.
    """
    promoted = is_primary(new, term)
    opening = tuple(steer(name, new, (new,), needs=promoted) for name in doors)
    enough = quick and len(quick) >= awaited
    first = tuple(follow(name, new, term) for name in (quick if enough else (*quick, *slow)))
    second = tuple(follow(name, new, term) for name in (slow if enough else ()))
    attach = tuple(_attach(name, new, up) for name in doors) if up != (new,) else ()
    return stages((*first, *opening), (confirm(new, term), *second), attach)


def _attach(name: str, primary: str, up: tuple[str, ...]) -> Step:
    return replace(
        steer(name, primary, up), title=f"Attach {' and '.join(up)} to Pgpool-II on {name}"
    )


def can_follow(node: NodeState, primary: NodeState) -> bool:
    """Whether all that `node` has on disk is known to be a beginning of the primary's history."""
    if node.kind is Kind.WITNESS:
        return True  # it has no database to diverge: the verb moves segments of no use aside
    report = primary.report
    if node.report is None or report is None or report.postgres is None:
        return False
    term = report.postgres.timeline
    if term is None or node.timeline is None:
        return False
    if _follows_already(node, primary.name, term):
        return True
    end = _end(node)
    if end is None:
        return False
    if node.timeline == term and node.role is not Role.STANDBY:
        # On the primary's own timeline, though it was never told to follow it.
        return report.postgres.lsn is not None and end <= report.postgres.lsn
    return is_beginning_of(node.timeline, end, report.postgres.history, term)


def _end(node: NodeState) -> int | None:
    """Where its log ends; None where that is not sure: a standby that gave its word while it ran
    may have fetched more since."""
    report = node.report
    at_rest = report is not None and not (report.postgres and report.postgres.running)
    if report is not None and at_rest and report.assignment.role is Role.STANDBY:
        return report.data.position if report.data else None
    return node.position


def _follows_already(node: NodeState, primary: str, term: int) -> bool:
    """Whether the verb `follow` has let it take WAL from the primary of this term, and so found its
    own WAL to be a beginning of that history. Since then it has taken WAL from nobody else."""
    assignment = node.report.assignment if node.report else None
    return (
        assignment is not None
        and assignment.role is Role.STANDBY
        and (assignment.upstream, assignment.term) == (primary, term)
    )


def was_following(node: NodeState, primary: NodeState) -> bool:
    """Whether `node` followed `primary` in its present term: then it simply goes on. What a primary
    that does not run yet cannot be asked for: its history."""
    if node.kind is Kind.WITNESS:
        return True
    return primary.timeline is not None and _follows_already(node, primary.name, primary.timeline)


def not_followers(state: ClusterState, settled: Iterable[str]) -> tuple[str, ...]:
    """A sentence about each node that a move leaves as it is."""
    done = set(settled)
    left = [name for name in state.topology.names if name not in done]
    return tuple(f"{name} is not a follower until `inv recovery --node {name}`." for name in left)


def in_order(names: Iterable[str], state: ClusterState) -> tuple[str, ...]:
    """Names in the topology's order, each once."""
    wanted = set(names)
    return tuple(node.name for node in state.topology.nodes if node.name in wanted)


def first_copy(name: str, primary: str, term: int) -> Step:
    """A node that has no data yet gets the primary's."""
    return Step(
        f"Copy {primary} to {name}",
        name,
        container_runs(name) & is_primary(primary, term),
        verb("copy", upstream=primary, timeout_s=COPY_S),
        Condition(f"{name} has data", (name,), lambda s: s.node(name).has_data),
    )


def complete(name: str) -> Step:
    """From now on its volumes are a cluster's: another `init` is refused without -f."""
    return Step(
        f"Complete {name}",
        name,
        container_runs(name),
        verb("complete"),
        anything(),
    )
