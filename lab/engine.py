"""Commands for this machine's Docker engine, and what its answers say of a lab."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lab.image import IMAGE
from lab.layout import HOST_LABEL, LAB_LABEL, REGISTRY, ROOT_LABEL, Layout, Place, number_of
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import parse_info, parse_network_list, parse_networks
from pgha.errors import Refused
from pgha.hosts import Host

# What each of the engine's answers may take; starting and removing hosts is more work.
ANSWER_S = 30.0
WORK_S = 180.0
# A host ends its containers in order, which have two minutes each (STOP_TIMEOUT).
STOP_S = 150

# What a container needs to run systemd and dockerd, short of --privileged, which an engine refuses
# where the machine itself lacks a capability.
POWERS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined", "--device-cgroup-rule", "a *:* rwm"),
    *("--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--env", "container=docker"),
)

_LINE = (
    '{"container":{{json .Names}},"state":{{json .State}},"networks":{{json .Networks}},'
    f'"host":{{{{json (.Label "{HOST_LABEL}")}}}},"root":{{{{json (.Label "{ROOT_LABEL}")}}}}}}'
)


@dataclass(frozen=True)
class Seen:
    """A container of a lab. state: as Docker has it; linked: it is on the lab's network."""

    host: str
    container: str
    state: str
    linked: bool
    root: str


@dataclass(frozen=True)
class Found:
    """What there is of a lab. subnet: its network's; None: it has none."""

    containers: tuple[Seen, ...]
    subnet: IPv4Network | None

    @property
    def anything(self) -> bool:
        return bool(self.containers) or self.subnet is not None

    @property
    def hosts(self) -> tuple[Seen, ...]:
        return tuple(seen for seen in self.containers if seen.host != REGISTRY)

    @property
    def size(self) -> int:
        """How many hosts it has, one that somebody removed by hand among them."""
        return max((number_of(seen.host) + 1 for seen in self.hosts), default=0)

    def of(self, host: str) -> Seen | None:
        return next((seen for seen in self.containers if seen.host == host), None)


def require(engine: Host) -> None:
    """Raises Refused where no engine answers."""
    answer = engine.run(docker.info(), timeout_s=ANSWER_S, check=False)
    if answer.status != 0 or parse_info(answer.stdout) is None:
        raise Refused("No Docker engine answers on this machine.", next="bin/have-docker")


def find(engine: Host, name: str) -> Found:
    """What there is of a lab; nothing is changed."""
    ours = ("--filter", f"label={LAB_LABEL}={name}")
    words = ("docker", "ps", "--all", *ours, "--format", _LINE)
    answer = engine.run(Command(words), timeout_s=ANSWER_S).stdout
    networks = engine.run(
        Command(("docker", "network", "ls", *ours, "--format", "{{.Name}}")), timeout_s=ANSWER_S
    ).stdout.split()
    subnet = None
    if networks:
        inspected = engine.run(docker.network_inspect(*networks), timeout_s=ANSWER_S).stdout
        subnet = IPv4Network(next(iter(parse_networks(inspected).values())).subnets[0])
    return Found(parse_containers(answer, name), subnet)


def parse_containers(text: str, name: str) -> tuple[Seen, ...]:
    """What `docker ps` says of the lab `name`, in the order of the hosts; the registry is last."""
    documents = [json.loads(line) for line in text.splitlines()]
    found = (
        Seen(
            host=each["host"],
            container=each["container"],
            state=each["state"],
            linked=name in each["networks"].split(","),
            root=each["root"],
        )
        for each in documents
    )
    return tuple(sorted(found, key=lambda seen: (seen.host == REGISTRY, seen.host)))


def taken(engine: Host) -> tuple[IPv4Network, ...]:
    """What Docker's networks and this machine's routes take."""
    names = parse_network_list(engine.run(docker.network_list(), timeout_s=ANSWER_S).stdout)
    # One may be gone by now: then the status is 1, and the others are told all the same.
    inspected = engine.run(docker.network_inspect(*names), timeout_s=ANSWER_S, check=False)
    subnets = [s for n in parse_networks(inspected.stdout).values() for s in n.subnets]
    routes = engine.run(Command(("ip", "-j", "-4", "route")), timeout_s=ANSWER_S, check=False)
    if routes.status == 0:
        subnets += [r["dst"] for r in json.loads(routes.stdout or "[]") if r["dst"] != "default"]
    return tuple(IPv4Network(each, strict=False) for each in subnets if ":" not in each)


def _labels(layout: Layout, host: str) -> tuple[str, ...]:
    labels = {LAB_LABEL: layout.name, HOST_LABEL: host, ROOT_LABEL: str(layout.root)}
    return tuple(word for k, v in labels.items() for word in ("--label", f"{k}={v}"))


def create_network(layout: Layout) -> Command:
    """The lab's network."""
    subnet, labels = str(layout.subnet), {LAB_LABEL: layout.name}
    return docker.network_create(layout.name, subnet, labels)


def create_host(layout: Layout, place: Place) -> Command:
    """A host, not started."""
    return Command(
        (
            *("docker", "create", "--pull", "never", "--name", place.container),
            *("--hostname", place.name, *_labels(layout, place.name)),
            *("--network", layout.name, "--ip", str(place.address)),
            *(*POWERS, "--stop-timeout", str(STOP_S), "--restart", "no", IMAGE),
        )
    )


def create_registry(layout: Layout) -> Command:
    """The registry, not started."""
    serve = ("docker-registry", "serve", "/etc/lab/registry.yml")
    return Command(
        (
            *("docker", "create", "--pull", "never", "--name", layout.registry_container),
            *("--hostname", REGISTRY, *_labels(layout, REGISTRY)),
            *("--network", layout.name, "--ip", str(layout.registry_address)),
            *("--init", "--stop-signal", "SIGTERM", "--restart", "no", IMAGE, *serve),
        )
    )


def put_files(container: str, archive: bytes) -> Command:
    """Files into a container that need not run, with the owners that the archive names."""
    return Command(("docker", "cp", "-", f"{container}:/"), stdin=archive)


def link(network: str, container: str, address: IPv4Address) -> Command:
    """Put a container on a network, at its address."""
    return docker.network_connect(docker.Attachment(network, str(address)), container)
