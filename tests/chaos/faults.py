"""What can be done to a node, each with what undoes it; from the host's side, as root.

A Fault is begun and ended, or is a context: `with pause(cluster, "node-0"): …`. Ending one twice,
or one whose container has died meanwhile, does nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.watch import until
from tests.chaos.world import ChaosCluster
from tests.client.engine import Engine, docker, stall

EXEC_S = 3.0


@dataclass
class Fault:
    """kind: a name for tables. nodes: those that it breaks (for a link: the one that is meant)."""

    kind: str
    nodes: tuple[str, ...]
    do: Callable[[], None]
    undo: Callable[[], None] = lambda: None
    going_on: bool = field(default=False, init=False)

    def begin(self) -> None:
        self.do()
        self.going_on = True

    def end(self) -> None:
        if self.going_on:
            self.undo()
            self.going_on = False

    def __enter__(self) -> Fault:
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.nodes)}"


OfNode = Callable[[ChaosCluster, str], Fault]


# Containers.


def kill(cluster: ChaosCluster, node: str) -> Fault:
    """A host dies at once; it comes back at the end."""
    return _container("kill container", cluster, node, "kill", "start")


def stop(cluster: ChaosCluster, node: str) -> Fault:
    """A host is shut down in good order; it comes back at the end."""
    return _container("stop container", cluster, node, "stop", "start")


def pause(cluster: ChaosCluster, node: str) -> Fault:
    """A host is stalled: its kernel still takes connections, no process of it runs."""
    name, docker = cluster.container(node), cluster.engine(node)

    def do() -> None:
        # A probe's `exec` that begins at the same moment is frozen half-way, and the engine (20.10)
        # never answers again about this container.
        until(
            lambda: _age_s(docker, name) > EXEC_S, timeout_s=30.0, what=f"{name} is up for a while"
        )
        stall(name, docker)

    return Fault("pause container", (node,), do, lambda: _ignore(docker("unpause", name)))


def _age_s(docker: Engine, container: str) -> float:
    """For how long it is up, in seconds."""
    since = docker("inspect", "-f", "{{.State.StartedAt}}", container).strip()
    began = datetime.fromisoformat(since[:26].rstrip("Z") + "+00:00")
    return (datetime.now(UTC) - began).total_seconds()


def restart(cluster: ChaosCluster, node: str) -> Fault:
    """A host's power fails and is there again at once."""
    container, docker = cluster.container(node), cluster.engine(node)

    def do() -> None:
        docker("kill", container, check=False)
        docker("start", container)

    return Fault("restart container", (node,), do)


def _container(kind: str, cluster: ChaosCluster, node: str, do: str, undo: str) -> Fault:
    name, docker = cluster.container(node), cluster.engine(node)
    return Fault(
        kind, (node,), lambda: _ignore(docker(do, name)), lambda: _ignore(docker(undo, name))
    )


def _ignore(_: str) -> None:
    """A container's name, which docker prints."""


# Processes.


@dataclass(frozen=True)
class Process:
    """A process of a container, by its number on the host."""

    pid: int
    parent: int
    name: str
    words: str


def processes(cluster: ChaosCluster, node: str) -> tuple[Process, ...]:
    """What runs in a node's container. Empty where the container does not run."""
    listed = docker("top", cluster.container(node), "-eo", "pid,ppid,comm,args", check=False)
    found = []
    for line in listed.splitlines()[1:]:
        pid, parent, name, words = line.split(None, 3)
        found.append(Process(int(pid), int(parent), name, words))
    return tuple(found)


def postgres(found: tuple[Process, ...]) -> tuple[Process, ...]:
    """PostgreSQL's, its postmaster first."""
    masters = tuple(p for p in found if "/bin/postgres -D " in p.words)
    return (*masters, *(p for p in found if p.words.startswith("postgres: ")))


def backends(found: tuple[Process, ...]) -> tuple[Process, ...]:
    """PostgreSQL's for clients' sessions that came over the network."""
    return tuple(p for p in postgres(found) if " postgres 10." in p.words)


def agent(found: tuple[Process, ...]) -> tuple[Process, ...]:
    return tuple(p for p in found if p.name == "pgha-agent")


def main(found: tuple[Process, ...]) -> tuple[Process, ...]:
    """The container's main process. Its agent and tini have the same words."""
    return tuple(p for p in found if p.name == "pgha-main")


def pgpool(found: tuple[Process, ...]) -> tuple[Process, ...]:
    """Pgpool-II's main process; its children end with it."""
    return tuple(p for p in found if p.words.startswith("pgpool -n"))


def receivers(found: tuple[Process, ...]) -> tuple[Process, ...]:
    """The witness's pg_receivewal."""
    return tuple(p for p in found if "pg_receivewal" in p.words)


Chosen = Callable[[tuple[Process, ...]], tuple[Process, ...]]


def kill_process(kind: str, cluster: ChaosCluster, node: str, which: Chosen) -> Fault:
    """SIGKILL; whoever watches them starts them again, or not. Raises AssertionError if none is."""

    def do() -> None:
        chosen = which(processes(cluster, node))
        assert chosen, f"{node} has nothing to {kind}"
        _send(chosen, signal.SIGKILL)

    return Fault(kind, (node,), do)


def freeze(kind: str, cluster: ChaosCluster, node: str, which: Chosen) -> Fault:
    """SIGSTOP, and SIGCONT in the end for those that were stopped."""
    frozen: list[tuple[Process, str]] = []

    def do() -> None:
        chosen = which(processes(cluster, node))
        assert chosen, f"{node} has nothing to {kind}"
        frozen.extend((process, _since(process.pid)) for process in chosen)
        _send(chosen, signal.SIGSTOP)

    def undo() -> None:
        # Numbers are used again: only a process that is still the same is sent anything. It is not
        # known by its words: PostgreSQL's say what each does, and change up to the last moment.
        same = [process for process, since in frozen if since and _since(process.pid) == since]
        _send(same, signal.SIGCONT)
        frozen.clear()

    return Fault(kind, (node,), do, undo)


def kill_postgres(cluster: ChaosCluster, node: str) -> Fault:
    return kill_process("kill PostgreSQL", cluster, node, postgres)


def kill_backend(cluster: ChaosCluster, node: str) -> Fault:
    """One session's process, as the OOM killer does it."""
    return kill_process("kill a backend", cluster, node, lambda found: backends(found)[:1])


def kill_agent(cluster: ChaosCluster, node: str) -> Fault:
    return kill_process("kill the agent", cluster, node, agent)


def kill_pgpool(cluster: ChaosCluster, node: str) -> Fault:
    return kill_process("kill Pgpool-II", cluster, node, pgpool)


def kill_receiver(cluster: ChaosCluster, node: str) -> Fault:
    return kill_process("kill pg_receivewal", cluster, node, receivers)


def freeze_agent(cluster: ChaosCluster, node: str) -> Fault:
    return freeze("stop the agent", cluster, node, agent)


def freeze_main(cluster: ChaosCluster, node: str) -> Fault:
    return freeze("stop main", cluster, node, main)


def freeze_postmaster(cluster: ChaosCluster, node: str) -> Fault:
    """Sessions that are open go on, nobody can open one."""
    return freeze("stop the postmaster", cluster, node, lambda found: postgres(found)[:1])


def freeze_postgres(cluster: ChaosCluster, node: str) -> Fault:
    return freeze("stop PostgreSQL", cluster, node, postgres)


def _since(pid: int) -> str:
    """When a process was started (proc(5), `starttime`); empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _send(chosen: list[Process] | tuple[Process, ...], number: signal.Signals) -> None:
    for process in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


# What touches a whole machine.


def busy(cluster: ChaosCluster, node: str, each: int = 2) -> Fault:
    """All CPUs busy, `each` processes a core, in a node's container and at its priority."""
    script = f"for i in $(seq $(( {each} * $(nproc) ))); do (while :; do :; done) & done; wait"
    container, chosen = cluster.container(node), "for i in $(seq"

    def do() -> None:
        docker("exec", "-d", "-u", "postgres", container, "sh", "-c", script)

    def undo() -> None:
        loops = [p for p in processes(cluster, node) if chosen in p.words]
        _send(loops, signal.SIGKILL)

    return Fault("busy CPUs", (node,), do, undo)


@contextlib.contextmanager
def all_of(*faults: Fault) -> Iterator[None]:
    """Several at once; each is undone, the last one first, whatever happens."""
    with contextlib.ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        yield
