"""One node: its disk, its processes, and the shell around the agent's decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from pgha.node.election import Election
from pgha.node.election_types import Config, Do, Local, Rest, Result, Say, Send, Server
from pgha.node.messages import Message
from pgha.node.report import Role
from tests.unit.election import leading, server
from tests.unit.election.rules import Entry
from tests.unit.election.server import Connection, Pending, timeline_of
from tests.unit.election.verbs import Refused, Verb, Word

if TYPE_CHECKING:
    from tests.unit.election.cluster import Cluster

TICK_S = 0.1


@dataclass(frozen=True)
class Datagram:
    """What the link makes of a message. answers: the incarnation of the receiver that the sender
    knows, and when (the receiver's own clock) the latest was sent that it had from it."""

    sender: str
    incarnation: int
    number: int
    sent_at: float
    answers: tuple[int, float] | None
    message: Message | None


@dataclass
class Ear:
    """What the link keeps of a peer; unproved: who may be a recording."""

    incarnation: int = -1
    number: int = 0
    sent_at: float = float("-inf")
    answered_at: float = float("-inf")
    sent: int = 0
    unproved: tuple[int, float] | None = None


class Node:
    """A node of the model. Attributes of the first block are on its disk."""

    def __init__(self, cluster: Cluster, name: str, data: bool, config: Config) -> None:
        self.cluster, self.name, self.data, self.config = cluster, name, data, config
        self.word = self._synced_word = Word()
        self.log: list[Entry] = []
        self.synced = 0
        self.histories: set[int] = set()
        self.source: str | None = None
        self.signal = self.rewinding = False
        self.gate = False
        self.rest = Rest.NOTHING

        self.up = False
        self.host_run = self.agent_run = self.pg_run = 0
        self.paused_until = self.agent_paused_until = 0.0
        self.server = Server.NONE
        self.connection: Connection | None = None
        self.connections: dict[str, Connection] = {}
        self.pending: list[Pending] = []
        self.locked = self.held = self.door = False
        self.fit = True

        random = cluster.world.random
        self._rate = random.uniform(0.8, 1.25) if cluster.drift else 1.0
        self._offset = random.uniform(0, 1e5)
        self.election: Election | None = None
        self._ears: dict[str, Ear] = {}
        self._running: list[Verb] = []
        self._local = Local()
        # For the rules: when (own clock) we sent what each other node has answered to.
        self.answered_at: dict[str, float] = {}
        self.agent_began = float("-inf")
        self.primary_since: float | None = None
        self.alone_since: float | None = None

    # --- time ------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self._offset + self._rate * self.cluster.world.now

    @property
    def works(self) -> bool:
        return self.up and self.cluster.world.now >= self.paused_until

    def takes(self, low_s: float, high_s: float) -> float:
        return self.cluster.world.random.uniform(low_s, high_s) * self.cluster.pace

    def later(self, delay_s: float, what: Callable[[], None], *, agent: bool = False) -> None:
        """Due in a while, unless the host (the agent) dies before; late, if it stands still."""
        world = self.cluster.world
        run = self.agent_run if agent else self.host_run

        def due() -> None:
            if run != (self.agent_run if agent else self.host_run):
                return
            until = max(self.paused_until, self.agent_paused_until if agent else 0.0)
            if until > world.now:
                world.after(until - world.now, due)
            else:
                what()

        world.after(delay_s, due)

    # --- disk ------------------------------------------------------------------------------------

    def write_word(self, word: Word, durable: bool = True) -> None:
        self.word = word
        if durable:
            self._synced_word = word
        self.cluster.rules.term_is(self.name, word.term)
        self.cluster.note(f"{self.name}: {word.role} term {word.term} of {word.upstream}")

    def position(self) -> tuple[int, int]:
        return timeline_of(self.log), len(self.log)

    def mutated(self, what: str) -> bool:
        return what in self.cluster.mutations

    # --- life and death --------------------------------------------------------------------------

    def boot(self) -> None:
        """The host starts: nothing of PostgreSQL runs."""
        if self.up:
            return
        self.up = True
        self.host_run += 1
        self.cluster.note(f"{self.name} boots: {self.word.role} of term {self.word.term}")
        self.later(0.01, lambda: server.follow_upstream(self))
        self.start_agent()

    def crash(self) -> None:
        """Power is cut: what was not synced is gone."""
        if not self.up:
            return
        self.cluster.note(f"{self.name} loses power")
        self.stop_agent()
        server.stop(self)
        self.up = self.locked = self.held = self.door = False
        self.host_run += 1
        self.paused_until = 0.0
        self.word = self._synced_word
        # Its file is replaced, not synced: the one before may be back.
        self.gate = self.gate or self.cluster.world.random.random() < 0.3
        self.cluster.rules.term_is(self.name, self.word.term)
        server.lose(self)

    def kill_postgres(self) -> None:
        if self.up and self.server is not Server.NONE:
            self.cluster.note(f"{self.name}: PostgreSQL is killed")
            server.stop(self)

    def start_agent(self) -> None:
        if not self.up or self.election is not None:
            return
        self.agent_run += 1
        self.agent_paused_until = 0.0
        random = Random(self.cluster.world.random.getrandbits(32))
        self.agent_began = self.clock()
        self.answered_at = {}
        self.election = self.cluster.election(self.config, self.clock(), random)
        self._ears = {name: Ear() for name in self.config.others}
        self.later(self.takes(0.0, TICK_S), self._tick, agent=True)

    def stop_agent(self) -> None:
        """Its verbs end with it; PostgreSQL and Pgpool-II go on."""
        if self.election is None:
            return
        self.election = None
        self.agent_run += 1
        running, self._running = self._running, []
        for verb in running:
            verb.close()
        self.alone_since = None

    # --- the agent's shell -----------------------------------------------------------------------

    def local(self) -> Local:
        word = self.word
        standby = word.role is Role.STANDBY and self.signal
        rest = Rest.STANDBY if standby else self.rest
        return Local(
            term=word.term,
            voted_for=word.voted_for,
            role=word.role,
            led=word.led,
            upstream=self._upstream(),
            stopped=word.stopped,
            doors=True,
            voters=word.voters,
            server=self.server,
            rest=Rest.NOTHING if self.rewinding or not self.data else rest,
            timeline=timeline_of(self.log),
            opened=self.gate,
            up=tuple(name for name, c in self.connections.items() if c.alive),
            door=self.door,
            streams=word.upstream is None or self.connection is not None,
            held=self.held,
            fit=self.fit,
        )

    def _upstream(self) -> str | None:
        """A vote that was cut off may have emptied role.conf: then nobody is followed."""
        told = self.word.upstream
        follows = self.word.role is Role.STANDBY and self.data
        return told if not follows or self.source == told else None

    def _tick(self) -> None:
        election, run = self.election, self.agent_run
        assert election is not None
        self._local = self.local()
        self._act(election.tick(self.clock(), self._local))
        self.cluster.check_alone(self)
        if run == self.agent_run:
            self.later(self.takes(0.7 * TICK_S, 1.3 * TICK_S), self._tick, agent=True)

    def _act(self, actions: list[Send | Do | Say]) -> None:
        run = self.agent_run
        for action in actions:
            if run != self.agent_run:
                return
            match action:
                case Send(to=to, message=message):
                    self._send(to, message)
                case Do():
                    self._begin(action)
                case Say():
                    self.cluster.note(f"{self.name} says {action.event}: {action.text}")
                    self.cluster.said(self.name, action)

    def _send(self, to: str, message: Message | None) -> None:
        ear = self._ears[to]
        ear.sent += 1
        heard = (ear.incarnation, ear.sent_at) if ear.incarnation >= 0 else None
        # Only an empty one answers who may be a recording: else a recording would make us deaf.
        answers = ear.unproved or heard if message is None else heard or ear.unproved
        datagram = Datagram(self.name, self.agent_run, ear.sent, self.clock(), answers, message)
        other = self.cluster.nodes[to]

        def deliver() -> None:
            if other.up and other.election is not None:
                other.later(0.0, lambda: other.hear(datagram), agent=True)

        self.cluster.network.send(self.name, to, deliver)

    def hear(self, datagram: Datagram) -> None:
        """As `pgha.node.link` takes or leaves it."""
        election = self.election
        if election is None:
            return
        ear = self._ears[datagram.sender]
        answers = self._taken(ear, datagram)
        if answers is None or datagram.message is None:
            return
        self.answered_at[datagram.sender] = max(
            answers, self.answered_at.get(datagram.sender, answers)
        )
        # What it sees of itself is now and then from a moment before; but it never goes back.
        if self.cluster.world.random.random() < 0.7:
            self._local = self.local()
        message = datagram.message
        self._act(election.received(self.clock(), self._local, datagram.sender, message, answers))

    def _taken(self, ear: Ear, datagram: Datagram) -> float | None:
        """When we sent what it answers to; None: it is not taken."""
        its, answers = datagram.incarnation, datagram.answers
        known = its == ear.incarnation
        old = known and datagram.number <= ear.number
        if answers is None or answers[0] != self.agent_run:
            if not old and datagram.message is not None:
                if not known:
                    ear.unproved = (its, datagram.sent_at)
                self._send(datagram.sender, None)
            return None
        if old and not self.cluster.loose_link:
            return None
        if not known and answers[1] < ear.answered_at:
            return None  # from before the one that we know
        ear.incarnation, ear.unproved = its, None
        ear.number = max(ear.number, datagram.number) if known else datagram.number
        ear.sent_at = max(ear.sent_at, datagram.sent_at) if known else datagram.sent_at
        ear.answered_at = max(ear.answered_at, answers[1])
        return answers[1]

    def _begin(self, did: Do) -> None:
        self.cluster.note(f"{self.name} does {did.verb} {dict(did.args)}: {did.why}")
        self.cluster.check_resume(self, did)
        verb = leading.begin(self, did.verb, did.args)
        self._running.append(verb)
        self._step(did, verb)

    def _step(self, did: Do, verb: Verb) -> None:
        try:
            pause_s = next(verb)
        except StopIteration as end:
            self._finish(did, verb, True, "", str(end.value))
        except Refused as refusal:
            self._finish(did, verb, False, refusal.code, str(refusal))
        else:
            self.later(pause_s, lambda: self._step(did, verb), agent=True)
            self.cluster.at_step(self, did.verb)

    def _finish(self, did: Do, verb: Verb, ok: bool, code: str, said: str) -> None:
        self._running.remove(verb)
        if not ok:
            self.cluster.note(f"{self.name}: {did.verb} failed: {code}")
        timeline, lsn = 0, 0
        if did.verb == "vote" and ok:
            timeline, lsn = (int(part) for part in said.split())
        self.later(
            self.takes(0.0, 0.02),
            lambda: self._finished(did, Result(ok, code, said, timeline, lsn)),
            agent=True,
        )

    def _finished(self, did: Do, result: Result) -> None:
        if self.election is not None:
            self._local = self.local()
            self._act(self.election.finished(self.clock(), self._local, did, result))
