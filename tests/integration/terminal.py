"""Commands at a terminal of their own, and what appears there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

LIMIT_S = 60.0


def begin(
    argv: Sequence[str], place: Path, environ: Mapping[str, str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """The command, and the other end of its controlling terminal, which the caller closes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv,
        cwd=place,
        env={**environ, "COLUMNS": "80"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    return ours, process


@contextlib.contextmanager
def at_a_terminal(
    argv: Sequence[str], place: Path, environ: Mapping[str, str]
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The same for the length of a block."""
    ours, process = begin(argv, place, environ)
    try:
        yield ours, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, words: bytes) -> bytes:
    """All that appears up to `words`; up to the end where they are empty."""
    seen, deadline = b"", time.monotonic() + LIMIT_S
    while not words or words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the other end was closed
            chunk = b""
        if not chunk:
            assert not words, seen
            return seen
        seen += chunk
    return seen
