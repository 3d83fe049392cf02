"""A cluster of a test's own, made and steered by real `inv` processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgha.settings import Settings, load
from pgha.topology import topology
from tests.client.client import Client, docker

ROOT = Path(__file__).parents[2]
PREFIX = os.environ.get("PGHA_TEST_PREFIX", "pgha-test")
VERSION = os.environ.get("PGHA_TEST_POSTGRES_VERSION", "17")
LIMIT_S = 300.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class RealCluster:
    """One cluster under a name, a subnet and a directory of its own."""

    def __init__(self, name: str, number: int, directory: Path, **settings: str) -> None:
        """number: 1 to 255, another one for each cluster that runs at the same time."""
        self.name = f"{PREFIX}-{name}"
        self.directory = directory
        self.env = directory / f"{name}.env"
        values = {
            "COMPOSE_PROJECT_NAME": self.name,
            "DOCKER_HUB_IMAGE": "false",
            "POSTGRES_VERSION": VERSION,
            "WITNESS_NODE": "node-2",
            "VOLUME_ROOT": str(directory / "volumes"),
            "POSTGRES_BACKEND_SUBNET": f"10.{number}.0.0/24",
            "POSTGRES_FRONTEND_SUBNET": f"10.{number}.1.0/24",
            "MASTER_IP": f"10.{number}.0.11",
            "STANDBY_IP": f"10.{number}.0.12",
            "WITNESS_IP": f"10.{number}.0.13",
            "MEMORY_MB": "2048",
            **settings,
        }
        self.env.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        self.settings: Settings = load(str(self.env), environ={}, cwd=directory)
        self.client = Client(self.settings, f"{self.name}-client")

    def inv(self, *words: str, check: int | None = 0, stdin: str = "") -> Done:
        """`inv WORDS -e <this cluster>` in the checkout; check: the exit code that it must have."""
        # A password's prompt must find no terminal, and no variable of ours may win over the file.
        done = subprocess.run(
            (sys.executable, "-m", "invoke", *words, "-e", str(self.env)),
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        if check is not None:
            assert result.code == check, f"inv {words}: {result}"
        return result

    def status(self) -> dict[str, Any]:
        """The document of `status --json`, whatever the verdict."""
        document: dict[str, Any] = self.inv("status", "--json", check=None).json
        return document

    def role(self, node: str) -> str:
        return str(next(n["role"] for n in self.status()["nodes"] if n["name"] == node))

    def container(self, node: str) -> str:
        return topology(self.settings).node(node).container

    def kill(self, node: str) -> None:
        """The node's container dies at once."""
        docker("kill", self.container(node))

    def tear_down(self) -> None:
        """Nothing of it is left: containers, networks, directories."""
        self.client.remove()
        names = docker("ps", "-aq", "--filter", f"label=io.pgha.cluster={self.name}").split()
        if names:
            docker("rm", "-f", *names)
        for network in ("backend", "frontend"):
            docker("network", "rm", f"{self.name}-{network}", check=False)
        shutil.rmtree(self.directory / "volumes", ignore_errors=True)
