"""Watches a cluster while something is done to it: clients at both doors, a probe on each node.

A Watch is a directory of records (history.py). Clients run in the client's container, probes in the
data nodes' containers, each started again when its container is; their records come out by
`docker exec`, so that what was told before a container died is kept.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from pgha.errors import Failed
from pgha.waiting import wait_until
from tests.chaos.history import History, Record, Write, parse
from tests.client import client as client_module
from tests.client.client import Client, Engine

CLIENTS = Path(client_module.__file__).with_name("chaos_clients.py")
PROBE = Path(__file__).with_name("probe.py")
TABLE = (
    "CREATE TABLE IF NOT EXISTS chaos (client text, n bigint);"
    # Not unique: a row that came twice must be found, not refused.
    "CREATE INDEX IF NOT EXISTS chaos_n ON chaos (client, n)"
)
FIRST_ANSWERS_S = 30.0
TENDED_EVERY_S = 0.3

T = TypeVar("T")


@dataclass
class Source:
    """A script in a container of an engine, and the file of what it says."""

    engine: Engine
    container: str
    user: str
    script: Path
    argument: str
    file: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start it unless it runs. A container that is down or paused: the next time."""
        if self.process is not None and self.process.poll() is None:
            return
        words = self.engine.words("exec", "-i", "-u", self.user, self.container)
        # A line that was cut off must not swallow the next one.
        self.file.write(b"\n" if self.file.tell() else b"")
        self.file.flush()
        with self.script.open("rb") as script:
            self.process = subprocess.Popen(
                (*words, "python3", "-u", "-", self.argument),
                stdin=script,
                stdout=self.file,
                stderr=subprocess.DEVNULL,
            )


class Watch:
    """Everything that clients and probes are told between start and stop."""

    def __init__(
        self, client: Client, run: str, directory: Path, engine_of: Callable[[str], Engine]
    ) -> None:
        """run: part of the clients' names, so that runs can share a table. directory: made here.

        engine_of: a node's name → where its container is."""
        self.client, self._engine_of = client, engine_of
        self.run = run
        self.directory = directory
        self._sources: list[Source] = []
        self._ended = threading.Event()
        self._tender = threading.Thread(target=self._tend, daemon=True)
        self._records: list[Record] = []
        self._read_to: dict[Path, int] = {}
        directory.mkdir(parents=True)

    def start(self) -> None:
        """Returns when a write was acknowledged by each door. Raises AssertionError."""
        client = self.client
        client.psql(TABLE, door=False)
        settings, nodes = client.settings, client.topology.data_nodes
        doors = {"pool": client.conninfo(), "direct": client.conninfo(door=False)}
        about: dict[str, object] = {"run": self.run, **doors}
        self._source("clients", client.docker, client.name, "root", CLIENTS, about)
        place = {"port": settings.pgport, "user": settings.postgres_user}
        for node in nodes:
            engine, about = self._engine_of(node.name), {"run": self.run, **place}
            self._source(f"probe-{node.name}", engine, node.container, "postgres", PROBE, about)
        self._tender.start()
        for door in ("pool", "direct"):
            self.writes_go_on(door, timeout_s=FIRST_ANSWERS_S)

    def stop(self) -> History:
        """End clients and probes; everything that was recorded."""
        self._ended.set()
        if self._tender.is_alive():
            self._tender.join()
        for source in self._sources:
            pattern = f'"run": "{self.run}"'
            kill = ("exec", source.container, "pkill", "-TERM", "-f", pattern)
            source.engine(*kill, check=False)
            try:
                if source.process is not None:
                    source.process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                if source.process is not None:
                    source.process.kill()
            source.file.close()
        return self.history()

    def close(self) -> None:
        """As `contextlib.closing` wants it."""
        self.stop()

    def history(self) -> History:
        """What was recorded until now."""
        for source in self._sources:
            path = Path(source.file.name)
            with path.open("rb") as file:
                file.seek(self._read_to.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]
            self._read_to[path] = self._read_to.get(path, 0) + len(whole)
            found = (parse(line) for line in whole.decode().splitlines() if line)
            self._records += [record for record in found if record is not None]
        return History.of(self._records)

    def acknowledged_since(self, since: float, door: str) -> list[Write]:
        """Acknowledged writes that began after a point in time. door: its client's; "": anybody's,
        the probes' too."""
        found = [w for w in self.history().acknowledged if w.begun > since]
        return [w for w in found if not door or w.client == f"{self.run}/{door}"]

    def writes_go_on(self, door: str = "direct", *, timeout_s: float, on: str = "") -> Write:
        """Wait for a write that begins from now on and is acknowledged (by a node)."""
        since = time.monotonic()
        found = until(
            lambda: [w for w in self.acknowledged_since(since, door) if on in ("", w.node)],
            timeout_s=timeout_s,
            what=f"a write through the {door} door is acknowledged {on and 'by ' + on}",
        )
        return found[0]

    def nothing_is_acknowledged(self, *, for_s: float) -> None:
        """That no write that begins from now on is acknowledged to anybody, for so many seconds."""
        since = time.monotonic()
        while time.monotonic() < since + for_s:
            writes = [w for w in self.history().acknowledged if w.begun > since]
            assert not writes, f"acknowledged though no majority is there: {writes[0]}"
            time.sleep(0.2)

    def rows(self) -> dict[tuple[str, int], int]:
        """The rows of this run that are in the database now."""
        sql = (
            f"SELECT client || ' ' || n || ' ' || count(*) FROM chaos"
            f" WHERE client LIKE '{self.run}/%' GROUP BY client, n"
        )
        rows = (line.split() for line in self.client.psql(sql, door=False).splitlines())
        return {(client, int(number)): int(times) for client, number, times in rows}

    def _source(
        self,
        name: str,
        engine: Engine,
        container: str,
        user: str,
        script: Path,
        argument: dict[str, object],
    ) -> None:
        file = (self.directory / f"{name}.jsonl").open("ab")
        self._sources.append(Source(engine, container, user, script, json.dumps(argument), file))

    def _tend(self) -> None:
        while True:
            for source in self._sources:
                source.tend()
            if self._ended.wait(TENDED_EVERY_S):
                return


def until(condition: Callable[[], T], *, timeout_s: float, what: str) -> T:
    """Wait until a condition is true; returns it. Raises AssertionError with what it last saw."""
    try:
        return wait_until(condition, timeout_s=timeout_s, what=what)
    except Failed as error:
        raise AssertionError(f"{error.message} {' '.join(error.details)[:2000]}") from None
