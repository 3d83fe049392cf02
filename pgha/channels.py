"""One channel of an SSH connection: runs a command within a deadline, or talks to a program.

The channel itself is Paramiko's, made and started in `remote`; nothing here imports it.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time

from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.hosts import Result, Session, Stream, brief, last_lines, overdue
from pgha.processes import CHUNK_BYTES, LINGER_S, LOOK_S, OnLine, Output
from pgha.raw_channel import Head, Kill, RawChannel, Start, part
from pgha.streams import SshStream
from pgha.waiting import Deadline

_PIECE_BYTES = 256 * 1024
# The server's shell begins a program.
_START_S = 10.0
# A program that is asked no more has this long to end by itself.
_FAREWELL_S = 1.0


class SshChannel:
    """One use of a connection."""

    def __init__(self, name: str, channel: RawChannel, start: Start, kill: Kill) -> None:
        self._name = name
        self._channel = channel
        self._start = start
        self._kill = kill
        self._head = Head()

    def run(self, command: Command, deadline: Deadline, on_line: OnLine | None) -> Result:
        """At the deadline the command's process group gets SIGTERM, then SIGKILL.

        Where the connection is gone as well it goes on, until it writes to a closed pipe.
        """
        begun = time.monotonic()
        stdout, stderr = Output(on_line), Output(on_line)
        try:
            self._start(self._head.line(command), deadline)
            self._feed(command.stdin_bytes, deadline)
            self._read(stdout, stderr, deadline)
            if not self._channel.status_event.is_set():
                raise overdue(self._name, command, deadline, stderr.end())
            if self._channel.exit_status < 0 and not self._channel.get_transport().is_active():
                raise self._cut(command)
        except BaseException:
            part(self._end)
            raise
        self._channel.close()
        status = self._channel.exit_status
        return Result(status, stdout.end(), stderr.end(), time.monotonic() - begun)

    def session(self, words: tuple[str, ...]) -> Session:
        command = Command(words)
        self._start(self._head.line(command), Deadline(_START_S))
        return LineSession(self._name, command, self._channel, self._head)

    def stream(self, command: Command, deadline: Deadline) -> Stream:
        self._start(self._head.line(command), deadline)
        return SshStream(self._name, command, self._channel, self._head, self._kill)

    def close(self) -> None:
        self._channel.close()

    def _feed(self, stdin: bytes, deadline: Deadline) -> None:
        """Send standard input in a thread of its own: the command may write before it reads."""
        self._channel.settimeout(max(deadline.left_s, LOOK_S))

        def send() -> None:
            # A command that does not read to the end closes its side: not an error.
            with contextlib.suppress(OSError, EOFError):
                # In pieces: Paramiko copies what is left with each packet of 32 kB.
                for begin in range(0, len(stdin), _PIECE_BYTES):
                    self._channel.sendall(stdin[begin : begin + _PIECE_BYTES])
                self._channel.shutdown_write()

        if stdin:
            threading.Thread(target=send, daemon=True).start()
        else:
            self._channel.shutdown_write()

    def _read(self, stdout: Output, stderr: Output, deadline: Deadline) -> None:
        """Until both streams end, or LINGER_S after the command did, or the deadline."""
        channel = self._channel
        arrival = select.poll()
        arrival.register(channel.fileno(), select.POLLIN)
        ended_at: float | None = None
        while not channel.eof_received and not channel.closed and not deadline.passed:
            arrival.poll(min(LOOK_S, deadline.left_s) * 1000)
            self._take(stdout, stderr)
            if channel.status_event.is_set():
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > LINGER_S:
                    break
        channel.status_event.wait(deadline.left_s)
        self._take(stdout, stderr)

    def _take(self, stdout: Output, stderr: Output) -> None:
        while self._channel.recv_ready():
            stdout.take(self._head.strip(self._channel.recv(CHUNK_BYTES)))
        while self._channel.recv_stderr_ready():
            stderr.take(self._channel.recv_stderr(CHUNK_BYTES))

    def _cut(self, command: Command) -> Unreachable:
        return Unreachable(
            f"The connection to {self._name} was lost while «{brief(command)}» ran;"
            " whether it was done is not known."
        )

    def _end(self) -> None:
        """End what runs there, as far as the server is still heard, and close the channel."""
        try:
            if self._head.pid is not None and not self._channel.status_event.is_set():
                self._kill(self._head.pid)
        finally:
            self._channel.close()


class LineSession:
    """A program on the other side of one channel."""

    def __init__(self, name: str, command: Command, channel: RawChannel, head: Head) -> None:
        self._name = name
        self._command = command
        self._channel = channel
        self._head = head
        self._arrived = b""
        self._complaints = b""
        self._lock = threading.Lock()

    def ask(self, line: str, *, timeout_s: float) -> str:
        deadline = Deadline(timeout_s)
        with self._lock:
            self._send(line, deadline)
            while b"\n" not in self._arrived:
                self._arrived += self._receive(deadline)
            answer, _, self._arrived = self._arrived.partition(b"\n")
            return answer.decode("utf-8", "replace")

    def tell(self, line: str) -> None:
        with self._lock:
            self._send(line, Deadline(_FAREWELL_S))

    def close(self) -> None:
        """Its input ends; it has a moment to end by itself, so that what it held is free."""

        def farewell() -> None:
            with contextlib.suppress(OSError, EOFError):
                self._channel.shutdown_write()
                self._channel.status_event.wait(_FAREWELL_S)
            self._channel.close()

        part(farewell)

    def _send(self, line: str, deadline: Deadline) -> None:
        try:
            self._channel.settimeout(max(deadline.left_s, LOOK_S))
            self._channel.sendall(line.encode() + b"\n")
        except (OSError, EOFError):
            raise self._over() from None

    def _receive(self, deadline: Deadline) -> bytes:
        self._channel.settimeout(max(deadline.left_s, 0.001))
        try:
            piece = self._channel.recv(CHUNK_BYTES)
        except TimeoutError:
            said = self._said()
            self._channel.close()
            raise overdue(self._name, self._command, deadline, said) from None
        # What nobody reads would fill the channel's window, and stop the program.
        self._said()
        if not piece:
            raise self._over()
        return self._head.strip(piece)

    def _said(self) -> str:
        while self._channel.recv_stderr_ready():
            self._complaints = (self._complaints + self._channel.recv_stderr(CHUNK_BYTES))[-4096:]
        return self._complaints.decode("utf-8", "replace")

    def _over(self) -> Unreachable:
        return Unreachable(
            f"On {self._name} «{brief(self._command)}» ended, or the connection to it did.",
            details=last_lines(self._said()),
        )
