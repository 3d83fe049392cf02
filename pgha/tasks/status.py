"""`status`: what is true right now, and what to do about it."""

from __future__ import annotations

import threading

from invoke.context import Context

from pgha.errors import Usage
from pgha.tasks.interrupts import Interrupted
from pgha.tasks.session import Session, Work
from pgha.tasks.task import cluster_task

REFRESH_S = 1.0


@cluster_task(
    "status", help={"watch": f"Show it again every {REFRESH_S:.0f} s, in place, until Ctrl-C."}
)
def status(c: Context, env: str | None = None, watch: bool = False, json: bool = False) -> Work:
    """Show what is true now, and what to do about it.

    Ends with 0: healthy, 4: degraded, 5: down or split brain.
    """
    if watch and json:
        raise Usage("--json is one document, --watch is many: one of them has to go.")

    return _watch if watch else _once


def _once(session: Session) -> int:
    with session.cluster() as cluster:
        seen = cluster.status()
        session.printer.status(seen)
        return seen.exit_code


def _watch(session: Session) -> int:
    """Until Ctrl-C, which ends it quietly with the exit code of what was last seen."""
    code, pause = 0, threading.Event()
    with session.cluster() as cluster:
        try:
            with session.printer.watching() as show:
                while True:
                    seen = cluster.status()
                    code = seen.exit_code
                    show(seen)
                    pause.wait(REFRESH_S)
        except Interrupted:
            return code
