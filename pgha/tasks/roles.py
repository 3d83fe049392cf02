"""`failover`, `failback`, `recovery`: who is primary, and how a node comes back."""

from __future__ import annotations

from invoke.context import Context

from pgha.tasks.session import Work, changes
from pgha.tasks.task import cluster_task

ACCEPT_LOSS = (
    "Go on although acknowledged writes may be lost; it says what is known of how much, and asks."
)


@cluster_task(
    "failover",
    help={
        "to": "The standby that takes over (else the one that has most).",
        "force": ACCEPT_LOSS,
    },
)
def failover(
    c: Context,
    env: str | None = None,
    to: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Move the primary to the standby.

    While the primary lives it is handed over gracefully: nothing is lost, and the old primary
    streams as a standby when the command returns. When it is gone the standby is promoted, once
    it has every acknowledged write that can be known.
    """
    return changes(
        lambda cluster, how: cluster.failover(
            to=to, force=force, dry_run=how.dry_run, confirm=how.confirm
        )
    )


@cluster_task("failback", help={"force": ACCEPT_LOSS})
def failback(
    c: Context,
    env: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Move the primary home, to MASTER_NODE.

    Like failover; where it is home already, nothing happens.
    """
    return changes(
        lambda cluster, how: cluster.failback(force=force, dry_run=how.dry_run, confirm=how.confirm)
    )


@cluster_task(
    "recovery",
    help={
        "node": "The node to bring back (else every node that needs it).",
        "force": "Copy it whole from the primary (pg_basebackup), its old data moved aside; make "
        "it anew where its directories are gone.",
    },
)
def recovery(
    c: Context,
    env: str | None = None,
    node: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Bring a failed node back as a standby.

    It is rewound to the primary's history (pg_rewind), and streams when the command returns.
    """
    return changes(
        lambda cluster, how: cluster.recovery(node=node, force=force, dry_run=how.dry_run)
    )
