"""Pgpool-II's processes in this container: which there are, and how to end them all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from pgha.commands import pgpool as commands
from pgha.node import process

KILL_S = 2.0

PROGRAM = "pgpool"
# The title of a process that serves nobody.
_IDLE = "pgpool: wait for connection"


def stop(ports: tuple[str, ...], when_free: Callable[[], None]) -> None:
    """End it and every session through it; nothing is left, its sockets at `ports` included.

    By SIGKILL: asked to end, it takes as long as its slowest process, and a client process that was
    forked at that very moment is waited for without end. It keeps nothing that could be lost. Those
    that serve somebody come last, since all hold the port: it is free before their clients come
    again. when_free: called at that moment, and maybe once more.
    """
    written, all_ = _written(), _processes()
    if all_:
        busy = {p for p, title in _titles() if not title.startswith(_IDLE)}
        process.kill(all_ - busy, KILL_S)
        process.kill(busy, KILL_S)
        when_free()
        # What was forked meanwhile; those that die leave it to nobody.
        process.kill(_processes(), KILL_S)
    when_free()
    _forget_memory(written)
    # What it leaves when it is killed; it does not start over its own sockets.
    for port in ports:
        (Path(commands.RUN_DIR) / f".s.PGSQL.{port}").unlink(missing_ok=True)
    Path(commands.PID_FILE).unlink(missing_ok=True)


def _written() -> int | None:
    """The last main process's number: it writes it, with a zero byte behind, when it starts."""
    try:
        return int(Path(commands.PID_FILE).read_bytes().strip(b"\0\n "))
    except (OSError, ValueError):
        return None


def main() -> int | None:
    """The main process's number, while it lives."""
    number = _written()
    return number if number is not None and process.is_named(number, PROGRAM) else None


def _processes() -> frozenset[int]:
    """Every living process of Pgpool-II: children outlive a main process that was killed."""
    return process.named(PROGRAM)


def _forget_memory(creator: int | None) -> None:
    """Give back the shared memory and the semaphores of a main process that was killed.

    Of the segments only what nobody is attached to: numbers come again, and PostgreSQL has one too.
    PostgreSQL on Linux has no semaphores of this kind (PostgreSQL 17, "Shared Memory and
    Semaphores"), so all that are here are Pgpool-II's.
    """
    words: list[str] = []
    with contextlib.suppress(OSError):
        for fields in _rows(Path("/proc/sysvipc/shm")):
            if int(fields[4]) == creator and fields[6] == "0":
                words += ["-m", fields[1]]
        for fields in _rows(Path("/proc/sysvipc/sem")):
            words += ["-s", fields[1]]
    if words:
        process.run(("ipcrm", *words), timeout_s=5.0)


def _rows(table: Path) -> list[list[str]]:
    return [line.split() for line in table.read_text().splitlines()[1:]]


def children() -> tuple[int, ...]:
    """The processes that serve clients. What else there is treats SIGUSR2 in its own way."""
    return tuple(pid for pid, _ in _titles())


def _titles() -> tuple[tuple[int, str], ...]:
    """The processes that serve clients, with what they say they do."""
    parent = main()
    if parent is None:
        return ()
    others = ("PCP", "worker process", "health check", "logger")
    found = []
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            title = " ".join(process.program_of(int(word)))
            if title.startswith("pgpool: ") and not any(other in title for other in others):
                found.append((int(word), title))
    return tuple(found)
