"""A machine that is reached over SSH, as a host."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from pgha.commands.base import Command
from pgha.credentials import Credentials
from pgha.docker_rights import FORBIDDEN, Permitted, permitted
from pgha.errors import Failed, Unreachable
from pgha.hosts import Host, Kept, Observer, Result, Session, Stream, Wire, unobserved
from pgha.locking import BEAT_S, SILENCE_S, Note, holder_words, locked_error
from pgha.processes import OnLine
from pgha.waiting import Deadline

# Taking a lock, or learning that somebody else has it.
_TAKE_S = 10.0


class SshHost(Host):
    """A machine that is reached over SSH, as the user's SSH configuration says."""

    def __init__(
        self,
        name: str,
        dial: Callable[[Deadline], Wire],
        observer: Observer = unobserved,
        credentials: Credentials | None = None,
    ) -> None:
        """dial: opens a connection, or raises Unreachable."""
        self.name = name
        self.observer = observer
        self.kept = Kept(name, dial)
        self._credentials = credentials or Credentials()
        # When the holder of our lock was last told that we are there; None: we hold none.
        self._told_at: float | None = None

    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        """Over the kept connection, which is opened again once where it is found dead."""
        ours = permitted(command, self._credentials.sudo)
        channel = self.kept.channel(deadline)
        try:
            result = channel.run(ours, deadline, on_line)
        except Unreachable as error:
            if not isinstance(ours, Permitted) or not ours.when_late:
                raise
            message = f"{error.message} {ours.when_late}"
            raise Unreachable(message, next=error.next, details=error.details) from error
        if isinstance(ours, Permitted) and result.status == FORBIDDEN:
            self._credentials.refused.add(self.name)
        return result

    def stream(self, command: Command, deadline: Deadline) -> Stream:
        """On a channel of its own; the program ends with it, and with the connection."""
        ours = permitted(command, self._credentials.sudo)
        stream = self.kept.channel(deadline).stream(ours, deadline)
        if ours.stdin_bytes:
            # sudo's password comes first.
            stream.write(ours.stdin_bytes)
        return stream

    @contextlib.contextmanager
    def lock(self, cluster: str, note: Note) -> Iterator[None]:
        """Held by a program on the host, which ends when it has not heard of us for a while."""
        held = self.kept.channel(Deadline(_TAKE_S)).session(holder_words(cluster))
        over = threading.Event()
        try:
            answer = held.ask(note.to_json(), timeout_s=_TAKE_S)
            if answer.startswith("held"):
                told = answer.removeprefix("held").strip()
                raise locked_error(cluster, self.name, told, note)
            if answer != "locked":
                raise Failed(f"The lock on {self.name} cannot be taken.", details=(answer,))
            self._told_at = _now()
            threading.Thread(target=self._beat, args=(held, over), daemon=True).start()
            yield
        finally:
            over.set()
            self._told_at = None
            held.close()

    @property
    def lock_lost(self) -> bool:
        """Its holder has ended: the connection has, or this process stood still for too long."""
        return self._told_at is not None and _now() - self._told_at > SILENCE_S

    def _beat(self, held: Session, over: threading.Event) -> None:
        """Say now and then that we are there, as long as we are heard."""
        try:
            while not over.wait(BEAT_S) and not self.lock_lost:
                held.tell("here")
                if self._told_at is not None:
                    self._told_at = _now()
        except Unreachable:
            if self._told_at is not None:
                self._told_at = float("-inf")

    def close(self) -> None:
        self.kept.close()


def _now() -> float:
    """Seconds; they go on while this machine is asleep."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; other systems: theirs
    return time.clock_gettime(clock)
