"""The container's main process, below tini and as root: it starts sshd and the node's agent, and
again when they die.

The agent starts everything else. Where it is silent, main ends a primary. At SIGTERM main ends
everything in the safe order.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pgha.node import agent, archive, paths, postgres, process
from pgha.node.errors import VerbError
from pgha.node.offspring import Offspring
from pgha.node.report import Assignment, Role
from pgha.node.state import Node, read_assignment, read_node
from pgha.node.vigil import LOOK_S, Vigil

SSHD = ("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/pgha/sshd_config")
VERB = "/usr/bin/pgha-node"

# A child that has lived for so long is started again at once. Others wait, each time for longer.
LASTS_S = 10.0
AGAIN_S = 0.4
PRUNE_S = 5.0
# So long after a stall a process that was killed in it is gone.
WAKES_S = 0.02
NICE = -10
# `docker stop` gives more than this before it kills (variable of the container's creation).
SHUTDOWN_S = 100.0
BACKOFF_S = 5.0
PIPE_BYTES = 1024 * 1024


_AS_POSTGRES: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}


def say(text: str) -> None:
    """A line in the container's log."""
    print(f"pgha: {text}", file=sys.stderr, flush=True)


Child = Offspring | subprocess.Popen[bytes]


class Kept:
    """A child that is started again when it ends; the pauses double up to BACKOFF_S."""

    def __init__(self, title: str, start: Callable[[], Child]) -> None:
        self.title, self._start = title, start
        self.child: Child | None = None
        self._pause_s, self._not_before, self._began = 0.0, 0.0, 0.0

    def tend(self) -> None:
        """Look once; never waits."""
        now = time.monotonic()
        if self.child is not None:
            status = self.child.poll()
            if status is None:
                return
            say(f"{self.title} ended with {status}")
            self.child = None
            longer = min(BACKOFF_S, self._pause_s * 2) or AGAIN_S
            self._pause_s = 0.0 if now - self._began > LASTS_S else longer
            self._not_before = now + self._pause_s
        if now >= self._not_before:
            self._began = now
            try:
                self.child = self._start()
            except OSError as error:
                say(f"{self.title} does not start: {error}")
                self._not_before = now + BACKOFF_S

    @property
    def ended(self) -> bool:
        """Whether it has ended, and was not started again yet."""
        return self.child is not None and self.child.poll() is not None

    def ends_within(self, limit_s: float) -> None:
        """Wait so long, or until it ends."""
        if self.child is None or self.ended:
            time.sleep(limit_s)
            return
        handle = os.pidfd_open(self.child.pid)
        try:
            select.select([handle], [], [], limit_s)
        finally:
            os.close(handle)

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()


class Main:
    """The loop and what it remembers from one turn to the next."""

    def __init__(self) -> None:
        self.ending = False
        self.log = _make_log()
        self.kept = [
            # A program of its own carries the messages: this process may be slow, PostgreSQL's
            # log must not wait for it.
            Kept("the log", lambda: _start_calmly(["/bin/cat"], stdin=self.log, stdout=2)),
            Kept("sshd", lambda: _start_calmly(SSHD, stdin=subprocess.DEVNULL)),
        ]
        self.watch = os.pipe()
        for end in self.watch:
            os.set_blocking(end, False)
        self.agent = Kept("the agent", self._start_agent)
        self._vigil = Vigil(_now())
        self._pruned = 0.0
        self._said = ""
        self._read: tuple[tuple[int, ...], Node, Assignment] | None = None

    def turn(self) -> None:
        """One look at everything; a fault of one part is said, and the others are tended."""
        for child in self.kept:
            child.tend()
        try:
            self._read_again()
        except (VerbError, OSError) as error:
            self._say_once(str(error))
        if self._read is None:
            return
        try:
            # By what was last known, where it cannot be read: the agent must not go unwatched.
            self._look_after_agent(*self._read[1:])
            self._prune(self._read[1])
        except (VerbError, OSError) as error:
            self._say_once(str(error))

    def _read_again(self) -> None:
        """Who this node is and what it was told, where a file is another one."""
        stamps = tuple(_stamp(file) for file in (paths.NODE, paths.STATE))
        if self._read is None or self._read[0] != stamps:
            self._read = stamps, read_node(), read_assignment()

    def _look_after_agent(self, node: Node, assignment: Assignment) -> None:
        """The agent runs; one that is silent for too long is ended, and so is a primary beside it:
        nobody else would end it when it is cut off."""
        now, limit_s = _now(), node.election_timeout_s
        if self._vigil.asleep_s(now) > limit_s:
            # One that was killed meanwhile ends only now.
            process.holds_within(lambda: self.agent.ended, WAKES_S)
        ended, heard = self.agent.ended, False
        with contextlib.suppress(BlockingIOError):
            heard = bool(os.read(self.watch[0], PIPE_BYTES))
        silent_s = self._vigil.silent_s(now, limit_s, heard=heard, ended=ended)
        self.agent.tend()
        if silent_s is None:
            return
        primary = assignment.role is Role.PRIMARY and not assignment.stopped
        if primary and node.kind != "witness":
            # A verb takes its time to begin, in which readers could be shown what is long past.
            postgres.quit_primary()
        # Only now: a log that nobody reads would keep it waiting.
        say(f"the agent was silent for {silent_s:.1f} s")
        if self.agent.child is not None and not self._vigil.starting(now):
            self.agent.child.kill()
        if primary and node.kind != "witness":
            self._call("fence", "reason=its agent is silent", "checkpoint_s=0", "kill_after_s=1")

    def _start_agent(self) -> Offspring:
        """No program of its own: on a busy machine the start of one took longer than the election
        timeout, and the primary beside it was voted away."""
        watch = self.watch[1]
        started = Offspring(
            "pgha-agent",
            lambda: agent.main(watch),
            user="postgres",
            keeps=watch,
            environment=process.environment(),
        )
        self._vigil.began(_now())
        return started

    def _call(self, *words: str) -> None:
        """A verb, waited for: nothing is more urgent now."""
        try:
            subprocess.run(
                [VERB, *words, "by=main"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=process.environment(),
                timeout=SHUTDOWN_S + 15.0,
                check=False,
                **_AS_POSTGRES,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            say(f"{words[0]} did not end: {error}")

    def _prune(self, node: Node) -> None:
        now = time.monotonic()
        if now - self._pruned > PRUNE_S and Path(node.archive).is_dir():
            self._pruned = now
            archive.prune(Path(node.archive), node.archive_max_bytes)

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            say(text)

    def end(self) -> None:
        """Pgpool-II, PostgreSQL (fast: its standbys get everything), the receiver, then sshd."""
        say("ending")
        # It goes on telling the others what becomes of PostgreSQL here, and does nothing else.
        self.agent.end()
        self._call("shutdown")
        if self.agent.child is not None:
            self.agent.child.kill()
        for child in reversed(self.kept):
            child.end()


def _now() -> float:
    """Seconds that go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _start_calmly(words: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen((*process.as_urgent_as_others(), *words), **how)


def _stamp(file: Path) -> int:
    """What changes when a file is replaced; 0 where there is none."""
    try:
        found = file.stat()
    except OSError:
        return 0
    return hash((found.st_ino, found.st_mtime_ns, found.st_size))


def _make_log() -> int:
    """The pipe for the servers' messages; open for both ends, so that it is never without one."""
    paths.LOG.unlink(missing_ok=True)
    os.mkfifo(paths.LOG, 0o600)
    owner = pwd.getpwnam("postgres")
    os.chown(paths.LOG, owner.pw_uid, owner.pw_gid)
    handle = os.open(paths.LOG, os.O_RDWR | os.O_CLOEXEC)
    try:
        import fcntl

        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # the kernel's limit for pipes is lower: the default size does
    return handle


def make_places() -> None:
    """Directories that are not in a volume, and the link PGDATA."""
    owner = pwd.getpwnam("postgres")
    for directory in (paths.RUN, paths.SOCKETS, Path("/run/sshd"), Path("/var/log/pgha")):
        directory.mkdir(parents=True, exist_ok=True)
        os.chmod(directory, 0o755)
        if directory.name != "sshd":
            os.chown(directory, owner.pw_uid, owner.pw_gid)
    for lock in (paths.LOCK, paths.DOOR_LOCK, paths.STATE_LOCK, paths.HOLD):
        lock.touch()
        os.chown(lock, owner.pw_uid, owner.pw_gid)
        os.chmod(lock, 0o600)
    for stale in (paths.RECEIVER_PID, paths.AGENT):
        stale.unlink(missing_ok=True)
    paths.MAIN_PID.write_text(f"{os.getpid()}\n")
    try:
        link = Path(read_node().pgdata)
    except VerbError as error:
        say(error.message)
        return
    if not link.exists() and not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(paths.DATA)


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    # With its agent before all others on a busy machine: who ends a primary that its agent has left
    # alone must not come late. Without the capability it goes on as it is.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    make_places()
    this = Main()

    def stop(number: int, frame: object) -> None:
        this.ending = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not this.ending:
        this.turn()
        this.agent.ends_within(LOOK_S)
    this.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
