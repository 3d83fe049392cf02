"""A cluster of a test's own, made and steered by real `inv` processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgha.errors import Failed, Unreachable
from pgha.settings import VARIABLES, Settings, load
from pgha.topology import topology
from pgha.waiting import wait_until
from tests.client.client import Client, Engine, docker
from tests.integration import networks
from tests.integration.image import PREFIX, VERSION

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
BECOMES_S = 30.0
# Longer than wal_sender_timeout (5 s), the last to notice that a node hangs.
QUIET_S = 8.0
# For tests of what an operator's command does: nobody takes over and nobody comes back before it.
BY_HAND = {"AUTO_FAILOVER": "off", "AUTO_RECOVERY": "off"}
INVOKE = (sys.executable, "-m", "invoke")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any variable of ours, and with some more."""
    ours = {variable.name for variable in VARIABLES} | {"PGHA_ENV"}
    return {**{k: v for k, v in os.environ.items() if k not in ours}, **(more or {})}


def _without(document: Any, *names: str) -> None:
    """Take these members out of a JSON document, wherever they are."""
    if isinstance(document, dict):
        for name in names:
            document.pop(name, None)
        for value in document.values():
            _without(value, *names)
    elif isinstance(document, list):
        for value in document:
            _without(value, *names)


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

    def __init__(self, name: str, directory: Path, **settings: str) -> None:
        self.name = f"{PREFIX}-{name}"
        self._network = number = networks.take()
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
            "STANDBY_2_IP": f"10.{number}.0.14",
            "MEMORY_MB": "2048",
            **settings,
        }
        self.env.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        self.settings: Settings = load(str(self.env), environ={}, cwd=directory)
        self.client = Client(self.settings, f"{self.name}-client")

    def engine(self, node: str) -> Engine:
        """Where the node's container is."""
        return docker

    def text_of(self, node: str, path: str) -> str | None:
        """A file of the node's host; None where there is none."""
        try:
            return Path(path).read_text()
        except FileNotFoundError:
            return None

    def inv(
        self,
        *words: str,
        check: int | None = 0,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """`inv WORDS -e <this cluster>` in the checkout; check: the exit code that it must have."""
        # A password's prompt must find no terminal, and no variable of ours may win over the file.
        done = subprocess.run(
            (*INVOKE, *words, "-e", str(self.env)),
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=environment(environ),
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        if check is not None:
            assert result.code == check, f"inv {words}: {result}"
        return result

    def cut_off(self, *words: str, at: str, by: signal.Signals) -> Done:
        """`inv WORDS`, sent a signal as soon as it runs a command that contains `at`."""
        process = subprocess.Popen(
            (*INVOKE, *words, "-e", str(self.env)),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # One stream, so that no pipe fills up unread.
            stderr=subprocess.STDOUT,
            text=True,
            env=environment({"DEBUG": "1", "PYTHONUNBUFFERED": "1"}),
        )
        assert process.stdout is not None
        shown: list[str] = []
        for line in process.stdout:
            shown.append(line)
            if "$ " in line and at in line:
                process.send_signal(by)
                break
        rest, _ = process.communicate(timeout=LIMIT_S)
        said = "".join(shown)
        assert shown, f"inv {words} said nothing"
        assert at in shown[-1], (
            f"inv {words} ended with {process.returncode}, never at {at}: {said}"
        )
        return Done(process.returncode, "", said + rest)

    def status(self) -> dict[str, Any]:
        """The document of `status --json`, whatever the verdict."""
        document: dict[str, Any] = self.inv("status", "--json", check=None).json
        return document

    def fingerprint(self) -> dict[str, Any]:
        """What a refused command must not change."""
        status = self.status()
        _without(status, "lsn", "flush_lsn", "lag_bytes", "sync_state")
        return {
            "containers": self._containers(),
            "networks": self._networks(),
            "files": sorted(self._files()),
            "roles": self._roles(status["primary"]),
            "status": status,
        }

    def settled(self) -> dict[str, Any]:
        """Its fingerprint once the agents have done what a fault asks of them."""
        seen = self.fingerprint()
        since = time.monotonic()

        def the_same() -> bool:
            nonlocal seen, since
            now = self.fingerprint()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_S

        wait_until(the_same, timeout_s=BECOMES_S, what=f"{self.name} stays as it is")
        return seen

    def engines(self) -> tuple[Engine, ...]:
        """Every engine that has a node of it."""
        return (docker,)

    def _networks(self) -> list[str]:
        words = ("network", "ls", "--format", "{{.ID}} {{.Name}}", "--filter", f"name={self.name}")
        return sorted(line for engine in self.engines() for line in engine(*words).splitlines())

    def _containers(self) -> list[str]:
        wanted = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}}"
        found = list[str]()
        for engine in self.engines():
            names = engine("ps", "-aq", "--filter", f"label=io.pgha.cluster={self.name}").split()
            if names:
                found += engine("inspect", "--format", wanted, *names).splitlines()
        return sorted(found)

    def _files(self) -> Iterator[str]:
        """Every file but PostgreSQL's own; with their content those that say who is what."""
        for folder, below, files in os.walk(self.directory / "volumes"):
            below[:] = [b for b in below if b not in ("pgdata", "archive")]
            for name in (*below, *files):
                path = Path(folder, name)
                kept = name in ("state.json", "pool_passwd", "node.json")
                yield f"{path}: {path.read_text()}" if kept else str(path)

    def _roles(self, primary: str | None) -> str:
        if primary is None:
            return ""
        sql = "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1"
        words = ("exec", "-u", "postgres", self.container(primary), "psql", "-XAt")
        return self.engine(primary)(
            *words,
            "-p",
            str(self.settings.pgport),
            "-h",
            "/var/run/postgresql",
            "-U",
            self.settings.postgres_user,
            "-c",
            sql,
            "postgres",
        )

    def role(self, node: str) -> str:
        return str(next(n["role"] for n in self.status()["nodes"] if n["name"] == node))

    def becomes(self, *verdicts: str, within_s: float = BECOMES_S) -> None:
        """Wait until the verdict is one of these."""

        def judged() -> bool:
            seen = self.status()
            if seen["verdict"] not in verdicts:
                raise Unreachable(f"{seen['verdict']}: {seen['problems']}")
            return True

        try:
            wait_until(judged, timeout_s=within_s, what=f"{self.name} is {' or '.join(verdicts)}")
        except Failed as error:
            raise AssertionError(f"{error.message} {error.details}") from None

    def container(self, node: str) -> str:
        return topology(self.settings).node(node).container

    def kill(self, node: str) -> None:
        """The node's container dies at once."""
        self.engine(node)("kill", self.container(node))

    def tear_down(self) -> None:
        """Nothing of it is left: containers, networks, directories."""
        self.client.remove()
        self.remove_containers(docker)
        self.remove_networks()
        shutil.rmtree(self.directory / "volumes", ignore_errors=True)
        networks.give_back(self._network)

    def remove_networks(self) -> None:
        for network in ("backend", "frontend"):
            docker("network", "rm", f"{self.name}-{network}", check=False)

    def remove_containers(self, engine: Engine) -> None:
        names = engine("ps", "-aq", "--filter", f"label=io.pgha.cluster={self.name}").split()
        if names:
            engine("rm", "-f", *names)
