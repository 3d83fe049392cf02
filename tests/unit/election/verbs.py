"""The verbs as `pgha.node` has them: each `yield` is a moment that takes time, and at which the node,
its agent or its PostgreSQL may die. Arguments, refusals and their order are those of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pgha.commands.lsn import is_beginning_of
from pgha.node.election import Rest, Server
from pgha.node.report import Role
from tests.unit.election import server
from tests.unit.election.rules import Entry
from tests.unit.election.server import history_of, timeline_of

if TYPE_CHECKING:
    from tests.unit.election.node import Node

Verb = Generator[float, None, str]
CONFIRM_S = 0.5
LOCK_S = 10.0


class Refused(Exception):
    """A verb that does not do it; code as the real one's."""

    def __init__(self, code: str, said: str = "") -> None:
        super().__init__(said or code)
        self.code = code


@dataclass(frozen=True)
class Word:
    """The assignment: durable."""

    term: int = 0
    voted_for: str | None = None
    role: Role = Role.FENCED
    upstream: str | None = None
    stopped: bool = False
    led: int = 0
    voters: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        return self.role is Role.PRIMARY and not self.stopped


def locked(node: Node, verb: Verb) -> Verb:
    """One verb at a time on a node."""
    end = node.clock() + LOCK_S
    while node.locked:
        if node.clock() >= end:
            raise Refused("busy")
        yield 0.02
    node.locked = True
    try:
        return (yield from verb)
    finally:
        node.locked = False


def _primary_runs(node: Node) -> bool:
    return node.server in (Server.PRIMARY, Server.STARTING)


def _runs(node: Node) -> bool:
    return node.server in (Server.PRIMARY, Server.STARTING, Server.STANDBY)


def _disconnect(node: Node) -> Verb:
    """role.conf names no upstream, durably; then the receiver ends."""
    node.gate = False
    node.source = None
    yield node.takes(0.001, 0.01)
    server.end_receiver(node)
    return ""


# --- voting --------------------------------------------------------------------------------------


def vote(node: Node, term: int, candidate: str) -> Verb:
    yield node.takes(0.001, 0.01)
    before = node.word
    if node.data and _primary_runs(node):
        raise Refused("primary")
    if node.rewinding:
        raise Refused("rewinding")
    if before.term > term:
        raise Refused("old-term")
    if before.term == term and (before.voted_for != candidate or before.upstream is not None):
        raise Refused("voted")
    if node.mutated("vote before the receiver ends"):
        yield from _grant(node, term, candidate)
        end = node.position()
        yield node.takes(0.001, 0.05)
        yield from _end_receiver(node)
    else:
        yield from _end_receiver(node)
        yield node.takes(0.001, 0.01)
        yield from _grant(node, term, candidate)
        end = node.position()
    node.cluster.rules.voted(node.name, term, candidate)
    return f"{end[0]} {end[1]}"


def _end_receiver(node: Node) -> Verb:
    if node.data:
        yield from _disconnect(node)
    else:
        server.end_receiver(node)
        node.server = Server.NONE
    return ""


def _grant(node: Node, term: int, candidate: str) -> Verb:
    role = Role.FENCED if node.word.role is Role.PRIMARY else node.word.role
    said = replace(node.word, term=term, voted_for=candidate, role=role, upstream=None)
    node.write_word(said, durable=not node.mutated("a vote that is not synced"))
    yield node.takes(0.001, 0.01)
    return ""


# --- following -----------------------------------------------------------------------------------


def _look(node: Node, name: str) -> Node:
    """The other one's PostgreSQL, which must be a primary's."""
    other = node.cluster.nodes[name]
    joined = node.cluster.network.joined(node.name, name)
    if not joined or not other.works or other.server is not Server.PRIMARY:
        raise Refused("upstream", f"{name} does not answer as a primary")
    return other


def _is_beginning(log: list[Entry], of: list[Entry]) -> bool:
    return not log or is_beginning_of(timeline_of(log), len(log), history_of(of), timeline_of(of))


def _common(log: list[Entry], other: list[Entry]) -> int:
    count = 0
    for mine, theirs in zip(log, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def follow(node: Node, upstream: str, term: int, timeout_s: float) -> Verb:
    yield node.takes(0.001, 0.01)
    before = node.word
    if before.term > term:
        raise Refused("old-term")
    role = Role.STANDBY if node.data else Role.WITNESS
    voted_for = before.voted_for if before.term == term else None
    after = replace(
        before, term=term, voted_for=voted_for, role=role, upstream=upstream, stopped=False
    )
    if node.data and _streams(node, upstream) and after == before:
        return "streams"
    if node.data and _primary_runs(node):
        raise Refused("primary")
    if node.rewinding:
        raise Refused("rewinding")
    source = _look(node, upstream)
    if node.data:
        yield from _follow_as_standby(node, source, before, after)
    else:
        yield from _follow_as_witness(node, source, after)
    end = node.clock() + timeout_s
    while not _streams(node, upstream):
        if node.data and node.server is Server.NONE:
            raise Refused("not-streaming")
        if not node.data and node.server is Server.NONE:
            node.server = Server.RECEIVING
        if node.clock() > end:
            raise Refused("not-streaming")
        yield 0.03
    return f"streams from {upstream}"


def _streams(node: Node, upstream: str) -> bool:
    return (
        node.connection is not None and node.source == upstream and node.server is not Server.NONE
    )


def _follow_as_standby(node: Node, source: Node, before: Word, after: Word) -> Verb:
    if _runs(node) and before.upstream != source.name:
        yield from _disconnect(node)
    beginning = _is_beginning(node.log, source.log)
    if not beginning and not node.mutated("a diverged follower is let in"):
        raise Refused("diverged")
    yield node.takes(0.001, 0.01)
    node.write_word(after)
    yield node.takes(0.001, 0.01)
    node.signal = True
    node.gate = True
    node.source = source.name
    yield node.takes(0.01, 0.1)
    if node.server is Server.NONE:
        server.start(node, as_primary=False)
    return ""


def _follow_as_witness(node: Node, source: Node, after: Word) -> Verb:
    theirs = list(source.log)
    yield node.takes(0.001, 0.01)
    node.write_word(after)
    yield node.takes(0.001, 0.01)
    server.end_receiver(node)
    node.server = Server.NONE
    yield node.takes(0.001, 0.01)
    if not node.mutated("a diverged follower is let in"):
        # Moved aside, what is no part of their history.
        keep = _common(node.log, theirs) if not _is_beginning(node.log, theirs) else len(node.log)
        del node.log[keep:]
        node.synced = min(node.synced, keep)
        server.sync(node)
    yield node.takes(0.001, 0.01)
    node.source, node.server = source.name, Server.RECEIVING
    return ""


def stand_by(node: Node) -> Verb:
    yield node.takes(0.001, 0.01)
    if _primary_runs(node):
        raise Refused("primary")
    if node.rewinding:
        raise Refused("rewinding")
    yield from _disconnect(node)
    yield node.takes(0.001, 0.01)
    node.write_word(replace(node.word, role=Role.STANDBY, upstream=None, stopped=False))
    yield node.takes(0.001, 0.01)
    node.signal = True
    yield node.takes(0.05, 0.3)
    if node.server is Server.NONE:
        server.start(node, as_primary=False)
    return "stands by"


def fetch(node: Node, source: str) -> Verb:
    yield node.takes(0.001, 0.01)
    if node.server is not Server.STANDBY:
        raise Refused("not-standby")
    yield from _disconnect(node)
    yield node.takes(0.01, 0.1)
    other = node.cluster.nodes[source]
    if not node.cluster.network.joined(node.name, source) or not other.works or other.rewinding:
        raise Refused("source")
    if not node.data or node.server is not Server.STANDBY:
        raise Refused("not-standby")
    theirs = list(other.log)  # by the files: what is written can be read
    mine = (timeline_of(node.log), len(node.log))
    if (timeline_of(theirs), len(theirs)) <= mine:
        return "nothing beyond"
    if not _is_beginning(node.log, theirs) or _common(node.log, theirs) < len(node.log):
        raise Refused("diverged")
    yield node.takes(0.01, 0.2)
    if node.server is not Server.STANDBY:
        raise Refused("replay")
    node.log += theirs[len(node.log) :]
    server.sync(node)
    yield node.takes(0.001, 0.01)
    return f"fetched from {source}"


def tend(node: Node) -> Verb:
    yield node.takes(0.001, 0.01)
    word = node.word
    if node.server is not Server.NONE or word.stopped:
        return "nothing is missing"
    if node.data and word.role is Role.STANDBY and node.signal and not node.rewinding:
        yield node.takes(0.01, 0.2)
        server.start(node, as_primary=False)
    elif not node.data and word.role is Role.WITNESS and word.upstream is not None:
        node.source, node.server = word.upstream, Server.RECEIVING
    return "tended"


def rewind(node: Node, upstream: str) -> Verb:
    yield node.takes(0.001, 0.01)
    if _primary_runs(node):
        raise Refused("primary")
    source = _look(node, upstream)
    if not node.rewinding and _is_beginning(node.log, source.log):
        return "no rewind is required"
    node.write_word(replace(node.word, role=Role.FENCED, upstream=None))
    yield node.takes(0.01, 0.1)
    server.stop(node)
    node.gate = False
    yield node.takes(0.01, 0.1)
    node.rewinding = True
    yield node.takes(0.05, 0.5)
    source = _look(node, upstream)
    # Files of the source's pg_wal come as they are at some moment.
    common = _common(node.log, source.log)
    upto = node.cluster.world.random.randint(common, max(common, source.synced))
    node.log[:] = source.log[:upto]
    node.synced = min(node.synced, common)
    server.sync(node)
    node.histories |= source.histories
    node.signal, node.rest = True, Rest.STANDBY
    yield node.takes(0.001, 0.01)
    node.write_word(replace(node.word, role=Role.FENCED, upstream=None))
    node.rewinding = False
    return f"rewound to {upstream}"


# --- leading -------------------------------------------------------------------------------------


def promote(node: Node, term: int, lsn: int | None = None) -> Verb:
    yield node.takes(0.001, 0.01)
    word = node.word
    if word.term > term:
        raise Refused("old-term")
    if word.term == term and word.voted_for not in (None, node.name):
        raise Refused("voted")
    if node.server is Server.NONE:
        mine = word.role in (Role.STANDBY, Role.PRIMARY) and not word.stopped
        if not mine or not node.signal or node.rewinding:
            raise Refused("not-standby")
        yield node.takes(0.05, 0.2)
        server.start(node, as_primary=False)
    timeline = timeline_of(node.log)
    if _primary_runs(node):
        if timeline == term and word.role is Role.PRIMARY:
            return "was promoted already"
        raise Refused("not-standby")
    if lsn is not None and node.synced < lsn:
        raise Refused("behind")
    if term <= timeline:
        raise Refused("old-term")
    target = term
    if node.mutated("a timeline that is not the term"):
        target = max(node.histories | {timeline}) + 1
    if target in node.histories:
        raise Refused("timeline-taken")
    yield node.takes(0.001, 0.01)
    node.write_word(
        replace(
            word,
            term=term,
            voted_for=node.name,
            led=term,
            role=Role.PRIMARY,
            upstream=None,
            stopped=False,
        )
    )
    yield node.takes(0.001, 0.01)
    node.source = None
    node.gate = False
    yield node.takes(0.01, 0.1)
    if node.server is not Server.STANDBY:
        raise Refused("system")
    yield from _promotion(node, term, target)
    return f"promoted to term {term}"


def _promotion(node: Node, term: int, timeline: int) -> Verb:
    """PostgreSQL's own part: the history file, the signal file, the first record. The agent's death
    does not end it."""
    server.end_receiver(node)
    node.histories.add(timeline)
    run = node.pg_run
    steps: list[Callable[[], None]] = [
        lambda: setattr(node, "signal", False),
        lambda: _first_record(node, term, timeline),
    ]

    def step() -> None:
        if node.pg_run == run and node.server is Server.STANDBY:
            steps.pop(0)()
            if steps:
                node.later(node.takes(0.001, 0.05), step)

    node.later(node.takes(0.001, 0.05), step)
    while node.server is Server.STANDBY:
        yield 0.01
    if node.server is not Server.PRIMARY:
        raise Refused("promote")
    return ""


def _first_record(node: Node, term: int, timeline: int) -> None:
    node.cluster.rules.promoted(node, term, timeline)
    server.append(node, timeline)
    server.sync(node)
    node.server, node.rest = Server.PRIMARY, Rest.PRIMARY
    if node.mutated("the gate opens before the first commit"):
        node.gate = True
        node.cluster.rules.opened(node, term, len(node.log), node.cluster.world.now)


def confirm(node: Node, term: int) -> Verb:
    began_at = node.cluster.world.now
    yield node.takes(0.001, 0.01)
    word, run = node.word, node.pg_run
    if (word.role, word.term) != (Role.PRIMARY, term) or node.server is not Server.PRIMARY:
        raise Refused("not-primary")
    server.append(node)
    upto = len(node.log)
    yield node.takes(0.001, 0.02)
    if node.pg_run != run:
        raise Refused("system")
    server.sync(node)
    end = node.clock() + CONFIRM_S
    while server.quorum_position(node) < upto:
        if node.clock() > end:
            raise Refused("waiting")
        yield 0.01
        if node.pg_run != run:
            raise Refused("system")
    node.gate = True
    node.cluster.rules.opened(node, term, upto, began_at)
    yield node.takes(0.001, 0.01)
    return "open"


def serve(node: Node, term: int) -> Verb:
    yield node.takes(0.001, 0.01)
    word = node.word
    if word.term > term:
        raise Refused("passed-over")
    if node.server is Server.STANDBY:
        raise Refused("not-primary")
    if node.rewinding:
        raise Refused("rewinding")
    if node.rest is not Rest.PRIMARY:
        raise Refused("not-primary")
    if timeline_of(node.log) > term:
        raise Refused("passed-over")
    node.write_word(
        replace(word, term=term, led=term, role=Role.PRIMARY, upstream=None, stopped=False)
    )
    yield node.takes(0.001, 0.01)
    node.source = None
    if node.server is Server.NONE:
        node.gate = False
        node.signal = False
        yield node.takes(0.001, 0.01)
        server.start(node, as_primary=True)
        node.server = Server.STARTING
        run = node.pg_run

        def recovered() -> None:
            if node.pg_run == run and node.server is Server.STARTING:
                node.server = Server.PRIMARY

        node.later(node.takes(0.05, 0.8), recovered)
        while node.pg_run == run and node.server is Server.STARTING:
            yield 0.02
    if node.server is not Server.PRIMARY:
        raise Refused("start")
    return f"serves term {term}"


def fence(
    node: Node, reason: str, checkpoint_s: float = 0, kill_after_s: float = 2, to: str | None = None
) -> Verb:
    del reason, checkpoint_s, kill_after_s
    yield node.takes(0.001, 0.01)
    node.write_word(replace(node.word, role=Role.FENCED, upstream=to))
    yield node.takes(0.001, 0.01)
    node.gate = False
    yield node.takes(0.02, 0.5)
    server.stop(node)
    yield node.takes(0.001, 0.01)
    node.signal = True
    return "fenced"


def halt(node: Node) -> Verb:
    """An operator's `halt services=all`."""
    yield node.takes(0.001, 0.01)
    node.write_word(replace(node.word, stopped=True))
    yield node.takes(0.02, 0.3)
    if node.data:
        server.sync(node)
    else:
        server.end_receiver(node)
    server.stop(node)
    return "halted"


# --- Pgpool-II -----------------------------------------------------------------------------------


def steer(node: Node, primary: str, up: str) -> Verb:
    del primary, up
    yield node.takes(0.02, 0.2)
    node.door = True
    return "steered"


def close(node: Node) -> Verb:
    yield node.takes(0.02, 0.2)
    node.door = False
    return "closed"


def begin(node: Node, name: str, args: Mapping[str, Any]) -> Verb:
    """The verb `name`, under the node's lock where it takes it."""
    values = dict(args)
    if "for" in values:
        values["candidate"] = values.pop("for")
    known: dict[str, Callable[..., Verb]] = {
        f.__name__: f
        for f in (vote, follow, stand_by, fetch, tend, rewind, promote, confirm, serve, fence)
    }
    if name in known:
        return locked(node, known[name](node, **values))
    return steer(node, **values) if name == "steer" else close(node)
