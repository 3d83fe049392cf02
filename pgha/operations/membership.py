"""The nodes that the settings name are those that `init` made: a majority is one of these. Pure."""

from __future__ import annotations

from pgha.errors import Refused
from pgha.state import ClusterState


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
