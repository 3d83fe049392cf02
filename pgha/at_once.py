"""Several jobs at the same time, and an answer from each of them within a limit."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from pgha.errors import PghaError, Unreachable
from pgha.waiting import Deadline

K = TypeVar("K")
T = TypeVar("T")


# Jobs that are told to stop have this long to end what they have on other machines.
_STOP_S = 4.0


def at_once(
    jobs: Mapping[K, Callable[[], T]],
    *,
    timeout_s: float,
    stop: Callable[[], None] | None = None,
) -> dict[K, T | PghaError]:
    """Run each job in a thread of its own; what it returned, or the PghaError that it raised.

    Whoever is not back after `timeout_s` has Unreachable as its answer. Its thread is left behind:
    nothing can end a thread that hangs, but as a daemon it does not keep the process alive.

    stop: makes the jobs end soon; called where we are interrupted, and they are waited for a while.

    Raises any other exception of a job as it is (a defect of ours), at once.
    """
    deadline = Deadline(timeout_s)
    finished: queue.SimpleQueue[tuple[K, T | BaseException]] = queue.SimpleQueue()

    def work(key: K, job: Callable[[], T]) -> None:
        try:
            finished.put((key, job()))
        except BaseException as error:  # Handed over: the caller's thread raises it.
            finished.put((key, error))

    for key, job in jobs.items():
        threading.Thread(target=work, args=(key, job), daemon=True, name=f"job {key}").start()
    answers: dict[K, T | PghaError] = {}
    try:
        while len(answers) < len(jobs):
            try:
                key, answer = finished.get(timeout=deadline.left_s)
            except queue.Empty:
                break
            if isinstance(answer, BaseException) and not isinstance(answer, PghaError):
                raise answer
            answers[key] = answer
    except BaseException:
        if stop is not None:
            stop()
            _await(finished, len(jobs) - len(answers))
        raise
    late = f"did not answer within {timeout_s:g} s."

    def unreachable(key: K) -> Unreachable:
        # Of a key with several parts, the last one is the name.
        return Unreachable(f"{key[-1] if isinstance(key, tuple) else key} {late}")

    return {key: answers[key] if key in answers else unreachable(key) for key in jobs}


def _await(finished: queue.SimpleQueue[tuple[K, T | BaseException]], running: int) -> None:
    """Give so many jobs _STOP_S to end."""
    deadline = Deadline(_STOP_S)
    with contextlib.suppress(queue.Empty):
        for _ in range(running):
            finished.get(timeout=deadline.left_s)
