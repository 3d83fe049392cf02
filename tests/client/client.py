"""A client container: psql and a writer through a cluster's doors, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgha.image_inputs import image_name
from pgha.settings import Settings
from pgha.topology import topology
from tests.client.engine import Engine, docker, ship

__all__ = ["Client", "Engine", "Writing", "Written", "docker"]

HERE = Path(__file__).parent
FIRST_WRITE_S = 30.0


@dataclass(frozen=True)
class Written:
    """What a writer saw: numbers that were acknowledged, numbers of which it does not know, and the
    longest time between two acknowledgements, in seconds. gap_door: the address of the server that
    was written through when the gap began."""

    acknowledged: tuple[int, ...]
    unknown: tuple[int, ...]
    gap_s: float
    gap_at_s: float
    gap_door: str
    errors: dict[str, int]
    events: tuple[tuple[float, str], ...]


def client_image(settings: Settings) -> str:
    """The image's name; this machine's engine has it then."""
    image = f"pgha-test-client:{settings.postgres_version}"
    node = f"NODE_IMAGE={image_name(settings)}"
    docker("build", "-q", "-t", image, "--build-arg", node, str(HERE), timeout_s=600.0)
    return image


class Client:
    """A container on the frontend network that knows the superuser's password by its pgpass."""

    def __init__(self, settings: Settings, name: str, engine: Engine = docker) -> None:
        """engine: where it runs."""
        self.docker = engine
        self.settings = settings
        self.topology = topology(settings)
        self.name = name

    def start(self) -> None:
        """Build the client's image and start it; one that is left over is replaced."""
        image = client_image(self.settings)
        ship(image, self.docker)
        self.remove()
        network = ("--network", self.topology.frontend_network)
        self.docker("run", "-d", "--name", self.name, *network, image)
        password = self.settings.postgres_password.reveal()
        line = f"*:*:*:{self.settings.postgres_user}:{password}\n"
        script = "umask 077; cat > /root/.pgpass"
        self.docker("exec", "-i", self.name, "sh", "-c", script, stdin=line)

    def remove(self) -> None:
        self.docker("rm", "-f", self.name, check=False)

    def conninfo(self, *, door: bool = True, user: str = "") -> str:
        """Through the alias and Pgpool-II, or by the direct door: every data node, read-write."""
        hosts = ",".join(n.name for n in self.topology.data_nodes)
        where = (
            f"host={self.topology.alias} port={self.settings.pgpool_port}"
            if door
            else f"host={hosts} port={self.settings.pgport} target_session_attrs=read-write"
        )
        user = user or self.settings.postgres_user
        # As README recommends: how long a host that is lost keeps its own clients.
        limits = "connect_timeout=2 keepalives_idle=1 keepalives_interval=1 tcp_user_timeout=2000"
        return f"{where} user={user} dbname=postgres {limits}"

    def psql(self, sql: str, *, door: bool = True, user: str = "", password: str = "") -> str:
        """The rows of a statement, fields separated by `|`; raises AssertionError."""
        words = ["exec", "-i"]
        if password:
            # By a file descriptor of the shell: no argument, no variable of the container.
            script = 'read -r PGPASSWORD; export PGPASSWORD; exec psql "$@"'
            inner: tuple[str, ...] = ("sh", "-c", script, "psql")
            stdin = f"{password}\n{sql}"
        else:
            inner, stdin = ("psql",), sql
        words += [self.name, *inner, "-XAtq", "-v", "ON_ERROR_STOP=1"]
        return self.docker(*words, self.conninfo(door=door, user=user), stdin=stdin).strip()

    def begin(self, sql: str, *, door: bool = True) -> subprocess.Popen[bytes]:
        """A statement that runs by itself; whoever began it waits for its end."""
        words = ("exec", self.name, "psql", "-XAtq", self.conninfo(door=door), "-c", sql)
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self.docker.words(*words), stdout=quiet, stderr=quiet)

    @contextmanager
    def writing(self, *, door: bool = True) -> Iterator[Writing]:
        """A writer that runs for the length of the block; its result is there after it."""
        writing = Writing(self, door)
        try:
            writing.start()
            yield writing
        finally:
            writing.stop()

    def lost(self, written: Written, *, door: bool = True) -> list[int]:
        """Acknowledged rows that are not there."""
        rows = self.psql("SELECT n FROM written", door=door).split()
        return sorted(set(written.acknowledged) - {int(row) for row in rows})


class Writing:
    """One run of tests/client/writer.py in the client's container."""

    def __init__(self, client: Client, door: bool) -> None:
        self._client = client
        self._door = door
        self._process: subprocess.Popen[str] | None = None
        self.written: Written | None = None

    def start(self) -> None:
        """Returns when a first row was acknowledged. Raises AssertionError."""
        # A run of its own begins with an empty table.
        self._client.psql("DROP TABLE IF EXISTS written", door=self._door)
        conninfo = self._client.conninfo(door=self._door)
        inner = ("python3", "/client/writer.py", conninfo)
        words = self._client.docker.words("exec", self._client.name, *inner)
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        end = time.monotonic() + FIRST_WRITE_S
        while not self._process.stdout.readline():
            assert self._process.poll() is None, "the writer ended"
            assert time.monotonic() < end, f"nothing was acknowledged within {FIRST_WRITE_S} s"
            time.sleep(0.02)
        os.set_blocking(self._process.stdout.fileno(), True)

    def stop(self) -> None:
        """End the writer and read its result."""
        if self._process is None:
            return
        end = ("exec", self._client.name, "pkill", "-TERM", "-f", "writer.py")
        self._client.docker(*end, check=False)
        out, _ = self._process.communicate(timeout=60.0)
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        self.written = Written(
            tuple(last["acknowledged"]),
            tuple(last["unknown"]),
            last["gap_s"],
            last["gap_at_s"],
            last["gap_door"],
            last["errors"],
            tuple((at, what) for at, what in last["events"]),
        )
