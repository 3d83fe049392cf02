"""A child that is this process over again: no program is loaded for it, so it is at work at once,
however busy the machine is."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Offspring:
    """To work done in a child what subprocess.Popen is to a program.

    name: what the child is called (its `comm`, 15 letters); it does `work` as `user`, with nothing
    of its parent's but standard output and error and the file `keeps`, and ends with what `work`
    returns. The parent must have one thread only. Raises OSError.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], int],
        *,
        user: str,
        keeps: int,
        environment: Mapping[str, str],
    ) -> None:
        self._status: int | None = None
        # What its parent does at a signal is not done by the child, not even in its first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _live(name, work, user, keeps, environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        """Its exit code, a signal's number below zero; None: it lives."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if ended else None
        return self._status

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Until it was waited for, its number is no other process's.
        if self.poll() is None:
            os.kill(self.pid, number)


def _live(
    name: str, work: Callable[[], int], user: str, keeps: int, environment: Mapping[str, str]
) -> NoReturn:
    """The child, from its first breath to its last: it never returns into its parent's work."""
    status = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        Path("/proc/self/comm").write_text(name)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for handle in map(int, os.listdir("/proc/self/fd")):
            if handle > 2 and handle != keeps:
                with contextlib.suppress(OSError):  # the one that has listed them is gone
                    os.close(handle)
        owner = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)
        os.environ.clear()
        os.environ.update(environment)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
