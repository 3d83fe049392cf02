"""The hosts of a cluster that is made, or not yet, on a lab: past the tool, by their engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab import Lab
from pgha.operations.swarm_ports import FREE_THE_DATA_PORT
from pgha.topology import Node, topology
from pgha.waiting import wait_until
from tests.lab.cluster import OnLab, engine_of

SOON_S = 30.0
RESTARTS_S = 120.0


def leave_swarm(lab: Lab, host: str) -> None:
    """The host is in none, and nothing of the last one is left: neither its engine nor its kernel
    listens for it."""
    lab.on(host, "docker", "swarm", "leave", "--force", check=False)
    # Docker 26.1 can go on listening; the next Swarm's networks reach nobody then.
    if _listens(lab, host):
        _restart_engine(lab, host)


def _listens(lab: Lab, host: str) -> bool:
    """Whether there is somebody for a Swarm's gossip, or for its networks' packets."""
    open_ports = lab.on(host, "ss", "-lntu").stdout
    return any(f":{port} " in open_ports for port in (7946, 4789))


def _restart_engine(lab: Lab, host: str) -> None:
    """systemd gives one that does not end 90 s, and then kills it."""
    lab.on(host, "systemctl", "reset-failed", "docker")
    # Nobody waits here for what may take longer than one of the lab's answers.
    lab.on(host, "systemd-run", "--collect", "sh", "-c", FREE_THE_DATA_PORT)

    def new() -> bool:
        answers = lab.on(host, "docker", "version", check=False).status == 0
        return answers and not _listens(lab, host)

    wait_until(new, timeout_s=RESTARTS_S, what=f"{host} has a new engine")


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
        ):
            self.lab.on(node.host, *words, check=False)
        leave_swarm(self.lab, node.host)

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
