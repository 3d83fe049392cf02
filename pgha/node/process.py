"""Runs programs inside the container, and tells whether they live. Nothing here waits for ever."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pgha.node import paths
from pgha.node.errors import Failed

T = TypeVar("T")


# The status of a program that did not end within its limit, as timeout(1) has it.
LATE = 124


@dataclass(frozen=True)
class Done:
    """A program that ended; status LATE: it did not within its limit and was killed."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last thing it complained about."""
        lines = self.stderr.strip().splitlines() or self.stdout.strip().splitlines()
        return lines[-1] if lines else f"status {self.status}"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small, fixed environment: nothing of the caller's session reaches a server."""
    base = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/var/lib/postgresql",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    return {**base, **(extra or {})}


# The node's lock, while we hold it: what we run holds it with us, so that a verb that was killed is
# not done again beside a program that it left behind.
held: list[int] = []


def run(
    words: Sequence[str],
    *,
    timeout_s: float,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    dies_with_us: bool = False,
) -> Done:
    """Run to the end, or kill it at the limit. Never raises for what the program does.

    dies_with_us: the kernel kills it when we are killed; for those that change the data directory.
    """
    if dies_with_us:
        tied = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "--")
        words = (*as_urgent_as_others(), *tied, *words)
    try:
        done = subprocess.run(
            list(words),
            input=stdin.encode(),
            capture_output=True,
            check=False,
            timeout=timeout_s,
            env=environment(env),
            pass_fds=held,
        )
    except subprocess.TimeoutExpired:
        return Done(LATE, "", f"{Path(words[0]).name} did not end within {timeout_s:g} s")
    except OSError as error:
        return Done(127, "", f"{words[0]}: {error.strerror}")
    return Done(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def open_log() -> int:
    """Where a server's messages go: main's pipe to the container's log; /dev/null without main."""
    try:
        # Without a reader this fails at once, where a plain open would wait for one.
        handle = os.open(paths.LOG, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    return handle


def spawn(words: Sequence[str], *, handles: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a server that outlives us, as postgres, its messages in the container's log.

    handles: open files that it is to have as well, under the same numbers.
    """
    log = open_log()
    as_postgres = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    groups = [pwd.getpwnam("postgres").pw_gid] if as_postgres else None
    try:
        return subprocess.Popen(
            [*as_urgent_as_others(), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment(),
            start_new_session=True,
            pass_fds=handles,
            umask=0o077,
            extra_groups=groups,
            user=as_postgres.get("user"),
            group=as_postgres.get("group"),
        )
    finally:
        os.close(log)


def program_of(pid: int) -> tuple[str, ...]:
    """The words of a living process; empty where there is none (a zombie is none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return ()
        return tuple(
            Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        )
    except (OSError, IndexError):
        return ()


def runs(pid: int | None, program: str) -> bool:
    """Whether `pid` is alive and is `program`: numbers come again when a container starts again."""
    if not pid:
        return False
    words = program_of(pid)
    return bool(words) and os.path.basename(words[0]) == program


def is_named(pid: int, program: str) -> bool:
    """Whether it is a living process of that program, whatever its title says; 15 letters count."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name == program[:15] and rest.split()[0] not in "ZX"


def named(program: str) -> frozenset[int]:
    """Every living process of that program in this container."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return frozenset(pid for pid in numbers if is_named(pid, program))


def read_pid(file: Path) -> int | None:
    """The number in a file's first line; None where there is none."""
    try:
        return abs(int(file.read_text().split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill(pids: Iterable[int], timeout_s: float) -> None:
    """End processes at once and wait until they are gone; they may be gone already."""
    end = time.monotonic() + timeout_s
    handles: list[int] = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
            os.kill(pid, signal.SIGKILL)
    for handle in handles:
        select.select([handle], [], [], max(0.0, end - time.monotonic()))
        os.close(handle)


def be_calm() -> None:
    """This thread is no more urgent than other processes, whatever it inherited."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 0)


def as_urgent_as_others() -> tuple[str, ...]:
    """What to begin a command with that must not inherit the agent's urgency (nice(1))."""
    urgency = -os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    return ("/usr/bin/nice", "-n", str(urgency)) if urgency > 0 else ()


def holds_within(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.005) -> bool:
    """Wait until it holds; False when it does not within the limit."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(pause_s)
    return True


def wait_until(
    look: Callable[[], tuple[T | None, str]],
    *,
    timeout_s: float,
    code: str,
    what: str,
    pause_s: float = 0.02,
) -> T:
    """Wait for `look` to give something; it says beside it what it saw.

    Raises Failed(code) with what it last saw.
    """
    end = time.monotonic() + timeout_s
    while True:
        found, seen = look()
        if found is not None:
            return found
        if time.monotonic() >= end:
            raise Failed(code, f"{what} within {timeout_s:g} s: {seen}")
        time.sleep(pause_s)


def runs_main() -> bool:
    """Whether the container's main process is alive."""
    words = program_of(read_pid(paths.MAIN_PID) or 0)
    return any(word.endswith(("pgha-main", "pgha.node.main")) for word in words)
