"""`units`: whether the nodes start with their hosts."""

from __future__ import annotations

from invoke.context import Context

from pgha.tasks.session import Work, changes
from pgha.tasks.task import cluster_task


@cluster_task("units", help={"remove": "Take the units away; the containers go on as they are."})
def units(
    c: Context,
    env: str | None = None,
    remove: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Install systemd units that start the nodes at boot.

    One unit a node, on its host (root's). It starts the node's container when the host starts, and
    again when it dies; what `stop` stopped stays stopped. No running container is touched.
    """
    return changes(lambda cluster, how: cluster.units(remove=remove, dry_run=how.dry_run))
