"""Nothing is deleted: what must go out of the way goes to `aside/<time>/` in the same volume."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.commands.lsn import segment_start
from pgha.node.state import stamp, sync_directory
from pgha.node.wal import SEGMENT_BYTES

NAME = "aside"
NOT_MOVED = {NAME, "lost+found"}


def new_directory(volume: Path, name: str | None = None) -> Path:
    """A fresh directory below the volume's `aside`."""
    directory = volume / NAME / (name or stamp())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def move_files(volume: Path, files: Sequence[Path], note: str) -> str:
    """Move files of one volume aside, with a note why. A sentence."""
    directory = new_directory(volume)
    (directory / "NOTE").write_text(note + "\n")
    for file in files:
        os.rename(file, directory / file.name)
    sync_directory(directory)
    sync_directory(volume)
    return f"{len(files)} files moved to {directory}"


def move_all(volume: Path, name: str) -> str | None:
    """Move everything that a volume holds into aside/<name>/; None: it was empty."""
    if not volume.is_dir():
        return None
    entries = [entry for entry in sorted(volume.iterdir()) if entry.name not in NOT_MOVED]
    if not entries:
        return None
    directory = new_directory(volume, name)
    for entry in entries:
        os.rename(entry, directory / entry.name)
    sync_directory(directory)
    sync_directory(volume)
    return str(directory)


def move_diverged(archive: Path, history: commands.History, timeline: int) -> str:
    """Archived segments that reach beyond where their timeline was left, out of restore_command's
    sight: PostgreSQL would take them before it asks the primary. A sentence; empty: none."""
    left = {**dict(history), timeline: None}
    wrong: list[Path] = []
    if not archive.is_dir():
        return ""
    for file in archive.iterdir():
        if commands.is_segment(file.name):
            its_timeline, start = segment_start(file.name, SEGMENT_BYTES)
            at = left.get(its_timeline, 0)
            if at is not None and start + SEGMENT_BYTES > at:
                wrong.append(file)
    if not wrong:
        return ""
    return move_files(archive, wrong, f"No part of the history of timeline {timeline}.")
