"""PostgreSQL streaming replication with Pgpool-II on a few Docker hosts.

`from pgha import Cluster` for scripts, `from pgha.tasks import namespace` for Invoke and Fabric.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Cluster"]


def __getattr__(name: str) -> Any:
    # Nothing is imported before it is used: the image carries `pgha.node` and `pgha.commands`
    # alone, and a task's `--help` should not pay for Fabric.
    if name == "Cluster":
        from pgha.cluster import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
