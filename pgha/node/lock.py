"""The node's lock: an agent and an operator never work on a node at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pgha.node import paths, process
from pgha.node.errors import Failed, Refused
from pgha.node.state import now

LOCK_S = 10.0


@contextlib.contextmanager
def locked(verb: str, timeout_s: float = LOCK_S, file: Path = paths.LOCK) -> Iterator[None]:
    """Hold the node's lock, or another one. It ends with the process, however that ends.

    Raises Refused("busy").
    """
    try:
        paths.RUN.mkdir(exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failed("lock", f"{file}: {error.strerror}") from error
    try:
        end = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= end:
                    raise Refused("busy", f"Another verb is at work here: {busy(file)}.") from error
                time.sleep(0.01)
        # A disk of Docker's own that is full takes no note; the lock holds without.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{verb} since {now()}".encode(), 0)
        process.held.append(lock)
        yield
    finally:
        if lock in process.held:
            process.held.remove(lock)
        os.close(lock)


def busy(file: Path = paths.LOCK) -> str:
    """Which verb is at work on this node, since when; empty: none."""
    try:
        with file.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return lock.read().decode("utf-8", "replace").strip() or "a verb"
    except OSError:
        return ""
    return ""
