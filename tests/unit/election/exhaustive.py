"""Every small case: a first fault, and then a death at each moment of each verb that follows, with
each order of slow and quick links."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

from tests.unit.election.cluster import Cluster, Shape
from tests.unit.election.node import Node
from tests.unit.election.schedules import come_back
from tests.unit.election.world import Broken

FIRST = ("host", "postgres", "cut off", "stands still")
DEATHS = ("host", "agent", "postgres")
LAG_S = 0.3


@dataclass(frozen=True)
class Case:
    """first: what happens to the primary. deaths: (at which step, of all nodes' verbs; what dies;
    back after, in seconds). slow: whose datagrams are late."""

    shape: Shape
    first: str
    deaths: tuple[tuple[int, str, float], ...] = ()
    slow: str | None = None


def play(case: Case) -> int:
    """Run it; how many steps there were. Raises Broken."""
    cluster = Cluster(case.shape, seed=7, drift=False)
    steps = 0

    def at_step(node: Node, verb: str) -> None:
        nonlocal steps
        if verb in ("steer", "close"):
            return
        steps += 1
        for at, what, back_s in case.deaths:
            if at == steps:
                cluster.note(f"cut off: {verb} of {node.name}, {what}")
                _die(cluster, node, what, back_s)

    cluster.run(1.0)
    if case.slow is not None:
        for name in cluster.nodes:
            cluster.network.lags[(case.slow, name)] = LAG_S
    cluster.step_hook = at_step
    _begin(cluster, case.first)
    cluster.run(6.0)
    cluster.step_hook = None
    counted = steps
    cluster.network.lags.clear()
    try:
        come_back(cluster, Random(2))
    except Broken as broken:
        raise Broken(f"{case}: {broken}") from broken
    return counted


def failure(case: Case) -> str | None:
    try:
        play(case)
    except Broken as broken:
        return str(broken)
    return None


def all_hold(cases: Iterable[Case], jobs: int) -> str | None:
    """In several processes: what broke first; None: nothing."""
    with ProcessPoolExecutor(jobs) as pool:
        for broken in pool.map(failure, cases, chunksize=10):
            if broken is not None:
                pool.shutdown(cancel_futures=True)
                return broken
    return None


def _begin(cluster: Cluster, first: str) -> None:
    primary = cluster.nodes["n0"]
    if first == "host":
        _die(cluster, primary, "host", 3.5)
    elif first == "postgres":
        primary.kill_postgres()
    elif first == "stands still":
        primary.paused_until = cluster.world.now + 3.0
    else:
        pairs = {(a, b) for a in cluster.nodes for b in cluster.nodes if "n0" in (a, b) and a != b}
        cluster.network.cuts |= pairs
        cluster.world.after(3.0, cluster.network.cuts.clear)


def _die(cluster: Cluster, node: Node, what: str, back_s: float) -> None:
    if what == "host":
        node.crash()
        cluster.world.after(back_s, node.boot)
    elif what == "agent":
        node.stop_agent()
        cluster.world.after(back_s, node.start_agent)
    else:
        node.kill_postgres()


def one_death(
    shapes: Sequence[Shape], backs_s: Sequence[float], slows: Sequence[str | None]
) -> Iterator[Case]:
    """A death at each step in turn."""
    for shape, first, slow, what, back_s in itertools.product(
        shapes, FIRST, slows, DEATHS, backs_s
    ):
        steps = play(Case(shape, first, (), slow))
        for at in range(1, steps + 1):
            yield Case(shape, first, ((at, what, back_s),), slow)


def two_deaths(shape: Shape, every: int) -> Iterator[Case]:
    """Two deaths at each pair of steps; every: take only each so-manieth pair."""
    count = 0
    for first, whats in itertools.product(FIRST, itertools.product(DEATHS, DEATHS)):
        steps = play(Case(shape, first))
        for pair in itertools.combinations(range(1, 2 * steps), 2):
            count += 1
            if count % every == 0:
                yield Case(
                    shape, first, tuple((a, w, 0.5) for a, w in zip(pair, whats, strict=True))
                )
