"""Becoming, being and ceasing to be the primary: serve, promote, admit, fence."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.commands.lsn import show_lsn
from pgha.node import archive, gate, paths, postgres, wal, witness
from pgha.node.errors import Failed, Refused
from pgha.node.postgres import SqlFailed
from pgha.node.report import Assignment, Role
from pgha.node.state import (
    Node,
    change,
    read_assignment,
    sync_directory,
    try_change,
    write_durably,
)

PROMOTE_S = 60.0
# What a disk may take for a fence's word: others vote and promote in little more than twice that.
WORD_S = 0.2


def require_data_node(node: Node) -> None:
    if node.kind == "witness":
        raise Refused("witness", f"{node.node} is the witness: it has no database.")


def slots_sql(node: Node) -> str:
    """Slots for every other node; one that lost its WAL is made anew, for a node that comes back by
    a fresh copy. They reserve WAL at once: from now on nothing that a follower lacks goes away."""
    names = ", ".join(f"({commands.quote_literal(m.slot)})" for m in node.others)
    if not names:
        return ""
    return (
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        f" WHERE slot_type = 'physical' AND NOT active AND wal_status = 'lost'"
        f" AND slot_name IN (SELECT n FROM (VALUES {names}) v(n));\n"
        f"SELECT pg_create_physical_replication_slot(n, true) FROM (VALUES {names}) v(n)"
        " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = n);\n"
    )


def serve(node: Node, term: int, voters: tuple[str, ...] = ()) -> str:
    """Run as the primary of `term`; only what was a primary last can.

    Raises Refused: "passed-over" (the node knows of a later term), "not-primary" (it was a standby:
    starting it would be a second log on one timeline).
    """
    require_data_node(node)
    assignment = read_assignment()
    if assignment.term > term:
        raise Refused(
            "passed-over", f"This node knows of term {assignment.term}, later than {term}."
        )
    running = postgres.pid() is not None
    if running and not postgres.runs_as_primary(node):
        raise Refused("not-primary", "PostgreSQL runs here as a standby.")
    if not running:
        _require_own_log(term)
    change(
        lambda a: replace(
            a,
            term=term,
            voted_for=a.voted_for if a.term == term else None,
            led=term,
            role=Role.PRIMARY,
            upstream=None,
            stopped=False,
            reason=f"serves term {term}",
            voters=voters or a.voters,
            position=None,
        )
    )
    changed = postgres.write_role_conf(node, None, read_assignment().voters)
    if running and changed:
        postgres.reload()
    if not running:
        gate.close()
        (paths.DATA / "standby.signal").unlink(missing_ok=True)
        sync_directory(paths.DATA)
    # Also where an earlier call did not wait for the end of a long recovery.
    postgres.start()
    postgres.sql(node, slots_sql(node))
    return f"serves as the primary of term {term}" if not running else "served already"


def _require_own_log(term: int) -> None:
    """Raises Refused unless its data, at rest, is a primary's of this term or an earlier one."""
    postgres.require_whole()
    control = postgres.need_control()
    if not control.was_primary or (paths.DATA / "backup_label").exists():
        raise Refused("not-primary", f"Its data was no primary's last: {control.state}.")
    if control.timeline > term:
        raise Refused("passed-over", f"Its data is on timeline {control.timeline}.")


def revive(node: Node, term: int) -> str:
    """Start PostgreSQL again where it ended since one of its processes was killed (PostgreSQL 17,
    `restart_after_crash`, which is off), with the gate closed; nobody waits for its recovery.

    Raises Refused("not-primary") where it is not the primary of `term` any more.
    """
    require_data_node(node)
    told = read_assignment()
    if (told.role, told.term, told.stopped) != (Role.PRIMARY, term, False):
        raise Refused("not-primary", f"This node is no primary of term {term}.")
    if postgres.pid() is None:
        _require_own_log(term)
        gate.close()
        postgres.launch()
    return f"recovers as the primary of term {term}"


def admit(node: Node, name: str) -> str:
    """On the primary: `name` has its slot and counts for the quorum."""
    member = node.member(name)
    if not postgres.runs_as_primary(node):
        raise Refused("not-primary", "Only a primary admits others.")

    def with_it(a: Assignment) -> Assignment:
        if not a.voters or name in a.voters:
            return a
        return replace(a, voters=(*a.voters, name))

    voters = change(with_it).voters
    if postgres.write_role_conf(node, None, voters):
        postgres.reload()
    postgres.sql(node, slots_sql(node))
    return f"{member.name} has its slot and its voice"


def confirm(node: Node, term: int, wait_s: float = 0.5) -> str:
    """A majority has a commit of this primary's own term; then clients are let in (Raft's first
    entry of a term). Its own transaction does not wait, so that nothing has to be cancelled.

    Raises Refused("not-primary"), Failed("waiting"): not yet.
    """
    assignment = read_assignment()
    if (assignment.role, assignment.term) != (Role.PRIMARY, term) or postgres.pid() is None:
        raise Refused("not-primary", f"This node is no primary of term {term}.")
    names = assignment.voters or tuple(m.name for m in node.nodes)
    others = ", ".join(commands.quote_literal(name) for name in names if name != node.node)
    needed = len(names) // 2 if node.quorum_commit else 0
    text = (
        "SET synchronous_commit = local;\n"
        f"SELECT pg_logical_emit_message(true, 'pgha', 'term {term}');\n"
        "SELECT pg_current_wal_insert_lsn(), pg_is_in_recovery();\n"
    )
    lines = postgres.sql(node, text, timeout_s=5.0)
    lsn, recovery = lines[-1].split("|")
    if recovery != "f":
        raise Refused("not-primary", "PostgreSQL runs here as a standby.")
    if needed and others:
        have = (
            "SELECT FROM pg_stat_replication WHERE state = 'streaming'"
            f" AND application_name IN ({others}) AND flush_lsn >= '{lsn}'"
        )
        enough = f"(SELECT count(*) FROM ({have}) f) >= {needed}"
        rounds = int(wait_s / 0.005)
        lines = postgres.sql(
            node,
            f"DO $$ BEGIN FOR i IN 1..{rounds} LOOP PERFORM pg_stat_clear_snapshot();"
            f" EXIT WHEN {enough}; PERFORM pg_sleep(0.005); END LOOP; END $$;\n"
            f"SELECT {enough};\n",
            timeout_s=wait_s + 5.0,
        )
        if lines != ["t"]:
            raise Failed("waiting", f"No majority has a commit of term {term} yet.")
    gate.open_to_all()
    return f"a majority has a commit of term {term}; clients are let in"


# --- promotion -----------------------------------------------------------------------------------


def promote(node: Node, term: int, lsn: int | None, voters: tuple[str, ...] = ()) -> str:
    """Make this standby the primary of `term`, on the timeline of that number.

    Raises Refused: "old-term", "not-standby", "behind" (it lacks WAL up to lsn), "timeline-taken"
    (a history file of that number is here: take a later term).
    """
    require_data_node(node)
    assignment = read_assignment()
    if assignment.term > term:
        raise Refused("old-term", f"This node knows of term {assignment.term}, later than {term}.")
    if assignment.term == term and assignment.voted_for not in (None, node.node):
        raise Refused("voted", f"This node voted for {assignment.voted_for} in term {term}.")
    if postgres.pid() is None:
        _start_standby(assignment)
    timeline, replayed = wal.running_end(node)
    if not postgres.in_recovery(node):
        if timeline == term and assignment.role is Role.PRIMARY:
            postgres.sql(node, slots_sql(node))
            return f"was promoted to term {term} already"
        raise Refused("not-standby", f"PostgreSQL runs here as a primary of timeline {timeline}.")
    if lsn is not None and replayed < lsn and not _replays(node, lsn):
        raise Refused(
            "behind", f"It has WAL up to {show_lsn(replayed)}, and {show_lsn(lsn)} is needed."
        )
    archive.drop_incoming(Path(node.archive))
    _reserve_numbers(node, timeline, term)
    before = postgres.quorum(node, assignment.voters)
    after = change(
        lambda a: replace(
            a,
            term=term,
            voted_for=node.node,
            led=term,
            role=Role.PRIMARY,
            upstream=None,
            stopped=False,
            reason=f"promoted to term {term}",
            voters=voters or a.voters,
            position=None,
        )
    )
    postgres.write_role_conf(node, None, after.voters)
    # PostgreSQL's main process reads it before it passes on the promotion that is asked for later.
    gate.close()
    # The quorum was in role.conf while it was a standby, so the checkpointer knows it. Where it is
    # new, a restart point makes sure that the checkpointer has read it before the first commit.
    new_quorum = postgres.quorum(node, after.voters) != before
    taken = _promote(node, barrier=new_quorum)
    paths.INITIALISING.unlink(missing_ok=True)  # in use, whatever became of its `init`
    if taken != term:
        raise Failed("timeline", f"PostgreSQL took timeline {taken}, not {term}.")
    return f"promoted to term {term}, timeline {taken}"


def _start_standby(assignment: Assignment) -> None:
    """Start what died as a standby, or in a promotion that was cut off before its word to
    PostgreSQL. Raises Refused("not-standby")."""
    mine = assignment.role in (Role.STANDBY, Role.PRIMARY) and not assignment.stopped
    if not (mine and postgres.has_data() and postgres.in_recovery_by_file()):
        raise Refused("not-standby", "PostgreSQL does not run here.")
    postgres.start()


def _replays(node: Node, lsn: int) -> bool:
    """Whether it replays up to `lsn` within moments, since the WAL is here already."""
    text = (
        "DO $$ BEGIN FOR i IN 1..400 LOOP"
        f" EXIT WHEN pg_last_wal_replay_lsn() >= '{show_lsn(lsn)}'"
        f" OR (pg_last_wal_receive_lsn() < '{show_lsn(lsn)}' AND i > 100);"
        " PERFORM pg_sleep(0.005); END LOOP; END $$;\n"
        f"SELECT pg_last_wal_replay_lsn() >= '{show_lsn(lsn)}';\n"
    )
    return postgres.sql(node, text) == ["t"]


def _reserve_numbers(node: Node, timeline: int, term: int) -> None:
    """History files for the numbers between, so that the promotion takes `term`.

    PostgreSQL takes the first number without a history file (PostgreSQL 17, "Timelines"). They stay
    in pg_wal, where followers fetch every number's file from, and in the archive.
    """
    if term <= timeline:
        raise Refused("old-term", f"It is on timeline {timeline} already.")
    pg_wal, archive = paths.DATA / "pg_wal", Path(node.archive)
    if (pg_wal / commands.history_name(term)).exists():
        raise Refused("timeline-taken", f"Timeline {term} was begun before: take a later term.")
    text = commands.placeholder_history(timeline).encode()
    for number in range(timeline + 1, term):
        for directory in (pg_wal, archive):
            file = directory / commands.history_name(number)
            if not file.exists():
                write_durably(file, text)


def _promote(node: Node, *, barrier: bool) -> int:
    """Promote and wait, in one session; the timeline that it took."""
    rounds = int(PROMOTE_S / 0.005)
    text = (
        "SET statement_timeout = 0;\n"
        "SELECT pg_reload_conf();\n"
        + ("CHECKPOINT;\n" if barrier else "")
        + slots_sql(node)
        # Who reads here since it was a standby would see what no majority has yet.
        + "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();\n"
        + "SELECT pg_promote(wait => false);\n"
        f"DO $$ BEGIN FOR i IN 1..{rounds} LOOP EXIT WHEN NOT pg_is_in_recovery();"
        " PERFORM pg_sleep(0.005); END LOOP; END $$;\n"
        "SELECT pg_is_in_recovery();\n"
        "IDENTIFY_SYSTEM;\n"
    )
    lines = postgres.sql(node, text, timeout_s=PROMOTE_S + 10, replication=True)
    if lines[-2] != "f":
        raise Failed("promote", f"It is still in recovery after {PROMOTE_S:g} s.")
    return int(lines[-1].split("|")[1])


# --- fencing -------------------------------------------------------------------------------------


def fence(
    node: Node, reason: str, checkpoint_s: float, kill_after_s: float, to: str | None = None
) -> str:
    """Stop PostgreSQL, so that it would start as a standby only; the assignment says where its WAL
    ends. A witness stops taking WAL.

    The checkpoint comes first, while sessions go on; then the durable word, then the shutdown: a
    fence that is cut off after the word is finished by main.

    to: whom a hand-over is for. It stays in the assignment as the node that this one follows next,
    so that a hand-over which is cut off can be told from a primary that was passed over.
    """
    if node.kind == "witness":
        witness.stop()
        change(lambda a: replace(a, upstream=None, reason=reason))
        return "takes no more WAL"
    if checkpoint_s > 0 and postgres.accepting() and not postgres.in_recovery_by_file():
        # Without it the shutdown takes longer; it is right all the same. One that does not answer
        # is not asked for it.
        with contextlib.suppress(SqlFailed):
            if not postgres.in_recovery(node):
                postgres.sql(node, "CHECKPOINT;", timeout_s=checkpoint_s)
    # A disk that takes no word, or is slow to, must not keep one that was passed over running.
    late = threading.Timer(min(kill_after_s, WORD_S), postgres.quit_primary)
    late.daemon = True
    if checkpoint_s == 0:
        late.start()
    try:
        change(
            lambda a: replace(
                a,
                role=Role.FENCED,
                upstream=to,
                reason=reason,
                position=a.position if a.role is Role.FENCED else None,
            )
        )
        gate.close()
    except OSError:
        if checkpoint_s == 0:
            postgres.quit_primary()
        raise
    finally:
        late.cancel()
    how = postgres.stop(kill_after_s)
    if not postgres.has_data():
        return "fenced; it has no data"
    postgres.become_standby_at_start()
    try:
        end = wal.end_at_rest(postgres.need_control())
    except (Failed, Refused):
        return f"fenced ({how}); where its WAL ends cannot be told"
    change(lambda a: replace(a, position=end.lsn, ended_on=end.timeline))
    return f"fenced ({how}) at {show_lsn(end.lsn)}"


def halt(node: Node, reason: str) -> str:
    """Stop PostgreSQL or the receiver for an operator; the role stays, `serve` or `follow` go on
    with it. A disk that takes no word of it does not keep it running; a container that starts
    again goes on by itself then."""
    unsaid = try_change(lambda a: replace(a, stopped=True, reason=reason))
    if not unsaid:
        # What is stopped on purpose was in use: no `init` that was cut off may go on over it.
        paths.INITIALISING.unlink(missing_ok=True)
    if node.kind == "witness":
        witness.stop()
        return "; ".join(filter(None, ("takes no more WAL", unsaid)))
    if postgres.runs_as_primary(node):
        with contextlib.suppress(SqlFailed):
            postgres.sql(node, "CHECKPOINT;", timeout_s=60.0)
    return "; ".join(filter(None, (f"PostgreSQL: {postgres.stop(60.0)}", unsaid)))
