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

    def failed(self, step: Step) -> None:
        """A step that may fail did; the plan goes on without its node."""

    def said(self, line: str) -> None:
        """A line of progress from within a step (an image's build)."""

    def moved(self, name: str, sent_bytes: int, total_bytes: int | None) -> None:
        """How much a host has got of what is sent to it; None: nobody knows yet of how much."""


def execute(plan: Plan, state: ClusterState, world: World, listener: Listener) -> Outcome:
    """Run all stages of `plan`, beginning from `state`, which was observed just now.

    Raises Failed with the steps that were done and a command to type; the same command again plans
    the rest. Where a step that may fail did, that is raised at the end of the plan.
    """
    begun, done, failures = world.now(), list[StepDone](), _Failures(listener)
    try:
        for stage in plan.stages:
            due = failures.spare(stage)
            state = _refreshed(state, world, due)
            state, finished = _run_stage(due, state, world, listener, failures)
            done.extend(finished)
        failures.raise_first()
    except PghaError as error:
        others = (other.message for other in failures.errors if other is not error)
        error.details = (*error.details, *others, *_account(plan, done))
        error.next = error.next or "inv status"
        raise
    return Outcome(plan, tuple(done), state, world.now() - begun)


class _Failures:
    """What came of the steps that may fail: each error, in order, and the nodes that it was of."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._nodes: set[str] = set()
        self.errors: list[PghaError] = []

    def spare(self, stage: Stage) -> Stage:
        """The stage without what may fail of nodes that failed before."""
        return tuple(s for s in stage if not (s.may_fail and s.node in self._nodes))

    def add(self, step: Step, error: PghaError) -> None:
        """Remember it. Raises it where the step must not fail."""
        if not step.may_fail:
            raise error
        self._nodes.add(step.node)
        self.errors.append(error)
        self._listener.failed(step)

    def raise_first(self) -> None:
        for error in self.errors:
            raise error


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
    stage: Stage, state: ClusterState, world: World, listener: Listener, failures: _Failures
) -> tuple[ClusterState, list[StepDone]]:
    for step in stage:
        if not step.needs.holds(state):
            state = state.with_nodes(*world.observe(step.needs.nodes or None))
        if not step.needs.holds(state):
            words = f"«{step.title}» needs that {step.needs.words}, and that is not so."
            failures.add(step, Failed(words))
    stage = failures.spare(stage)
    begun = world.now()
    due = tuple(s for s in stage if not (s.if_needed and s.ensures.holds(state)))
    for step in stage:
        listener.started(step)
    answers = _act(due, state, world, failures)
    state = state.with_nodes(*(node for node in answers.values() if node is not None))
    finished = []
    for step in failures.spare(stage):
        try:
            state = _verified(step, state, world)
        except PghaError as error:
            failures.add(step, error)
            continue
        finished.append(StepDone(step, world.now() - begun))
        listener.finished(finished[-1])
    return state, finished


def _act(
    stage: Stage, state: ClusterState, world: World, failures: _Failures
) -> dict[str, NodeState | None]:
    """Do these actions; what each one tells, without those that may fail and did."""
    answers = _answers(stage, state, world)
    failed = [(s, a) for s in stage if isinstance(a := answers[s.title], PghaError)]
    grave = [error for step, error in failed if not step.may_fail]
    for step, error in failed:
        if step.may_fail:
            failures.add(step, error)
    if grave:
        first, *others = grave
        first.details = (*first.details, *(other.message for other in others))
        raise first
    return {t: answer for t, answer in answers.items() if not isinstance(answer, PghaError)}


def _answers(
    stage: Stage, state: ClusterState, world: World
) -> Mapping[str, NodeState | PghaError | None]:
    """What each action tells, or the error that it raised."""

    def job(step: Step) -> Callable[[], NodeState | None]:
        return lambda: world.act(step, state)

    if len(stage) > 1:
        limit_s = max(step.action.timeout_s for step in stage) + 5.0
        return world.at_once({step.title: job(step) for step in stage}, timeout_s=limit_s)
    try:
        return {step.title: world.act(step, state) for step in stage}
    except PghaError as error:
        return {stage[0].title: error}


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
