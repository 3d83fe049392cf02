"""Settings → the nodes, where they are and what they are called. Pure.

Who is primary is never configured: it is observed. A list of nodes, however many there are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pgha.errors import Usage
from pgha.variables import Mode, Settings, SynchronousMode, births, used_volumes

# The host of all nodes in single mode; no node can have this name.
LOCAL_HOST = "localhost"

# PostgreSQL 17, "Replication Slots": lower case, digits, underscore; cut at NAMEDATALEN - 1.
_MAX_SLOT = 63


class Kind(Enum):
    """What a node is for its whole life; what it does now is its role."""

    DATA = "data"
    WITNESS = "witness"


@dataclass(frozen=True)
class Volumes:
    """A node's directories on its host; docs/architecture.md says where each is mounted."""

    etc_pgpool: str
    etc_ssh: str
    root_ssh: str
    postgres_ssh: str
    postgres_archive: str
    postgres_data: str | None

    def all(self) -> tuple[str, ...]:
        """Every directory that there is."""
        required = (self.etc_pgpool, self.etc_ssh, self.root_ssh)
        wal = (self.postgres_ssh, self.postgres_archive)
        return (*required, *wal, *((self.postgres_data,) if self.postgres_data else ()))


@dataclass(frozen=True)
class Node:
    """One container on one Docker host.

    host: how `pgha.machines` finds it; LOCAL_HOST in single mode.
    address: on the backend network. slot: its replication slot's name on the primary.
    """

    name: str
    kind: Kind
    host: str
    address: str
    container: str
    volumes: Volumes
    slot: str

    @property
    def carries_data(self) -> bool:
        """Whether it can be a primary or a standby."""
        return self.kind is Kind.DATA


@dataclass(frozen=True)
class Topology:
    """The cluster as it is configured.

    home: the node to which `failback` moves the primary.
    majority: how many voters (all nodes, the witness included) decide.
    quorum_commit: whether a commit waits until that many have it on disk.
    read_balance: whether Pgpool-II sends reads to standbys; else it knows the primary alone.
    swarm: whether its networks are overlays of a Docker Swarm, over several hosts.
    """

    cluster: str
    nodes: tuple[Node, ...]
    home: str
    quorum_commit: bool
    backend_network: str
    backend_subnet: str
    frontend_network: str
    frontend_subnet: str
    alias: str
    read_balance: bool = False
    swarm: bool = False

    @property
    def networks(self) -> tuple[tuple[str, str], ...]:
        """Names and subnets, the backend's first."""
        return (
            (self.backend_network, self.backend_subnet),
            (self.frontend_network, self.frontend_subnet),
        )

    @property
    def majority(self) -> int:
        """More than half of the voters: of two nodes, both."""
        return len(self.nodes) // 2 + 1

    @property
    def acknowledgements(self) -> int:
        """How many other voters a commit waits for: `ANY n` in synchronous_standby_names."""
        return self.majority - 1 if self.quorum_commit else 0

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names, in their order."""
        return tuple(each.name for each in self.nodes)

    @property
    def data_nodes(self) -> tuple[Node, ...]:
        """The nodes that carry data."""
        return tuple(each for each in self.nodes if each.kind is Kind.DATA)

    @property
    def witness(self) -> Node | None:
        """The witness, if there is one."""
        return next((each for each in self.nodes if each.kind is Kind.WITNESS), None)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Each host once, in the nodes' order."""
        return tuple(dict.fromkeys(each.host for each in self.nodes))

    def node(self, name: str) -> Node:
        """The node of this name. Raises Usage, with the names that there are."""
        for each in self.nodes:
            if each.name == name:
                return each
        raise Usage(
            f"There is no node {name!r} in {self.cluster}: its nodes are {', '.join(self.names)}."
        )

    def others(self, name: str) -> tuple[Node, ...]:
        """All nodes but this one. Raises Usage like `node`."""
        this = self.node(name)
        return tuple(each for each in self.nodes if each is not this)


def topology(settings: Settings) -> Topology:
    """The nodes that the settings describe."""
    nodes = tuple(_nodes(settings))
    # Two voters are both needed: a commit that waited for the other one would wait whenever it is
    # away. Three elect a primary without the lost one, so it must not have been the only one with a
    # commit.
    auto = settings.synchronous_mode is SynchronousMode.AUTO and len(nodes) > 2
    return Topology(
        cluster=settings.compose_project_name,
        nodes=nodes,
        home=settings.master_node,
        quorum_commit=auto or settings.synchronous_mode is SynchronousMode.ON,
        backend_network=f"{settings.compose_project_name}-backend",
        backend_subnet=str(settings.postgres_backend_subnet),
        frontend_network=f"{settings.compose_project_name}-frontend",
        frontend_subnet=str(settings.postgres_frontend_subnet),
        alias=settings.pgpool_alias,
        read_balance=settings.read_balance,
        swarm=settings.mode is Mode.HA,
    )


def _nodes(settings: Settings) -> Iterator[Node]:
    slots: set[str] = set()
    for birth in births(settings):
        name = str(getattr(settings, f"{birth.lower()}_node"))
        slot = slot_name(name, slots)
        slots.add(slot)
        yield Node(
            name=name,
            kind=Kind.WITNESS if birth == "WITNESS" else Kind.DATA,
            host=LOCAL_HOST if settings.mode is Mode.SINGLE else name,
            address=str(getattr(settings, f"{birth.lower()}_ip")),
            container=f"{settings.compose_project_name}-{name}",
            volumes=_volumes(settings, birth),
            slot=slot,
        )


def _volumes(settings: Settings, birth: str) -> Volumes:
    paths = used_volumes(settings)[birth]

    def path(end: str) -> str:
        return paths[f"{birth}_VOLUME_{end}"]

    return Volumes(
        etc_pgpool=path("ETC_PGPOOL"),
        etc_ssh=path("ETC_SSH"),
        root_ssh=path("ROOT_SSH"),
        postgres_ssh=path("POSTGRES_SSH"),
        postgres_archive=path("POSTGRES_ARCHIVE"),
        postgres_data=paths.get(f"{birth}_VOLUME_POSTGRES_DATA"),
    )


def slot_name(node: str, taken: set[str] | frozenset[str] = frozenset()) -> str:
    """A slot's name for a node, none of `taken`.

    `node-0` → `node_0`. A name that says more than a slot's can (capitals, '_', '.') ends in its
    checksum, so that it depends on the node's name alone and not on the order of the nodes.
    """
    plain = re.sub(r"[^a-z0-9_]", "_", node.lower())
    slot = plain if re.fullmatch(r"[a-z0-9-]{1,63}", node) else ""
    salt = 0
    while not slot or slot in taken:
        end = f"_{zlib.crc32(node.encode(), salt):08x}"
        slot = plain[: _MAX_SLOT - len(end)] + end
        salt += 1
    return slot
