"""What must be true of the nodes before anything is planned for them. Pure."""

from __future__ import annotations

from pgha.errors import Refused
from pgha.state import ClusterState, ContainerStatus


def require_members(state: ClusterState) -> None:
    """Raise Refused where the nodes know of others than the settings name.

    They count their majority by what `init` told them. Who took a smaller number for one would
    promote beside a primary that has a real one.
    """
    node = state.of_another_cluster
    if node is not None and node.report is not None:
        raise Refused(
            f"{node.name} was made with {', '.join(node.report.members)}, and the settings name "
            f"{', '.join(state.topology.names)}: only a new `inv init` can change that.",
            next="inv status",
        )


def require_a_host(state: ClusterState) -> None:
    """Raise Refused where no host tells anything: nothing could be planned but by guessing."""
    if any(node.container is not ContainerStatus.UNKNOWN for node in state.nodes):
        return
    reasons = tuple(dict.fromkeys(node.error for node in state.nodes if node.error))
    if len(reasons) == 1:
        raise Refused(f"{reasons[0].rstrip('.')}; nothing was changed.", next="inv status")
    raise Refused(
        "No host tells anything about the cluster; nothing was changed.",
        next="inv status",
        details=reasons,
    )
