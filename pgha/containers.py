"""One node's container: reached by its own SSH server, or by `docker exec` where that is silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import ContainerInfo, parse_inspect
from pgha.container_keys import READ, ContainerKeys, KeyCache, parse_keys
from pgha.errors import Unreachable
from pgha.hosts import (
    Channel,
    Host,
    Kept,
    Observer,
    Result,
    Session,
    Wire,
    judge,
    last_lines,
    overdue,
)
from pgha.waiting import Deadline

POSTGRES = "postgres"

# Its SSH server gets half of a command's time to answer, and no more than this: 0.03 s are usual.
_CONNECT_S = 3.0
# After it did not answer, `docker exec` is used for so long before it is tried again.
_SILENT_S = 5.0
# `docker exec` begins its own limit about 0.05 s after ours, and has this long to end by itself.
_EXEC_GRACE_S = 0.3
# The status of coreutils' `timeout` where it ended the command; 137 where it had to kill it.
_TIMED_OUT = (124, 137)


@dataclass(frozen=True)
class Door:
    """All that is needed to connect: a port of the host's 127.0.0.1, and the keys."""

    container: str
    user: str
    port: int
    keys: ContainerKeys


Dial = Callable[[Door, Deadline], Wire]


class Container:
    """Commands in one container, as `postgres` unless they name `root`; usable from any thread.

    image_id: what it is made from, as the engine said when it was last asked; "" before.
    """

    def __init__(
        self, name: str, host: Host, dial: Dial, keys: KeyCache, observer: Observer
    ) -> None:
        self.name = name
        self._host = host
        self._dial = dial
        self._cache = keys
        self._observer = observer
        self._keys = keys.load()
        self._silent_since: float | None = None
        self.image_id = ""
        self._kept = {user: self._keep(user) for user in (POSTGRES, "root")}

    def run(self, command: Command, *, timeout_s: float, check: bool = True) -> Result:
        """Run a command to its end; it is ended at the deadline.

        Raises Unreachable where the container does not run or no answer came in time (what was
        begun may have been done), CommandFailed where the status is not 0 unless `check` is off.
        """
        command = replace(command, user=command.user or POSTGRES)
        self._observer(self.name, command, None)
        result = self._answer(command, Deadline(timeout_s))
        self._observer(self.name, command, result)
        if check:
            judge(self.name, command, result)
        return result

    def session(self, words: tuple[str, ...], *, timeout_s: float = _CONNECT_S) -> Session:
        """Start a program, as `postgres`, that is asked line by line over one channel.

        Raises Unreachable where the SSH server does not answer: `run` has another way then.
        """
        self._observer(self.name, Command(words, user=POSTGRES), None)
        return self._kept[POSTGRES].channel(Deadline(timeout_s)).session(words)

    @property
    def silent(self) -> bool:
        """Its SSH server did not answer when it was last tried; `docker exec` is used instead."""
        return self._silent_since is not None

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        for kept in self._kept.values():
            kept.close()

    def _keep(self, user: str) -> Kept:
        return Kept(self.name, lambda deadline: self._connect(user, deadline))

    def _answer(self, command: Command, deadline: Deadline) -> Result:
        channel = self._channel(command.user or POSTGRES, deadline)
        if channel is None:
            return self._by_exec(command, deadline)
        return channel.run(command, deadline, None)

    def _channel(self, user: str, deadline: Deadline) -> Channel | None:
        """A channel to its SSH server; None where that does not answer (nothing was run then)."""
        silent = self._silent_since
        if user not in self._kept or (silent and time.monotonic() - silent < _SILENT_S):
            return None
        try:
            channel = self._kept[user].channel(deadline.share(0.5, most_s=_CONNECT_S))
        except NotRunning:
            raise
        except Unreachable:
            self._silent_since = time.monotonic()
            return None
        self._silent_since = None
        return channel

    def _by_exec(self, command: Command, deadline: Deadline) -> Result:
        """The same by way of the engine. It ends the client only, so the command limits itself."""
        limit_s = max(0.1, deadline.left_s - _EXEC_GRACE_S)
        limited = replace(
            command, words=("timeout", "--kill-after=1", f"{limit_s:.1f}", *command.words)
        )
        begun = time.monotonic()
        result = self._host.answer(docker.exec_in(self.name, limited), deadline)
        if result.status in _TIMED_OUT and time.monotonic() - begun >= limit_s:
            raise overdue(self.name, command, deadline, result.stderr)
        if result.status != 0:
            # The client's own failures have the status 1 as well: is the container there at all?
            self._look(deadline)
        return result

    def _connect(self, user: str, deadline: Deadline) -> Wire:
        """Connect with the keys that are remembered; where that fails, with those of now.

        The port is asked each time: a connection is lost where a container was started again, and
        then it has another one; or where it does not run, and then we know at once.
        """
        port = self._ask_port(deadline)
        known = self._keys
        keys = known or self._ask_keys(deadline)
        try:
            return self._dial(Door(self.name, user, port, keys), deadline)
        except Unreachable:
            now = self._ask_keys(deadline) if known else keys
            if now == keys:
                raise
        return self._dial(Door(self.name, user, port, now), deadline)

    def _look(self, deadline: Deadline) -> ContainerInfo:
        """What the engine says of it. Raises NotRunning where it has no processes that answer."""
        answer = self._host.answer(docker.inspect(self.name), deadline)
        info = parse_inspect(answer.stdout).get(self.name)
        self.image_id = info.image_id if info else ""
        if info is None:
            # Both have the status 1: no such container, and no engine.
            engine = self._host.answer(docker.version(), deadline)
            if engine.status != 0:
                raise Unreachable(
                    f"Docker does not answer on {self._host.name}.",
                    details=last_lines(engine.stderr),
                )
            raise NotRunning(f"There is no container {self.name} on {self._host.name}.")
        if not info.running:
            raise NotRunning(f"The container {self.name} on {self._host.name} is {info.state}.")
        return info

    def _ask_port(self, deadline: Deadline) -> int:
        """Where its SSH server is published on the host."""
        port = self._look(deadline).ssh_port
        if port is None:
            raise Unreachable(f"The container {self.name} publishes no port for SSH.")
        return port

    def _ask_keys(self, deadline: Deadline) -> ContainerKeys:
        """Its keys, read through the engine; the result is shown to no observer."""
        command = docker.exec_in(self.name, READ)
        self._observer(self._host.name, command, None)
        answer = self._host.answer(command, deadline)
        keys = parse_keys(answer.stdout) if answer.status == 0 else None
        if keys is None:
            raise Unreachable(f"The container {self.name} has no keys for SSH yet.")
        self._keys = keys
        self._cache.store(keys)
        return keys


class NotRunning(Unreachable):
    """The engine says that the container is missing, paused or ended: no way leads into it."""
