"""Runs a Plan: checks what each step needs, does it, and verifies what it ensures.

It decides nothing: what to do is the Plan's, what is true the World's. The same code runs against
real nodes (`pgha.world`) and against the model in the unit tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pgha.errors import Failed, PghaError
from pgha.limits import FRESH_S
from pgha.plan import Plan, Stage, Step
from pgha.state import ClusterState, Condition, NodeState


class World(Protocol):
    """What `execute` acts on."""

    def observe(self, names: tuple[str, ...] | None = None) -> tuple[NodeState, ...]:
        """Fresh states of these nodes (None: of all)."""

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        """Do the step's action; the node as it is afterwards, where the action tells it.

        Raises a PghaError where it failed or was refused.
        """

    def at_once(
        self, jobs: Mapping[str, Callable[[], NodeState | None]], *, timeout_s: float
    ) -> dict[str, NodeState | PghaError | None]:
        """Do these jobs beside one another; each one's result, or the PghaError that it raised."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""

    def pause(self) -> None:
        """Let a moment pass before the next look at what is awaited."""


@dataclass(frozen=True)
class StepDone:
    """A step that was carried out and verified, and what it took."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a Plan came to: the steps done, and the cluster as it is now."""

    plan: Plan
    done: tuple[StepDone, ...]
    state: ClusterState
    seconds: float


class Listener:
    """Told about each step; does nothing by itself. The console's listener draws progress."""

    def planned(self, plan: Plan) -> None:
        """The plan that is about to run."""

    def started(self, step: Step) -> None:
        """The step's needs hold; its action begins."""

    def finished(self, done: StepDone) -> None:
        """The step's result was observed."""

    def said(self, line: str) -> None:
        """A line of progress from within a step (an image's build)."""

    def moved(self, name: str, sent_bytes: int, total_bytes: int | None) -> None:
        """How much a host has got of what is sent to it; None: nobody knows yet of how much."""


def execute(plan: Plan, state: ClusterState, world: World, listener: Listener) -> Outcome:
    """Run all stages of `plan`, beginning from `state`, which was observed just now.

    Raises Failed with the steps that were done and a command to type; the same command again plans
    the rest.
    """
    begun, done = world.now(), list[StepDone]()
    for stage in plan.stages:
        state = _refreshed(state, world, stage)
        try:
            state, finished = _run_stage(stage, state, world, listener)
        except PghaError as error:
            error.details = (*error.details, *_account(plan, done))
            error.next = error.next or "inv status"
            raise
        done.extend(finished)
    return Outcome(plan, tuple(done), state, world.now() - begun)


def _account(plan: Plan, done: list[StepDone]) -> tuple[str, ...]:
    if not done:
        return ("Nothing was done before.",)
    return tuple(f"Done before: {item.step.title}." for item in done)


def _refreshed(state: ClusterState, world: World, stage: Stage) -> ClusterState:
    """Observe again the nodes that the stage's needs speak of, unless that was a moment ago."""
    names = dict.fromkeys(name for step in stage for name in step.needs.nodes)
    stale = tuple(n for n in names if world.now() - state.node(n).seen_at > FRESH_S)
    return state.with_nodes(*world.observe(stale)) if stale else state


def _run_stage(
    stage: Stage, state: ClusterState, world: World, listener: Listener
) -> tuple[ClusterState, list[StepDone]]:
    for step in stage:
        if not step.needs.holds(state):
            state = state.with_nodes(*world.observe(step.needs.nodes or None))
        if not step.needs.holds(state):
            raise Failed(f"«{step.title}» needs that {step.needs.words}, and that is not so.")
    begun = world.now()
    due = tuple(s for s in stage if not (s.if_needed and s.ensures.holds(state)))
    for step in stage:
        listener.started(step)
    if len(due) == 1:
        answers = {due[0].title: world.act(due[0], state)}
    else:
        answers = _act_at_once(due, state, world)
    state = state.with_nodes(*(node for node in answers.values() if node is not None))
    finished = []
    for step in stage:
        state = _verified(step, state, world)
        finished.append(StepDone(step, world.now() - begun))
        listener.finished(finished[-1])
    return state, finished


def _act_at_once(stage: Stage, state: ClusterState, world: World) -> dict[str, NodeState | None]:
    def job(step: Step) -> Callable[[], NodeState | None]:
        return lambda: world.act(step, state)

    if not stage:
        return {}
    limit_s = max(step.action.timeout_s for step in stage) + 5.0
    answers = world.at_once({step.title: job(step) for step in stage}, timeout_s=limit_s)
    failures = [answer for answer in answers.values() if isinstance(answer, PghaError)]
    if failures:
        first, *others = failures
        first.details = (*first.details, *(other.message for other in others))
        raise first
    return {t: answer for t, answer in answers.items() if not isinstance(answer, PghaError)}


def _verified(step: Step, state: ClusterState, world: World) -> ClusterState:
    """Observe until what the step ensures holds, or fail with what was last seen (rule 6)."""
    deadline = world.now() + step.timeout_s
    while not step.ensures.holds(state):
        if world.now() > deadline:
            raise Failed(
                f"«{step.title}» was done, but after {step.timeout_s:.0f} s it is not so that "
                f"{step.ensures.words}.",
                next="inv status",
                details=_seen(step.ensures, state),
            )
        world.pause()
        state = state.with_nodes(*world.observe(step.ensures.nodes))
    return state


def _seen(condition: Condition, state: ClusterState) -> tuple[str, ...]:
    lines = []
    for name in condition.nodes:
        node = state.node(name)
        why = f": {node.error}" if node.error else "."
        lines.append(f"{name} was last seen as {node.role.value}{why}")
    return tuple(lines)
