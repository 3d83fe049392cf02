"""What the `docker` client's JSON answers say, as values; for the commands of `docker`.

The shape of the documents is the engine's contract (1.41 and later): what lacks a key raises
KeyError or TypeError, which would be a defect of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SSH_PORT = "22/tcp"


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


@dataclass(frozen=True)
class NetworkInfo:
    """What `network inspect` says. members: the names of the containers on it (of this engine)."""

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...]
    labels: Mapping[str, str]
    members: tuple[str, ...]


@dataclass(frozen=True)
class ImageInfo:
    """What `image inspect` says."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size_bytes: int


@dataclass(frozen=True)
class EngineInfo:
    """What `info` says. swarm_state: inactive, pending, active, error or locked.

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
    swarm_state: str
    swarm_manager: bool
    insecure: tuple[str, ...] = ()


def parse_inspect(text: str) -> dict[str, ContainerInfo]:
    """The answer to `inspect`: name → container; who is missing in it does not exist."""
    found = (_container(document) for document in _documents(text))
    return {container.name: container for container in found}


def parse_ps(text: str) -> tuple[ContainerLine, ...]:
    """The answer to `ps`, in the order of names."""
    lines = (
        ContainerLine(
            id=_text(line, "id"),
            name=_text(line, "name"),
            state=_text(line, "state"),
            image=_text(line, "image"),
            cluster=_text(line, "cluster"),
            node=_text(line, "node"),
            ssh_port=_listed_ssh_port(_text(line, "ports")),
        )
        for line in _documents(text)
    )
    return tuple(sorted(lines, key=lambda line: line.name))


def parse_network_list(text: str) -> tuple[str, ...]:
    """The answer to `network_list`."""
    return tuple(sorted(text.split()))


def parse_networks(text: str) -> dict[str, NetworkInfo]:
    """The answer to `network_inspect`: name → network."""
    networks = (
        NetworkInfo(
            id=_text(document, "id"),
            name=_text(document, "name"),
            driver=_text(document, "driver"),
            subnets=tuple(_text(pool, "Subnet") for pool in _rows(document, "ipam")),
            labels=_texts(document, "labels"),
            members=tuple(
                sorted(
                    _text(_as_table(end), "Name") for end in _table(document, "containers").values()
                )
            ),
        )
        for document in _documents(text)
    )
    return {network.name: network for network in networks}


def parse_images(text: str) -> tuple[ImageInfo, ...]:
    """The answer to `image_inspect`, without those that are missing."""
    return tuple(
        ImageInfo(
            id=_text(document, "id"),
            tags=tuple(str(tag) for tag in _list(document, "tags")),
            labels=_texts(document, "labels"),
            size_bytes=_number(document, "size"),
        )
        for document in _documents(text)
    )


def parse_info(text: str) -> EngineInfo | None:
    """The answer to `info`; None where no engine answered (it then describes the client only)."""
    documents = tuple(_documents(text))
    if not documents or not documents[0].get("ServerVersion"):
        return None
    document = documents[0]
    swarm = _table(document, "Swarm")
    return EngineInfo(
        name=_text(document, "Name"),
        version=_text(document, "ServerVersion"),
        operating_system=_text(document, "OperatingSystem"),
        architecture=_text(document, "Architecture"),
        cores=_number(document, "NCPU"),
        memory_bytes=_number(document, "MemTotal"),
        storage_driver=_text(document, "Driver"),
        root_dir=_text(document, "DockerRootDir"),
        swarm_state=str(swarm.get("LocalNodeState") or "inactive"),
        swarm_manager=bool(swarm.get("ControlAvailable")),
        insecure=_insecure(_table(document, "RegistryConfig")),
    )


def _insecure(registries: _Table) -> tuple[str, ...]:
    named = _table(registries, "IndexConfigs")
    return (
        *(name for name, index in named.items() if not _as_table(index).get("Secure", True)),
        *map(str, _list(registries, "InsecureRegistryCIDRs")),
    )


def _container(document: _Table) -> ContainerInfo:
    state = _table(document, "state")
    published = _rows(_table(document, "ports"), SSH_PORT)
    networks = _table(document, "networks")
    return ContainerInfo(
        id=_text(document, "id"),
        name=_text(document, "name").removeprefix("/"),
        state=_text(state, "Status"),
        exit_code=_number(state, "ExitCode"),
        image_id=_text(document, "image"),
        image=_text(document, "tag"),
        labels=_texts(document, "labels"),
        ssh_port=int(_text(published[0], "HostPort")) if published else None,
        mounts={_text(m, "Destination"): _text(m, "Source") for m in _rows(document, "mounts")},
        addresses={name: _text(_as_table(end), "IPAddress") for name, end in networks.items()},
        started_at=_moment(_text(state, "StartedAt")),
        finished_at=_moment(_text(state, "FinishedAt")),
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


# JSON's own types, narrowed where a document is read. An absent or null list or table is empty:
# the engine writes null for both.

_Table = Mapping[str, object]


def _documents(text: str) -> Iterator[_Table]:
    return (_as_table(json.loads(line)) for line in text.splitlines() if line.startswith("{"))


def _as_table(value: object) -> _Table:
    if not isinstance(value, dict):
        raise TypeError(f"docker's answer has {type(value).__name__} where a table belongs")
    return value


def _table(document: _Table, key: str) -> _Table:
    return _as_table(document.get(key) or {})


def _list(document: _Table, key: str) -> list[object]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise TypeError(f"docker's answer has no list in {key}")
    return value


def _rows(document: _Table, key: str) -> list[_Table]:
    return [_as_table(row) for row in _list(document, key)]


def _text(document: _Table, key: str) -> str:
    return str(document[key])


def _texts(document: _Table, key: str) -> dict[str, str]:
    return {name: str(value) for name, value in _table(document, key).items()}


def _number(document: _Table, key: str) -> int:
    value = document[key]
    if not isinstance(value, int):
        raise TypeError(f"docker's answer has no number in {key}")
    return value
