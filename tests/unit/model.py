"""A model of the nodes that implements `execute.World`: WAL, durable words, containers, doors.

It follows pgha/node closely: each verb is a generator that yields between its durable effects, so
that a run can be cut there. What it says about PostgreSQL is pessimistic: a follower counts for the
quorum by its position alone, whatever its log holds. Its agents tend their nodes and let clients
in, and decide nothing: an operator's command must do without an election.

WAL is a list of entries (timeline, number); a promotion and a shutdown write one too. The LSN is
the number of entries. An entry that a client was told about is in `acknowledged`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pgha.commands.lsn import is_beginning_of, parse_lsn
from pgha.errors import Failed, PghaError, Unreachable
from pgha.node.report import (
    Assignment,
    Backend,
    Data,
    Door,
    Follower,
    Postgres,
    Report,
    Role,
    Slot,
    Wal,
)
from pgha.plan import Run, Step, Verb
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Kind, Topology

Entry = tuple[int, int]
Log = tuple[Entry, ...]


class Cut(Exception):
    """The operator's process died here."""


class VerbFailed(Failed):
    """A verb refused or failed."""


class Broken(AssertionError):
    """A rule of DESIGN section 4 does not hold."""


def timeline_of(log: Log) -> int:
    return log[-1][0] if log else 1


def history_of(log: Log) -> tuple[tuple[int, int], ...]:
    """(timeline, LSN where it was left), oldest first, the last timeline left out."""
    found: list[tuple[int, int]] = []
    for at, (before, after) in enumerate(pairwise(log)):
        if before[0] != after[0]:
            found.append((before[0], at + 1))
    return tuple(found)


@dataclass
class ModelNode:
    """One node: first what is on its disks, then what a restart of the container forgets.

    gate: PostgreSQL lets clients in. began: where the WAL ended when it became the primary that it
    is; who was let in sees all up to there. let_in: somebody was, and the rule held. held: an
    operator's command is at work, so its agent tends nothing.
    """

    name: str
    kind: Kind
    assignment: Assignment = field(default_factory=Assignment)
    log: Log = ()
    has_data: bool = True
    standby_signal: bool = True
    was_primary: bool = False
    clean: bool = True
    conf_upstream: str | None = None
    rewinding: bool = False
    gate: bool = False
    slots: set[str] = field(default_factory=set)
    aside: set[Entry] = field(default_factory=set)
    seen: set[Entry] = field(default_factory=set)

    container: ContainerStatus = ContainerStatus.RUNNING
    reachable: bool = True
    runs: bool = False
    recovery: bool = True
    receives: bool = False
    door: tuple[str, tuple[str, ...]] | None = None
    began: int = 0
    let_in: bool = False
    held: bool = False

    @property
    def up(self) -> bool:
        return self.container is ContainerStatus.RUNNING

    @property
    def is_primary(self) -> bool:
        return self.up and self.runs and not self.recovery

    @property
    def upstream(self) -> str | None:
        """From whom WAL would come now."""
        if not self.up:
            return None
        if self.kind is Kind.WITNESS:
            return self.assignment.upstream if self.receives else None
        return self.conf_upstream if self.runs and self.recovery else None

    def change(self, **fields: object) -> None:
        changed = replace(self.assignment, **fields)  # type: ignore[arg-type]
        if changed.term < self.assignment.term:
            raise Broken(f"{self.name}: a term went down")
        self.assignment = changed

    def append(self, entries: Log) -> None:
        self.log += entries
        self.seen.update(entries)

    def become(self, log: Log) -> None:
        """Another log; what it had beyond is kept aside."""
        self.aside.update(set(self.log) - set(log))
        self.log = log
        self.seen.update(log)


class Model:
    """The World of a simulation.

    mutations: what the verbs of these nodes do wrong, to see that it is found out.
    cut_at: how many more cut points are passed; then `mode` happens: `operator` (its process dies,
    the verb goes on to its end), `verb` (the verb dies, the node lives), `node` (the container is
    killed).
    """

    def __init__(
        self, topology: Topology, seed: int = 0, mutations: frozenset[str] = frozenset()
    ) -> None:
        self.topology = topology
        self.mutations = mutations
        self.random = random.Random(seed)
        self.nodes = {n.name: ModelNode(n.name, n.kind) for n in topology.nodes}
        self.acknowledged: set[Entry] = set()
        self.clock = 0.0
        self.cut_at: int | None = None
        self.mode = "operator"
        self.holding = False
        self.observations = 0
        self._numbers = 0
        self._by_container = {n.container: n.name for n in topology.nodes}

    # --- a healthy cluster to begin with ---------------------------------------------------------

    @classmethod
    def healthy(
        cls, topology: Topology, seed: int = 0, mutations: frozenset[str] = frozenset()
    ) -> Model:
        model = cls(topology, seed, mutations)
        home = model.nodes[topology.home]
        home.was_primary, home.standby_signal, home.recovery, home.runs = True, False, False, True
        home.assignment = Assignment(1, Role.PRIMARY, doors=True, led=1)
        home.append(((1, model._number()),))
        home.began = len(home.log)
        home.slots = {n.name for n in topology.others(home.name)}
        for node in model.nodes.values():
            if node is not home:
                role = Role.WITNESS if node.kind is Kind.WITNESS else Role.STANDBY
                node.assignment = Assignment(1, role, home.name, doors=True)
                node.has_data = node.kind is Kind.DATA
                node.append(home.log)
                node.conf_upstream = home.name
        up = tuple(n.name for n in topology.data_nodes)
        for node in model.nodes.values():
            model._tend(node)
            node.door = (home.name, up)
            node.gate = node.kind is Kind.DATA
        model.write()
        return model

    # --- execute.World ---------------------------------------------------------------------------

    def observe(self, names: tuple[str, ...] | None = None) -> tuple[NodeState, ...]:
        self.observations += 1
        self.tick()
        wanted = [n for n in self.nodes.values() if names is None or n.name in names]
        return tuple(self.state_of(n) for n in wanted)

    def whole(self, *, rest: bool = True) -> ClusterState:
        self.tick()
        states = tuple(self.state_of(n, rest=rest) for n in self.nodes.values())
        return ClusterState(self.topology, states)

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        self.tick()
        node = self.nodes[step.node]
        self._point(node)
        if not node.reachable:
            raise Unreachable(f"{node.name} does not answer.")
        if isinstance(step.action, Run):
            for command in step.action.commands:
                self._docker(command.words)
            self._point(node)
            return None
        assert isinstance(step.action, Verb)
        if not node.up:
            raise Unreachable(f"{node.name} does not answer.")
        node.held = self.holding
        args = dict(step.action.known_args(state))
        self._run_verb(node, step.action.name, args)
        return self.state_of(node)

    def at_once(
        self, jobs: Mapping[str, Callable[[], NodeState | None]], *, timeout_s: float
    ) -> dict[str, NodeState | PghaError | None]:
        """One after the other, in any order: a cut leaves some of them undone."""
        answers: dict[str, NodeState | PghaError | None] = {}
        keys = list(jobs)
        self.random.shuffle(keys)
        for key in keys:
            try:
                answers[key] = jobs[key]()
            except PghaError as error:
                answers[key] = error
        return answers

    def now(self) -> float:
        return self.clock

    def pause(self) -> None:
        self.clock += 1.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """An operator's command is at work: the agents that it reaches tend nothing meanwhile."""
        self.holding = True
        for node in self.nodes.values():
            node.held = node.up and node.reachable
        try:
            yield
        finally:
            self.holding = False
            for node in self.nodes.values():
                node.held = False

    # --- cutting ---------------------------------------------------------------------------------

    def _point(self, node: ModelNode) -> bool:
        """A place where a run can be cut. True: the verb shall die here."""
        self.check()
        if self.cut_at is None:
            return False
        self.cut_at -= 1
        if self.cut_at >= 0:
            return False
        if self.mode == "node":
            self.cut_at = None
            self.kill(node.name)
            raise Unreachable(f"{node.name} does not answer any more.")
        return True

    def _run_verb(self, node: ModelNode, name: str, args: dict[str, str]) -> None:
        verb = getattr(self, f"_verb_{name}")
        died = False
        for _ in verb(node, args):
            if self._point(node) and not died:
                died = True
                if self.mode == "verb":
                    self.cut_at = None
                    raise Cut
        if self._point(node) or died:
            self.cut_at = None
            self.tick()
            raise Cut

    def cut(self) -> bool:
        """Whether the cut that was asked for has happened."""
        return self.cut_at is None

    # --- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """A moment: agents tend their nodes, clients write."""
        self.clock += 0.01
        for node in self.nodes.values():
            self._tend(node)
        self.write()

    def _tend(self, node: ModelNode) -> None:
        """What an agent does that decides nothing: it starts no primary."""
        told = node.assignment
        if not node.up:
            return
        if told.role is Role.PRIMARY and self.random.random() < 0.3:
            self._let_in(node)
        if node.held:
            node.receives = node.receives and self._serves(told.upstream)
            return
        if told.role is Role.FENCED and node.runs and not node.standby_signal:
            self._stop(node)
            node.standby_signal = True
        if told.role is Role.STANDBY and not told.stopped and node.standby_signal:
            self._launch(node)
        if node.kind is Kind.WITNESS:
            node.receives = bool(told.upstream) and not told.stopped and self._serves(told.upstream)
        if told.doors and node.door is None:
            node.door = ("", ())

    def _serves(self, name: str | None) -> bool:
        return name is not None and self.nodes[name].is_primary

    def _launch(self, node: ModelNode) -> None:
        if node.kind is Kind.DATA and node.has_data and not node.runs and not node.rewinding:
            node.runs, node.recovery = True, node.standby_signal
            node.clean = False
            if node.recovery:
                node.was_primary = False
            else:
                node.began, node.let_in = len(node.log), False

    def _let_in(self, node: ModelNode) -> bool:
        """The gate opens if a majority has everything: a commit of the term's own, and what was
        there before. Followers that stream get it while it is waited for."""
        if not node.is_primary or node.gate:
            return node.is_primary
        self._grow(node)
        for follower in self.followers(node):
            self._deliver(node, follower)
        have = [f for f in self.counted(node) if len(f.log) >= len(node.log)]
        node.gate = len(have) >= self.needed(node) or "confirm waits for nobody" in self.mutations
        self.check()
        return node.gate

    def _stop(self, node: ModelNode, *, clean: bool = True) -> None:
        """End PostgreSQL; a fast shutdown of a primary gives its followers everything first."""
        if not node.runs:
            return
        if clean and not node.recovery:
            self._grow(node)
            for follower in self.followers(node):
                self._deliver(node, follower)
        node.runs, node.clean = False, clean

    # --- replication -----------------------------------------------------------------------------

    def followers(self, primary: ModelNode) -> list[ModelNode]:
        """Who is connected to it and has a slot."""
        if not primary.is_primary:
            return []
        return [
            n
            for n in self.nodes.values()
            if n is not primary and n.upstream == primary.name and n.name in primary.slots
        ]

    def _deliver(self, primary: ModelNode, follower: ModelNode) -> None:
        have = len(follower.log)
        if primary.log[:have] == follower.log:
            follower.append(primary.log[have:])

    def needed(self, primary: ModelNode) -> int:
        if not self.topology.quorum_commit:
            return 0
        voters = primary.assignment.voters or self.topology.names
        return (len([v for v in voters if v != primary.name]) + 1) // 2

    def counted(self, primary: ModelNode) -> list[ModelNode]:
        voters = primary.assignment.voters or self.topology.names
        return [f for f in self.followers(primary) if f.name in voters]

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _grow(self, node: ModelNode) -> None:
        node.append(((max(timeline_of(node.log), 1), self._number()),))

    def write(self) -> None:
        """Clients write wherever they can; some followers get it, some writes are acknowledged."""
        for node in self.nodes.values():
            if not node.is_primary or len(node.log) > 400:
                continue
            self._grow(node)
            for follower in self.followers(node):
                if self.random.random() < 0.7:
                    self._deliver(node, follower)
            self._acknowledge(node)
        self.check()

    def _acknowledge(self, node: ModelNode) -> None:
        ends = sorted((len(f.log) for f in self.counted(node)), reverse=True)
        needed = self.needed(node)
        if len(ends) < needed:
            return
        end = min(len(node.log), ends[needed - 1]) if needed else len(node.log)
        own = timeline_of(node.log)
        for entry in reversed(node.log[:end]):
            if entry[0] != own or entry in self.acknowledged:
                break
            self.acknowledged.add(entry)
            on_disk = [n for n in self.nodes.values() if entry in n.log]
            if len(on_disk) <= needed:
                raise Broken(f"rule 2: {entry} was acknowledged and is on {len(on_disk)} disks")

    # --- the rules -------------------------------------------------------------------------------

    def writers(self) -> list[ModelNode]:
        """Nodes that could acknowledge a write now."""
        running = [n for n in self.nodes.values() if n.is_primary]
        return [n for n in running if len(self.counted(n)) >= self.needed(n)]

    def check(self) -> None:
        writers = self.writers()
        if len(writers) > 1:
            raise Broken(f"rule 1: {' and '.join(n.name for n in writers)} acknowledge writes")
        primaries = [n for n in self.nodes.values() if n.is_primary]
        newest = max(timeline_of(n.log) for n in self.nodes.values())
        for node in primaries:
            if timeline_of(node.log) < newest and node not in writers:
                continue
            lost = self.acknowledged - set(node.log)
            if lost:
                raise Broken(f"rule 2: {node.name} serves without {sorted(lost)[:3]}")
        for node in primaries:
            if node.gate and not node.let_in:
                self._check_let_in(node)
        for node in self.nodes.values():
            gone = node.seen - set(node.log) - node.aside
            if gone:
                raise Broken(f"rule 5: {node.name} deleted {sorted(gone)[:3]}")

    def _check_let_in(self, node: ModelNode) -> None:
        """What the first clients see is on a majority's disks, the beginning of its term too."""
        shown = node.log[: node.began]
        on_disk = [n for n in self.nodes.values() if n.log[: node.began] == shown]
        if len(on_disk) <= self.needed(node):
            raise Broken(
                f"rule 2: {node.name} lets clients in, and {shown[-1:]} is on {len(on_disk)} disks"
            )
        node.let_in = True

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """docker kill, a power cut."""
        node = self.nodes[name]
        if node.up:
            self._stop(node, clean=False)
            node.container, node.receives, node.door = ContainerStatus.STOPPED, False, None
            node.held = False

    def start_container(self, name: str) -> None:
        node = self.nodes[name]
        if node.container is ContainerStatus.STOPPED:
            node.container = ContainerStatus.RUNNING
            self._tend(node)

    def kill_postgres(self, name: str) -> None:
        self._stop(self.nodes[name], clean=False)

    def remove(self, name: str) -> None:
        """docker rm -f: the volumes stay."""
        self.kill(name)
        self.nodes[name].container = ContainerStatus.MISSING

    def stop_container(self, name: str) -> None:
        node = self.nodes[name]
        if node.up:
            self._stop(node)
            node.container, node.receives, node.door = ContainerStatus.STOPPED, False, None
            node.held = False

    def _docker(self, words: tuple[str, ...]) -> None:
        name = next(self._by_container[w] for w in words if w in self._by_container)
        node = self.nodes[name]
        if "start" in words:
            self.start_container(name)
        elif "stop" in words:
            self.stop_container(name)
        elif "create" in words and node.container is ContainerStatus.MISSING:
            node.container = ContainerStatus.STOPPED

    # --- verbs, as pgha/node does them -----------------------------------------------------------

    def _look(self, node: ModelNode, name: str) -> ModelNode:
        other = self.nodes[name]
        if not other.is_primary:
            raise VerbFailed(f"{node.name}: {name} does not answer as a primary.")
        return other

    def _is_beginning(self, node: ModelNode, other: ModelNode) -> bool:
        log = other.log
        return is_beginning_of(
            timeline_of(node.log), len(node.log), history_of(log), timeline_of(log)
        )

    def _require_no_primary(self, node: ModelNode) -> None:
        if node.is_primary:
            raise VerbFailed(f"{node.name} runs as a primary: fence it first.")

    def _verb_serve(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        term = int(args["term"])
        passed_over = node.assignment.term > term or timeline_of(node.log) > term
        if passed_over and "serve ignores terms" not in self.mutations:
            raise VerbFailed(f"{node.name} knows of a later term.")
        if not node.is_primary and (node.runs or not node.was_primary or not node.has_data):
            raise VerbFailed(f"{node.name}'s data was no primary's last.")
        node.change(
            term=max(term, node.assignment.term),
            role=Role.PRIMARY,
            upstream=None,
            stopped=False,
            position=None,
            led=term,
        )
        yield
        if not node.runs:
            if "serve leaves the gate open" not in self.mutations:
                node.gate = False
            node.standby_signal = False
            self._launch(node)
        yield
        node.slots.update(n.name for n in self.topology.others(node.name))

    def _verb_follow(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        source, term = args["upstream"], int(args["term"])
        if node.assignment.term > term:
            raise VerbFailed(f"{node.name} knows of term {node.assignment.term}.")
        role = Role.WITNESS if node.kind is Kind.WITNESS else Role.STANDBY
        told = {"term": term, "role": role, "upstream": source, "stopped": False, "position": None}
        told["voted_for"] = node.assignment.voted_for if node.assignment.term == term else None
        self._require_no_primary(node)
        upstream = self._look(node, source)
        if node.kind is Kind.WITNESS:
            yield
            node.receives = False
            node.change(**told)
            yield
            if not self._is_beginning(node, upstream):
                common = [e for e, o in zip(node.log, upstream.log, strict=False) if e == o]
                node.become(tuple(common))
            node.receives = True
        else:
            if not node.has_data:
                raise VerbFailed(f"{node.name} has no data.")
            if node.rewinding:
                raise VerbFailed(f"{node.name}: a rewind was cut off here.")
            if node.runs and node.conf_upstream != source:
                node.conf_upstream, node.gate = None, False
            yield
            checked = "follow checks nothing" not in self.mutations
            if checked and not self._is_beginning(node, upstream):
                raise VerbFailed(f"{node.name} has diverged from {source}.")
            node.change(**told)
            yield
            node.standby_signal, node.conf_upstream, node.gate = True, source, True
            yield
            self._launch(node)
        if node not in self.followers(upstream):
            raise VerbFailed(f"{node.name} does not stream.")
        self._deliver(upstream, node)
        node.slots.clear()

    def _verb_fence(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        if "fence stops nothing" in self.mutations:
            return
        node.change(
            role=Role.FENCED,
            upstream=args.get("to"),
            position=node.assignment.position if node.assignment.role is Role.FENCED else None,
        )
        node.gate = False
        yield
        self._stop(node, clean=self.random.random() < 0.8)
        yield
        node.standby_signal = True
        node.change(position=len(node.log))

    def _verb_vote(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        term, candidate, before = int(args["term"]), args["for"], node.assignment
        self._require_no_primary(node)
        if before.term > term:
            raise VerbFailed(f"{node.name} knows of term {before.term}.")
        if before.term == term and (before.voted_for != candidate or before.upstream is not None):
            raise VerbFailed(f"{node.name} took part in term {term}.")
        told: dict[str, object] = {"term": term, "voted_for": candidate}
        if before.role is Role.PRIMARY:
            told["role"] = Role.FENCED
        if "vote goes on receiving" not in self.mutations:
            node.receives, node.conf_upstream, node.gate = False, None, False
            yield
            told["upstream"] = None
        node.change(**told)
        yield
        node.change(position=len(node.log))

    def _verb_stand_by(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        self._require_no_primary(node)
        if node.rewinding or not node.has_data:
            raise VerbFailed(f"{node.name}'s data is not whole.")
        if not node.runs:
            node.standby_signal, node.conf_upstream, node.gate = True, None, False
            yield
            node.change(role=Role.STANDBY, upstream=None, stopped=False, position=None)
            yield
        self._launch(node)

    def _verb_fetch(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        source = self.nodes[args["source"]]
        if not node.runs or not source.up:
            raise VerbFailed(f"{node.name} gets nothing from {source.name}.")
        yield
        if (timeline_of(source.log), len(source.log)) <= (timeline_of(node.log), len(node.log)):
            return
        if source.log[: len(node.log)] != node.log:
            raise VerbFailed(f"WAL on {node.name} is no beginning of that of {source.name}.")
        if "fetch brings nothing" not in self.mutations:
            node.append(source.log[len(node.log) :])

    def _verb_promote(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        term = int(args["term"])
        lsn = parse_lsn(args["lsn"]) if "lsn" in args else 0
        voters = tuple(v for v in args.get("voters", "").split(",") if v)
        if node.assignment.term > term or term <= timeline_of(node.log):
            raise VerbFailed(f"{node.name} knows of a later term.")
        voted_for = node.assignment.voted_for
        if node.assignment.term == term and voted_for not in (None, node.name):
            raise VerbFailed(f"{node.name} voted for {voted_for} in term {term}.")
        if not node.runs or not node.recovery:
            raise VerbFailed(f"{node.name} runs no standby.")
        if len(node.log) < lsn and "promote ignores the LSN" not in self.mutations:
            raise VerbFailed(f"{node.name} is behind.")
        node.change(
            term=term,
            role=Role.PRIMARY,
            upstream=None,
            stopped=False,
            position=None,
            voters=voters or node.assignment.voters,
            voted_for=node.name,
            led=term,
        )
        node.conf_upstream = None
        if "promote leaves the gate open" not in self.mutations:
            node.gate = False
        yield
        node.slots = {n.name for n in self.topology.others(node.name)}
        yield
        node.append(((term, self._number()),))
        node.recovery, node.standby_signal, node.was_primary = False, False, True
        node.began, node.let_in = len(node.log), False

    def _verb_confirm(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        told = node.assignment
        if (told.role, told.term) != (Role.PRIMARY, int(args["term"])) or not node.is_primary:
            raise VerbFailed(f"{node.name} is no primary of term {args['term']}.")
        yield
        if not self._let_in(node):
            raise VerbFailed(f"No majority has a commit of {node.name}'s.")

    def _verb_admit(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        if not node.is_primary:
            raise VerbFailed("Only a primary admits others.")
        voters = node.assignment.voters
        if voters and args["node"] not in voters:
            node.change(voters=(*voters, args["node"]))
        yield
        node.slots.update(n.name for n in self.topology.others(node.name))

    def _verb_rewind(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        self._require_no_primary(node)
        source = self._look(node, args["upstream"])
        if not node.rewinding and self._is_beginning(node, source):
            return
        if args.get("check"):
            return
        self._stop(node)
        node.was_primary = False
        yield
        node.rewinding = True
        yield
        node.become(source.log)
        node.clean = False
        yield
        node.standby_signal = True
        node.change(role=Role.FENCED, upstream=None, position=None)
        yield
        node.rewinding = False

    def _verb_copy(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        self._require_no_primary(node)
        source = self._look(node, args["upstream"])
        yield
        self._stop(node)
        node.has_data = False
        node.become(())
        yield
        node.rewinding = False
        node.change(role=Role.FENCED, upstream=None, position=None)
        yield
        source = self._look(node, args["upstream"])
        node.become(source.log)
        node.has_data, node.standby_signal, node.was_primary, node.clean = True, True, False, False

    def _verb_steer(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        node.change(doors=True)
        yield
        node.door = (args["primary"], tuple(n for n in args["up"].split(",") if n))

    def _verb_halt(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        node.change(doors=False)
        node.door = None
        yield
        if args["services"] == "all":
            node.change(stopped=True)
            yield
            node.receives = False
            self._stop(node)

    # --- what a probe says -----------------------------------------------------------------------

    def state_of(self, node: ModelNode, *, rest: bool = False) -> NodeState:
        host = self.topology.node(node.name).host
        seen = NodeState(node.name, node.kind, host, node.container, seen_at=self.clock)
        if not node.reachable:
            return replace(seen, container=ContainerStatus.UNKNOWN, error="no answer")
        if node.up:
            return replace(seen, report=self._report(node))
        return replace(seen, report=self._report(node), at_rest=True) if rest else seen

    def _report(self, node: ModelNode) -> Report:
        log = node.log
        door = Door(False)
        if node.up and node.door is not None:
            primary, up = node.door
            door = Door(
                True,
                tuple(
                    Backend(
                        n.name,
                        "up" if n.name in up else "down",
                        "primary" if n.name == primary else "standby",
                    )
                    for n in self.topology.data_nodes
                ),
            )
        if node.kind is Kind.WITNESS:
            wal = Wal(
                node.up and node.receives, timeline_of(log) if log else None, len(log) or None
            )
            return Report(node.name, node.assignment, node.up, wal=wal, door=door)
        data = None
        if node.has_data:
            states = ("shut down", "in production")
            if not node.was_primary:
                states = ("shut down in recovery", "in archive recovery")
            known = node.clean and not node.runs
            data = Data("1", states[0 if known else 1], timeline_of(log), len(log), None)
            data = replace(data, position=len(log) if known else None)
        return Report(
            node.name, node.assignment, node.up, data=data, postgres=self._postgres(node), door=door
        )

    def _postgres(self, node: ModelNode) -> Postgres:
        if not node.up or not node.runs:
            return Postgres(running=False)
        end = len(node.log)
        return Postgres(
            running=True,
            accepting=True,
            in_recovery=node.recovery,
            timeline=timeline_of(node.log),
            lsn=end,
            history=history_of(node.log),
            quorum="ANY" if self.needed(node) else "",
            followers=tuple(
                Follower(f.name, "streaming", "quorum", len(f.log), max(0, end - len(f.log)))
                for f in self.followers(node)
            ),
            slots=tuple(
                Slot(self.topology.node(name).slot, False, "reserved", 0)
                for name in sorted(node.slots)
            ),
            upstream=node.upstream,
            opened=node.gate,
        )
