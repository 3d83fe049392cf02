"""The gate: whether PostgreSQL lets clients in. Replication and the verbs always come in.

A primary's gate opens when a majority holds a commit of its own term: what it shows before could
still be lost. It is closed before a server can become a primary, and open on a follower.
"""

from __future__ import annotations

from pgha.node import paths, postgres


def is_open() -> bool:
    """By its file; PostgreSQL has read it, or will before it lets anybody in."""
    try:
        return paths.GATE.stat().st_size > 0
    except OSError:
        return False


def close() -> bool:
    """Whether it was open. PostgreSQL reads it at its next reload or start."""
    return _write(b"")


def open_gate() -> bool:
    """Whether it was closed; PostgreSQL is told."""
    if not _write(f"include {paths.CLIENTS_HBA.name}\n".encode()):
        return False
    postgres.reload()
    return True


def _write(content: bytes) -> bool:
    """Whether that changed anything. Replaced as a whole: half a line would let nobody in."""
    try:
        if paths.GATE.read_bytes() == content:
            return False
    except OSError:
        pass
    beside = paths.GATE.with_name(paths.GATE.name + ".new")
    beside.write_bytes(content)
    beside.replace(paths.GATE)
    return True
