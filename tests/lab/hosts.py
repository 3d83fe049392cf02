"""The hosts of a cluster that is made, or not yet, on a lab: past the tool, by their engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pgha.topology import Node, topology
from pgha.waiting import wait_until
from tests.lab.cluster import OnLab, engine_of

SOON_S = 30.0
RESTARTS_S = 120.0


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
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self.empty, self.nodes))

    def empty(self, node: Node) -> None:
        """The same of one host. Each command by itself: whoever takes too long over one is told by
        its name."""
        unit = f"pgha-{node.container}.service"
        for words in (
            ("systemctl", "disable", "--now", unit),
            ("rm", "-f", f"/etc/systemd/system/{unit}"),
            ("systemctl", "daemon-reload"),
            ("docker", "rm", "-f", node.container),
            ("rm", "-rf", self.cluster.settings.volume_root),
            ("docker", "swarm", "leave", "--force"),
        ):
            self.lab.on(node.host, *words, check=False)
        # Docker 26.1 can go on listening; the next Swarm's networks reach nobody then.
        if self._listens(node.host):
            self._restart_engine(node.host)

    def _listens(self, host: str) -> bool:
        """Whether the engine listens for a Swarm's gossip."""
        return ":7946 " in self.lab.on(host, "ss", "-lnt").stdout

    def _restart_engine(self, host: str) -> None:
        """systemd gives one that does not end 90 s, and then kills it."""
        self.lab.on(host, "systemctl", "reset-failed", "docker")
        self.lab.on(host, "systemctl", "restart", "--no-block", "docker")

        def new() -> bool:
            answers = self.lab.on(host, "docker", "version", check=False).status == 0
            return answers and not self._listens(host)

        wait_until(new, timeout_s=RESTARTS_S, what=f"{host} has a new engine")

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
