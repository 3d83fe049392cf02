"""The hold: an operator's command is at work on the cluster, and the agents leave it to him.

It is a lock of the operator's session in the container, so it ends with that session, however that
ends. Each verb of the session renews it: a command that stands still (Ctrl-Z) holds nobody for more
than MAX_AGE_S.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator

from pgha.node import paths
from pgha.node.errors import Failed

MAX_AGE_S = 60.0

_mine: list[int] = []


def take(reason: str) -> str:
    """Hold this node's agent, beside other sessions that do: operators keep one another out by
    their hosts' locks."""
    if not _mine:
        try:
            lock = os.open(paths.HOLD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failed("hold", f"{paths.HOLD}: {error.strerror}") from error
        fcntl.flock(lock, fcntl.LOCK_SH)
        _mine.append(lock)
    _write(reason)
    return "the agent leaves the cluster to this command"


def release() -> str:
    """The agent goes on. Nothing happens where this session holds nothing."""
    while _mine:
        os.close(_mine.pop())
    return "the agent goes on"


def renew() -> None:
    """The command that holds is still at work."""
    if _mine:
        _write(None)


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """A verb of the session that holds is under way, however long it takes."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(MAX_AGE_S / 4):
            renew()

    if _mine:
        threading.Thread(target=go_on, name="hold", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def held() -> bool:
    """Whether a session holds this node's agent, and did something of late."""
    try:
        probe = os.open(paths.HOLD, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return time.monotonic() - _read()[0] < MAX_AGE_S
    finally:
        os.close(probe)
    return False


def _write(reason: str | None) -> None:
    """When by the monotonic clock, which all processes of a host share, and why."""
    reason = _read()[1] if reason is None else reason
    content = f"{time.monotonic()}\n{reason}\n".encode()
    # Nobody finds it empty: that would be no hold.
    os.pwrite(_mine[0], content, 0)
    os.ftruncate(_mine[0], len(content))


def _read() -> tuple[float, str]:
    try:
        when, reason, *_ = paths.HOLD.read_text().split("\n")
        return float(when), reason
    except (OSError, ValueError):
        return float("-inf"), "unknown"
