"""The pauses between two tries of the same thing. Pure."""

from __future__ import annotations

from pgha.node.election_types import FORGET_S, RETRY_MAX_S, RETRY_S


class Pauses:
    """What must wait, and until when."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[float, float]] = {}  # until when, and how long that was

    def ready(self, what: str, now: float) -> bool:
        return now >= self._waiting.get(what, (0.0, 0.0))[0]

    def later(
        self, what: str, now: float, first_s: float = RETRY_S, most_s: float = RETRY_MAX_S
    ) -> None:
        """Not again at once; the pauses double, unless it is long ago. After a success as well:
        what is due again a moment later did not last."""
        until, last_s = self._waiting.get(what, (float("-inf"), 0.0))
        pause = min(most_s, max(first_s, 2 * last_s)) if now - until < FORGET_S else first_s
        self._waiting[what] = (now + pause, pause)

    def in_vain(self, what: str) -> bool:
        """Whether it was tried so often that its pauses do not grow any more."""
        return self._waiting.get(what, (0.0, 0.0))[1] >= RETRY_MAX_S

    def lasted(self, what: str, now: float) -> bool:
        """Whether its last try was long enough ago to have been a success."""
        return what in self._waiting and self._waiting[what][0] < now - RETRY_MAX_S

    def forget(self, what: str) -> None:
        self._waiting.pop(what, None)

    def clear(self) -> None:
        """Things are different now: everything may be tried at once."""
        self._waiting.clear()
