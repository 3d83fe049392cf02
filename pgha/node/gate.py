"""The gate: whether PostgreSQL lets clients in. Replication and the verbs always come in.

A primary's gate opens when a majority holds a commit of its own term: what it shows before could
still be lost. It is closed before a server can become a primary. A follower's is open to those who
ask it themselves, and who know that it is one.
"""

from __future__ import annotations

from pgha.node import paths, postgres
from pgha.node.state import Node


def is_open() -> bool:
    """By its file; PostgreSQL has read it, or will before it lets anybody in."""
    try:
        return paths.GATE.stat().st_size > 0
    except OSError:
        return False


def close() -> bool:
    """Whether it was open. PostgreSQL reads it at its next reload or start."""
    return _write(b"")


def open_to_all() -> bool:
    """A primary's. Whether it was another; PostgreSQL is told."""
    return _open("")


def open_to_readers(node: Node) -> bool:
    """A follower's: as `open_to_all`, but no Pgpool-II comes in, unless it may read from standbys
    (READ_BALANCE). One that still leads to this node as the primary, since nobody has told it yet
    of another one, would show its clients what is past."""
    doors = () if node.read_balance else (member.address for member in node.nodes)
    return _open("".join(f"host all all {address}/32 reject\n" for address in doors))


def _open(but: str) -> bool:
    if not _write(f"{but}include {paths.CLIENTS_HBA.name}\n".encode()):
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
