"""Reads this node's journal for `inv history`: the older file first, bounded, nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

from pgha.node import paths
from pgha.node.errors import Failed
from pgha.node.state import JOURNAL_MAX_BYTES, now

# Of each of the two files: what `state.journal` lets one grow to, and a line more.
MAX_BYTES = JOURNAL_MAX_BYTES + 64 * 1024


def journal(file: Path = paths.JOURNAL) -> str:
    """A line of JSON about what follows, then the journal's lines as they stand, oldest first.

    now: this node's clock, by which the reader judges the lines' times. cut: a file was longer than
    anything of ours makes it, and its beginning is left out. Raises Failed("system") for a file
    that is there and cannot be read.
    """
    older, cut = _tail(file.with_name(file.name + ".1"))
    newer, cut_too = _tail(file)
    lines = [line for line in (older + newer).split("\n") if line.strip()]
    head = {"ok": True, "now": now(), "lines": len(lines), "cut": cut or cut_too}
    return "".join(f"{line}\n" for line in (json.dumps(head), *lines))


def _tail(file: Path, most: int = MAX_BYTES) -> tuple[str, bool]:
    """The end of a file in whole lines, and whether that is not all; what is no ASCII is escaped:
    our own lines are, and a torn one must not keep the others from being read."""
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            handle.seek(max(0, size - most))
            content = handle.read(most)
    except FileNotFoundError:
        return "", False
    except OSError as error:
        raise Failed("system", f"{file}: {error.strerror}.") from error
    cut = size > most
    if cut:
        content = content.partition(b"\n")[2]
    text = content.decode("ascii", "backslashreplace")
    # A line that was cut off by a power cut has no end of its own.
    return (text if not text or text.endswith("\n") else text + "\n"), cut
