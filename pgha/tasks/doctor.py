"""`doctor`: what stands between this configuration and a healthy cluster."""

from __future__ import annotations

from invoke.context import Context

from pgha.tasks.session import Session, Work
from pgha.tasks.task import cluster_task


@cluster_task("doctor")
def doctor(c: Context, env: str | None = None, json: bool = False) -> Work:
    """Check what a healthy cluster needs, before init and after it.

    Hosts, Docker, clocks, disks, kernel, images, networks, configuration, keys: each a line, fine,
    a warning or wrong, with the remedy. Nothing is changed. Ends with 3 where something is wrong.
    """
    return _work


def _work(session: Session) -> int:
    with session.cluster() as cluster:
        checkup = cluster.doctor()
        session.printer.checkup(checkup)
        return checkup.exit_code
