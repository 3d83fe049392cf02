"""Deadlines, and those that each sign of life puts off."""

from __future__ import annotations

import threading

from pgha.waiting import Deadline, Patience, wait_until


def test_a_patience_ends_by_silence_and_not_while_something_is_said() -> None:
    patience = Patience(0.3, 60, threading.Event())
    heard = patience.hearing(None)
    sayings = Deadline(0.9)

    def said_all() -> bool:
        heard("a line")
        return sayings.passed

    wait_until(said_all, timeout_s=5, what="it said all", pause_s=0.05)
    assert not patience.passed
    wait_until(lambda: patience.passed, timeout_s=5, what="its time is over", pause_s=0.02)
    assert patience.missed == "said nothing for 0.3 s"


def test_a_patience_ends_in_the_end_whatever_is_said() -> None:
    patience = Patience(60, 0.2, threading.Event())
    wait_until(lambda: patience.passed, timeout_s=5, what="its time is over", pause_s=0.02)
    assert patience.missed == "was not done within 0.2 s"


def test_a_patience_is_over_at_once_where_somebody_says_so() -> None:
    over, lines = threading.Event(), list[str]()
    patience = Patience(60, 60, over)
    patience.hearing(lines.append)("a line")
    assert (patience.passed, lines) == (False, ["a line"])
    over.set()
    assert (patience.passed, patience.missed) == (True, "was cut off")
