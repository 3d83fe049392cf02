"""When main takes its agent for silent, and ends a primary beside it."""

from __future__ import annotations

import pytest

from pgha.node.vigil import Vigil

LIMIT_S = 1.5


def watched(until: float) -> Vigil:
    """After looks ten times a second at an agent that gave a sign each time."""
    vigil = Vigil(0.0)
    for turn in range(1, round(until * 10) + 1):
        assert vigil.silent_s(turn / 10, LIMIT_S, heard=True, ended=False) is None
    return vigil


def test_one_that_is_killed_while_the_node_is_awake_ends_nobody() -> None:
    vigil = watched(10.0)
    assert vigil.silent_s(10.2, LIMIT_S, heard=False, ended=True) is None


@pytest.mark.parametrize("heard", [True, False])
def test_one_that_died_in_a_sleep_is_silent_at_once(heard: bool) -> None:
    vigil = watched(10.0)
    assert vigil.silent_s(15.0, LIMIT_S, heard=heard, ended=True) == pytest.approx(5.0, abs=0.11)


@pytest.mark.parametrize("heard", [True, False])
def test_one_that_turns_out_dead_after_a_sleep_is_silent_at_the_next_look(heard: bool) -> None:
    vigil = watched(10.0)
    assert vigil.silent_s(15.0, LIMIT_S, heard=heard, ended=False) is None
    assert vigil.silent_s(15.2, LIMIT_S, heard=False, ended=True) == pytest.approx(5.2, abs=0.11)


def test_one_that_wakes_up_with_its_node_goes_on() -> None:
    vigil = watched(10.0)
    assert vigil.silent_s(15.0, LIMIT_S, heard=True, ended=False) is None
    assert vigil.silent_s(15.2, LIMIT_S, heard=True, ended=False) is None
    assert vigil.silent_s(15.4, LIMIT_S, heard=False, ended=False) is None


def test_one_that_hangs_has_the_election_timeout_and_no_more() -> None:
    """The others elect somebody after that: a primary must not answer readers any more by then."""
    vigil = watched(10.0)
    looks = [turn / 10 for turn in range(101, 117)]
    told = [at for at in looks if vigil.silent_s(at, LIMIT_S, heard=False, ended=False)]
    # Once: then it is ended, and has its time anew.
    assert told == [pytest.approx(11.4)]


def test_one_that_was_just_started_is_not_late() -> None:
    vigil = watched(10.0)
    assert vigil.silent_s(15.0, LIMIT_S, heard=False, ended=True) is not None
    vigil.began(16.0)
    assert vigil.silent_s(16.2, LIMIT_S, heard=False, ended=False) is None
