"""Pgpool-II's processes in this container: which there are, and how to end them all."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from pgha.commands import pgpool as commands
from pgha.node import process

# It ends within 0.03 s of SIGINT, but for a client process that was forked at that very moment:
# the signal comes before its handler (seen once in 20 hand-overs with a client that connects all
# the time), and the main process waits for it for ever. Sessions are at an end either way, so the
# rest is killed soon.
STOP_S = 0.2
KILL_S = 2.0

PROGRAM = "pgpool"


def stop(ports: tuple[str, ...]) -> None:
    """End it and every session through it; nothing is left, its sockets at `ports` included."""
    written, alive = _written(), main()
    if alive is not None:
        process.send(alive, signal.SIGINT)
    else:
        _kill(signal.SIGINT)
    if not process.holds_within(lambda: not _processes(), STOP_S):
        _kill(signal.SIGKILL)
        process.holds_within(lambda: not _processes(), KILL_S)
    _forget_shared_memory(written)
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


def _kill(number: signal.Signals) -> None:
    for pid in _processes():
        process.send(pid, number)


def _forget_shared_memory(creator: int | None) -> None:
    """Give back the segments of a main process that was killed: they outlive it.

    Only what nobody is attached to: numbers come again, and PostgreSQL has a segment too.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[4]) == creator and fields[6] == "0":
                process.run(("ipcrm", "-m", fields[1]), timeout_s=5.0)


def children() -> tuple[int, ...]:
    """The processes that serve clients. What else there is treats SIGUSR2 in its own way."""
    parent = main()
    if parent is None:
        return ()
    others = ("PCP", "worker process", "health check", "logger")
    found = []
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            title = " ".join(process.program_of(int(word)))
            if title.startswith("pgpool: ") and not any(other in title for other in others):
                found.append(int(word))
    return tuple(found)
