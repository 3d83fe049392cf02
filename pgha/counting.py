"""A listener that tells whether a Plan has changed something yet, and passes everything on."""

from __future__ import annotations

from collections.abc import Callable

from pgha.execute import Listener, StepDone
from pgha.plan import Plan, Step


class Counting(Listener):
    """Counts the steps that were done. guard: called before each; raises where none may begin."""

    def __init__(self, listener: Listener, guard: Callable[[], None] = lambda: None) -> None:
        self._listener = listener
        self._guard = guard
        self._begun = 0
        self._done = 0

    @property
    def untouched(self) -> bool:
        """Nothing was done but one step, alone, that failed. (Of several at once one may fail while
        another is done.)"""
        return self._done == 0 and self._begun <= 1

    def planned(self, plan: Plan) -> None:
        self._listener.planned(plan)

    def started(self, step: Step) -> None:
        self._guard()
        self._begun += 1
        self._listener.started(step)

    def finished(self, done: StepDone) -> None:
        self._done += 1
        self._listener.finished(done)

    def failed(self, step: Step) -> None:
        self._listener.failed(step)

    def said(self, line: str) -> None:
        self._listener.said(line)

    def moved(self, name: str, sent_bytes: int, total_bytes: int | None) -> None:
        self._listener.moved(name, sent_bytes, total_bytes)
