"""What a node keeps on its disk: who the nodes are, its assignment, its journal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pgha.node import paths
from pgha.node.errors import Failed
from pgha.node.report import Assignment, from_json, to_json

JOURNAL_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Member:
    """One node of the cluster; slot: the replication slot that others keep for it."""

    name: str
    kind: str
    address: str
    slot: str


@dataclass(frozen=True)
class Node:
    """node.json, written by `init`: who this node is and who the others are. No secrets."""

    cluster: str
    node: str
    kind: str
    nodes: tuple[Member, ...]
    pgport: int
    pgpool_port: int
    postgres_user: str
    replication_user: str
    pcp_user: str
    quorum_commit: bool
    archive_max_bytes: int
    wal_keep_max_bytes: int
    locale_provider: str
    locale: str
    pgdata: str
    archive: str
    image: str = ""
    election_timeout_s: float = 1.5
    auto_failover: bool = True
    auto_recovery: bool = True
    read_balance: bool = False

    @property
    def me(self) -> Member:
        return self.member(self.node)

    @property
    def others(self) -> tuple[Member, ...]:
        return tuple(m for m in self.nodes if m.name != self.node)

    def member(self, name: str) -> Member:
        """Raises Failed for a name that is no node's."""
        for member in self.nodes:
            if member.name == name:
                return member
        raise Failed("unknown-node", f"{name} is no node of {self.cluster}.")

    def name_of(self, address: str | None) -> str | None:
        """The node that has an address."""
        return next((m.name for m in self.nodes if m.address == address), None)


def now() -> str:
    """The time, in UTC, as it stands in the assignment and the journal."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def stamp() -> str:
    """The time as a directory's name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def node_from_json(text: str) -> Node:
    """Raises ValueError where something is missing or of another type."""
    node = from_json(json.loads(text), Node)
    if not isinstance(node, Node):
        raise ValueError("not a node.json")
    return node


def read_node(file: Path = paths.NODE) -> Node:
    """Raises Failed("unprepared") where `init` has not been here."""
    try:
        return node_from_json(file.read_text())
    except (OSError, ValueError) as error:
        raise Failed("unprepared", f"This node does not know its cluster: {error}.") from error


def read_assignment(file: Path = paths.STATE) -> Assignment:
    """The assignment; a node that was never told anything is fenced in term 0.

    Raises Failed("state") for a file that cannot be read: a guess could forget a vote.
    """
    try:
        text = file.read_text()
    except FileNotFoundError:
        return Assignment()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed("state", f"The assignment cannot be read: {error}.") from error
    try:
        document = json.loads(text)
        # The defaults are those of a node that was never told anything: never guessed.
        if not isinstance(document, dict) or not {"term", "role"} <= document.keys():
            raise ValueError("it lacks a term or a role")
        found = from_json(document, Assignment)
    except ValueError as error:
        raise Failed("state", f"{file} holds no assignment: {error}.") from error
    assert isinstance(found, Assignment)
    return found


def write_durably(file: Path, content: bytes, mode: int = 0o600) -> None:
    """All or nothing, over a power cut too: written beside, synced, renamed, directory synced."""
    beside = file.with_name(file.name + ".new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(beside, file)
    sync_directory(file.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename or a new file in it durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_assignment(assignment: Assignment, file: Path = paths.STATE) -> Assignment:
    """Durable before anybody is told. Raises Failed("old-term") rather than lower the term."""
    if assignment.term < read_assignment(file).term:
        raise Failed("old-term", "A term never goes down.")
    dated = replace(assignment, since=now())
    write_durably(file, json.dumps(to_json(dated)).encode() + b"\n")
    return dated


def change(how: Callable[[Assignment], Assignment], file: Path = paths.STATE) -> Assignment:
    """Write what `how` makes of the assignment, unless that is what stands there. One at a time:
    a verb of Pgpool-II's changes it beside one of PostgreSQL's."""
    with _only_writer():
        before = read_assignment(file)
        after = how(before)
        return before if after == before else write_assignment(after, file)


def try_change(how: Callable[[Assignment], Assignment]) -> str:
    """`change`, or why the disk does not take it; empty: it did. For what is right without, too."""
    try:
        change(how)
    except OSError as error:
        return f"nothing could be written down ({error.strerror})"
    return ""


@contextlib.contextmanager
def _only_writer() -> Iterator[None]:
    """For the milliseconds that a change takes; nobody waits under it."""
    if not paths.RUN.is_dir():  # at rest: `init`'s helper containers
        yield
        return
    lock = os.open(paths.STATE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def journal(entry: dict[str, object], file: Path = paths.JOURNAL) -> None:
    """One line more; the file is rotated (one older one is kept). Never fails a verb: a full disk
    must not keep a node from being fenced."""
    line = json.dumps({"at": now(), **entry}) + "\n"
    with contextlib.suppress(OSError):
        if file.exists() and file.stat().st_size > JOURNAL_MAX_BYTES:
            os.replace(file, file.with_name(file.name + ".1"))
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
