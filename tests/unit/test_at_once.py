"""Jobs at the same time, and waiting with a limit."""

from __future__ import annotations

import threading
import time

import pytest

from pgha.at_once import at_once
from pgha.errors import Failed, PghaError, Refused, Unreachable
from pgha.waiting import wait_until


def test_each_job_has_its_answer_or_its_error_in_the_order_of_the_jobs() -> None:
    refusal = Refused("no")

    def refuse() -> int:
        raise refusal

    answers = at_once({"a": lambda: 1, "b": refuse, "c": lambda: 0}, timeout_s=5)
    assert list(answers.items()) == [("a", 1), ("b", refusal), ("c", 0)]


def test_a_job_that_hangs_costs_its_own_answer_only_and_no_more_than_the_limit() -> None:
    never = threading.Event()
    begun = time.monotonic()
    answers: dict[str, bool | PghaError] = at_once(
        {"hangs": never.wait, "answers": lambda: True}, timeout_s=0.3
    )
    assert time.monotonic() - begun < 1
    assert answers["answers"] is True
    late = answers["hangs"]
    assert isinstance(late, Unreachable)
    assert late.message == "hangs did not answer within 0.3 s."
    never.set()


def test_jobs_run_at_the_same_time() -> None:
    together = threading.Barrier(3)
    answers = at_once({n: lambda: together.wait(5) for n in range(3)}, timeout_s=5)
    assert sorted(answers.values()) == [0, 1, 2]  # type: ignore[type-var]


def test_a_defect_in_a_job_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once({"x": lambda: 1 // 0}, timeout_s=5)


def test_no_jobs_are_done_at_once() -> None:
    assert at_once({}, timeout_s=5) == {}


def test_what_becomes_true_is_returned() -> None:
    answers = iter([0, 0, 3])
    assert wait_until(lambda: next(answers), timeout_s=5, what="it counts", pause_s=0.001) == 3


def test_what_does_not_become_true_fails_with_what_was_last_seen() -> None:
    with pytest.raises(Failed, match=r"Within 0\.05 s .* that it is there") as failure:
        wait_until(lambda: None, timeout_s=0.05, what="it is there", pause_s=0.01)
    assert failure.value.details == ("Last seen: None",)


def test_nobody_answering_is_not_yet_and_other_errors_come_out() -> None:
    def silent() -> bool:
        raise Unreachable("node-1 is starting.")

    with pytest.raises(Failed) as failure:
        wait_until(silent, timeout_s=0.05, what="it answers", pause_s=0.01)
    assert failure.value.details == ("Last seen: node-1 is starting.",)

    def refused() -> bool:
        raise Refused("no")

    with pytest.raises(Refused):
        wait_until(refused, timeout_s=5, what="it answers")
