"""A program's standard input and output as bytes: on one channel of a connection, or here.

`hosts.Stream` says what each call does. Nothing here watches the clock: `relay` does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time

from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.hosts import Result, brief, judge
from pgha.processes import CHUNK_BYTES, end_group
from pgha.raw_channel import Head, Kill, RawChannel, part

# How much of what a program says is kept for an error.
_KEPT_BYTES = 4096
# A program that takes no more has ended, or is about to: so long its status is waited for.
_STATUS_S = 2.0


class SshStream:
    """A program on the other side of one channel."""

    def __init__(
        self,
        name: str,
        command: Command,
        channel: RawChannel,
        head: Head,
        kill: Kill,
        *,
        fed: bool,
    ) -> None:
        self._fed = fed
        self._name, self._command = name, command
        self._channel, self._head, self._kill = channel, head, kill
        self._said = self._complaints = b""
        self._begun = time.monotonic()
        channel.settimeout(None)

    def read(self) -> bytes:
        while True:
            piece = self._channel.recv(CHUNK_BYTES)
            self._listen()
            if not piece:
                return b""
            if program_s := self._head.strip(piece):
                return program_s

    def write(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except (OSError, EOFError):
            self._channel.status_event.wait(_STATUS_S)
            raise _ended_early(self._name, self._command, self._result()) from None

    def eof(self) -> None:
        if self._fed:
            with contextlib.suppress(OSError, EOFError):
                self._channel.shutdown_write()

    def end(self) -> Result:
        self.eof()
        while piece := self.read():
            self._said = (self._said + piece)[-_KEPT_BYTES:]
        self._channel.status_event.wait()
        result = self._result()
        self._channel.close()
        return result

    def close(self) -> None:
        part(self._finish)

    def _finish(self) -> None:
        channel = self._channel
        try:
            if not channel.status_event.is_set():
                if self._head.pid is None and channel.recv_ready():
                    self._head.strip(channel.recv(CHUNK_BYTES))
                if self._head.pid is not None:
                    self._kill(self._head.pid)
        finally:
            channel.close()

    def _result(self) -> Result:
        self._listen()
        status = self._channel.exit_status
        if status < 0 and not self._channel.get_transport().is_active():
            raise Unreachable(
                f"The connection to {self._name} was lost while «{brief(self._command)}» ran."
            )
        said, complaints = _text(self._said), _text(self._complaints)
        return Result(status, said, complaints, time.monotonic() - self._begun)

    def _listen(self) -> None:
        """Take what it says on stderr: unread it would fill the channel, and stop the program."""
        while self._channel.recv_stderr_ready():
            said = self._channel.recv_stderr(CHUNK_BYTES)
            self._complaints = (self._complaints + said)[-_KEPT_BYTES:]


class LocalStream:
    """A program on this machine, with a process group of its own."""

    def __init__(self, name: str, command: Command) -> None:
        self._name, self._command = name, command
        self._begun = time.monotonic()
        # A file, since nobody reads a pipe while bytes are written. Its name is gone already.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = threading.Lock()
        # By way of a shell: a program that is missing is the status 127, as it is elsewhere.
        self._process = subprocess.Popen(
            ("sh", "-c", 'exec "$@"', "sh", *command.words),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )

    def read(self) -> bytes:
        assert self._process.stdout is not None
        return os.read(self._process.stdout.fileno(), CHUNK_BYTES)

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        unsent = memoryview(data)
        try:
            while unsent:
                unsent = unsent[os.write(self._process.stdin.fileno(), unsent) :]
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STATUS_S)
            raise _ended_early(self._name, self._command, self._result(b"")) from None

    def eof(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> Result:
        assert self._process.stdout is not None
        self.eof()
        said = b""
        while piece := self.read():
            said = (said + piece)[-_KEPT_BYTES:]
        self._process.wait()
        self._process.stdout.close()
        return self._result(said)

    def close(self) -> None:
        with self._lock:
            if self._process.poll() is None:
                end_group(self._process)

    def _result(self, said: bytes) -> Result:
        self._complaints.seek(0)
        complaints = _text(self._complaints.read()[-_KEPT_BYTES:])
        status = self._process.poll()
        seconds = time.monotonic() - self._begun
        return Result(-1 if status is None else status, _text(said), complaints, seconds)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _ended_early(name: str, command: Command, result: Result) -> Unreachable:
    """The error where a program takes no more. Raises CommandFailed where its status tells why."""
    judge(name, command, result)
    return Unreachable(f"On {name} «{brief(command)}» ended before it had read everything.")
