"""What we use of a Paramiko channel, and what every program on one begins and ends with.

Nothing here imports Paramiko: the channel is made and started in `remote`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

from pgha.at_once import at_once
from pgha.commands.base import Command
from pgha.waiting import Deadline

# Ending what runs on the other side, and giving the channel up.
_PARTING_S = 3.0


class _Transport(Protocol):
    def is_active(self) -> bool: ...


class RawChannel(Protocol):
    """What we use of `paramiko.Channel`."""

    closed: bool
    exit_status: int
    status_event: threading.Event

    @property
    def eof_received(self) -> int: ...
    def get_transport(self) -> _Transport: ...
    def settimeout(self, timeout: float | None) -> None: ...
    def fileno(self) -> int: ...
    def recv_ready(self) -> bool: ...
    def recv(self, nbytes: int) -> bytes: ...
    def recv_stderr_ready(self) -> bool: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...
    def sendall(self, s: bytes) -> None: ...
    def shutdown_write(self) -> None: ...
    def close(self) -> None: ...


# Has the user's shell run a line; raises Unreachable.
Start = Callable[[str, Deadline], None]
# Ends a process group, over another channel.
Kill = Callable[[int], None]

# Every line begins with it: the shell says its process number, and becomes the program. SSH has a
# request for signals (RFC 4254, "Signals"), but OpenSSH's server refuses it to root.
_MARK = "pgha-process:"


def part(action: Callable[[], None]) -> None:
    """Do what ends a connection or a channel, and wait for it no longer than _PARTING_S.

    A signal's exception can come between Paramiko's taking of a lock and its `try`: then nobody
    ever gives that lock back, and whoever closes the connection would wait for it without end.
    """

    def suppressed() -> None:
        with contextlib.suppress(OSError, EOFError):
            action()

    at_once({"the end": suppressed}, timeout_s=_PARTING_S)


class Head:
    """Takes the process number off a program's output, and what a shell's start-up file said."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._held = b""

    def line(self, command: Command, *, fed: bool) -> str:
        """What the user's shell is given. fed: the command gets a standard input from us.

        Else it has an end of file there, and we send none: Paramiko lets the end of our side pass
        the answer to the server's close, where a short command has ended meanwhile, and OpenSSH
        ends the whole connection for it («ieof packet referred to nonexistent channel»).
        """
        return f"echo {_MARK}$$; exec {command.quoted}{'' if fed else ' < /dev/null'}"

    def strip(self, piece: bytes) -> bytes:
        """What of this piece, and of those before it, is the program's."""
        if self.pid is not None:
            return piece
        self._held += piece
        _, mark, after = self._held.partition(_MARK.encode())
        number, newline, rest = after.partition(b"\n")
        if not mark or not newline:
            return b""
        self.pid = int(number)
        return rest
