"""What was seen of the hosts before `init`, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pgha.commands.docker_answers import EngineInfo, NetworkInfo
from pgha.commands.swarm_answers import SwarmNode
from pgha.topology import Node


@dataclass(frozen=True)
class VolumeFacts:
    """A directory of a host, as it is before `init`. initialising: an `init` was cut off there;
    forced: it was told to move aside what was there."""

    path: str
    entries: tuple[str, ...]
    problem: str
    initialising: bool
    total_bytes: int
    free_bytes: int
    forced: bool = False


@dataclass(frozen=True)
class PortFacts:
    """What one host found out about the ports between hosts, written as `2377/tcp`.

    taken: somebody else listens there, on this host. answered: (host, port) that answered us;
    heard: (host, port) of ours at which that host was heard.
    """

    taken: tuple[str, ...] = ()
    answered: tuple[tuple[str, str], ...] = ()
    heard: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """One host. error: why nothing is known of it. containers: name → the cluster of its label, ""
    where it has none. in_use: (container, directory of the host) of what runs there and is neither
    of this cluster nor one of our helpers. addresses: `eth0 192.168.56.11/24`. swarm_nodes: all
    hosts of its Swarm, where it is a manager. ports: None where nobody has looked. esp: whether its
    kernel can encrypt an overlay network; None: it does not tell."""

    name: str
    error: str = ""
    engine: EngineInfo | None = None
    image: bool = False
    containers: tuple[tuple[str, str], ...] = ()
    in_use: tuple[tuple[str, str], ...] = ()
    networks: tuple[NetworkInfo, ...] = ()
    volumes: tuple[VolumeFacts, ...] = ()
    routes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    swarm_nodes: tuple[SwarmNode, ...] = ()
    ports: PortFacts | None = None
    esp: bool | None = None

    def volume(self, path: str) -> VolumeFacts | None:
        return next((v for v in self.volumes if v.path == path), None)


@dataclass(frozen=True)
class Site:
    """All hosts of a topology."""

    hosts: tuple[HostFacts, ...]

    def of(self, node: Node) -> HostFacts:
        return next(h for h in self.hosts if h.name == node.host)
