"""A cluster of a test's own on a lab: each node on a host, its client on a host without a node."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values

from lab import Lab
from pgha.settings import load
from pgha.topology import Node
from pgha.waiting import wait_until
from tests.chaos.world import ChaosCluster
from tests.client.client import Client
from tests.client.engine import Engine, ship
from tests.integration import networks
from tests.integration.image import IMAGE, PREFIX
from tests.integration.real_cluster import RealCluster

# Beside the three hosts of the nodes.
CLIENTS_HOST = "node-3"
SWARM_PORT = 2377
GONE_S = 30.0


def engine_of(lab: Lab, host: str) -> Engine:
    """A host's engine, past its network: it answers while the host is cut off."""
    return Engine("docker", "exec", "-i", f"{lab.name}-{host}")


# What a cluster on a lab takes over of the lab's own env file; the rest is the cluster's.
_OF_THE_LAB = (
    *("MODE", "MACHINE_STORAGE_PATH", "SSH_KNOWN_HOSTS", "MEMORY_MB"),
    *("DOCKER_REGISTRY_HOST", "DOCKER_REGISTRY_PORT"),
)


# Every file but PostgreSQL's own; with their content those that say who is what.
_FILES = r"""
find "$1" \( -name pgdata -o -name archive \) -prune -o -print | while read -r file; do
    case ${file##*/} in
        state.json | pool_passwd | node.json) echo "$file: $(cat "$file")" ;;
        *) echo "$file" ;;
    esac
done
"""


class OnLab(RealCluster):
    """What is other than on this machine."""

    lab: Lab

    def __init__(self, lab: Lab, name: str, directory: Path, **settings: str) -> None:
        self.lab = lab
        given = dotenv_values(lab.files.env)
        ours = {key: given[key] or "" for key in _OF_THE_LAB} | {"VOLUME_ROOT": f"/data/{name}"}
        super().__init__(name, directory, **{**ours, **settings})
        self.client = Client(self.settings, self.client.name, engine_of(lab, CLIENTS_HOST))

    def engine(self, node: str) -> Engine:
        return engine_of(self.lab, node)

    def engines(self) -> tuple[Engine, ...]:
        return tuple(engine_of(self.lab, host) for host in self.topology_hosts)

    def _files(self) -> Iterator[str]:
        for host in self.topology_hosts:
            answer = self.lab.on(host, "sh", "-c", _FILES, "files", self.settings.volume_root)
            yield from (f"{host} {line}" for line in answer.stdout.splitlines())

    def text_of(self, node: str, path: str) -> str | None:
        answer = self.lab.on(node, "cat", path, check=False)
        return answer.stdout if answer.status == 0 else None

    def start_client(self) -> None:
        """The host without a node is in the Swarm, as any host of applications, and has a client.

        Nodes must run: networks are the Swarm's.
        """
        engine = engine_of(self.lab, CLIENTS_HOST)
        if engine("info", "--format", "{{.Swarm.LocalNodeState}}").strip() != "active":
            manager = self.engine(self.topology_hosts[0])
            token = manager("swarm", "join-token", "--quiet", "worker").strip()
            address = manager("info", "--format", "{{.Swarm.NodeAddr}}").strip()
            engine("swarm", "join", "--token", token, f"{address}:{SWARM_PORT}")
        self.client.start()

    @property
    def topology_hosts(self) -> tuple[str, ...]:
        return tuple(node.host for node in self._nodes())

    def _nodes(self) -> tuple[Node, ...]:
        return self.client.topology.nodes

    def tear_down(self) -> None:
        """Nothing of it is left on any host; the Swarm stays."""
        self.lab.heal()
        self.client.remove()
        for host in self.topology_hosts:
            self.remove_containers(engine_of(self.lab, host))
            self.lab.on(host, "rm", "-rf", self.settings.volume_root)
        self.remove_networks()
        networks.give_back(self._network)

    def remove_networks(self) -> None:
        manager = engine_of(self.lab, self.topology_hosts[0])
        for network in ("backend", "frontend"):
            name = f"{self.name}-{network}"

            def gone(name: str = name) -> bool:
                # Swarm hears of the last container's end a moment later.
                manager("network", "rm", name, check=False)
                return not manager("network", "ls", "-q", "--filter", f"name=^{name}$").strip()

            wait_until(gone, timeout_s=GONE_S, what=f"the network {name} is gone")


class LabCluster(OnLab):
    """For tests of what commands do."""


class OfTheLab(OnLab):
    """The one of the env file that `bin/lab up` wrote."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.env = lab, lab.files.env
        self.settings = load(str(self.env), environ={}, cwd=lab.files.root)
        self.name = self.settings.compose_project_name
        # The witness's host is not one that these tests break.
        host = self.settings.witness_node
        self.client = Client(self.settings, f"{self.name}-client", engine_of(lab, host))


class LabChaosCluster(OnLab, ChaosCluster):
    """For scenarios of faults, with clients at work."""

    def containers_run(self) -> None:
        """And every host."""
        self.lab.heal()
        super().containers_run()


@contextmanager
def four_hosts(name: str) -> Iterator[Lab]:
    """A lab of its own, with the image on the first three hosts: the fourth is for clients."""
    lab = Lab(f"{PREFIX}-{name}")
    try:
        lab.up(4)
        hosts = [f"node-{number}" for number in range(3)]
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(lambda host: ship(IMAGE, engine_of(lab, host)), hosts))
        yield lab
    finally:
        lab.down()


C = TypeVar("C", bound=OnLab)


@contextmanager
def running(made: C, *, units: bool = True) -> Iterator[C]:
    """A healthy cluster, and its clients on a host that outlives it. units: a node comes back with
    its host, and when its container dies."""
    try:
        made.inv("init")
        if units:
            made.inv("units")
        made.start_client()
        yield made
    finally:
        made.lab.heal()
        if units:
            made.inv("units", "--remove", check=None)
        made.tear_down()


@contextmanager
def on_four_hosts(name: str, directory: Path) -> Iterator[LabChaosCluster]:
    """A cluster on a lab of its own."""
    with four_hosts(name) as lab, running(LabChaosCluster(lab, name, directory)) as made:
        yield made
