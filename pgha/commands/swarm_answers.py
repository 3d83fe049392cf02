"""What the engine says of its Swarm, as values; for the commands of `swarm`, and `docker info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgha.commands.documents import Table, documents, number, rows, table, text_of


@dataclass(frozen=True)
class SwarmInfo:
    """What `info` says of the engine's Swarm.

    state: inactive, pending, active, error or locked. error: what the engine says that is wrong;
    on an active manager, that a majority of the managers is not heard.
    manager: it is one. managers: how many there are, where a manager tells.
    node: its id; address: where other hosts reach it. remotes: managers' ids → host:port.
    data_port: of VXLAN.
    """

    state: str = "inactive"
    error: str = ""
    manager: bool = False
    managers: int = 0
    node: str = ""
    address: str = ""
    remotes: Mapping[str, str] = field(default_factory=dict)
    data_port: int = 4789


NO_SWARM = SwarmInfo()


@dataclass(frozen=True)
class SwarmNode:
    """A line of a Swarm's own list of its hosts. status: Ready, Down, …; availability: Active,
    Pause or Drain; manager: "" for a worker, else Leader, Reachable or Unreachable."""

    id: str
    hostname: str
    status: str
    availability: str
    manager: str


def read_swarm(document: Table) -> SwarmInfo:
    """The part of `info`'s answer that is about Swarm."""
    cluster = table(document, "Cluster")
    return SwarmInfo(
        state=str(document.get("LocalNodeState") or "inactive"),
        error=str(document.get("Error") or ""),
        manager=bool(document.get("ControlAvailable")),
        managers=number(document, "Managers") if document.get("Managers") else 0,
        node=str(document.get("NodeID") or ""),
        address=str(document.get("NodeAddr") or ""),
        remotes={
            text_of(row, "NodeID"): text_of(row, "Addr") for row in rows(document, "RemoteManagers")
        },
        data_port=number(cluster, "DataPathPort") if cluster.get("DataPathPort") else 4789,
    )


def parse_swarm_nodes(text: str) -> tuple[SwarmNode, ...]:
    """The answer to `swarm.nodes`."""
    return tuple(
        SwarmNode(
            id=text_of(line, "ID"),
            hostname=text_of(line, "Hostname"),
            status=text_of(line, "Status"),
            availability=text_of(line, "Availability"),
            manager=text_of(line, "ManagerStatus"),
        )
        for line in documents(text)
    )
