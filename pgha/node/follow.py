"""Being a follower: follow a primary; vote, and so take no more WAL. Standbys and the witness."""

from __future__ import annotations

import re
from dataclasses import replace

from pgha.commands.lsn import show_lsn
from pgha.node import postgres, process, upstream, wal, witness
from pgha.node.errors import Failed, Refused
from pgha.node.postgres import SqlFailed
from pgha.node.report import Assignment, Role
from pgha.node.state import Node, change, read_assignment

# A title begins with the cluster's name, where it has one (PostgreSQL 17, "cluster_name").
_RECEIVER = re.compile(r"postgres: (\S+: )?walreceiver\b")

QUIET_S = 20.0
STREAM_S = 60.0


def vote(node: Node, term: int) -> str:
    """Grant a vote for `term`: take no more WAL, make the term durable, know where the log ends.

    In that order (Raft's fence): an acknowledgement given after the vote could make a write count
    that the winner does not have. Raises Refused: "old-term", "primary".
    """
    before = read_assignment()
    if node.kind != "witness" and postgres.runs_as_primary(node):
        raise Refused("primary", "A running primary does not vote: fence it first.")
    repeated = before.term == term and before.reason == _granted(term)
    if before.term >= term and not repeated:
        raise Refused("old-term", f"This node knows of term {before.term}; {term} is not later.")
    if node.kind == "witness":
        witness.stop()
        witness.sync_files(wal.directory_of(node))
    else:
        disconnect(node)

    def granted(a: Assignment) -> Assignment:
        return replace(a, term=term, upstream=None, reason=_granted(term))

    change(granted)
    if node.kind != "witness" and postgres.pid() is not None:
        drain(node)
    end = wal.own_end(node)
    change(lambda a: replace(granted(a), position=end.lsn if end else None))
    where = f"{show_lsn(end.lsn)} of timeline {end.timeline}" if end else "nothing"
    return f"voted for term {term} with WAL up to {where}"


def _granted(term: int) -> str:
    return f"voted for term {term}"


def disconnect(node: Node) -> None:
    """Take the upstream from role.conf, durably; of a running standby, end the WAL receiver for
    good: when this returns, none comes again."""
    postgres.write_role_conf(node, None, read_assignment().voters)
    if postgres.pid() is None:
        return
    postgres.reload()
    if not postgres.accepting():
        # It recovers and cannot be asked what it has seen of the new setting: at rest it takes
        # nothing for sure, and main starts it again.
        postgres.stop()
        return

    def look() -> tuple[bool | None, str]:
        # A fresh session has what the postmaster has read, which has told the startup process then.
        seen = postgres.sql(node, "SELECT current_setting('primary_conninfo') = '';")
        return (True, "") if seen == ["t"] else (None, "PostgreSQL has not read role.conf yet")

    process.wait_until(look, timeout_s=QUIET_S, code="receiver", what="No reload")
    # The startup process sees it before it asks for another receiver, at the end of each wait.
    _wait_startup(node, "'RecoveryRetrieveRetryInterval'")
    if not process.holds_within(lambda: not receiver_runs(), QUIET_S):
        raise Failed("receiver", "The WAL receiver does not end.")


def receiver_runs() -> bool:
    """Whether a WAL receiver of the running server exists."""
    return any(_RECEIVER.match(title) for title in postgres.titles().values())


def drain(node: Node) -> None:
    """Wait until everything on disk is replayed."""
    if postgres.accepting():
        _wait_startup(node, "'RecoveryRetrieveRetryInterval', 'RecoveryWalStream'")


def _wait_startup(node: Node, events: str) -> None:
    """Wait until the startup process waits for WAL to come, so that all there is is replayed.

    events: for which of its waits (PostgreSQL 17, "Wait Events"): the first of the two above says
    that it has no upstream either.
    """
    rounds = int(QUIET_S / 0.005)
    waits = (
        f"SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event IN ({events})"
    )
    lines = postgres.sql(
        node,
        f"DO $$ BEGIN FOR i IN 1..{rounds} LOOP PERFORM pg_stat_clear_snapshot();"
        f" EXIT WHEN EXISTS ({waits}); PERFORM pg_sleep(0.005); END LOOP; END $$;\n"
        f"SELECT EXISTS ({waits});\n",
        timeout_s=QUIET_S + 5,
    )
    if lines != ["t"]:
        raise Failed("replay", f"Its WAL is not replayed within {QUIET_S:g} s.")


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
        return replace(
            a, term=term, role=role, upstream=source, stopped=False, reason=told, position=position
        )

    if node.kind == "witness":
        theirs = upstream.look(node, source, term)
        change(follower)
        return witness.follow(node, theirs)
    if streams_from(node, source) and follower(before) == before:
        _drop_own_slots(node)
        return f"streams from {source}"
    _check(node, source, before, term)
    change(follower)
    postgres.become_standby_at_start()
    if postgres.write_role_conf(node, source, before.voters):
        postgres.reload()
    postgres.launch()
    _wait_streaming(node, source, timeout_s)
    _drop_own_slots(node)
    return f"streams from {source}"


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
    elif control.timeline == theirs.timeline:
        return  # one node alone ever writes a timeline: what is here came from there
    else:
        # Stopped, or on its way to a consistent state: a start replays all that the files have.
        end = wal.end_at_rest(control)
    if end is not None:
        upstream.require_beginning(end, theirs)


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
