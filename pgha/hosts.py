"""What a host can do for us, over SSH or not; no line of it knows Fabric."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pgha.commands.base import Command
from pgha.errors import CommandFailed, Unreachable
from pgha.locking import Note
from pgha.processes import OnLine
from pgha.waiting import Deadline, Patience

# How much of a command's line, and of what it said, an error shows: some carry a whole format.
_SHOWN_CHARACTERS = 160
_TOLD_LINES = 8

# The shell's status for a program that is not there (POSIX, "Exit Status for Commands").
NOT_FOUND = 127


@dataclass(frozen=True)
class Result:
    """How a command ended. status: as a shell has it; negative: it ended by a signal."""

    status: int
    stdout: str
    stderr: str
    seconds: float


# Told before each command (with None) and after it. What a Command shows of itself is not secret.
Observer = Callable[[str, Command, Result | None], None]


def unobserved(place: str, command: Command, result: Result | None) -> None:
    """The observer where nobody looks."""


class Channel(Protocol):
    """One use of a connection: what runs one command, or talks to one program."""

    def run(self, command: Command, deadline: Deadline, on_line: OnLine | None) -> Result:
        """Run it to its end. Raises Unreachable; whether it ran is not known then."""

    def session(self, words: tuple[str, ...]) -> Session:
        """Start a program that stays."""

    def stream(self, command: Command, deadline: Deadline) -> Stream:
        """Start a program whose bytes are read or written. Raises Unreachable."""

    def close(self) -> None:
        """Give it up."""


class Session(Protocol):
    """A program that stays, and is asked a line at a time."""

    def ask(self, line: str, *, timeout_s: float) -> str:
        """Send a line, return the next one that comes. After an Unreachable it is of no use."""

    def tell(self, line: str) -> None:
        """Send a line that nothing answers. Raises Unreachable."""

    def close(self) -> None:
        """End its standard input and its channel."""


class Stream(Protocol):
    """A program that is read from, or written to, as bytes; what it says on stderr is kept.

    Every call may block without end. Whoever uses it watches the clock, and calls `close` from
    another thread: then the others raise Unreachable, or see an end. (`pgha.relay` does so.)
    """

    def read(self) -> bytes:
        """What comes next on its standard output; nothing at the end."""

    def write(self, data: bytes) -> None:
        """Feed all of it. Raises Unreachable where the program has ended, with what it said."""

    def eof(self) -> None:
        """Its standard input ends; no harm where it has ended."""

    def end(self) -> Result:
        """Its standard input ends too; wait for the program's own end. Raises Unreachable."""

    def close(self) -> None:
        """End the program where it still runs; no harm where it has ended."""


class Wire(Protocol):
    """An open SSH connection."""

    def channel(self, deadline: Deadline) -> Channel:
        """Raises LostWire."""

    def tunnel(self, port: int, deadline: Deadline) -> object:
        """A socket to a port of its loopback address. Raises LostWire, Unreachable."""

    def close(self) -> None:
        """Close it; its channels end with it."""


class LostWire(Unreachable):
    """An open connection is of no use any more; a new one may be. Nothing was run."""


T = TypeVar("T")


class Kept:
    """One connection, opened when it is first used, and once more when it is found dead."""

    def __init__(self, name: str, connect: Callable[[Deadline], Wire]) -> None:
        self._name = name
        self._connect = connect
        self._wire: Wire | None = None
        self._left: list[Wire] = []
        self._lock = threading.Lock()

    def use(self, deadline: Deadline, action: Callable[[Wire, Deadline], T]) -> T:
        """Do something short with the connection. Raises Unreachable, or what the action raises."""
        if not self._lock.acquire(timeout=deadline.left_s):
            raise Unreachable(f"{self._name} did not answer within {deadline}.")
        try:
            if self._wire is not None:
                try:
                    # A peer that hangs takes half of the time; the rest is for a new connection.
                    return action(self._wire, deadline.share(0.5, most_s=2.0))
                except LostWire:
                    # It may be slow and not dead: what goes on over it (the lock among others) is
                    # to end by itself.
                    self._left.append(self._wire)
                    self._wire = None
            self._wire = self._connect(deadline)
            return action(self._wire, deadline)
        finally:
            self._lock.release()

    def channel(self, deadline: Deadline) -> Channel:
        """A new channel. Where it raises Unreachable nothing was run."""
        return self.use(deadline, lambda wire, limit: wire.channel(limit))

    def close(self) -> None:
        """Close it if it is open, and those that were given up."""
        wires, self._left = [*self._left, *((self._wire,) if self._wire else ())], []
        self._wire = None
        for wire in wires:
            wire.close()


class Host(ABC):
    """A machine with a Docker engine. It may be used by several threads at once."""

    name: str
    observer: Observer

    def run(
        self,
        command: Command,
        *,
        timeout_s: float | Patience,
        check: bool = True,
        on_line: OnLine | None = None,
    ) -> Result:
        """Run a command as whoever we are there (`command.user` is for containers), and wait.

        timeout_s: the command is ended then; or a Patience, which each line that it says renews.
        on_line: gets each line of both outputs as it comes.

        Raises Unreachable where no answer came in time, and CommandFailed where the status is not
        0, unless `check` is off. A program that is not there ends with status 127.
        """
        self.observer(self.name, command, None)
        if isinstance(timeout_s, Patience):
            result = self.answer(command, timeout_s, timeout_s.hearing(on_line))
        else:
            result = self.answer(command, Deadline(timeout_s), on_line)
        self.observer(self.name, command, result)
        if check:
            judge(self.name, command, result)
        return result

    @abstractmethod
    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        """`run` without observer and without verdict."""

    def open(self, command: Command, *, timeout_s: float) -> Stream:
        """Start a command whose bytes are read or written. timeout_s: for its start alone.

        One that is written to has a `stdin`, which may be empty; it is not sent.

        Raises Unreachable. A program that is not there ends at once, with status 127.
        """
        self.observer(self.name, command, None)
        return self.stream(command, Deadline(timeout_s))

    @abstractmethod
    def stream(self, command: Command, deadline: Deadline) -> Stream:
        """`open` without observer."""

    @abstractmethod
    def lock(self, cluster: str, note: Note) -> AbstractContextManager[None]:
        """Hold the cluster's lock on this host. Raises Locked at once where somebody has it.

        note: who we are, for people: it is what others read meanwhile.
        """

    @property
    def lock_lost(self) -> bool:
        """A lock that we hold there may be somebody else's by now."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close what is open; the next use opens it again."""


def judge(place: str, command: Command, result: Result) -> None:
    """Raise CommandFailed unless the command ended with status 0."""
    if result.status == 0:
        return
    how = f"ended with status {result.status}" if result.status > 0 else "was killed"
    if result.status == NOT_FOUND:
        how = "did not run: a program is missing there"
    raise CommandFailed(
        f"On {place} «{brief(command)}» {how}.",
        status=result.status,
        stderr=result.stderr,
        details=last_lines(result.stderr or result.stdout),
    )


def overdue(place: str, command: Command, deadline: Deadline, said: str) -> Unreachable:
    """The error for a command that was ended at its deadline."""
    return Unreachable(
        f"On {place} «{brief(command)}» {deadline.missed}.",
        details=last_lines(said),
    )


def brief(command: Command) -> str:
    """A command's line as errors show it."""
    shown = command.shown
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"


def last_lines(text: str) -> tuple[str, ...]:
    """What a program said last, for an error's details."""
    return tuple(line for line in text.splitlines() if line.strip())[-_TOLD_LINES:]
