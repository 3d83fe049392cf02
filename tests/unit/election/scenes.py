"""Scenes in which one thing happens: what must come of a bad link, a flapping node, isolation."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pgha.node.election import Election
from pgha.node.election_types import Server
from pgha.node.report import Role
from tests.unit.election.cluster import Cluster, Maker, Shape
from tests.unit.election.node import Node

Scene = Callable[[Cluster, Random], None]


def healthy(shape: Shape, seed: int, election: Maker = Election) -> Cluster:
    cluster = Cluster(shape, seed, election=election)
    cluster.run(3.0)
    require(cluster, not cluster.unsettled(), cluster.unsettled())
    return cluster


def require(cluster: Cluster, holds: bool, text: str) -> None:
    if not holds:
        raise cluster.broken(text)


def _cut(cluster: Cluster, pairs: list[tuple[str, str]], seconds: float) -> None:
    cluster.network.cuts |= set(pairs)
    cluster.note(f"cut: {pairs}")
    cluster.run(seconds)
    cluster.network.cuts -= set(pairs)
    cluster.note(f"healed: {pairs}")


def _both(one: str, other: str) -> list[tuple[str, str]]:
    return [(one, other), (other, one)]


def one_way_link(cluster: Cluster, random: Random) -> None:
    """A follower that the primary hears and that does not hear it, or the other way round."""
    follower = random.choice([n for n in cluster.nodes if n != "n0"])
    _cut(cluster, [random.choice((("n0", follower), (follower, "n0")))], 15.0)


def flapping_link(cluster: Cluster, random: Random) -> None:
    """The link between the primary and one follower comes and goes every few seconds."""
    follower = random.choice([n for n in cluster.nodes if n != "n0"])
    for _ in range(5):
        _cut(cluster, _both("n0", follower), random.uniform(1.0, 4.0))
        cluster.run(random.uniform(0.1, 3.0))


def flapping_node(cluster: Cluster, random: Random) -> None:
    """A follower is cut off from everybody, again and again."""
    follower = random.choice([n for n in cluster.nodes if n != "n0"])
    pairs = [p for n in cluster.nodes if n != follower for p in _both(n, follower)]
    for _ in range(5):
        _cut(cluster, pairs, random.uniform(1.0, 4.0))
        cluster.run(random.uniform(0.1, 3.0))


def restarting_follower(cluster: Cluster, random: Random) -> None:
    """A follower, or its agent alone, starts again every few seconds."""
    follower = cluster.nodes[random.choice([n for n in cluster.nodes if n != "n0"])]
    for _ in range(5):
        if random.random() < 0.5:
            follower.crash()
            cluster.run(random.uniform(0.2, 3.0))
            follower.boot()
        else:
            follower.stop_agent()
            cluster.run(random.uniform(0.2, 3.0))
            follower.start_agent()
        cluster.run(random.uniform(0.2, 3.0))


def bad_link_and_restarts(cluster: Cluster, random: Random) -> None:
    """One follower does not hear the primary, while another's agent starts again: whoever has just
    started has not heard the primary yet, but that is no reason to vote."""
    some = [n for n in cluster.nodes if n != "n0"]
    deaf = random.choice([n for n in some if cluster.nodes[n].data])
    other = cluster.nodes[random.choice([n for n in some if n != deaf])]
    cluster.network.cuts |= {("n0", deaf)}
    for _ in range(6):
        other.stop_agent()
        cluster.run(random.uniform(0.05, 0.5))
        other.start_agent()
        cluster.run(random.uniform(0.5, 3.0))
    cluster.network.cuts.clear()


UNDISTURBED: tuple[Scene, ...] = (
    one_way_link,
    flapping_link,
    flapping_node,
    restarting_follower,
    bad_link_and_restarts,
)


def play(scene: Scene, shape: Shape, seed: int, election: Maker = Election) -> None:
    """The primary stays the primary, in its term, and serves all the time; then all follow it."""
    cluster, random = healthy(shape, seed, election), Random(seed)
    leader = cluster.nodes["n0"]
    run, term = leader.pg_run, leader.word.term
    scene(cluster, random)
    cluster.run(10.0)
    same = leader.pg_run == run and leader.word.term == term and leader.server is Server.PRIMARY
    require(cluster, same, f"{scene.__name__} disturbed the primary")
    require(cluster, not cluster.unsettled(), f"after {scene.__name__}: {cluster.unsettled()}")


def isolate_primary(shape: Shape, seed: int, election: Maker = Election) -> float:
    """It is cut off from everybody: another one leads, it ends, and it follows once it is back.
    When another one was open, in seconds after the cut."""
    cluster = healthy(shape, seed, election)
    pairs = [p for n in cluster.nodes if n != "n0" for p in _both(n, "n0")]
    cluster.network.cuts |= set(pairs)
    began, opened = cluster.world.now, float("inf")
    for _ in range(150):
        cluster.run(0.1)
        leader = cluster.primary()
        if leader is not None and leader.name != "n0":
            opened = min(opened, cluster.world.now - began)
    require(cluster, opened < 8.0, f"another one was open after {opened:.1f} s")
    require(cluster, cluster.nodes["n0"].server is Server.NONE, "n0 goes on in its isolation")
    cluster.network.cuts.clear()
    cluster.run(20.0)
    require(cluster, not cluster.unsettled(), f"after the isolation: {cluster.unsettled()}")
    return opened


def kill_primary(shape: Shape, seed: int, how: str) -> float:
    """Its PostgreSQL, or its host, dies. When one is open again, in seconds; in the end all follow
    it."""
    cluster = healthy(shape, seed)
    began = cluster.world.now
    if how == "host":
        cluster.nodes["n0"].crash()
    else:
        cluster.nodes["n0"].kill_postgres()
    while cluster.world.now - began < 15.0:
        cluster.run(0.05)
        if cluster.primary() is not None:
            took = cluster.world.now - began
            cluster.run(20.0)
            require(cluster, not cluster.unsettled(), f"after the death: {cluster.unsettled()}")
            return took
    raise cluster.broken(f"nobody is open 15 s after the {how} of n0 died")


def cut_off_promotion(shape: Shape, seed: int, signal_gone: bool, what: str) -> None:
    """The old primary is gone for good, and the new one's PostgreSQL dies after it has begun its
    timeline's history file (and taken standby.signal away), before the first record. The only one
    that can lead must not wait for a promotion that PostgreSQL will not do twice."""
    cluster = healthy(shape, seed)
    cluster.nodes["n0"].crash()
    end = cluster.world.now + 20.0
    cut: Node | None = None
    while cut is None:
        require(cluster, cluster.world.now < end, "nobody was promoted")
        cluster.run(0.001)
        for node in cluster.nodes.values():
            begun = node.server is Server.STANDBY and node.word.term in node.histories
            if begun and node.word.role is Role.PRIMARY and node.signal is not signal_gone:
                cut = node
    cluster.note(f"{cut.name}: its promotion is cut off, {what}")
    if what == "host":
        cut.crash()
        cluster.world.after(0.5, cut.boot)
    else:
        cut.kill_postgres()
    cluster.run(45.0)
    require(cluster, not cluster.unsettled(), f"after a cut promotion: {cluster.unsettled()}")


def _run_until_cut(cluster: Cluster, seconds: float, cut: Callable[[Node, str], bool]) -> None:
    """Cut a verb off at the first step for which `cut` says so (it does it, and says yes)."""
    done = False

    def at_step(node: Node, verb: str) -> None:
        nonlocal done
        done = done or cut(node, verb)

    cluster.step_hook = at_step
    end = cluster.world.now + seconds
    while not done:
        require(cluster, cluster.world.now < end, "what was to be cut off never came")
        cluster.run(0.05)
    cluster.step_hook = None


def witness_astray(seed: int) -> None:
    """A witness has WAL that the new primary has not, and dies when it was told to follow, before
    that WAL was moved aside: to start its receiver again does not help."""
    cluster = healthy(Shape(3, 2), seed)
    apart = {"n0", "n3"}
    pairs = {(a, b) for a in cluster.nodes for b in cluster.nodes if (a in apart) != (b in apart)}
    cluster.network.cuts |= pairs
    cluster.run(1.0)
    cluster.nodes["n0"].crash()
    cluster.nodes["n3"].crash()
    cluster.network.cuts.clear()
    cluster.run(10.0)
    cluster.nodes["n3"].boot()

    def cut(node: Node, verb: str) -> bool:
        if verb != "follow" or node.word.upstream in (None, "n0"):
            return False
        node.crash()
        cluster.world.after(0.5, node.boot)
        return True

    _run_until_cut(cluster, 10.0, cut)
    cluster.run(30.0)
    require(cluster, not cluster.unsettled(), f"a witness astray: {cluster.unsettled()}")


def standby_astray(seed: int) -> None:
    """A fence is cut off before standby.signal is laid, and the `follow` after it behind its word:
    the data is still a primary's, and nobody but `follow` makes it a standby's."""
    cluster = healthy(Shape(2, 1), seed)
    cluster.write_every_s = 1e6  # nothing that it alone has
    cluster.run(2.0)
    pairs = [p for n in cluster.nodes if n != "n0" for p in _both(n, "n0")]
    cluster.network.cuts |= set(pairs)

    def cut_fence(node: Node, verb: str) -> bool:
        if verb != "fence" or node.server is not Server.NONE:
            return False
        node.crash()
        return True

    def cut_follow(node: Node, verb: str) -> bool:
        if verb != "follow" or node.name != "n0" or node.word.role is not Role.STANDBY:
            return False
        node.crash()
        cluster.world.after(0.5, node.boot)
        return True

    _run_until_cut(cluster, 10.0, cut_fence)
    cluster.run(8.0)
    cluster.network.cuts.clear()
    cluster.nodes["n0"].boot()
    _run_until_cut(cluster, 20.0, cut_follow)
    cluster.run(30.0)
    require(cluster, not cluster.unsettled(), f"a standby astray: {cluster.unsettled()}")
