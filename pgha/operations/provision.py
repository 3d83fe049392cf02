"""What a node's container is made of. Pure; `init` makes all of them, `start` a lost one."""

from __future__ import annotations

from dataclasses import dataclass

from pgha.commands import docker
from pgha.commands.base import Command, Stdin
from pgha.limits import SWARM_AGAIN_S
from pgha.plan import Run, Step
from pgha.state import Condition, ContainerStatus, anything, container_runs, hears
from pgha.topology import Node, Topology
from pgha.variables import Settings

CLUSTER_LABEL = "io.pgha.cluster"
NODE_LABEL = "io.pgha.node"
HELPER_LABEL = "io.pgha.helper"


@dataclass(frozen=True)
class Provision:
    """Settings, topology and the image's name: what containers are made from."""

    settings: Settings
    topology: Topology
    image: str

    def mounts(self, node: Node, *, must_exist: bool = True) -> tuple[docker.Mount, ...]:
        """The node's volumes, where docs/architecture.md says that they are mounted."""
        volumes = node.volumes
        places = [
            (volumes.etc_pgpool, "/etc/pgpool2"),
            (volumes.etc_ssh, "/etc/ssh/pgha"),
            (volumes.root_ssh, "/root/.ssh"),
            (volumes.postgres_ssh, "/var/lib/postgresql/.ssh"),
            (volumes.postgres_archive, self.settings.cluster_archive),
        ]
        if volumes.postgres_data is not None:
            places.append((volumes.postgres_data, "/var/lib/pgha/volume"))
        return tuple(docker.Mount(a, b, must_exist=must_exist) for a, b in places)

    def labels(self, node: Node) -> dict[str, str]:
        return {CLUSTER_LABEL: self.topology.cluster, NODE_LABEL: node.name}

    def container(self, node: Node) -> tuple[Command, ...]:
        """Create the node's container and put it on both networks."""
        topology, settings = self.topology, self.settings
        spec = docker.ContainerSpec(
            name=node.container,
            image=self.image,
            hostname=node.name,
            labels=self.labels(node),
            attachment=docker.Attachment(topology.backend_network, node.address, (node.name,)),
            mounts=self.mounts(node),
            shm_size_mb=settings.shm_size_mb,
            stop_timeout_s=settings.stop_timeout,
            log_max_mb=settings.log_max_mb,
        )
        front = docker.Attachment(topology.frontend_network, None, (node.name, topology.alias))
        return docker.container_create(spec), docker.network_connect(front, node.container)

    def helper(
        self,
        node: Node,
        words: tuple[str, ...],
        stdin: Stdin = None,
        *,
        reads: bool = False,
    ) -> Command:
        """A short-lived container with the node's volumes, as root, without a network.

        reads: it changes nothing, so the volumes must be there, and others may look beside it.
        """
        return docker.run_helper(
            self.image,
            words,
            name=None if reads else f"{node.container}-helper",
            labels={HELPER_LABEL: self.topology.cluster},
            mounts=self.mounts(node, must_exist=reads),
            stdin=stdin,
        )


def create_container(provision: Provision, node: Node, *, instead: bool = False) -> Step:
    """Make the node's container, its volumes as they are; instead: of one that does not run and is
    of no use."""

    def test_exists(status: ContainerStatus) -> bool:
        return status not in (ContainerStatus.MISSING, ContainerStatus.UNKNOWN)

    return Step(
        f"Create {node.name}'s container",
        node.name,
        anything(),
        Run((*((docker.remove(node.container),) if instead else ()), *provision.container(node))),
        Condition(
            f"{node.name}'s container exists",
            (node.name,),
            lambda s: test_exists(s.node(node.name).container),
        ),
    )


def begin_container(provision: Provision, node: Node, others: tuple[str, ...]) -> Step:
    """Make and start it. others: whose agents must hear it where there are several hosts: what
    keeps packets from going from host to host is told now, not by the first copy."""
    topology, up = provision.topology, container_runs(node.name)
    if topology.swarm:
        up &= hears(node.name, others)
    # A host that has just joined its Swarm may not know the networks yet.
    again_s = SWARM_AGAIN_S if topology.swarm else 0.0
    return Step(
        f"Create and start {node.name}'s container",
        node.name,
        anything(),
        Run((*provision.container(node), docker.start(node.container)), again_s=again_s),
        up,
    )
