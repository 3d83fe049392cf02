"""`build`, `init`, `start`, `stop`."""

from __future__ import annotations

from invoke.context import Context

from pgha.tasks.session import Work, changes
from pgha.tasks.task import cluster_task


@cluster_task("build")
def build(
    c: Context,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Build the image and bring it to every host.

    With DOCKER_HUB_IMAGE=true it is pulled instead. With nothing changed it is done at once.
    """
    return changes(lambda cluster, how: cluster.build(dry_run=how.dry_run))


@cluster_task(
    "init",
    help={"force": "Move what is there aside, with a time stamp; nothing is deleted."},
)
def init(
    c: Context,
    env: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Create the cluster: networks, data, replication, doors.

    Everything that could be in the way is looked for first, and nothing is changed if there is.
    -f moves data and configuration of an earlier cluster aside; it refuses while any node runs.
    """
    return changes(
        lambda cluster, how: cluster.init(force=force, dry_run=how.dry_run, confirm=how.confirm)
    )


@cluster_task("start")
def start(
    c: Context,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Start the cluster, the last primary first.

    Which node that was is read from the nodes themselves; where they do not agree, it refuses.
    """
    return changes(lambda cluster, how: cluster.start(dry_run=how.dry_run))


@cluster_task("stop")
def stop(
    c: Context,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Stop the cluster: doors, the primary, then its followers.

    The primary is stopped with a checkpoint, and when it is down the others have all of its WAL.
    """
    return changes(lambda cluster, how: cluster.stop(dry_run=how.dry_run))
