"""Bytes from a program or a file into programs on several hosts at once, each at its own pace.

What has come is kept in a file without a name, until the last host has it. So a slow host holds up
nobody, nothing large is in memory, and nothing is left behind, whatever ends us.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pgha.at_once import at_once
from pgha.commands.base import Command
from pgha.errors import Failed, PghaError, Unreachable
from pgha.hosts import Host, Stream, judge
from pgha.processes import LOOK_S

# The server's shell begins a program; an SSH connection may have to be opened first.
_START_S = 15.0
# Ending programs that run on other hosts.
_STOP_S = 4.0
_PIECE_BYTES = 256 * 1024
# A transfer that moves all the time may go on for this long.
_DAY_S = 86_400.0

# Told how far a host is: its name, bytes, and of how many (None: not known yet). Any thread.
Moved = Callable[[str, int, int | None], None]


def unmoved(name: str, sent_bytes: int, total_bytes: int | None) -> None:
    """Where nobody wants to know."""


# Told once a host is done: the seconds that it took, or what went wrong there. Any thread.
Ended = Callable[[Host, float | PghaError], None]


@dataclass(frozen=True)
class Silence:
    """How long nothing may happen. moving_s: while bytes are under way. working_s: before the
    source's first byte and after a target's last one, when engines work on their own."""

    moving_s: float
    working_s: float


def relay(
    source: tuple[Host, Command] | Path,
    targets: Mapping[Host, Command],
    silence: Silence,
    moved: Moved,
    ended: Ended,
) -> None:
    """Feed what `source` says to every target; `ended` is told how each of them came out of it.

    Raises the source's own error: then no target was fed to the end, and `ended` was told nothing
    of it. Programs that are not done are ended, also where we are interrupted.
    """
    _Relay(source, targets, silence, ended).run(moved)


class Spool:
    """A file that one thread fills while others read it; or one that is there, whole.

    error: why no more comes.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Open until `close`: the threads of a relay share it.
        self._file: BinaryIO = path.open("rb") if path else _nameless()
        self._changed = threading.Condition()
        self._size = path.stat().st_size if path else 0
        self._complete = path is not None
        self.error: PghaError | None = None

    @property
    def total(self) -> int | None:
        """All its bytes; None while more may come."""
        return self._size if self._complete else None

    def add(self, data: bytes) -> None:
        """Raises Failed where there is no room."""
        unwritten = memoryview(data)
        try:
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
        except OSError as error:
            raise Failed(
                f"{_place() or tempfile.gettempdir()} on this machine cannot take what is to be "
                f"sent: {error.strerror}. TMPDIR names another directory.",
            ) from None
        with self._changed:
            self._size += len(data)
            self._changed.notify_all()

    def complete(self) -> None:
        """That was all."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: PghaError) -> None:
        """No more comes: readers raise this, from now on."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    def read(self, offset: int) -> bytes:
        """What is there from an offset on, once something is; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.error or self._complete or self._size > offset)
            if self.error is not None:
                raise self.error
        return os.pread(self._file.fileno(), _PIECE_BYTES, offset)

    def close(self) -> None:
        self._file.close()


def _nameless() -> BinaryIO:
    return tempfile.TemporaryFile(dir=_place(), buffering=0)


def _place() -> str | None:
    """/tmp is memory on many machines (Debian 13 among them); /var/tmp never is."""
    usable = "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK | os.X_OK)
    return "/var/tmp" if usable else None


class _Leg:
    """One host's part, and what is awaited of it until when."""

    def __init__(self, host: Host, command: Command) -> None:
        self.host, self.command = host, command
        self.late: Unreachable | None = None
        self._stream: Stream | None = None
        self._awaited: tuple[float, str] | None = None

    def open(self) -> Stream:
        self._stream = self.host.open(self.command, timeout_s=_START_S)
        return self._stream

    @contextlib.contextmanager
    def awaiting(self, limit_s: float, what: str) -> Iterator[None]:
        """Within, the host has so long. what: the end of the sentence about a host that failed."""
        self._awaited = (time.monotonic() + limit_s, f"{what} for {limit_s:g} s")
        try:
            yield
        except PghaError as error:
            raise self.late or error from None
        finally:
            self._awaited = None

    def look(self) -> None:
        """Give the host up where its time is over; whoever waits for it goes on then."""
        awaited = self._awaited
        if awaited is None or time.monotonic() < awaited[0]:
            return
        self._awaited = None
        self.late = Unreachable(f"{self.host.name} {awaited[1]}.")
        self.stop()
        # A write within Paramiko that hangs ends with the connection only.
        self.host.close()

    def stop(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Relay:
    def __init__(
        self,
        source: tuple[Host, Command] | Path,
        targets: Mapping[Host, Command],
        silence: Silence,
        ended: Ended,
    ) -> None:
        self._silence, self._ended = silence, ended
        self._targets = [_Leg(host, command) for host, command in targets.items()]
        self._source = None if isinstance(source, Path) else _Leg(*source)
        self._spool = Spool(source if isinstance(source, Path) else None)
        self._feeding = set(self._targets)
        self._over = threading.Event()

    def run(self, moved: Moved) -> None:
        source = self._source

        def feeding(leg: _Leg) -> Callable[[], None]:
            return lambda: self._feed(leg, moved)

        jobs = {leg: feeding(leg) for leg in self._targets}
        if source is not None:
            jobs[source] = lambda: self._fetch(source)
        legs = list(jobs)
        threading.Thread(target=self._watch, args=(legs,), daemon=True).start()
        try:
            answers = at_once(jobs, timeout_s=_DAY_S, stop=lambda: self._stop(legs))
        finally:
            self._over.set()
        self._spool.close()
        failed = answers.get(source) if source is not None else None
        if isinstance(failed, PghaError):
            raise failed

    def _fetch(self, leg: _Leg) -> None:
        """The source's part: from its program into the spool."""
        try:
            stream = leg.open()
            stream.eof()
            limit_s = self._silence.working_s
            while True:
                with leg.awaiting(limit_s, "sent nothing"):
                    piece = stream.read()
                if not self._feeding:
                    return
                if not piece:
                    break
                self._spool.add(piece)
                limit_s = self._silence.moving_s
            with leg.awaiting(self._silence.moving_s, "did not come to an end"):
                result = stream.end()
                judge(leg.host.name, leg.command, result)
        except PghaError as error:
            self._spool.fail(error)
            raise
        finally:
            leg.stop()
        self._spool.complete()
        self._ended(leg.host, result.seconds)

    def _feed(self, leg: _Leg, moved: Moved) -> None:
        """A target's part: from the spool into its program."""
        sent, name = 0, leg.host.name
        try:
            stream = leg.open()
            while piece := self._spool.read(sent):
                with leg.awaiting(self._silence.moving_s, "took nothing"):
                    stream.write(piece)
                sent += len(piece)
                moved(name, sent, self._spool.total)
            # That it was the last piece may have turned out afterwards.
            moved(name, sent, self._spool.total)
            with leg.awaiting(self._silence.working_s, "did not say that it has it all"):
                result = stream.end()
                judge(name, leg.command, result)
        except PghaError as error:
            if self._spool.error is None:
                self._ended(leg.host, error)
        else:
            self._ended(leg.host, result.seconds)
        finally:
            self._feeding.discard(leg)
            leg.stop()

    def _watch(self, legs: list[_Leg]) -> None:
        while not self._over.wait(LOOK_S):
            for leg in legs:
                leg.look()

    def _stop(self, legs: list[_Leg]) -> None:
        """We are interrupted: nobody goes on."""
        self._spool.fail(Unreachable("It was cut off."))
        at_once({leg: leg.stop for leg in legs}, timeout_s=_STOP_S)
