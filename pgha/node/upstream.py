"""Asks another node's PostgreSQL what log it has, before this node follows it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from pgha.commands import postgres as commands
from pgha.commands.lsn import is_beginning_of, parse_lsn, segment_start, show_lsn
from pgha.node import postgres
from pgha.node.errors import Failed, Refused
from pgha.node.postgres import SqlFailed
from pgha.node.state import Node
from pgha.node.wal import SEGMENT_BYTES, End


@dataclass(frozen=True)
class Upstream:
    """A primary's log; history: the timelines that it came by and where each was left.

    oldest: the LSN where the oldest WAL begins that it still has.
    """

    name: str
    system_identifier: str
    timeline: int
    lsn: int
    history: commands.History
    oldest: int = 0


_LOOK = """IDENTIFY_SYSTEM;
SELECT pg_is_in_recovery(),
 (SELECT min(substr(name, 9)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$');
"""


def database_connection(node: Node, name: str) -> str:
    """To the other node's database `postgres`, as the replication user."""
    return postgres.connection_to(node, name) + " dbname='postgres'"


def look(node: Node, name: str, expected: int = 1) -> Upstream:
    """What `name` says of itself. Raises Failed("upstream") where no primary answers.

    expected: the timeline that it should be on; if it is, one connection is enough.
    """
    connection = database_connection(node, name) + " replication='database'"
    try:
        lines = _ask(connection, expected)
        identifier, timeline, lsn = lines[0].split("|")[:3]
        recovery, oldest = lines[1].split("|")
        if recovery != "f":
            raise Failed("upstream", f"{name} is in recovery: it is no primary.")
        history: commands.History = ()
        if int(timeline) > 1:
            asked = int(timeline) == expected and len(lines) > 2
            rest = lines[2:] if asked else postgres.ask(connection, _history_of(int(timeline)))
            history = commands.parse_history("\n".join(rest))
    except SqlFailed as error:
        raise Failed("upstream", f"{name} does not answer as a primary. {error.message}") from error
    begin = segment_start("00000001" + oldest, SEGMENT_BYTES)[1] if oldest else 0
    return Upstream(name, identifier, int(timeline), parse_lsn(lsn), history, begin)


def _history_of(timeline: int) -> str:
    return f"TIMELINE_HISTORY {timeline};\n"


def _ask(connection: str, expected: int) -> list[str]:
    """The answers to _LOOK, and behind them the history of the expected timeline, if it has one. A
    client waits for a follower meanwhile: each connection costs a start of psql and a SCRAM."""
    if expected > 1:
        with contextlib.suppress(SqlFailed):
            return postgres.ask(connection, _LOOK + _history_of(expected))
    return postgres.ask(connection, _LOOK)


def require_beginning(end: End, upstream: Upstream) -> None:
    """Raises Refused("diverged") unless our log is a beginning of the upstream's."""
    if not is_beginning_of(end.timeline, end.lsn, upstream.history, upstream.timeline):
        raise Refused(
            "diverged",
            f"WAL here ends at {show_lsn(end.lsn)} of timeline {end.timeline}, which is no part of"
            f" the history of {upstream.name} (timeline {upstream.timeline}).",
        )


def require_the_rest(end: End, upstream: Upstream) -> None:
    """Raises Refused("wal-gone") where the upstream has removed WAL that is still lacking here."""
    if end.lsn // SEGMENT_BYTES * SEGMENT_BYTES < upstream.oldest:
        raise Refused(
            "wal-gone",
            f"WAL here ends at {show_lsn(end.lsn)}, and {upstream.name} has none before"
            f" {show_lsn(upstream.oldest)} any more.",
        )


def divergence(end: End, upstream: Upstream) -> int | None:
    """The LSN up to which both logs are one; None where they have nothing in common."""
    mine = [*end.history, (end.timeline, end.lsn)]
    theirs = [*upstream.history, (upstream.timeline, upstream.lsn)]
    common: int | None = None
    for (my_timeline, my_end), (their_timeline, their_end) in zip(mine, theirs, strict=False):
        if my_timeline != their_timeline:
            break
        common = min(my_end, their_end)
        if my_end != their_end:
            break
    return common
