"""A program on this machine: run within a deadline, whatever it does."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO

from pgha.waiting import Deadline

OnLine = Callable[[str], None]

# A program that was told to end (SIGTERM) has this long before it is killed.
GRACE_S = 0.5
# A program has ended, but a child that it left behind holds its output open: what still comes
# within this time counts.
LINGER_S = 0.3
# How often it is looked at whether the program has ended, while it says nothing.
LOOK_S = 0.1
CHUNK_BYTES = 65536


class Output:
    """What came on one stream so far; hands on each complete line."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._pieces: list[bytes] = []
        self._rest = b""
        self._on_line = on_line

    def take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        if self._on_line is not None:
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))

    def end(self) -> str:
        """The whole text; an incomplete last line is handed on first."""
        if self._on_line is not None and self._rest:
            self._on_line(self._rest.decode("utf-8", "replace"))
            self._rest = b""
        return b"".join(self._pieces).decode("utf-8", "replace")


class Overdue(Exception):
    """The deadline passed; the program was killed. Has what it had printed until then."""

    def __init__(self, stdout: str, stderr: str) -> None:
        super().__init__("the deadline passed")
        self.stdout, self.stderr = stdout, stderr


def run_here(
    words: tuple[str, ...], stdin: bytes, deadline: Deadline, on_line: OnLine | None
) -> tuple[int, str, str]:
    """Run a program; its exit status (negative: the signal that ended it), stdout and stderr.

    It gets `stdin` and nothing of ours: never the operator's terminal. It has a process group of
    its own, which is ended as a whole: at the deadline, and when we are interrupted.

    Raises Overdue, and OSError where the program cannot be started at all.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    stdout, stderr = Output(on_line), Output(on_line)
    try:
        _converse(process, stdin, deadline, stdout, stderr)
        status = process.wait(deadline.left_s)
    except subprocess.TimeoutExpired:
        end_group(process)
        raise Overdue(stdout.end(), stderr.end()) from None
    except BaseException:
        end_group(process)
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    return status, stdout.end(), stderr.end()


def _converse(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    deadline: Deadline,
    stdout: Output,
    stderr: Output,
) -> None:
    """Feed and read until both streams end, or LINGER_S after the program did."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, stdout)
        selector.register(process.stderr, selectors.EVENT_READ, stderr)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE, None)
        unsent = memoryview(stdin)
        outputs = 2
        while outputs and not deadline.passed:
            for key, _ in selector.select(min(LOOK_S, deadline.left_s)):
                if isinstance(key.data, Output):
                    outputs -= _read(selector, key, key.data)
                else:
                    unsent = _write(selector, process.stdin, unsent)
            if process.poll() is not None:
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > LINGER_S:
                    return


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey, output: Output) -> int:
    """Take what is there; 1 where the stream has ended, else 0."""
    piece = os.read(key.fd, CHUNK_BYTES)
    if piece:
        output.take(piece)
        return 0
    selector.unregister(key.fileobj)
    return 1


def _write(selector: selectors.BaseSelector, stdin: IO[bytes], unsent: memoryview) -> memoryview:
    """Send what fits; close the stream when all is sent, or when nobody reads it any more."""
    try:
        unsent = unsent[os.write(stdin.fileno(), unsent[:CHUNK_BYTES]) :] if unsent else unsent
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        unsent = unsent[:0]
    if not unsent:
        selector.unregister(stdin)
        stdin.close()
    return unsent


def end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, then SIGKILL to what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
