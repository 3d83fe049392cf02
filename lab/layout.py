"""What a lab is made of: names, addresses, files. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pgha.errors import Refused, Usage

# A primary, a standby, a witness, and STANDBY_2 to STANDBY_5.
FEWEST, MOST = 2, 7
USER = "ops"
REGISTRY_PORT = 5000

LAB_LABEL = "io.pgha.lab"
HOST_LABEL = "io.pgha.lab.host"
ROOT_LABEL = "io.pgha.lab.root"
REGISTRY = "registry"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# Within a host only its own networks matter; none of them may hide the lab's. These two are the
# engines' own: one /24 a host for docker0, one /20 for networks without a subnet of their own.
_BRIDGES = IPv4Network("172.28.0.0/16")
_POOLS = IPv4Network("172.29.0.0/16")
# A cluster's networks, the same in each lab: they are seen by nobody outside of its hosts.
BACKEND = IPv4Network("10.77.0.0/24")
FRONTEND = IPv4Network("10.77.1.0/24")

_REGISTRY_NUMBER, _FIRST_NUMBER = 5, 11


@dataclass(frozen=True)
class Place:
    """A host of the lab. bridge: its engine's docker0; pool: where its engine takes subnets."""

    number: int
    name: str
    container: str
    address: IPv4Address
    bridge: str
    pool: IPv4Network


@dataclass(frozen=True)
class Layout:
    """A lab as it is to be. root: the checkout that it belongs to; subnet: its network, a /24."""

    name: str
    root: Path
    subnet: IPv4Network
    size: int

    @property
    def places(self) -> tuple[Place, ...]:
        """The hosts, in their order."""
        return tuple(map(self._place, range(self.size)))

    @property
    def registry_container(self) -> str:
        return f"{self.name}-{REGISTRY}"

    @property
    def registry_address(self) -> IPv4Address:
        return self.subnet[_REGISTRY_NUMBER]

    @property
    def registry(self) -> str:
        """As image names and the engine's configuration have it."""
        return f"{self.registry_address}:{REGISTRY_PORT}"

    @property
    def files(self) -> Files:
        return Files(self.root, self.name)

    def _place(self, number: int) -> Place:
        name = f"node-{number}"
        return Place(
            number=number,
            name=name,
            container=f"{self.name}-{name}",
            address=self.subnet[_FIRST_NUMBER + number],
            bridge=f"{_BRIDGES[256 * number + 1]}/24",
            pool=list(_POOLS.subnets(new_prefix=20))[number],
        )


@dataclass(frozen=True)
class Files:
    """Where a lab's files are."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """All but the env file."""
        return self.root / "build" / "lab" / self.name

    @property
    def env(self) -> Path:
        """What `-e NAME` finds."""
        return self.root / "env" / f"{self.name}.env"

    @property
    def store(self) -> Path:
        """docker-machine's store."""
        return self.folder / "machine"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def key(self) -> Path:
        """With which the user is let in."""
        return self.folder / "ssh" / "id_ed25519"

    def host_key(self, host: str) -> Path:
        """By which a host is known."""
        return self.folder / "ssh" / f"host-{host}"

    def config(self, host: str) -> Path:
        """What docker-machine's store knows of a host."""
        return self.store / "machines" / host / "config.json"


def number_of(host: str) -> int:
    """A host's number, by its name."""
    return int(host.rpartition("-")[2])


def checked_name(name: str) -> str:
    """A lab's name: containers, networks and an env file begin with it. Raises Usage."""
    if not _NAME.fullmatch(name):
        raise Usage(
            f"{name!r} is no name for a lab: lower-case letters, digits and '-' were expected,"
            " 40 at most, with a letter or a digit first."
        )
    return name


def checked_size(size: int) -> int:
    """How many hosts. Raises Usage."""
    if not FEWEST <= size <= MOST:
        raise Usage(f"A lab has {FEWEST} to {MOST} hosts, not {size}.")
    return size


def _candidates() -> Iterable[IPv4Network]:
    for block in ("172.30.0.0/16", "172.31.0.0/16", "192.168.128.0/17"):
        yield from IPv4Network(block).subnets(new_prefix=24)


def free_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """A network that overlaps none of those that are taken. Raises Refused where there is none."""
    others = tuple(taken)
    for candidate in _candidates():
        if not any(candidate.overlaps(other) for other in others):
            return candidate
    raise Refused(
        "No network is free for the lab: 172.30.0.0/15 and 192.168.128.0/17 are taken.",
        next="docker network ls",
    )
