"""`execute` runs what a plan says and nothing else: against a world that tells what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from pgha.errors import Failed, PghaError, Unreachable
from pgha.execute import Listener, StepDone, execute
from pgha.limits import FRESH_S
from pgha.operations.failover import failover
from pgha.plan import Plan, Step, stages, verb
from pgha.state import ClusterState, Condition, NodeState, anything
from tests.unit.builders import cluster, primary, standby, two_and_a_witness, witness
from tests.unit.model import Model

HEALTHY = cluster(primary("node-0"), standby("node-1"), witness("node-2"))


class Told:
    """A world in which every observation is that of `seen`; what happens is written down."""

    def __init__(self, seen: ClusterState, *, becomes_true_after: int = 0) -> None:
        self.seen = seen
        self.log: list[str] = []
        self.errors: dict[str, PghaError] = {}
        self.clock = 0.0
        self.pauses_left = becomes_true_after

    def observe(self, names: tuple[str, ...] | None = None) -> tuple[NodeState, ...]:
        self.log.append(f"observe {','.join(names or ('all',))}")
        nodes = self.seen.nodes if names is None else [self.seen.node(n) for n in names]
        return tuple(replace(n, seen_at=self.clock) for n in nodes)

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        self.log.append(f"do {step.title}")
        if step.title in self.errors:
            raise self.errors[step.title]
        return None

    def at_once(
        self, jobs: Mapping[str, Callable[[], NodeState | None]], *, timeout_s: float
    ) -> dict[str, NodeState | PghaError | None]:
        answers: dict[str, NodeState | PghaError | None] = {}
        for title, job in jobs.items():
            try:
                answers[title] = job()
            except PghaError as error:
                answers[title] = error
        return answers

    def now(self) -> float:
        return self.clock

    def pause(self) -> None:
        self.clock += 1.0
        self.pauses_left -= 1


def step(
    title: str,
    *,
    needs: Condition | None = None,
    ensures: Condition | None = None,
    if_needed: bool = False,
    node: str = "node-0",
    may_fail: bool = False,
) -> Step:
    return Step(
        title,
        node,
        needs or anything(),
        verb("probe"),
        ensures or anything(),
        timeout_s=5.0,
        if_needed=if_needed,
        may_fail=may_fail,
    )


class Recorder(Listener):
    def __init__(self) -> None:
        self.finished_ones: list[str] = []
        self.failed_ones: list[str] = []

    def finished(self, done: StepDone) -> None:
        self.finished_ones.append(done.step.title)

    def failed(self, step: Step) -> None:
        self.failed_ones.append(step.title)


def spare(
    title: str,
    node: str = "node-1",
    *,
    needs: Condition | None = None,
    ensures: Condition | None = None,
) -> Step:
    return step(title, node=node, may_fail=True, needs=needs, ensures=ensures)


def always(holds: bool) -> Condition:
    return Condition("the moon is full", ("node-1",), lambda _: holds)


def run(world: Told, *items: Step | tuple[Step, ...]) -> tuple[StepDone, ...]:
    return execute(Plan("all", stages(*items)), HEALTHY, world, Listener()).done


def test_stages_run_one_after_the_other() -> None:
    world = Told(HEALTHY)
    done = run(world, step("a"), (step("b"), step("c")), step("d"))
    assert [d.step.title for d in done] == ["a", "b", "c", "d"]
    assert world.log == ["do a", "do b", "do c", "do d"]


def test_a_step_whose_needs_do_not_hold_is_not_done() -> None:
    world = Told(HEALTHY)
    with pytest.raises(Failed, match="«b» needs that the moon is full") as failure:
        run(world, step("a"), step("b", needs=always(False)))
    assert failure.value.details == ("Done before: a.",)
    assert failure.value.next == "inv status"
    assert "do b" not in world.log


def test_needs_are_looked_at_again_before_a_step_is_given_up() -> None:
    world = Told(HEALTHY)
    with pytest.raises(Failed):
        run(world, step("a", needs=always(False)))
    assert world.log == ["observe node-1"]


def test_what_was_seen_a_moment_ago_is_not_observed_again() -> None:
    world = Told(HEALTHY)
    run(world, step("a", needs=always(True)))
    assert world.log == ["do a"]


def test_what_was_seen_longer_ago_is_observed_before_it_is_acted_upon() -> None:
    world = Told(HEALTHY)
    world.clock = FRESH_S + 0.1
    run(world, step("a", needs=always(True)))
    assert world.log == ["observe node-1", "do a"]


def test_the_result_is_awaited() -> None:
    world = Told(HEALTHY, becomes_true_after=3)
    result = Condition("it is done", ("node-0",), lambda _: world.pauses_left <= 0)
    run(world, step("a", ensures=result))
    assert world.log == ["do a", *["observe node-0"] * 3]


def test_a_result_that_does_not_come_fails_with_what_was_last_seen() -> None:
    world = Told(HEALTHY)
    with pytest.raises(Failed, match="after 5 s it is not so that the moon is full") as failure:
        run(world, step("a", ensures=always(False)))
    assert failure.value.next == "inv status"
    assert failure.value.details == ("node-1 was last seen as standby.", "Nothing was done before.")


def test_a_step_that_is_only_needed_sometimes_is_passed_over_and_counts_as_done() -> None:
    world = Told(HEALTHY)
    done = run(world, step("a", ensures=always(True), if_needed=True), step("b"))
    assert [d.step.title for d in done] == ["a", "b"]
    assert world.log == ["do b"]


@pytest.mark.parametrize("how", ["the action", "its needs", "its result"])
def test_where_a_step_may_fail_all_else_goes_on_without_its_node(how: str) -> None:
    world, recorder = Told(HEALTHY), Recorder()
    bad = spare("b")
    if how == "the action":
        world.errors = {"b": Unreachable("b is away.", next="inv doctor")}
    elif how == "its needs":
        bad = spare("b", needs=always(False))
    else:
        bad = spare("b", ensures=always(False))
    plan = Plan("all", stages((step("a"), bad), (spare("c"), spare("d", "node-2")), step("e")))
    with pytest.raises(PghaError) as failure:
        execute(plan, HEALTHY, world, recorder)
    assert recorder.finished_ones == ["a", "d", "e"]
    assert recorder.failed_ones == ["b"]
    assert "do c" not in world.log
    assert failure.value.next == ("inv doctor" if how == "the action" else "inv status")
    assert failure.value.details[-3:] == ("Done before: a.", "Done before: d.", "Done before: e.")


def test_a_step_that_must_not_fail_ends_the_plan_and_the_others_failures_are_told_too() -> None:
    world, recorder = Told(HEALTHY), Recorder()
    world.errors = {"b": Unreachable("b is away."), "c": Failed("c broke.")}
    plan = Plan("all", stages(spare("b"), step("c"), step("d")))
    with pytest.raises(Failed, match="c broke") as failure:
        execute(plan, HEALTHY, world, recorder)
    assert failure.value.details == ("b is away.", "Nothing was done before.")
    assert "do d" not in world.log


def test_of_steps_that_run_at_once_every_failure_is_told() -> None:
    world = Told(HEALTHY)
    world.errors = {"a": Unreachable("a is away."), "b": Unreachable("b is away.")}
    with pytest.raises(Unreachable, match="a is away") as failure:
        run(world, (step("a"), step("b"), step("c")))
    assert "b is away." in failure.value.details
    assert "do c" in world.log


class Watched(Model):
    """A model in which each step takes long, and that writes down when it is observed."""

    log: list[str]

    def observe(self, names: tuple[str, ...] | None = None) -> tuple[NodeState, ...]:
        self.log.append("observe")
        return super().observe(names)

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        self.log.append(step.title)
        self.clock += 10 * FRESH_S
        return super().act(step, state)


def test_a_hand_over_observes_nothing_between_the_fence_and_the_open_doors() -> None:
    """Each look would be a client's outage: the verbs' answers tell what the next step needs."""
    model = Watched.healthy(two_and_a_witness())
    assert isinstance(model, Watched)
    model.log = []
    state = model.whole()
    execute(failover(state), state, model, Listener())
    fence = model.log.index("Fence node-0")
    last_door = max(i for i, entry in enumerate(model.log) if entry.startswith("Steer"))
    assert "observe" not in model.log[fence : last_door + 1]
