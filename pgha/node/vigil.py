"""How long main's agent has been silent, where the node itself may have been asleep. Pure."""

from __future__ import annotations

# In seconds. With each sign taken for as old as it can be, a primary whose agent hangs ends within
# a look of the election timeout; the others need longer than that for their votes and a promotion.
LOOK_S = 0.1
# On a machine that is busy a new agent may take so long until its first sign.
START_S = 10.0


class Vigil:
    """Main's knowledge of its agent, from one look to the next. Times are seconds of the monotonic
    clock, which goes on while a node is stalled."""

    def __init__(self, now: float) -> None:
        self._looked_at = self._alive_at = now
        self._began_at: float | None = None

    def began(self, now: float) -> None:
        """The agent was started."""
        self._alive_at = self._began_at = now

    def starting(self, now: float) -> bool:
        """It has given no sign yet, and may still be about to: who ended it would never have one.
        (What its silence means for a primary is another question.)"""
        return self._began_at is not None and now - self._began_at < START_S

    def asleep_s(self, now: float) -> float:
        """For how long nobody has looked."""
        return now - self._looked_at

    def silent_s(self, now: float, limit_s: float, *, heard: bool, ended: bool) -> float | None:
        """For how long it has been silent, where that is too long; None: it is not. limit_s: the
        election timeout: the others suspect nobody before they have missed its beats for as long,
        and a beat is a tenth of that older than the last sign at most. heard: it gave a sign since
        the last look. ended: its process has."""
        looked_at, self._looked_at = self._looked_at, now
        slept = now - looked_at > limit_s
        if heard:
            self._began_at = None
            # After a sleep, and of one that has ended, the sign may be from before.
            self._alive_at = looked_at if slept or ended else max(looked_at, now - LOOK_S)
        if slept and not ended:
            return None  # the next look tells whether it lives
        silent = now - self._alive_at
        if silent < limit_s:
            return None
        self._alive_at = now
        return silent
