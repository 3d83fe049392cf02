"""The verbs of a primary and of Pgpool-II, and `begin`, which starts any verb by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgha.node.election_types import Rest, Server
from pgha.node.report import Role
from tests.unit.election import server
from tests.unit.election.server import timeline_of
from tests.unit.election.verbs import (
    Refused,
    Verb,
    fetch,
    follow,
    locked,
    primary_runs,
    rewind,
    stand_by,
    tend,
    vote,
)

if TYPE_CHECKING:
    from tests.unit.election.node import Node

CONFIRM_S = 0.5


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
    if primary_runs(node):
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
