"""WAL from one node's disk to another's: `hand_out` on the one that has more, `fetch` on the other.

The stream: one line of JSON, {"timeline", "lsn", "history", "files": [{"name", "bytes"}]}, then the
files' bytes in that order. A segment's bytes end where the log ends; the receiver fills it with
zeros, so that no recycled file's old pages travel.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pgha.commands import postgres as commands
from pgha.commands.lsn import is_beginning_of, segment_start, show_lsn
from pgha.node import archive, paths, postgres, process, wal
from pgha.node.errors import Failed, Refused, VerbError
from pgha.node.receiving import disconnect
from pgha.node.state import Node, sync_directory, write_durably
from pgha.node.wal import SEGMENT_BYTES, End

REPLAY_S = 60.0
CHUNK_BYTES = 1024 * 1024


def hand_out(node: Node, timeline: int, lsn: int, out: IO[bytes]) -> None:
    """Write what this node has beyond (timeline, lsn), if that is a beginning of its own log."""
    end = wal.own_end(node)
    if end is None:
        raise Refused("no-data", "This node has no WAL.")
    directory = wal.directory_of(node)
    files: list[tuple[str, Path, int]] = []
    beyond = (end.timeline, end.lsn) > (timeline, lsn)
    if beyond and is_beginning_of(timeline, lsn, end.history, end.timeline):
        for number in sorted({end.timeline, *(t for t, _ in end.history)}):
            history = directory / commands.history_name(number)
            if number > timeline and history.exists():
                files.append((history.name, history, history.stat().st_size))
        for name, file in wal.chain(directory, end, lsn):
            start = segment_start(name, SEGMENT_BYTES)[1]
            files.append((name, file, min(SEGMENT_BYTES, end.lsn - start)))
    header = {
        "timeline": end.timeline,
        "lsn": end.lsn,
        "history": end.history,
        "files": [{"name": name, "bytes": size} for name, _, size in files],
    }
    out.write(json.dumps(header).encode() + b"\n")
    for _, file, size in files:
        with file.open("rb") as source:
            _copy(source, out, size)
    out.flush()


def fetch(node: Node, source: str) -> str:
    """Bring what `source` has beyond our own log here, and have it replayed. What was done. Our WAL
    receiver ends: a log that grows from two sides could not be compared.

    Raises Refused("diverged") where our log is no beginning of the source's, by its history or by
    its bytes.
    """
    if postgres.pid() is None or postgres.runs_as_primary(node):
        raise Refused("not-standby", "Only a running standby fetches WAL.")
    mine = disconnect(node)
    if mine is None:
        raise Refused("not-standby", "It takes no connections yet.")
    archive.drop_incoming(Path(node.archive))
    incoming = archive.incoming(Path(node.archive))
    incoming.mkdir(mode=0o700, parents=True)
    try:
        theirs = _from(node, mine, source, incoming)
    except VerbError:
        archive.drop_incoming(Path(node.archive))
        raise
    if theirs is None:
        archive.drop_incoming(Path(node.archive))
        return f"{source} has nothing beyond {show_lsn(mine.lsn)}"
    _wait_replayed(node, theirs)
    archive.drop_incoming(Path(node.archive))
    return f"fetched from {source} and replayed up to {show_lsn(theirs)}"


def _from(node: Node, mine: End, source: str, incoming: Path) -> int | None:
    """By the other node's agent, else by SSH; where its log ends, None: not beyond ours."""
    from pgha.node import courier

    try:
        with courier.ask(node, source, mine.timeline, mine.lsn) as coming:
            return _receive(mine, source, incoming, coming.stream, coming.verify)
    except Failed as error:
        if error.code != "no-courier":
            raise
    words = (
        "ssh",
        *("-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3"),
        f"postgres@{node.member(source).address}",
        f"pgha-node hand_out from={show_lsn(mine.lsn)} timeline={mine.timeline}",
    )
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process.environment(),
    ) as ssh:
        assert ssh.stdout is not None
        assert ssh.stderr is not None
        try:
            return _receive(mine, source, incoming, ssh.stdout, lambda: None)
        except Failed as error:
            ssh.kill()
            said = ssh.stderr.read().decode("utf-8", "replace").strip().splitlines()
            raise Failed(error.code, " ".join([error.message, *said[-1:]])) from error
        except Refused:
            ssh.kill()
            raise


def _receive(
    mine: End, source: str, incoming: Path, stream: IO[bytes], verify: Callable[[], None]
) -> int | None:
    """Take the stream into `incoming`; where the source's log ends, None: not beyond ours. verify:
    called when all was read, before anything of it could be used."""
    line = stream.readline()
    try:
        header = json.loads(line)
        theirs = End(
            header["timeline"], header["lsn"], tuple((t, at) for t, at in header["history"])
        )
        files = [(str(f["name"]), int(f["bytes"])) for f in header["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("source", f"{source} does not hand out its WAL.") from error
    if (theirs.timeline, theirs.lsn) <= (mine.timeline, mine.lsn):
        verify()
        return None
    if not is_beginning_of(mine.timeline, mine.lsn, theirs.history, theirs.timeline):
        raise Refused("diverged", f"WAL here is no beginning of that of {source}.")
    if not files:
        raise Failed("wal-gone", f"{source} no longer has the WAL that this node lacks.")
    segments: list[Path] = []
    for name, size in files:
        if not (commands.is_segment(name) or name.endswith(".history")) or "/" in name:
            raise Failed("source", f"{source} sent a file that is no WAL.")
        beside = incoming / (name + ".new")
        with beside.open("wb") as target:
            _copy(stream, target, size)
            if commands.is_segment(name):
                target.truncate(SEGMENT_BYTES)
                segments.append(beside)
            target.flush()
            os.fsync(target.fileno())
    verify()
    _require_same_bytes(mine, source, segments)
    for name, _ in files:
        os.rename(incoming / (name + ".new"), incoming / name)
    sync_directory(incoming)
    _bridge(mine.timeline, theirs.timeline, {name for name, _ in files})
    return theirs.lsn


def _bridge(mine: int, theirs: int, came: set[str]) -> None:
    """History files for the numbers between that were never used: a standby looks for a later
    timeline number by number, and ends at the first that has no file. They come last, and the
    highest first, so that it sees nothing before the row is whole."""
    text = commands.placeholder_history(mine).encode()
    for number in range(theirs - 1, mine, -1):
        file = paths.DATA / "pg_wal" / commands.history_name(number)
        if file.name not in came and not file.exists():
            write_durably(file, text)


def _require_same_bytes(mine: End, source: str, segments: list[Path]) -> None:
    """Up to our own end, what came must be what we have; else the logs only look alike."""
    own = dict(_own_segments(mine))
    for file in segments:
        start = segment_start(file.name[:24], SEGMENT_BYTES)[1]
        common = min(SEGMENT_BYTES, mine.lsn - start)
        if common <= 0:
            continue
        if start not in own or own[start][:common] != file.read_bytes()[:common]:
            raise Refused("diverged", f"WAL of {source} differs from ours before our own end.")


def _own_segments(mine: End) -> list[tuple[int, bytes]]:
    """The one segment in which our log ends: the stream begins with it."""
    if mine.lsn % SEGMENT_BYTES == 0:
        return []
    found = wal.chain(paths.DATA / "pg_wal", mine, mine.lsn)
    return [(segment_start(name, SEGMENT_BYTES)[1], file.read_bytes()) for name, file in found]


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    left = size
    while left:
        part = source.read(min(CHUNK_BYTES, left))
        if not part:
            raise Failed("source", "The stream of WAL ended too early.")
        target.write(part)
        left -= len(part)


def _wait_replayed(node: Node, lsn: int) -> None:
    """Wait in the server, at 5 ms: each look from here would cost a process."""
    rounds = int(REPLAY_S / 0.005)
    lines = postgres.sql(
        node,
        f"DO $$ BEGIN FOR i IN 1..{rounds} LOOP"
        f" EXIT WHEN pg_last_wal_replay_lsn() >= '{show_lsn(lsn)}'; PERFORM pg_sleep(0.005);"
        " END LOOP; END $$;\n"
        f"SELECT pg_last_wal_replay_lsn() >= '{show_lsn(lsn)}';\n",
        timeout_s=REPLAY_S + 5,
    )
    if lines != ["t"]:
        raise Failed(
            "replay", f"The WAL up to {show_lsn(lsn)} was not replayed within {REPLAY_S:g} s."
        )
