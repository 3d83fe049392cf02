"""Which node was the primary when the cluster stopped, read from the nodes themselves. Pure."""

from __future__ import annotations

from pgha.errors import Refused
from pgha.node.report import Role
from pgha.state import ClusterState, NodeState
from pgha.topology import Kind


class FailoverDecides(Refused):
    """Nobody surely was the last primary: only a promotion tells who leads."""


def last_primary(state: ClusterState) -> NodeState:
    """The node that was the primary of the highest term. Raises Refused where none surely was.

    A majority must be readable: whoever was elected later has the word of one of them. And the
    last primary's data must be of the highest term that anybody knows of: a term above its timeline
    means that a failover was begun, and its winner may have been acknowledging writes.
    """
    _require_majority(state)
    claims = [n for n in state.readable if _was_told_to_be_primary(n)]
    if not claims:
        fenced = [
            n.name for n in state.readable if n.report and n.report.assignment.role is Role.FENCED
        ]
        why = (
            f": {' and '.join(fenced)} {'is' if len(fenced) == 1 else 'are'} fenced"
            if fenced
            else ""
        )
        raise FailoverDecides(
            f"No node was the primary when it stopped{why}. A standby must be promoted.",
            next="inv failover",
        )
    newest = max(n.timeline or 0 for n in claims)
    last = [n for n in claims if n.timeline == newest]
    later = [n for n in state.readable if (n.term or 0) > newest]
    if later:
        raise FailoverDecides(
            f"{last[0].name} was the primary of term {newest}, but {later[0].name} knows of term "
            f"{later[0].term}: a failover was begun.",
            next="inv failover",
        )
    if len(last) > 1:
        names = " and ".join(n.name for n in last)
        raise Refused(f"{names} both were the primary of term {newest}.", next="inv status")
    return last[0]


def has_last_primary(state: ClusterState) -> bool:
    """Whether `start` could begin with a last primary."""
    try:
        last_primary(state)
    except Refused:
        return False
    return True


def _was_told_to_be_primary(node: NodeState) -> bool:
    told = node.report is not None and node.report.assignment.role is Role.PRIMARY
    return told and node.kind is Kind.DATA and node.has_data and node.timeline is not None


def _require_majority(state: ClusterState) -> None:
    known, majority = state.readable, state.topology.majority
    if len(known) < majority:
        silent = [n for n in state.nodes if n.report is None]
        # A stopped node is read by a helper container. (`failover` says what may be lost by going
        # on without those that cannot be read.)
        lacks_image = any("No such image" in n.error for n in silent)
        otherwise = "inv failover" if known else "inv status"
        raise Refused(
            f"{len(known)} of {len(state.nodes)} nodes can be read and {majority} are needed to "
            "know which one was the last primary.",
            next="inv build" if lacks_image else otherwise,
            details=tuple(f"{n.name}: {n.error or n.container.value}" for n in silent),
        )
    if not any(n.has_data for n in known):
        raise Refused("No node has data: there is no cluster to start.", next="inv init")
