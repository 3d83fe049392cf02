"""Being a follower: follow a primary; vote, and so take no more WAL. Standbys and the witness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pgha.commands.lsn import show_lsn
from pgha.node import archive, gate, postgres, process, upstream, wal, witness
from pgha.node.errors import Failed, Refused
from pgha.node.postgres import SqlFailed
from pgha.node.receiving import disconnect, drain, receiver_runs
from pgha.node.report import Assignment, Role
from pgha.node.state import Node, change, read_assignment

STREAM_S = 60.0


def vote(node: Node, term: int, candidate: str) -> str:
    """Grant `candidate` this node's vote in `term`: take no more WAL, make the vote durable, know
    where the log ends.

    In that order (Raft's fence): an acknowledgement given after the vote could make a write count
    that the winner does not have. Raises Refused: "old-term", "voted", "primary", "rewinding":
    half-way through a rewind it has neither its own log nor another's, and what it acknowledged
    could be lost by its own vote.
    """
    node.member(candidate)
    before = read_assignment()
    if node.kind != "witness" and postgres.runs_as_primary(node):
        raise Refused("primary", "A running primary does not vote: fence it first.")
    if before.term > term:
        raise Refused("old-term", f"This node knows of term {before.term}, later than {term}.")
    if before.term == term and (before.voted_for != candidate or before.upstream is not None):
        said = f"voted for {before.voted_for}" if before.voted_for else "took part already"
        raise Refused("voted", f"This node {said} in term {term}.")
    if node.kind != "witness":
        postgres.require_whole()
    end: wal.End | None = None
    if node.kind == "witness":
        witness.stop()
        witness.sync_files(wal.directory_of(node))
    else:
        end = disconnect(node)

    def granted(a: Assignment) -> Assignment:
        # A primary that died and votes is none any more.
        role = Role.FENCED if a.role is Role.PRIMARY else a.role
        reason = f"voted for {candidate} in term {term}"
        return replace(a, term=term, voted_for=candidate, role=role, upstream=None, reason=reason)

    change(granted)
    end = end or wal.own_end(node)
    change(
        lambda a: replace(
            granted(a),
            position=end.lsn if end else None,
            ended_on=end.timeline if end else None,
        )
    )
    where = f"{show_lsn(end.lsn)} of timeline {end.timeline}" if end else "nothing"
    return f"voted for {candidate} in term {term} with WAL up to {where}"


def follow(node: Node, source: str, term: int, timeout_s: float = STREAM_S) -> str:
    """Be a follower of `source` in `term`, and stream when this returns.

    Raises Refused: "old-term", "primary" (it runs as one: fence it first), "diverged",
    "other-cluster"; Failed("upstream"), Failed("not-streaming").
    """
    before = read_assignment()
    if before.term > term:
        raise Refused("old-term", f"This node knows of term {before.term}, later than {term}.")
    if source == node.node:
        raise Refused("unknown-node", "A node does not follow itself.")
    node.member(source)
    role = Role.WITNESS if node.kind == "witness" else Role.STANDBY

    def follower(a: Assignment) -> Assignment:
        same = a.role is role and a.upstream == source and a.term == term and not a.stopped
        told = a.reason if same else f"follows {source}"
        position = a.position if same else None
        voted_for = a.voted_for if a.term == term else None
        return replace(
            a,
            term=term,
            voted_for=voted_for,
            role=role,
            upstream=source,
            stopped=False,
            reason=told,
            position=position,
        )

    if node.kind == "witness":
        theirs = upstream.look(node, source, term)
        change(follower)
        return witness.follow(
            node,
            theirs,
            _voted(node, before),
            timeout_s=min(timeout_s, witness.STREAM_S),
            again=follower(before) == before,
        )
    if streams_from(node, source) and follower(before) == before:
        gate.open_to_readers(node)
        _drop_own_slots(node)
        return f"streams from {source}"
    _check(node, source, before, term)
    archive.drop_incoming(Path(node.archive))
    change(follower)
    postgres.become_standby_at_start()
    gate.open_to_readers(node)
    if postgres.write_role_conf(node, source, before.voters):
        postgres.reload()
    postgres.launch()
    _wait_streaming(node, source, timeout_s)
    _drop_own_slots(node)
    return f"streams from {source}"


def _voted(node: Node, before: Assignment) -> wal.End | None:
    """Where the log of a witness ended at its vote: a new primary waits for it. None: not known, or
    it has received since."""
    if before.upstream is not None or before.position is None or before.ended_on is None:
        return None
    history = wal.history_of(wal.directory_of(node), before.ended_on)
    return wal.End(before.ended_on, before.position, history)


def _check(node: Node, source: str, before: Assignment, term: int) -> None:
    """Refuse what must not follow; nothing durable is changed yet. A receiver from another node is
    ended first: a log that still grows cannot be compared."""
    if postgres.runs_as_primary(node):
        raise Refused("primary", "PostgreSQL runs here as a primary: fence it first.")
    postgres.require_whole()
    theirs = upstream.look(node, source, term)
    control = postgres.need_control()
    if control.system_identifier != theirs.system_identifier:
        raise Refused("other-cluster", f"{source} is another cluster's: its identifier differs.")
    if postgres.pid() is not None and before.upstream != source:
        disconnect(node)
    if postgres.pid() is not None and postgres.accepting():
        if not receiver_runs():
            drain(node)
        end = wal.own_end(node)
    else:
        # Stopped, or on its way to a consistent state: a start replays all that the files have.
        end = wal.end_at_rest(control)
    if end is not None:
        upstream.require_beginning(end, theirs)
        upstream.require_the_rest(end, theirs)


def streams_from(node: Node, source: str) -> bool:
    """Whether our WAL receiver streams from `source`."""
    if postgres.pid() is None or not postgres.accepting():
        return False
    try:
        lines = postgres.sql(node, "SELECT status, sender_host FROM pg_stat_wal_receiver;")
    except SqlFailed:
        return False
    return lines == [f"streaming|{node.member(source).address}"]


def stand_by(node: Node, timeout_s: float = STREAM_S) -> str:
    """A stopped node runs as a standby of nobody: it can fetch WAL, and be promoted.

    Raises Refused: "primary", "rewinding", "no-data".
    """
    if node.kind == "witness":
        raise Refused("witness", f"{node.node} is the witness: it has no database.")
    if postgres.runs_as_primary(node):
        raise Refused("primary", "PostgreSQL runs here as a primary: fence it first.")
    postgres.require_whole()
    postgres.need_control()
    disconnect(node)
    change(lambda a: replace(a, role=Role.STANDBY, upstream=None, stopped=False, position=None))
    postgres.become_standby_at_start()
    postgres.start(timeout_s)
    drain(node)
    return "stands by"


def _wait_streaming(node: Node, source: str, timeout_s: float) -> None:
    def look() -> tuple[bool | None, str]:
        if postgres.pid() is None:
            raise Failed("not-streaming", "PostgreSQL ended; the container's log says why.")
        if not postgres.accepting():
            return None, "it recovers and takes no connections yet"
        if streams_from(node, source):
            return True, ""
        return None, "its WAL receiver does not stream"

    process.wait_until(
        look, timeout_s=timeout_s, code="not-streaming", what="It did not stream", pause_s=0.03
    )


def _drop_own_slots(node: Node) -> None:
    """Slots from the time when it was a primary would hold WAL here for ever.

    A follower that was not told of the new primary yet may be back on its slot, since a standby
    hands on WAL as well: its connection is ended, and without a slot it gets no other.
    """
    postgres.sql(
        node,
        """DO $$
DECLARE own record;
BEGIN
  FOR i IN 1..200 LOOP
    FOR own IN SELECT slot_name, active_pid FROM pg_replication_slots
               WHERE slot_type = 'physical' AND NOT temporary LOOP
      BEGIN
        PERFORM pg_terminate_backend(own.active_pid) WHERE own.active_pid IS NOT NULL;
        PERFORM pg_drop_replication_slot(own.slot_name);
      EXCEPTION WHEN object_in_use OR undefined_object THEN NULL;
      END;
    END LOOP;
    EXIT WHEN NOT EXISTS (SELECT FROM pg_replication_slots
                          WHERE slot_type = 'physical' AND NOT temporary);
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
""",
    )
