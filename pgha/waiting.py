"""Deadlines, and the one way to wait for something to become true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pgha.errors import Failed, Unreachable

T = TypeVar("T")


class Deadline:
    """A point in time that several steps share; made where the first of them begins."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._begun = time.monotonic()

    def __str__(self) -> str:
        """How long it was from the beginning, for people."""
        return f"{round(self.timeout_s, 2):g} s"

    @property
    def spent_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._begun

    @property
    def left_s(self) -> float:
        """Seconds until it passes; 0.0 when it has."""
        return max(0.0, self.timeout_s - self.spent_s)

    @property
    def passed(self) -> bool:
        return self.left_s == 0.0

    @property
    def missed(self) -> str:
        """The end of a sentence about what was not done in time."""
        return f"was not done within {self.timeout_s:g} s"

    def share(self, part: float, *, most_s: float) -> Deadline:
        """A nearer deadline: a part of what is left, so that something remains for another way."""
        return Deadline(min(self.left_s * part, most_s))


class Patience(Deadline):
    """A deadline that each sign of life puts off, though not beyond `timeout_s`.

    For what moves much over a line that we know nothing of: how long it takes nobody can say, how
    long nothing may happen an operator can.

    over: brings it on from another thread.
    """

    def __init__(self, silence_s: float, timeout_s: float, over: threading.Event) -> None:
        super().__init__(timeout_s)
        self.silence_s = silence_s
        self._over = over
        self._heard = time.monotonic()

    def hearing(self, on_line: Callable[[str], None] | None) -> Callable[[str], None]:
        """The same receiver of lines, each of which is a sign of life."""

        def heard(line: str) -> None:
            self._heard = time.monotonic()
            if on_line is not None:
                on_line(line)

        return heard

    @property
    def left_s(self) -> float:
        if self._over.is_set():
            return 0.0
        return min(super().left_s, max(0.0, self.silence_s - (time.monotonic() - self._heard)))

    @property
    def missed(self) -> str:
        if self._over.is_set():
            return "was cut off"
        if self.spent_s >= self.timeout_s:
            return super().missed
        return f"said nothing for {self.silence_s:g} s"


def wait_until(
    condition: Callable[[], T], *, timeout_s: float, what: str, pause_s: float = 0.1
) -> T:
    """Ask until the answer is true (as `bool` sees it), and return it.

    what: the end of the sentence «It did not become true that …».
    Nobody answering (Unreachable) counts as "not yet": what starts is not there at first.

    Raises Failed with what was last seen; every other error of the condition comes out as it is.
    """
    deadline = Deadline(timeout_s)
    while True:
        seen = ""
        try:
            answer = condition()
        except Unreachable as error:
            seen = error.message
        else:
            if answer:
                return answer
            seen = f"{answer!r}"
        if deadline.passed:
            raise Failed(
                f"Within {timeout_s:g} s it did not become true that {what}.",
                details=(f"Last seen: {seen}",),
            )
        time.sleep(min(pause_s, deadline.left_s))
