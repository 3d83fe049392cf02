"""Where this node's WAL ends, and how WAL comes from another node (`fetch`, `hand_out`).

A position is the end of the last complete record on disk: never the last byte that was received.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.commands.lsn import parse_lsn, segment_name, segment_start
from pgha.node import paths, postgres, process
from pgha.node.errors import Failed
from pgha.node.state import Node

SEGMENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class End:
    """A log: its timeline, the LSN where it ends, and the timelines that it came by."""

    timeline: int
    lsn: int
    history: commands.History = ()


def directory_of(node: Node) -> Path:
    """Where this node's WAL is: a witness keeps it in the archive's volume."""
    return Path(node.archive) if node.kind == "witness" else paths.DATA / "pg_wal"


def history_of(directory: Path, timeline: int) -> commands.History:
    """The history of a timeline, from its file; empty for one that has none."""
    try:
        return commands.parse_history((directory / commands.history_name(timeline)).read_text())
    except OSError:
        return ()


def segments(directory: Path, timeline: int | None = None) -> dict[int, Path]:
    """Segments of one timeline by the LSN where they begin; a complete one wins over `.partial`."""
    found: dict[int, Path] = {}
    for file in sorted(directory.iterdir(), reverse=True):
        if not commands.is_segment(file.name):
            continue
        its_timeline, start = segment_start(file.name, SEGMENT_BYTES)
        if timeline in (None, its_timeline):
            found[start] = file
    return found


def timelines(directory: Path) -> tuple[int, ...]:
    """The timelines of which the directory has segments, newest first."""
    names = (f.name for f in directory.iterdir() if commands.is_segment(f.name))
    return tuple(sorted({segment_start(n, SEGMENT_BYTES)[0] for n in names}, reverse=True))


@dataclass(frozen=True)
class Log:
    """The segments of one timeline by the LSN where they begin.

    forked_at: where it left its parent; None: not known.
    """

    timeline: int
    files: dict[int, Path]
    forked_at: int | None

    def has_begun(self, begin: int) -> bool:
        """Whether it has written to a segment: the first page carries the segment's address, and
        the number of this timeline, or of one before it where the segment begins before the fork. A
        file that was made beforehand is empty; one that was recycled has what it held before."""
        file = self.files.get(begin)
        if file is None:
            return False
        with file.open("rb") as opened:
            page = opened.read(commands.PAGE_BYTES)
        behind = self.forked_at is not None and begin >= self.forked_at
        oldest = self.timeline if behind else 1
        # src/include/access/xlog_internal.h, XLogPageHeaderData: xlp_tli.
        its_timeline = int.from_bytes(page[4:8], "little")
        return commands.valid_pages(page, begin) == 1 and oldest <= its_timeline <= self.timeline


def log_of(directory: Path, timeline: int) -> Log:
    """What a directory has of a timeline."""
    history = history_of(directory, timeline)
    forked_at = history[-1][1] if history else 0 if timeline == 1 else None
    return Log(timeline, segments(directory, timeline), forked_at)


def end_of_segments(directory: Path, timeline: int) -> int | None:
    """Where the WAL of a timeline ends in a directory; None where it has no complete record.

    Newest segment first, and in it the last pages first: a vote waits for this. Of a file that was
    recycled one page is read, for there may be gigabytes of them.
    """
    log = log_of(directory, timeline)
    for start in sorted(log.files, reverse=True):
        if not log.has_begun(start):
            continue
        pages = commands.valid_pages(log.files[start].read_bytes(), start)
        back = 2
        while pages:
            first = max(0, pages - back)
            end = _last_record_end(log, start + first * commands.PAGE_BYTES)
            if end is not None:
                return end
            if first == 0:
                break
            back *= 16
    return None


def _last_record_end(log: Log, start: int) -> int | None:
    """The end of the last record that begins at or after `start`; None where there is none."""
    last = _last_record(log, start)
    return commands.record_end(last, SEGMENT_BYTES) if last else None


# How pg_waldump ends at the end of a log. Everything else that it complains of says nothing about
# where the log ends.
_ENDS = re.compile(rb"error in WAL record at|could not find a valid record after")


def _last_record(log: Log, start: int, limit: int | None = None) -> commands.Record | None:
    """The last record that begins at or after `start` (of so many); None where there is none.

    pg_waldump takes complete names only, so it looks into a directory of links. In it is what the
    log goes on with: a segment that PostgreSQL or pg_receivewal made beforehand has no header yet,
    and pg_waldump, which takes the size of segments from the first file that it happens to find,
    would give up on account of it.

    Raises Failed("wal") where it ends for any other reason than the log's end: a vote, a fence and
    a comparison must not take that for an end.
    """
    import tempfile  # 8 ms, which a probe of a running node does not pay

    begin = start - start % SEGMENT_BYTES
    used: dict[int, Path] = {}
    while log.has_begun(begin):
        used[begin] = log.files[begin]
        begin += SEGMENT_BYTES
    if not used:
        return None
    kept = b""
    with tempfile.TemporaryDirectory(prefix="pgha-wal-") as links:
        for file in used.values():
            _lay(file, Path(links) / file.name[:24])
        # Where WAL goes on at a segment's beginning, pg_waldump waits five seconds for that file.
        # It gets one with the header of another: the size is right there, the address is not.
        behind = segment_name(log.timeline, begin, SEGMENT_BYTES)
        first = next(iter(used.values()))
        with (Path(links) / behind).open("wb") as empty, first.open("rb") as header:
            empty.write(header.read(commands.LONG_HEADER_BYTES))
            empty.truncate(SEGMENT_BYTES)
        words = commands.waldump(
            postgres.bindir(), links, timeline=log.timeline, start=start, limit=limit
        )
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process.environment()
        ) as dump:
            assert dump.stdout is not None
            assert dump.stderr is not None
            for line in dump.stdout:
                if line.startswith(b"rmgr:"):
                    kept = line
            complaint = dump.stderr.read()
    if dump.returncode != 0 and not _ENDS.search(complaint):
        said = complaint.decode("utf-8", "replace").strip() or f"status {dump.returncode}"
        raise Failed("wal", f"pg_waldump cannot read this node's WAL: {said}")
    return commands.parse_waldump_line(kept.decode("utf-8", "replace"))


def _lay(file: Path, target: Path) -> None:
    """A link to a segment; of one that is too short a copy that ends with zeros, for pg_waldump
    gives up at the end of such a file."""
    if file.stat().st_size >= SEGMENT_BYTES:
        target.symlink_to(file)
        return
    target.write_bytes(file.read_bytes())
    os.truncate(target, SEGMENT_BYTES)


def newest_end(directory: Path, candidates: Iterable[int]) -> End | None:
    """The end of the first of these timelines, newest first, that has a record of its own.

    A segment of a new timeline begins with a copy of the old one's bytes: only a record behind the
    point where the old one was left makes the log one of the new timeline.
    """
    left: dict[int, int] = {}
    for timeline in candidates:
        end = end_of_segments(directory, timeline)
        if end is None:
            continue
        history = history_of(directory, timeline)
        if not history or end > history[-1][1]:
            return End(timeline, min(end, left.get(timeline, end)), history)
        left = {**dict(history), **left}
    return None


def goes_on(history: commands.History, control: commands.ControlData) -> bool:
    """Whether a timeline with this history goes on with the log that pg_control tells of: it came
    by that timeline, and left it no earlier than what the data hold for certain. (The history of a
    number that is not used leaves it before all WAL.)"""
    certain = max(control.minimum_lsn, control.checkpoint_lsn)
    return any(t == control.timeline and at >= certain for t, at in history)


def end_at_rest(control: commands.ControlData) -> End:
    """Where the log of a stopped data directory ends. Raises Failed("wal") where it cannot be read.

    After a clean shutdown of a primary its last record is the shutdown checkpoint; else the files
    are read to their end, since a start would replay all of it. A primary's pg_control names its
    timeline. A standby's need not before its next restartpoint, even after a clean shutdown
    (src/backend/access/transam/xlog.c, CreateRestartPoint): what it has received and acknowledged
    may be on a later one.
    """
    directory = paths.DATA / "pg_wal"
    history = history_of(directory, control.timeline)
    if control.state == "shut down":
        log = log_of(directory, control.checkpoint_timeline)
        record = _last_record(log, control.checkpoint_lsn, limit=1)
        if record is not None and record.lsn == control.checkpoint_lsn:
            end = commands.record_end(record, control.segment_bytes)
            return End(control.timeline, end, history)
    if not control.was_primary:
        later = [t for t in timelines(directory) if goes_on(history_of(directory, t), control)]
        newest = newest_end(directory, later)
        if newest is not None:
            return newest
    end_in_files = end_of_segments(directory, control.timeline)
    if end_in_files is None and control.timeline > 1 and history:
        # It had just switched: all that it has is still its parent's.
        parent, left_at = history[-1]
        before = end_of_segments(directory, parent)
        if before is not None:
            return End(parent, min(before, left_at), history[:-1])
    if end_in_files is None:
        raise Failed("wal", "The end of this node's WAL cannot be found in pg_wal.")
    return End(control.timeline, max(end_in_files, control.minimum_lsn), history)


def end_of_witness(node: Node) -> End | None:
    """Where the witness's WAL ends; None where it has none."""
    directory = Path(node.archive)
    return newest_end(directory, timelines(directory)) if directory.is_dir() else None


def chain(directory: Path, end: End, start: int) -> list[tuple[str, Path]]:
    """The files that hold a log from the segment of `start` to its end, as (name, file), in order.

    For each segment the newest timeline of the log that has it. Raises Failed("wal-gone") where one
    is missing.
    """
    allowed = [end.timeline, *(timeline for timeline, _ in reversed(end.history))]
    by_timeline = {timeline: segments(directory, timeline) for timeline in allowed}
    found: list[tuple[str, Path]] = []
    begin = start - start % SEGMENT_BYTES
    for at in range(begin, end.lsn + (1 if end.lsn % SEGMENT_BYTES else 0), SEGMENT_BYTES):
        file = next((by_timeline[t][at] for t in allowed if at in by_timeline[t]), None)
        if file is None:
            raise Failed("wal-gone", "A segment that is asked for is no longer here.")
        found.append((file.name[:24], file))
    return found


def own_end(node: Node) -> End | None:
    """Where this node's log ends, whatever it is; None where it has none.

    Of a running standby: what it has replayed, so its receiver should be gone and the rest drained.
    Raises SqlFailed, Failed("wal").
    """
    if node.kind == "witness":
        return end_of_witness(node)
    if not postgres.has_data():
        return None
    if postgres.pid() is None:
        return end_at_rest(postgres.need_control())
    timeline, lsn = running_end(node)
    return End(timeline, lsn, history_of(paths.DATA / "pg_wal", timeline))


def running_end(node: Node) -> tuple[int, int]:
    """(timeline, LSN) of the running server: flushed on a primary, replayed on a standby.

    IDENTIFY_SYSTEM is the one place that names the timeline that is being replayed
    (PostgreSQL 17, "Streaming Replication Protocol").
    """
    lines = postgres.sql(
        node,
        "IDENTIFY_SYSTEM;\n"
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        " ELSE pg_current_wal_flush_lsn() END;\n",
        replication=True,
        timeout_s=3.0,
    )
    return int(lines[0].split("|")[1]), parse_lsn(lines[1])
