"""Random schedules: faults as they come, then quiet, in which the cluster must come back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from random import Random

from pgha.node.election import Election
from pgha.node.election_types import Server
from tests.unit.election import leading, server, verbs
from tests.unit.election.cluster import SHAPES, Cluster, Maker, Shape
from tests.unit.election.node import Node
from tests.unit.election.verbs import Verb
from tests.unit.election.world import Broken

QUIET_S = 90.0


@dataclass(frozen=True)
class Schedule:
    """What a seed stands for; faults: at most so many (fewer shrink a failure)."""

    seed: int
    faults: int = 1000
    shape: Shape | None = None
    seconds: float | None = None
    quiet: bool = True


class Faults:
    """What can happen, each for a while."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.cluster, self.random = cluster, random
        self.nodes = list(cluster.nodes.values())

    def _after(self, low_s: float, high_s: float, what: Callable[[], None]) -> None:
        self.cluster.world.after(self.random.uniform(low_s, high_s), what)

    def any(self) -> Node:
        """The primary more often than the others."""
        primary = self.cluster.primary()
        return primary if primary and self.random.random() < 0.4 else self.random.choice(self.nodes)

    def power_cut(self) -> None:
        node = self.any()
        node.crash()
        self._after(0.1, 6.0, node.boot)

    def blackout(self) -> None:
        for node in self.nodes:
            if self.random.random() < 0.8:
                node.crash()
                self._after(0.1, 4.0, node.boot)

    def agent_dies(self) -> None:
        node = self.any()
        self.cluster.note(f"{node.name}: its agent dies")
        node.stop_agent()
        self._after(0.05, 3.0, node.start_agent)

    def postgres_dies(self) -> None:
        self.any().kill_postgres()

    def restarts_in_place(self) -> None:
        """One backend is killed: the postmaster starts over."""
        node = self.any()
        if node.server is Server.PRIMARY:
            self.cluster.note(f"{node.name}: PostgreSQL restarts in place")
            server.stop(node)
            server.start(node, as_primary=True)
            node.server, run = Server.STARTING, node.pg_run
            if not node.mutated("the gate stays open through a restart in place"):
                node.gate = False

            def recovered() -> None:
                if node.pg_run == run and node.server is Server.STARTING:
                    node.server = Server.PRIMARY
                    if node.gate:
                        # It is let in who reads all that is on this disk.
                        log = len(node.log)
                        node.cluster.rules.opened(node, node.word.term, log, node.cluster.world.now)

            node.later(self.random.choice((0.2, 2.0, 12.0)), recovered)

    def cut(self) -> None:
        """Between two sets of nodes, in one direction or in both."""
        some = [n.name for n in self.nodes if self.random.random() < 0.5]
        rest = [n.name for n in self.nodes if n.name not in some]
        if self.random.random() < 0.3:
            some, rest = [self.any().name], [self.random.choice(self.nodes).name]
        both = self.random.random() < 0.6
        pairs = {(a, b) for a in some for b in rest if a != b}
        if both:
            pairs |= {(b, a) for a, b in pairs}
        cuts = self.cluster.network.cuts
        self.cluster.note(f"cut: {sorted(pairs)}")
        cuts |= pairs

        def heal() -> None:
            self.cluster.note(f"healed: {sorted(pairs)}")
            cuts.difference_update(pairs)

        self._after(0.2, 6.0, heal)

    def pause(self) -> None:
        node, seconds = self.any(), self.random.uniform(0.1, 4.0)
        self.cluster.note(f"{node.name} stands still for {seconds:.1f} s")
        node.paused_until = self.cluster.world.now + seconds

    def pause_agent(self) -> None:
        node, seconds = self.any(), self.random.uniform(0.1, 4.0)
        self.cluster.note(f"{node.name}: its agent stands still for {seconds:.1f} s")
        node.agent_paused_until = self.cluster.world.now + seconds

    def bad_network(self) -> None:
        network = self.cluster.network
        network.loss, network.twice = self.random.uniform(0, 0.5), self.random.uniform(0, 0.3)
        network.slow_s = self.random.choice((0.01, 0.1, 0.5))

        def better() -> None:
            network.loss = network.twice = network.slow_s = 0.0

        self._after(0.5, 4.0, better)

    def hold(self) -> None:
        some = self.random.choice((self.nodes, [self.any()]))
        self.cluster.note(f"held: {[n.name for n in some]}")
        for node in some:
            node.held = node.up
        self._after(0.1, 3.0, lambda: self.release(some))

    def release(self, some: Sequence[Node]) -> None:
        for node in some:
            node.held = False

    def operator_stops(self) -> None:
        """`halt` on some nodes, or on all; and later a word to go on."""
        some = self.random.choice((self.nodes, self.nodes, [self.any()]))
        self.cluster.note(f"an operator stops {[n.name for n in some]}")
        for node in some:
            if node.up:
                _by_operator(node, verbs.locked(node, leading.halt(node)))

        def go_on() -> None:
            self.cluster.note(f"an operator starts {[n.name for n in some]}")
            for node in some:
                go(node)

        self._after(0.5, 4.0, go_on)


def go(node: Node) -> None:
    """An operator's word that a node may go on."""
    if node.word.stopped:
        node.write_word(replace(node.word, stopped=False))


def _by_operator(node: Node, verb: Verb) -> None:
    """A verb over SSH: the agent's death does not end it."""
    try:
        pause_s = next(verb)
    except (StopIteration, verbs.Refused):
        return
    node.later(pause_s, lambda: _by_operator(node, verb))


KINDS: Sequence[tuple[str, int]] = (
    ("power_cut", 5),
    ("blackout", 1),
    ("agent_dies", 3),
    ("postgres_dies", 3),
    ("restarts_in_place", 1),
    ("cut", 6),
    ("pause", 2),
    ("pause_agent", 2),
    ("bad_network", 2),
    ("hold", 1),
    ("operator_stops", 1),
)


def build(
    schedule: Schedule, mutations: frozenset[str] = frozenset(), election: Maker = Election
) -> tuple[Cluster, Random]:
    random = Random(schedule.seed)
    shape = schedule.shape or random.choice((SHAPES[0], SHAPES[0], *SHAPES))
    cluster = Cluster(
        shape,
        random.getrandbits(32),
        mutations=mutations,
        election=election,
        drift=random.random() < 0.7,
        loose_link=random.random() < 0.2,
    )
    cluster.pace = random.choice((0.3, 1.0, 1.0, 3.0))
    cluster.write_every_s = random.choice((0.03, 0.1, 0.3))
    return cluster, random


def run(
    schedule: Schedule, mutations: frozenset[str] = frozenset(), election: Maker = Election
) -> Cluster:
    """Raises Broken."""
    cluster, random = build(schedule, mutations, election)
    faults = Faults(cluster, random)
    cuts_verbs = random.choice((0.0, 0.0, 0.02, 0.06))
    left = [schedule.faults]

    def at_step(node: Node, verb: str) -> None:
        if left[0] > 0 and random.random() < cuts_verbs:
            left[0] -= 1
            cluster.note(f"cut off: {verb} of {node.name}")
            kind = random.random()
            if kind < 0.5:
                node.crash()
                cluster.world.after(random.uniform(0.05, 3.0), node.boot)
            elif kind < 0.8:
                node.stop_agent()
                cluster.world.after(random.uniform(0.05, 1.0), node.start_agent)
            else:
                node.kill_postgres()

    cluster.step_hook = at_step
    cluster.run(random.uniform(0.2, 1.5))
    end = cluster.world.now + (schedule.seconds or random.uniform(3.0, 14.0))
    pause_s = random.choice((0.3, 0.8, 2.0))
    names, weights = zip(*KINDS, strict=True)
    while cluster.world.now < end and left[0] > 0:
        left[0] -= 1
        getattr(faults, random.choices(names, weights)[0])()
        cluster.run(random.uniform(0, 2 * pause_s))
    cluster.step_hook = None
    if schedule.quiet:
        come_back(cluster, random)
    return cluster


def come_back(cluster: Cluster, random: Random) -> None:
    """Faults end; a minority may be gone for good. Then all is well within QUIET_S."""
    if random.random() < 0.2:
        cluster.run(6.5)
    network = cluster.network
    network.cuts.clear()
    network.loss = network.twice = network.slow_s = 0.0
    nodes = list(cluster.nodes.values())
    for node in nodes:
        node.boot()
        node.start_agent()
        go(node)
        node.held = True  # as `start` does
    cluster.run(0.3)
    Faults(cluster, random).release(nodes)
    minority = random.sample(nodes, random.randint(0, len(nodes) - cluster.rules.majority))
    if random.random() < 0.4:
        for node in minority:
            node.crash()
    cluster.note(f"quiet; gone for good: {[n.name for n in nodes if not n.up]}")
    end = cluster.world.now + QUIET_S
    able = cluster.can_settle()
    while cluster.world.now < end:
        cluster.run(0.5)
        for node in nodes:
            if node.word.stopped:  # a `halt` was still under way
                go(node)
        if not cluster.unsettled():
            return
        able = able and cluster.can_settle()
        if not able:
            return
    if able and cluster.can_settle():
        raise cluster.broken(f"not settled after {QUIET_S:g} s: {cluster.unsettled()}")


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """The same seed with the fewest faults that still fail."""
    for faults in (*range(1, 12), *range(12, 60, 4)):
        smaller = replace(schedule, faults=faults)
        if fails(smaller):
            return smaller
    return schedule


def many(seeds: Sequence[int], like: Schedule, jobs: int) -> tuple[Schedule, str] | None:
    """Run them in several processes. The first that fails, with as few faults as still fail."""
    schedules = [replace(like, seed=seed) for seed in seeds]
    with ProcessPoolExecutor(jobs) as pool:
        for schedule, broken in zip(
            schedules, pool.map(failure, schedules, chunksize=20), strict=True
        ):
            if broken is not None:
                pool.shutdown(cancel_futures=True)
                small = shrink(schedule, lambda s: failure(s) is not None)
                return small, failure(small) or broken
    return None


def failure(schedule: Schedule) -> str | None:
    """What broke, with its trace; None: nothing."""
    try:
        run(schedule)
    except Broken as broken:
        return str(broken)
    except Exception:  # the core itself stumbled: the schedule is what matters
        return f"seed {schedule.seed}: {traceback.format_exc()}"
    return None
