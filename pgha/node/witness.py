"""The witness's WAL receiver: pg_receivewal into CLUSTER_ARCHIVE."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.commands.lsn import is_beginning_of, segment_start
from pgha.node import aside, paths, postgres, process, upstream, wal
from pgha.node.errors import Failed
from pgha.node.postgres import SqlFailed
from pgha.node.state import Node, sync_directory

PROGRAM = "pg_receivewal"

# It asks the primary for a last word before it ends, which one that is cut off never gives. What it
# has acknowledged is on disk already, so it may be killed.
ASK_S, STOP_S = 0.1, 5.0
STREAM_S = 15.0
# One that ends at once is not started more often.
AGAIN_S = 0.2


def receiver() -> int | None:
    """The living pg_receivewal's process. The file is the quick way to it, not the truth: whoever
    started one may have been killed before it was written."""
    number = process.read_pid(paths.RECEIVER_PID)
    if number is not None and process.is_named(number, PROGRAM):
        return number
    return next(iter(process.named(PROGRAM)), None)


def has_lasted(pid: int, seconds: float) -> bool:
    """Whether a process began so long ago (proc(5): starttime, in ticks since the boot)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        began = int(stat[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return False
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began >= seconds


def complete_partial(archive: Path) -> None:
    """Bring every `.partial` segment to its whole size, durably. No receiver may run.

    pg_receivewal fills a new one with zeros before it writes to it, and refuses it from then on
    where that was cut off (PostgreSQL 17, src/bin/pg_basebackup/receivelog.c, open_walfile): so
    nothing but zeros is missing. Raises OSError.
    """
    odd = [
        file
        for file in sorted(archive.glob("*.partial"))
        if commands.is_segment(file.name) and 0 < file.stat().st_size < wal.SEGMENT_BYTES
    ]
    for file in odd:
        handle = os.open(file, os.O_RDWR)
        try:
            os.ftruncate(handle, wal.SEGMENT_BYTES)
            os.fsync(handle)
        finally:
            os.close(handle)
    if odd:
        sync_directory(archive)


def start(node: Node, source: str) -> None:
    """Start the receiver, unless it runs. It ends with its connection; main starts it again."""
    if receiver() is not None:
        return
    complete_partial(Path(node.archive))
    words = commands.receivewal(
        postgres.bindir(),
        node.archive,
        connection=postgres.connection_to(node, source),
        slot=node.me.slot,
    )
    started = process.spawn(words)
    # Until nice(1) has made way for it, it has another name, by which no vote would find it.
    process.holds_within(
        lambda: started.poll() is not None or process.is_named(started.pid, PROGRAM), STOP_S
    )
    # Replaced, not written into: half a number would be another process's.
    beside = paths.RECEIVER_PID.with_name(f"receiver.{os.getpid()}")
    beside.write_text(f"{started.pid}\n")
    beside.replace(paths.RECEIVER_PID)


def stop() -> None:
    """End every receiver and wait until it is gone: from then on no WAL is acknowledged here.

    Every one that runs, known by a file or not: a vote rests on it.
    """

    def gone() -> bool:
        return not process.named(PROGRAM)

    for number, limit_s in ((signal.SIGINT, ASK_S), (signal.SIGKILL, STOP_S)):
        for pid in process.named(PROGRAM):
            process.send(pid, number)
        if process.holds_within(gone, limit_s):
            paths.RECEIVER_PID.unlink(missing_ok=True)
            return
    raise Failed("stop", "pg_receivewal does not end.")


def sync_files(directory: Path) -> None:
    """Make what was received durable: a receiver that was killed did not sync its last bytes, and a
    vote must not name a position that a power cut takes back."""
    newest = sorted(f for f in directory.iterdir() if commands.is_segment(f.name))[-2:]
    for file in newest:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_directory(directory)


def make_way(node: Node, source: upstream.Upstream, end: wal.End | None) -> str:
    """Move aside WAL that is no part of the source's history, so that the receiver goes on with
    what is. What was moved; empty: nothing.

    A voter's extra WAL is on no majority, else the source would have it: Raft's followers drop such
    entries as well; here they are kept.
    """
    if end is None:
        return ""
    fits = is_beginning_of(end.timeline, end.lsn, source.history, source.timeline)
    left = {**dict(source.history), source.timeline: None}
    wrong: list[Path] = []
    for file in Path(node.archive).iterdir():
        if not commands.is_segment(file.name):
            continue
        timeline, start = segment_start(file.name, wal.SEGMENT_BYTES)
        at = left.get(timeline, 0)
        if at is not None and (start >= at or (not fits and start + wal.SEGMENT_BYTES > at)):
            wrong.append(file)
    note = f"No part of the history of {source.name}, timeline {source.timeline}."
    if not wrong and end.lsn // wal.SEGMENT_BYTES * wal.SEGMENT_BYTES < source.oldest:
        # It was away for long: what is missing is nowhere any more. It goes on where its slot is.
        wrong = [f for f in Path(node.archive).iterdir() if commands.is_segment(f.name)]
        note = f"{source.name} no longer has the WAL that comes next."
    if not wrong:
        return ""
    return aside.move_files(Path(node.archive), wrong, note)


def streams(node: Node, source: str) -> bool:
    """Whether the source says that we stream from it."""
    try:
        lines = postgres.ask(
            upstream.database_connection(node, source),
            "SELECT state FROM pg_stat_replication WHERE application_name ="
            f" {commands.quote_literal(node.node)};\n",
        )
    except SqlFailed:
        return False
    return "streaming" in lines


def _has_begun(node: Node, timeline: int) -> bool:
    """Whether there is WAL of a timeline here."""
    names = (file.name for file in Path(node.archive).iterdir())
    return any(commands.is_segment(n) and n.startswith(f"{timeline:08X}") for n in names)


def follow(
    node: Node,
    primary: upstream.Upstream,
    voted: wal.End | None,
    *,
    timeout_s: float = STREAM_S,
    again: bool = False,
) -> str:
    """Receive WAL from a primary and wait until it streams. voted: where our log ended when we
    voted, if nothing was received since. again: it was told so before, and may be at it.

    Raises Failed("not-streaming").
    """
    source = primary.name
    if again and receiver() is not None and streams(node, source):
        return f"receives WAL from {source}"
    stop()
    moved = make_way(node, primary, voted or wal.end_of_witness(node))
    known = _has_begun(node, primary.timeline)
    started = float("-inf")

    def look() -> tuple[bool | None, str]:
        nonlocal started
        if receiver() is None:
            if time.monotonic() - started >= AGAIN_S:
                started = time.monotonic()
                start(node, source)
            return None, "pg_receivewal ended; the container's log says why"
        # A file of the new timeline says first that it streams. Asking the primary costs a login,
        # just while the receiver, the doors and the clients want the processors.
        if not known and not _has_begun(node, primary.timeline):
            return None, f"no WAL of timeline {primary.timeline} yet"
        return (True, "") if streams(node, source) else (None, "not streaming yet")

    process.wait_until(
        look, timeout_s=timeout_s, code="not-streaming", what="No WAL came", pause_s=0.01
    )
    return f"receives WAL from {source}" + (f"; {moved}" if moved else "")
