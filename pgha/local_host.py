"""The machine that we run on, as a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.hosts import NOT_FOUND, Host, Observer, Result, Stream, brief, overdue, unobserved
from pgha.locking import Note, lock_here
from pgha.processes import OnLine, Overdue, run_here
from pgha.streams import LocalStream
from pgha.topology import LOCAL_HOST
from pgha.waiting import Deadline


class LocalHost(Host):
    """The machine that we run on."""

    def __init__(self, observer: Observer = unobserved) -> None:
        self.name = LOCAL_HOST
        self.observer = observer

    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        """A process group of its own; killed at the deadline, and when we are interrupted."""
        try:
            ended = run_here(command.words, command.stdin_bytes, deadline, on_line)
        except FileNotFoundError:
            ended = (NOT_FOUND, "", f"{command.words[0]}: not found")
        except Overdue as late:
            raise overdue(self.name, command, deadline, late.stderr) from None
        except OSError as error:
            raise Unreachable(f"«{brief(command)}» cannot be started: {error.strerror}.") from None
        return Result(*ended, deadline.spent_s)

    def stream(self, command: Command, deadline: Deadline) -> Stream:
        """Ended with its process group, by `close`."""
        return LocalStream(self.name, command)

    @contextlib.contextmanager
    def lock(self, cluster: str, note: Note) -> Iterator[None]:
        """An flock of this process."""
        with lock_here(cluster, self.name, note):
            yield

    def close(self) -> None:
        """Nothing is kept open."""
