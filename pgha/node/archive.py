"""The archive is bounded: oldest WAL goes first, history files stay."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pgha.commands import postgres as commands

MIB = 1024 * 1024
# Below this the next segments would not fit: what is old makes room.
LOW_BYTES, ENOUGH_BYTES = 64 * MIB, 160 * MIB
# The newest are never pruned, however little room there is: the witness's word depends on them.
KEPT = 4


def incoming(archive: Path) -> Path:
    """Where WAL is laid that comes from another node; PostgreSQL looks there first."""
    return archive / "incoming"


def drop_incoming(archive: Path) -> None:
    """Take away what a fetch laid there. PostgreSQL has it in pg_wal once it is replayed; a copy
    that is left would win over a segment of our own that has grown longer since."""
    shutil.rmtree(incoming(archive), ignore_errors=True)


def prune(archive: Path, max_bytes: int) -> int:
    """Remove the oldest segments until the archive fits its bound and its disk has room; how many.

    Raises OSError where a file cannot be removed.
    """
    files = sorted(f for f in archive.iterdir() if commands.is_segment(f.name[:24]))
    # By position, not by timeline: an old timeline's newest WAL may be younger than it looks.
    files.sort(key=lambda f: (f.name[8:24], f.name[:8]))
    sizes = {f: f.stat().st_size for f in files}
    total, free = sum(sizes.values()), _free(archive)
    wanted = ENOUGH_BYTES if free < LOW_BYTES else 0
    count = 0
    for file in files[:-KEPT]:
        if total <= max_bytes and free >= wanted:
            break
        file.unlink()
        total -= sizes[file]
        free += sizes[file]
        count += 1
    return count


def _free(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
