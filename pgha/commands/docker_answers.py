"""What the `docker` client's JSON answers say, as values; for the commands of `docker`.

The shape of the documents is the engine's contract (1.41 and later): what lacks a key raises
KeyError or TypeError, which would be a defect of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgha.commands.documents import (
    Table,
    as_table,
    documents,
    items,
    number,
    rows,
    table,
    text_of,
    texts_of,
)
from pgha.commands.swarm_answers import NO_SWARM, SwarmInfo, read_swarm

SSH_PORT = "22/tcp"
# Before it `docker create` has no --pull, with which nodes are made.
OLDEST_DOCKER = (20, 10)


@dataclass(frozen=True)
class ContainerInfo:
    """What `inspect` says about a container.

    state: created, running, paused, restarting, removing, exited or dead.
    ssh_port: the port on the host's 127.0.0.1; None where none is published (not running).
    started_at, finished_at: RFC 3339; None where it never did.
    mounts: destination in the container → source on the host.
    addresses: network → address there ("" while it is not running).
    """

    id: str
    name: str
    state: str
    exit_code: int
    image_id: str
    image: str
    labels: Mapping[str, str]
    ssh_port: int | None
    mounts: Mapping[str, str]
    addresses: Mapping[str, str]
    started_at: str | None
    finished_at: str | None
    oom_killed: bool

    @property
    def running(self) -> bool:
        """Its processes can answer: not so while it is paused."""
        return self.state == "running"


@dataclass(frozen=True)
class ContainerLine:
    """What `ps` says about a container: enough to know whose it is and how to reach it."""

    id: str
    name: str
    state: str
    image: str
    cluster: str
    node: str
    ssh_port: int | None
    networks: tuple[str, ...]


@dataclass(frozen=True)
class NetworkInfo:
    """What `network inspect` says. members: the names of the containers on it (of this engine).

    attachable: plain containers may join it, though it is a Swarm's. encrypted: between hosts.
    """

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...]
    labels: Mapping[str, str]
    members: tuple[str, ...]
    attachable: bool = False
    encrypted: bool = False


@dataclass(frozen=True)
class ImageInfo:
    """What `image inspect` says."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size_bytes: int


@dataclass(frozen=True)
class EngineInfo:
    """What `info` says. pools: the subnets out of which it takes those of its own networks, where
    somebody has said so. live_restore: containers outlive the engine, which Swarm forbids.
    insecure: registries (`host:port`) and networks with which it may speak plain HTTP.
    """

    name: str
    version: str
    operating_system: str
    architecture: str
    cores: int
    memory_bytes: int
    storage_driver: str
    root_dir: str
    swarm: SwarmInfo = NO_SWARM
    pools: tuple[str, ...] = ()
    live_restore: bool = False
    insecure: tuple[str, ...] = ()

    @property
    def too_old(self) -> str:
        """The version that is needed instead, where it is older; else empty."""
        numbers = self.version.split("+")[0].split("-")[0].split(".")
        told = tuple(int(number) for number in numbers[:2] if number.isdigit())
        return ".".join(map(str, OLDEST_DOCKER)) if told < OLDEST_DOCKER else ""


def parse_inspect(text: str) -> dict[str, ContainerInfo]:
    """The answer to `inspect`: name → container; who is missing in it does not exist."""
    found = (_container(document) for document in documents(text))
    return {container.name: container for container in found}


def parse_ps(text: str) -> tuple[ContainerLine, ...]:
    """The answer to `ps`, in the order of names."""
    lines = (
        ContainerLine(
            id=text_of(line, "id"),
            name=text_of(line, "name"),
            state=text_of(line, "state"),
            image=text_of(line, "image"),
            cluster=text_of(line, "cluster"),
            node=text_of(line, "node"),
            ssh_port=_listed_ssh_port(text_of(line, "ports")),
            networks=tuple(text_of(line, "networks").split(",")),
        )
        for line in documents(text)
    )
    return tuple(sorted(lines, key=lambda line: line.name))


def parse_network_list(text: str) -> tuple[str, ...]:
    """The answer to `network_list`."""
    return tuple(sorted(text.split()))


def parse_networks(text: str) -> dict[str, NetworkInfo]:
    """The answer to `network_inspect`: name → network."""
    networks = (
        NetworkInfo(
            id=text_of(document, "id"),
            name=text_of(document, "name"),
            driver=text_of(document, "driver"),
            subnets=tuple(text_of(pool, "Subnet") for pool in rows(document, "ipam")),
            labels=texts_of(document, "labels"),
            members=tuple(
                sorted(
                    text_of(as_table(end), "Name") for end in table(document, "containers").values()
                )
            ),
            attachable=bool(document.get("attachable")),
            # The option counts by being there; Docker's manual writes it without a value.
            encrypted=table(document, "options").get("encrypted", "false") != "false",
        )
        for document in documents(text)
    )
    return {network.name: network for network in networks}


def parse_images(text: str) -> tuple[ImageInfo, ...]:
    """The answer to `image_inspect`, without those that are missing."""
    return tuple(
        ImageInfo(
            id=text_of(document, "id"),
            tags=tuple(str(tag) for tag in items(document, "tags")),
            labels=texts_of(document, "labels"),
            size_bytes=number(document, "size"),
        )
        for document in documents(text)
    )


def parse_info(text: str) -> EngineInfo | None:
    """The answer to `info`; None where no engine answered (it then describes the client only)."""
    document = next(documents(text), None)
    if document is None or not document.get("ServerVersion"):
        return None
    return EngineInfo(
        name=text_of(document, "Name"),
        version=text_of(document, "ServerVersion"),
        operating_system=text_of(document, "OperatingSystem"),
        architecture=text_of(document, "Architecture"),
        cores=number(document, "NCPU"),
        memory_bytes=number(document, "MemTotal"),
        storage_driver=text_of(document, "Driver"),
        root_dir=text_of(document, "DockerRootDir"),
        swarm=read_swarm(table(document, "Swarm")),
        pools=tuple(text_of(pool, "Base") for pool in rows(document, "DefaultAddressPools")),
        live_restore=bool(document.get("LiveRestoreEnabled")),
        insecure=_insecure(table(document, "RegistryConfig")),
    )


def _insecure(registries: Table) -> tuple[str, ...]:
    named = table(registries, "IndexConfigs")
    return (
        *(name for name, index in named.items() if not as_table(index).get("Secure", True)),
        *map(str, items(registries, "InsecureRegistryCIDRs")),
    )


def _container(document: Table) -> ContainerInfo:
    state = table(document, "state")
    published = rows(table(document, "ports"), SSH_PORT)
    networks = table(document, "networks")
    return ContainerInfo(
        id=text_of(document, "id"),
        name=text_of(document, "name").removeprefix("/"),
        state=text_of(state, "Status"),
        exit_code=number(state, "ExitCode"),
        image_id=text_of(document, "image"),
        image=text_of(document, "tag"),
        labels=texts_of(document, "labels"),
        ssh_port=int(text_of(published[0], "HostPort")) if published else None,
        mounts={text_of(m, "Destination"): text_of(m, "Source") for m in rows(document, "mounts")},
        addresses={name: text_of(as_table(end), "IPAddress") for name, end in networks.items()},
        started_at=_moment(text_of(state, "StartedAt")),
        finished_at=_moment(text_of(state, "FinishedAt")),
        oom_killed=bool(state["OOMKilled"]),
    )


def _moment(text: str) -> str | None:
    """Go's zero time means never."""
    return None if text.startswith("0001-") else text


def _listed_ssh_port(ports: str) -> int | None:
    """Out of `127.0.0.1:32768->22/tcp, 8080/tcp`."""
    for entry in ports.split(", "):
        outside, arrow, inside = entry.partition("->")
        if arrow and inside == SSH_PORT:
            return int(outside.rpartition(":")[2])
    return None
