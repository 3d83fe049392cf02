"""The hosts of a cluster that is made, or not yet, on a lab: past the tool, by their engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pgha.topology import Node, topology
from pgha.waiting import wait_until
from tests.lab.cluster import OnLab, engine_of

SOON_S = 30.0


class Hosts:
    """The cluster's hosts, by their engines."""

    def __init__(self, cluster: OnLab) -> None:
        self.lab = cluster.lab
        self.cluster = cluster
        self.nodes = topology(cluster.settings).nodes
        self.names = tuple(node.host for node in self.nodes)

    def docker(self, host: str, *words: str, check: bool = True) -> str:
        """What a docker command on a host prints."""
        return engine_of(self.lab, host)(*words, check=check).strip()

    def wipe(self) -> None:
        """Containers, units, directories and Swarms are gone, and with these the networks."""
        script = (
            'unit="pgha-$0.service"; systemctl disable --now "$unit";'
            ' rm -f "/etc/systemd/system/$unit"; systemctl daemon-reload;'
            ' docker rm -f "$0"; rm -rf "$1"; docker swarm leave --force;'
            # Docker 26.1 can go on listening at 7946; the next Swarm's networks reach nobody then.
            ' ss -lnt | grep -q ":7946 " || exit 0;'
            " systemctl reset-failed docker; systemctl restart docker"
        )

        def on(node: Node) -> None:
            words = ("sh", "-c", script, node.container, self.cluster.settings.volume_root)
            self.lab.on(node.host, *words, check=False)

        with ThreadPoolExecutor() as at_once:
            list(at_once.map(on, self.nodes))

    def join(self, host: str, other: str) -> None:
        """Let a host join the Swarm of another one as a worker."""
        token = self.docker(other, "swarm", "join-token", "--quiet", "worker")
        address = self.docker(other, "info", "--format", "{{.Swarm.NodeAddr}}")
        self.docker(host, "swarm", "join", "--token", token, f"{address}:2377")

    def sql(self, host: str, statement: str) -> str:
        """By the name that applications use, from the container of the node on this host."""
        settings = self.cluster.settings
        node = next(node for node in self.nodes if node.host == host)
        place = f"host={settings.pgpool_alias} port={settings.pgpool_port} connect_timeout=2"
        who = f"user={settings.postgres_user} dbname=postgres"
        words = ("psql", "-XAt", "-v", "ON_ERROR_STOP=1", f"{place} {who}", "-c", statement)
        secret = f"PGPASSWORD={settings.postgres_password.reveal()}"
        return self.docker(host, "exec", "-e", secret, node.container, *words)

    def primary(self) -> str:
        """The primary's host. A busy machine may answer too late once."""

        def known() -> str:
            return str(self.cluster.status()["primary"] or "")

        return wait_until(known, timeout_s=SOON_S, what="a primary tells that it is one")

    def nothing_is_made(self) -> None:
        for host in self.names:
            names = self.docker(host, "ps", "-a", "--format", "{{.Names}}")
            networks = self.docker(host, "network", "ls", "--format", "{{.Name}}")
            assert self.cluster.name not in f"{names} {networks}"
