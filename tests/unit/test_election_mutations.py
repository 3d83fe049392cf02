"""The model finds faults: each of ours, planted in the core or in a verb, must break a rule."""

from __future__ import annotations

import pytest

from pgha.node.election import Election
from tests.unit.election import mutations, scenes
from tests.unit.election.cluster import SHAPES, Maker
from tests.unit.election.schedules import Schedule, run
from tests.unit.election.world import Broken

MOST = 3000
WITNESS = SHAPES[0]


def is_found(mutated: frozenset[str], election: Maker) -> str:
    """What breaks first, and where."""
    for seed in range(MOST):
        try:
            run(Schedule(seed, quiet=False), mutated, election)
        except Broken as broken:
            return f"seed {seed}: {broken}"
    pytest.fail(f"not found in {MOST} schedules")


@pytest.mark.parametrize(("what", "breaks"), mutations.IN_VERBS.items())
def test_a_fault_in_a_verb_is_found(what: str, breaks: str) -> None:
    assert breaks in is_found(frozenset({what}), Election).split("\n")[0]


@pytest.mark.parametrize("what", mutations.IN_CORE)
def test_a_fault_in_the_core_is_found(what: str) -> None:
    assert is_found(frozenset(), mutations.IN_CORE[what])


def test_a_step_down_that_is_forgotten_is_found() -> None:
    with pytest.raises(Broken, match="serves on, though nobody"):
        scenes.isolate_primary(WITNESS, 1, mutations.NEVER_STEPS_DOWN)


def test_a_candidate_that_does_not_ask_before_it_stands_disturbs_the_primary() -> None:
    with pytest.raises(Broken, match="disturbed"):
        scenes.play(scenes.flapping_node, SHAPES[1], 1, mutations.WITHOUT_PREVOTE)
