"""The verbs as `pgha.node` has them; here: voting and following, in `leading` the others.

Each `yield` is a moment that takes time, and at which the node, its agent or its PostgreSQL may
die. Arguments, refusals and their order are those of the real ones.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha.commands.lsn import is_beginning_of
from pgha.node.election_types import Rest, Server
from pgha.node.report import Role
from tests.unit.election import server
from tests.unit.election.rules import Entry
from tests.unit.election.server import history_of, timeline_of

if TYPE_CHECKING:
    from tests.unit.election.node import Node

Verb = Generator[float, None, str]
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


def primary_runs(node: Node) -> bool:
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
    if node.data and primary_runs(node):
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
        yield node.takes(0.05, 0.4)
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
    if node.data and primary_runs(node):
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
    if primary_runs(node):
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
    if primary_runs(node):
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
