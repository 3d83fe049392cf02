"""All nodes, their clients, and the rules that need a view of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pgha.commands.lsn import is_beginning_of
from pgha.node.election import Election
from pgha.node.election_types import Config, Do, Rest, Say, Server, Voter
from pgha.node.report import Role
from tests.unit.election import server
from tests.unit.election.node import Node
from tests.unit.election.rules import Rules
from tests.unit.election.server import history_of, timeline_of
from tests.unit.election.verbs import Word
from tests.unit.election.world import Broken, Network, World

# After a majority is gone: the timeout, a verb that was at work, and the end of PostgreSQL.
STEP_DOWN_S = 6.0


@dataclass(frozen=True)
class Shape:
    """How many nodes have data, how many are witnesses; asynchronous: no quorum commit."""

    data: int
    witnesses: int = 0
    asynchronous: bool = False

    def __str__(self) -> str:
        kind = ", asynchronous" if self.asynchronous else ""
        return f"{self.data} data, {self.witnesses} witnesses{kind}"


SHAPES = (
    Shape(2, 1),
    Shape(3),
    Shape(2, 2),
    Shape(3, 1),
    Shape(3, 2),
    Shape(2),
    Shape(2, asynchronous=True),
)

StepHook = Callable[[Node, str], None]
Maker = Callable[[Config, float, Random], Election]


class Cluster:
    """A cluster that was healthy when it began: node-0 is the primary of term 1."""

    def __init__(
        self,
        shape: Shape,
        seed: int,
        *,
        mutations: frozenset[str] = frozenset(),
        election: Maker = Election,
        drift: bool = True,
        loose_link: bool = False,
        timeout_s: float = 1.5,
    ) -> None:
        self.world = World(seed)
        self.network = Network(self.world)
        self.mutations, self.election, self.drift = mutations, election, drift
        self.loose_link, self.timeout_s = loose_link, timeout_s
        self.asynchronous = shape.asynchronous
        self.pace = 1.0
        self.writes = 0
        self.write_every_s = 0.15
        self.step_hook: StepHook | None = None
        self.events: list[tuple[str, str]] = []
        voters = tuple(
            Voter(f"n{i}", data=i < shape.data) for i in range(shape.data + shape.witnesses)
        )
        self.nodes = {
            v.name: Node(self, v.name, v.data, Config(v.name, voters, election_timeout_s=timeout_s))
            for v in voters
        }
        self.rules = Rules(self.nodes, self.broken)
        for node in self.nodes.values():
            self._begin(node)
        self.world.after(0.1, self._write)

    def _begin(self, node: Node) -> None:
        first = node.name == "n0"
        role = Role.PRIMARY if first else Role.STANDBY if node.data else Role.WITNESS
        node.write_word(
            Word(1, "n0" if first else None, role, None if first else "n0", led=int(first))
        )
        node.log = [(1, 0)]
        node.histories = {1}
        server.sync(node)
        if first:
            self.rules.promoted(node, 1, 1)
        node.source = None if first else "n0"
        node.boot()
        node.gate = True
        node.signal = not first
        if not node.data:
            node.server = Server.RECEIVING
        else:
            node.rest = Rest.PRIMARY if first else Rest.STANDBY
            server.start(node, as_primary=first)

    # --- outside ---------------------------------------------------------------------------------

    def broken(self, text: str) -> Broken:
        return self.world.broken(text)

    def note(self, text: str) -> None:
        self.world.trace.append(f"{self.world.now:8.3f} {text}")

    def said(self, node: str, say: Say) -> None:
        self.events.append((node, say.event))

    def at_step(self, node: Node, verb: str) -> None:
        if self.step_hook is not None:
            self.step_hook(node, verb)

    def _write(self) -> None:
        for node in self.nodes.values():
            self.rules.now = self.world.now
            server.write(node)
        self.world.after(self.world.random.uniform(0, 2 * self.write_every_s), self._write)

    def run(self, seconds: float) -> None:
        """Time passes."""
        self.world.run_until(self.world.now + seconds)

    # --- rules that need the view from outside ---------------------------------------------------

    def check_resume(self, node: Node, did: Do) -> None:
        """Nobody becomes the primary again without a majority that answers now (rule 3)."""
        resumes = did.verb == "serve" or (
            did.verb == "promote" and "lsn" not in did.args and not did.why.startswith("the vote")
        )
        if not resumes:
            return
        since = max(node.agent_began, node.clock() - self.timeout_s - 0.01)
        here = [n for n, at in node.answered_at.items() if at >= since]
        if len(here) + 1 < self.rules.majority:
            raise self.broken(f"{node.name} does {did.verb} and was answered by {here} only")

    def check_alone(self, node: Node) -> None:
        """A primary that no majority answers ends within moments of its own clock (rule 4)."""
        now = node.clock()
        if node.server is not Server.PRIMARY or node.word.stopped:
            node.primary_since = node.alone_since = None
            return
        if node.primary_since is None:
            node.primary_since = now
        since = max(node.primary_since, node.agent_began)
        silent = [
            n
            for n in node.config.others
            if now - max(since, node.answered_at.get(n, since)) > self.timeout_s
        ]
        if len(silent) < self.rules.majority:
            node.alone_since = None
            return
        if node.alone_since is None:
            node.alone_since = now
        if now - node.alone_since > STEP_DOWN_S:
            raise self.broken(f"{node.name} serves on, though nobody of {silent} answers")

    # --- liveness --------------------------------------------------------------------------------

    def primary(self) -> Node | None:
        """The one that is open, of the highest term."""
        found = [n for n in self.nodes.values() if n.server is Server.PRIMARY and n.gate]
        return max(found, key=lambda n: n.word.term, default=None)

    def works(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.works]

    def unsettled(self) -> str:
        """Why the cluster is not what it should be; empty: one primary, and all others follow."""
        leader = self.primary()
        if leader is None:
            return "there is no open primary"
        for node in self.works():
            if node is leader:
                continue
            if node.server in (Server.PRIMARY, Server.STARTING):
                return f"{node.name} is a primary beside {leader.name}"
            connection = leader.connections.get(node.name)
            if connection is None or not connection.alive or node.connection is not connection:
                return f"{node.name} does not stream from {leader.name}"
            if (node.word.term, node.word.upstream) != (leader.word.term, leader.name):
                return f"{node.name} is of term {node.word.term} of {node.word.upstream}"
            if not node.door:
                return f"{node.name} has no door"
        return ""

    def can_settle(self) -> bool:
        """Whether those that work are a majority that can vote, and one of them has all its WAL,
        or can fetch it."""
        voters = [n for n in self.works() if not n.rewinding]
        if len(voters) < self.rules.majority:
            return False
        best = max(voters, key=lambda n: n.position())
        return any(
            n.data
            and (
                n.log == best.log
                or is_beginning_of(
                    timeline_of(n.log), len(n.log), history_of(best.log), timeline_of(best.log)
                )
            )
            for n in voters
        )
