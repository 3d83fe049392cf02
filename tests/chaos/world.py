"""A cluster for chaos: what must be true of it before and after each scenario, and the evidence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pgha.cluster import Cluster
from pgha.topology import Topology
from tests.chaos.checker import LOST, WENT_BACK, Past, Violation, check, summary
from tests.chaos.history import History
from tests.chaos.watch import Watch, until
from tests.integration.real_cluster import RealCluster

NIGHTLY = bool(os.environ.get("PGHA_NIGHTLY"))
T = TypeVar("T")
# Where what a failed scenario left is kept; by default in pytest's own directory.
KEEP = os.environ.get("PGHA_CHAOS_KEEP", "")

# Limits, in seconds. They say "for ever" to a test; how fast it is, `bench` measures.
GOES_ON_S = 40.0
WAKES_S = 0.3
HEALS_S = 90.0

STATE_FILES = ("state.json", "journal.jsonl", "journal.jsonl.1", "node.json")


@dataclass(frozen=True)
class Roles:
    """Who is what in a healthy cluster, and of which term."""

    primary: str
    standby: str
    witness: str
    term: int


class ChaosCluster(RealCluster):
    """A cluster whose scenarios begin and end healthy."""

    _opened: Cluster | None = None

    def status(self) -> dict[str, Any]:
        """The same document, without a process for each look: the machine has better to do."""
        if self._opened is None:
            self._opened = Cluster.load(str(self.env), environ={}, cwd=self.directory)
        return dict(self._opened.status().as_dict())

    def tear_down(self) -> None:
        if self._opened is not None:
            self._opened.close()
        super().tear_down()

    @property
    def topology(self) -> Topology:
        return self.client.topology

    @property
    def names(self) -> tuple[str, ...]:
        return self.topology.names

    def roles(self) -> Roles:
        """Raises AssertionError where it is not healthy."""
        status = self.status()
        complaint = _complaint(status)
        assert not complaint, complaint
        return _roles(status)

    def heals(self, timeout_s: float = HEALS_S) -> Roles:
        """Wait until it is healthy: one primary, every node in. Raises AssertionError."""
        last: dict[str, Any] = {}

        def healthy() -> bool:
            last.update(self.status())
            return not _complaint(last)

        try:
            until(healthy, timeout_s=timeout_s, what=f"{self.name} is healthy")
        except AssertionError as error:
            raise AssertionError(f"{error} {_complaint(last)}") from None
        return _roles(last)

    def term_on_disk(self, node: str) -> int:
        """The newest term that a node remembers, as its disk has it; 0 where it remembers none."""
        text = self.text_of(node, f"{self.topology.node(node).volumes.etc_pgpool}/pgha/state.json")
        try:
            return int(json.loads(text)["term"]) if text else 0
        except ValueError:
            return 0

    def put_right(self) -> Roles:
        """Healthy, whatever the last scenario left; by an operator's commands where it must be."""
        if _complaint(self.status()):
            self.containers_run()
            for words in (("start",), ("recovery",), ("recovery", "-f", "--yes")):
                self.inv(*words, check=None)
                if not _complaint(self.status()):
                    break
        return self.heals()

    def containers_run(self) -> None:
        """Every node's container runs, whatever a fault made of it."""
        for verb in ("unpause", "start"):
            for name in self.names:
                _quietly(*self.engine(name).words(verb, self.container(name)))

    @contextmanager
    def scenario(self, *, loses: bool = False) -> Iterator[Scenario]:
        """Clients write and read all the time; afterwards it has healed and no rule was broken.

        loses: commits are asynchronous and an operator forces a failover: what the old primary
        alone had is gone by that, for writers and for readers."""
        before = self.put_right()
        run = f"{self.name}-{time.monotonic_ns() // 1_000_000}"
        watch = Watch(self.client, run, self.directory / "runs" / run, self.engine)
        scenario = Scenario(self, watch, before, loses=loses)
        try:
            try:
                watch.start()
                yield scenario
                scenario.after = self.heals()
                watch.writes_go_on("direct", timeout_s=GOES_ON_S)
                watch.writes_go_on("pool", timeout_s=GOES_ON_S)
            finally:
                history = watch.stop()
            scenario.judge(history)
        except BaseException as error:
            self.keep_evidence(watch.directory, str(error))
            raise

    def keep_evidence(self, directory: Path, why: str) -> None:
        """The nodes' logs and records beside the history, for whoever looks into it."""
        (directory / "why.txt").write_text(why + "\n")
        for name in self.names:
            with (directory / f"{name}.log").open("wb") as log:
                words = self.engine(name).words("logs", "-t", self.container(name))
                subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, timeout=60.0)
            for file in STATE_FILES:
                place = self.topology.node(name).volumes.etc_pgpool
                text = self.text_of(name, f"{place}/pgha/{file}")
                if text is not None:
                    (directory / f"{name}.{file}").write_text(text)
        status = self.inv("status", check=None)
        (directory / "status.txt").write_text(status.stdout + status.stderr)
        if KEEP:
            shutil.copytree(directory, Path(KEEP) / directory.name, dirs_exist_ok=True)


class Scenario:
    """What a test may ask while its cluster is watched, and what must have come of it."""

    def __init__(
        self, cluster: ChaosCluster, watch: Watch, before: Roles, *, loses: bool = False
    ) -> None:
        self.loses = loses
        self.cluster = cluster
        self.watch = watch
        self.before = before
        self.after = before
        self._moved: bool | None = None
        self._past: list[Past] = []

    @property
    def primary(self) -> str:
        return self.before.primary

    @property
    def standby(self) -> str:
        return self.before.standby

    @property
    def witness(self) -> str:
        return self.before.witness

    def node(self, role: str) -> str:
        """The node that had a role when it began: primary, standby or witness."""
        return str(getattr(self.before, role))

    def must_move(self) -> None:
        """The standby must be the primary in the end, of a later term."""
        self._moved = True

    def must_stay(self) -> None:
        """The primary must be what it was, of the same term: no election at all."""
        self._moved = False

    def writes_go_on(self, *, on: str = "", door: str = "direct") -> None:
        self.watch.writes_go_on(door, timeout_s=GOES_ON_S, on=on)

    def judge(self, history: History) -> None:
        """Raises AssertionError."""
        violations = self.violations(history)
        assert not violations, "rules were broken:\n" + summary(violations)
        if self._moved is True:
            assert self.after.primary == self.standby, f"{self.before} → {self.after}"
            assert self.after.term > self.before.term, f"{self.before} → {self.after}"
        if self._moved is False:
            assert self.after == self.before, f"{self.before} → {self.after}"

    def violations(self, history: History) -> tuple[Violation, ...]:
        found = check(history, self.watch.rows(), self._past)
        return tuple(v for v in found if not (self.loses and v.rule in (LOST, WENT_BACK)))

    @contextmanager
    def asleep(self, node: str, fault: AbstractContextManager[object]) -> Iterator[None]:
        """A node is stalled meanwhile, and wakes up. A query that reaches it then may be answered
        before any process of ours runs (docs/safety.md): reads of that moment are not held against
        it, those of a moment later are."""
        with ExitStack() as stack:
            stack.enter_context(fault)
            yield
            begun = time.monotonic()
            stack.close()
            self._past.append(Past(node, begun, time.monotonic() + WAKES_S))

    @contextmanager
    def unattended(self, node: str, fault: AbstractContextManager[object]) -> Iterator[None]:
        """Neither main nor the agent of a node can end its PostgreSQL meanwhile: two faults at
        once. Who insists on that node reads what is past (docs/safety.md, rule 4); that is held
        against it a moment after one of them is back."""
        begun = time.monotonic()
        with fault:
            yield
        self._past.append(Past(node, begun, time.monotonic() + WAKES_S))


def one_scenario(*values: T) -> list[tuple[T, ...]]:
    """Parameters: one after the other in one scenario; at night, each in a scenario of its own."""
    return [(value,) for value in values] if NIGHTLY else [values]


def at_night(*values: T) -> list[T]:
    """Parameters that only the night has."""
    return list(values) if NIGHTLY else []


def all_at_once(words: Sequence[Sequence[str]]) -> None:
    """Docker commands that run side by side. Raises AssertionError where one fails."""
    started = [
        subprocess.Popen(("docker", *each), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for each in words
    ]
    for process in started:
        _, complaint = process.communicate(timeout=120.0)
        assert process.returncode == 0, complaint.decode()


def _complaint(status: dict[str, Any]) -> str:
    """Why a status is not that of a healthy cluster with one primary and every node in."""
    roles = sorted(node["role"] for node in status["nodes"])
    if status["verdict"] != "healthy":
        return f"{status['verdict']}: {status['problems']}"
    if roles.count("primary") != 1 or set(roles) - {"primary", "standby", "witness"}:
        return f"healthy, though its nodes are {roles}"
    return ""


def _roles(status: dict[str, Any]) -> Roles:
    of = {node["role"]: node for node in status["nodes"]}
    primary = of["primary"]
    witness = of["witness"]["name"] if "witness" in of else ""
    # A timeline's number is the term (docs/safety.md).
    term = int(primary["postgres"]["timeline"])
    return Roles(primary["name"], of["standby"]["name"], witness, term)


def _quietly(*words: str) -> None:
    """Run what may fail: a container that runs cannot be started."""
    subprocess.run(words, capture_output=True, timeout=120.0, check=False)
