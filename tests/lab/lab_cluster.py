"""A cluster on the lab's hosts, made and steered by real `inv` processes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from lab import Lab

from pgha.errors import Failed, Unreachable
from pgha.image_inputs import image_name
from pgha.settings import Settings, load
from pgha.topology import topology
from pgha.waiting import wait_until
from tests.client.client import docker
from tests.integration.real_cluster import INVOKE, LIMIT_S, Done, environment

IMAGE_S = 300.0
BECOMES_S = 90.0
ANSWER_S = 30.0


class LabCluster:
    """The cluster of the lab's own env file. Its hosts are the nodes."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.settings: Settings = load(lab.name, environ={}, cwd=lab.files.root)
        self.topology = topology(self.settings)
        self.hosts = self.topology.hosts

    def load_image(self) -> None:
        """This machine's image, to all hosts at once, by the shortest way there is."""
        name = image_name(self.settings)
        wanted = docker("image", "inspect", "-f", "{{.Id}}", name).strip()
        loads = []
        for host in self.hosts:
            ask = ("docker", "image", "inspect", "-f", "{{.Id}}", name)
            if self.lab.on(host, *ask, check=False).stdout.strip() == wanted:
                continue
            save = subprocess.Popen(("docker", "save", name), stdout=subprocess.PIPE)
            load_words = ("docker", "exec", "-i", f"{self.lab.name}-{host}", "docker", "load", "-q")
            loads.append(subprocess.Popen(load_words, stdin=save.stdout, stdout=subprocess.DEVNULL))
        assert [each.wait(timeout=IMAGE_S) for each in loads] == [0] * len(loads)

    def inv(
        self, *words: str, check: int | None = 0, environ: Mapping[str, str] | None = None
    ) -> Done:
        """`inv WORDS -e <the lab>`; check: the exit code that it must have."""
        done = subprocess.run(
            (*INVOKE, *words, "-e", self.lab.name),
            cwd=self.lab.files.root,
            input="",
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=environment(environ),
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        if check is not None:
            assert result.code == check, f"inv {words}: {result}"
        return result

    def status(self) -> dict[str, Any]:
        """The document of `status --json`, whatever the verdict."""
        document: dict[str, Any] = self.inv("status", "--json", check=None).json
        return document

    def becomes(self, *verdicts: str, timeout_s: float = BECOMES_S) -> None:
        """Wait until the verdict is one of these."""

        def judged() -> bool:
            seen = self.status()
            if seen["verdict"] not in verdicts:
                raise Unreachable(f"{seen['verdict']}: {seen['problems']}")
            return True

        try:
            wait_until(judged, timeout_s=timeout_s, what=f"the cluster is {' or '.join(verdicts)}")
        except Failed as error:
            raise AssertionError(f"{error.message} {error.details}") from None

    def container(self, node: str) -> str:
        return self.topology.node(node).container

    def sql(self, node: str, statement: str) -> str:
        """A statement by the name that applications use, from the container of a node."""
        settings = self.settings
        place = f"host={settings.pgpool_alias} port={settings.pgpool_port} connect_timeout=2"
        words = (
            *("docker", "exec", "-e", f"PGPASSWORD={settings.postgres_password.reveal()}"),
            *(self.container(node), "psql", "-XAt", "-v", "ON_ERROR_STOP=1"),
            *(f"{place} user={settings.postgres_user} dbname=postgres", "-c", statement),
        )
        return self.lab.on(node, *words).stdout.strip()

    def docker(self, host: str, *words: str, check: bool = True) -> str:
        """A docker command on a host, as root, past its SSH server."""
        return self.lab.on(host, "docker", *words, check=check).stdout.strip()

    def remove(self) -> None:
        """Containers, units, directories, networks and Swarms are gone; images stay."""
        for host in self.hosts:
            node = next(n for n in self.topology.nodes if n.host == host)
            script = (
                'unit="pgha-$0.service"; systemctl disable --now "$unit";'
                ' rm -f "/etc/systemd/system/$unit"; systemctl daemon-reload;'
                ' docker rm -f "$0"; rm -rf "$1"'
            )
            words = ("sh", "-c", script, node.container, self.settings.volume_root)
            self.lab.on(host, *words, check=False)
        for host in self.hosts:
            for network, _ in self.topology.networks:
                self.docker(host, "network", "rm", network, check=False)
        for host in reversed(self.hosts):
            self.docker(host, "swarm", "leave", "--force", check=False)
