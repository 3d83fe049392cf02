"""`history`: what happened to the cluster, from the nodes' own records."""

from __future__ import annotations

from invoke.context import Context

from pgha.tasks.session import Session, Work
from pgha.tasks.task import cluster_task


@cluster_task("history")
def history(c: Context, env: str | None = None, json: bool = False) -> Work:
    """Show what happened, from the nodes' own records.

    Failovers with cause, timeline and LSN, how long writes were out, and who asked for it: the
    nodes' vote, or an operator. Stopped nodes are read too; whose record is missing is said.
    """
    return _work


def _work(session: Session) -> int:
    with session.cluster() as cluster:
        session.printer.history(cluster.history())
    return 0
