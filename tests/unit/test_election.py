"""The agents' decisions under a model of PostgreSQL's replication (DESIGN, "Rules that are never
broken"): random schedules of faults, every small case, and what must come of single faults.

PGHA_NIGHTLY=1 runs a hundred thousand schedules. One again, with its trace:
`python -m tests.unit.election --seed N --schedules 1`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.unit.election import exhaustive, scenes
from tests.unit.election.cluster import SHAPES, Cluster, Shape
from tests.unit.election.schedules import KINDS, Faults, Schedule, come_back, many

NIGHTLY = os.environ.get("PGHA_NIGHTLY") == "1"
JOBS = os.cpu_count() or 1
VOTING = SHAPES[:5]  # those in which one node may be gone
WITNESS = SHAPES[0]


def held(seeds: range, like: Schedule) -> None:
    found = many(seeds, like, JOBS)
    if found is not None:
        schedule, broken = found
        pytest.fail(f"--seed {schedule.seed} --faults {schedule.faults}: {broken}", pytrace=False)


def test_no_schedule_of_faults_breaks_a_rule() -> None:
    held(range(100_000 if NIGHTLY else 800), Schedule(0, quiet=False))


def test_the_cluster_comes_back_by_itself_when_faults_end() -> None:
    held(range(500_000, 600_000 if NIGHTLY else 500_400), Schedule(0))


def test_a_death_at_any_moment_of_any_verb_breaks_no_rule() -> None:
    wide = exhaustive.one_death(VOTING, (0.1, 0.5, 3.0), (None, "n0", "n1", "n2"))
    cases = wide if NIGHTLY else exhaustive.one_death((WITNESS,), (0.5,), (None,))
    assert exhaustive.all_hold(cases, JOBS) is None


def test_two_deaths_at_any_two_moments_break_no_rule() -> None:
    cases = exhaustive.two_deaths(WITNESS, every=7 if NIGHTLY else 999)
    assert exhaustive.all_hold(cases, JOBS) is None


@pytest.mark.parametrize("scene", scenes.UNDISTURBED, ids=lambda s: s.__name__)
@pytest.mark.parametrize("shape", VOTING, ids=str)
def test_a_follower_with_a_bad_link_or_that_comes_and_goes_disturbs_nobody(
    scene: scenes.Scene, shape: Shape
) -> None:
    for seed in range(40 if NIGHTLY else 3):
        scenes.play(scene, shape, seed)


@pytest.mark.parametrize("shape", VOTING, ids=str)
def test_a_primary_that_is_cut_off_ends_and_another_one_leads(shape: Shape) -> None:
    for seed in range(40 if NIGHTLY else 3):
        scenes.isolate_primary(shape, seed)


@pytest.mark.parametrize(("how", "at_most_s"), [("host", 6.0), ("postgres", 3.0)])
@pytest.mark.parametrize("shape", VOTING, ids=str)
def test_a_primary_that_dies_is_followed_by_an_open_one(
    shape: Shape, how: str, at_most_s: float
) -> None:
    for seed in range(40 if NIGHTLY else 3):
        assert scenes.kill_primary(shape, seed, how) < at_most_s


@pytest.mark.parametrize("signal_gone", [False, True])
@pytest.mark.parametrize("what", ["host", "postgres"])
def test_a_promotion_cut_off_within_postgresql_is_no_dead_end(what: str, signal_gone: bool) -> None:
    for shape in VOTING[:2]:
        scenes.cut_off_promotion(shape, 1, signal_gone, what)


@pytest.mark.parametrize("astray", [scenes.witness_astray, scenes.standby_astray])
def test_a_follower_that_was_told_and_cut_off_finds_its_way(astray: Callable[[int], None]) -> None:
    for seed in range(3):
        astray(seed)


class AnyCluster(RuleBasedStateMachine):
    """Faults in the order that hypothesis likes; the model checks the rules in each state."""

    cluster: Cluster
    faults: Faults

    @initialize(shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**16))
    def begin(self, shape: Shape, seed: int) -> None:
        self.cluster = Cluster(shape, seed)
        self.faults = Faults(self.cluster, Random(seed))
        self.cluster.run(1.0)

    @rule(kind=st.sampled_from([name for name, _ in KINDS]), seconds=st.floats(0, 2))
    def fault(self, kind: str, seconds: float) -> None:
        getattr(self.faults, kind)()
        self.cluster.run(seconds)

    @rule(seconds=st.floats(0.1, 6))
    def time_passes(self, seconds: float) -> None:
        self.cluster.run(seconds)

    @precondition(lambda self: not self.cluster.unsettled())
    @rule()
    def the_primary_dies(self) -> None:
        primary = self.cluster.primary()
        assert primary is not None
        primary.crash()
        self.cluster.world.after(2.0, primary.boot)
        self.cluster.run(1.0)

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            come_back(self.cluster, Random(0))


TestAnyCluster = AnyCluster.TestCase
TestAnyCluster.settings = settings(
    max_examples=2000 if NIGHTLY else 40,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
