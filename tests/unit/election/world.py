"""Time, chance and the network of a simulated cluster: the same seed, the same run."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from random import Random

TRACE_LINES = 400
MOST_EVENTS = 300_000


class Broken(AssertionError):
    """A rule does not hold. The message ends with what happened before."""


class World:
    """A queue of what is due. `now` is the true time in seconds, which no node can see."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._count, what))

    def run_until(self, end: float) -> None:
        queue, most = self._queue, self._count + MOST_EVENTS
        while queue and queue[0][0] <= end:
            at, _, what = heapq.heappop(queue)
            self.now = at
            what()
            if self._count > most:
                raise self.broken("events without end")
        self.now = end

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now:8.3f} {text}")

    def broken(self, text: str) -> Broken:
        return Broken("\n".join([text, *self.trace]))


class Network:
    """Who reaches whom. Datagrams get lost, come late and twice; a connection (of PostgreSQL, of
    ssh) stands still while it is cut."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cuts: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.twice = 0.0
        self.slow_s = 0.0
        self.lags: dict[tuple[str, str], float] = {}

    def passes(self, source: str, target: str) -> bool:
        return (source, target) not in self.cuts

    def joined(self, one: str, other: str) -> bool:
        return self.passes(one, other) and self.passes(other, one)

    def latency_s(self) -> float:
        return self.world.random.uniform(0.0005, 0.004 + self.slow_s)

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        random = self.world.random
        if not self.passes(source, target) or (self.loss and random.random() < self.loss):
            return
        lag_s = self.lags.get((source, target), 0.0)
        self.world.after(self.latency_s() + lag_s, deliver)
        if self.twice and random.random() < self.twice:
            self.world.after(self.latency_s() * 20, deliver)
