"""Bytes through this machine to several hosts at once, over a real SSH server."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.commands.base import Command
from pgha.commands.docker import save
from pgha.errors import CommandFailed, PghaError, Unreachable
from pgha.relay import Silence, Spool, relay
from pgha.remote import Host, LocalHost, host_of
from pgha.waiting import wait_until
from tests.integration import loopback
from tests.integration.loopback import Loopback

PATIENT = Silence(20, 20)
MEGABYTES = 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    server = loopback.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def hosts(server: Loopback) -> Iterator[list[Host]]:
    """Three connections to it."""
    hosts: list[Host] = [host_of(server.machine()) for _ in range(3)]
    for number, host in enumerate(hosts):
        host.name = f"host-{number}"
    yield hosts
    for host in hosts:
        host.close()


class Told:
    """What a relay told."""

    def __init__(self) -> None:
        self.ended: dict[str, float | PghaError] = {}
        self.moved: list[tuple[str, int, int | None]] = []

    def on_end(self, host: Host, answer: float | PghaError) -> None:
        self.ended[host.name] = answer

    def on_move(self, name: str, sent: int, total: int | None) -> None:
        self.moved.append((name, sent, total))


def shell(script: str, stdin: str | None = None) -> Command:
    return Command(("sh", "-c", script), stdin)


def into(path: Path) -> Command:
    return shell(f"cat > {path}", "")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ended(processes: Path) -> bool:
    """Whether all the processes whose numbers a file has are gone."""
    return not any(Path("/proc", pid).exists() for pid in processes.read_text().split())


def test_what_one_host_says_comes_to_the_others_as_it_is(hosts: list[Host], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(MEGABYTES << 20))
    source, *targets = hosts
    told = Told()
    copies = {host: tmp_path / host.name for host in [*targets, LocalHost()]}
    relay(
        (source, Command(("cat", str(data)))),
        {host: into(path) for host, path in copies.items()},
        PATIENT,
        told.on_move,
        told.on_end,
    )
    assert {digest(path) for path in copies.values()} == {digest(data)}
    assert {name for name, answer in told.ended.items() if isinstance(answer, float)} == {
        "host-0",
        "host-1",
        "host-2",
        "localhost",
    }
    assert max(told.moved[-3:], key=lambda moved: moved[1])[1:] == (MEGABYTES << 20,) * 2


def test_a_file_comes_to_a_host_as_it_is(hosts: list[Host], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(3_000_000))
    told = Told()
    relay(data, {hosts[0]: into(tmp_path / "copy")}, PATIENT, told.on_move, told.on_end)
    assert digest(tmp_path / "copy") == digest(data)


def test_a_target_that_takes_nothing_more_is_given_up_and_ended(
    hosts: list[Host], tmp_path: Path
) -> None:
    told, copy, pids = Told(), tmp_path / "copy", tmp_path / "pids"
    begun = time.monotonic()
    relay(
        (hosts[0], shell(f"head -c {MEGABYTES}M /dev/zero")),
        {hosts[1]: shell(f"echo $$ > {pids}; sleep 600", ""), hosts[2]: into(copy)},
        Silence(2, 20),
        told.on_move,
        told.on_end,
    )
    late = told.ended["host-1"]
    assert isinstance(late, Unreachable)
    assert late.message == "host-1 took nothing for 2 s."
    assert isinstance(told.ended["host-2"], float)
    assert copy.stat().st_size == MEGABYTES << 20
    assert time.monotonic() - begun < 15
    wait_until(lambda: ended(pids), timeout_s=5, what="the sleeping target is gone")


def test_a_target_that_dies_in_the_middle_says_why_and_stops_nobody(
    hosts: list[Host], tmp_path: Path
) -> None:
    told = Told()
    relay(
        (hosts[0], shell(f"head -c {MEGABYTES}M /dev/zero")),
        {
            hosts[1]: shell("head -c 1000000 > /dev/null; echo no room >&2; exit 3", ""),
            hosts[2]: into(tmp_path / "copy"),
        },
        PATIENT,
        told.on_move,
        told.on_end,
    )
    failure = told.ended["host-1"]
    assert isinstance(failure, CommandFailed)
    assert (failure.status, failure.details) == (3, ("no room",))
    assert (tmp_path / "copy").stat().st_size == MEGABYTES << 20


def test_a_source_that_fails_at_its_end_has_fed_nobody_to_the_end(
    hosts: list[Host], tmp_path: Path
) -> None:
    told, done = Told(), tmp_path / "done"
    with pytest.raises(CommandFailed, match="host-0") as failure:
        relay(
            (hosts[0], shell("head -c 3000000 /dev/zero; echo torn >&2; exit 1")),
            {hosts[1]: shell(f"cat > /dev/null && touch {done}", "")},
            PATIENT,
            told.on_move,
            told.on_end,
        )
    assert failure.value.details == ("torn",)
    assert (told.ended, done.exists()) == ({}, False)


def test_a_save_that_fails_is_no_whole_archive(hosts: list[Host], tmp_path: Path) -> None:
    """A pipe's status is that of its last program, and gzip ends well whatever it was fed."""
    told, done = Told(), tmp_path / "done"
    with pytest.raises(CommandFailed) as failure:
        relay(
            (LocalHost(), save("no/such-image:1")),
            {hosts[1]: shell(f"cat > /dev/null && touch {done}", "")},
            PATIENT,
            told.on_move,
            told.on_end,
        )
    assert failure.value.status < 0
    assert not done.exists()


def test_a_source_that_says_nothing_is_given_up(hosts: list[Host], tmp_path: Path) -> None:
    told, pids = Told(), tmp_path / "pids"
    with pytest.raises(Unreachable, match="host-0 sent nothing for 2 s"):
        relay(
            (hosts[0], shell(f"echo $$ > {pids}; sleep 600")),
            {hosts[1]: shell("cat", "")},
            Silence(2, 2),
            told.on_move,
            told.on_end,
        )
    wait_until(lambda: ended(pids), timeout_s=5, what="the sleeping source is gone")


def test_a_host_that_hangs_costs_one_silence(
    hosts: list[Host], server: Loopback, tmp_path: Path
) -> None:
    """Its server is stopped by a signal while bytes are under way: TCP still takes some of them."""
    told = Told()
    timer = threading.Timer(1.5, server.signal_sessions, (signal.SIGSTOP,))
    timer.start()
    begun = time.monotonic()
    try:
        relay(
            (LocalHost(), shell("while :; do head -c 1M /dev/zero; sleep 0.02; done")),
            {hosts[1]: shell("cat > /dev/null", "")},
            Silence(3, 20),
            told.on_move,
            told.on_end,
        )
    finally:
        timer.cancel()
        server.signal_sessions(signal.SIGCONT)
    failure = told.ended["host-1"]
    assert isinstance(failure, Unreachable)
    assert failure.message == "host-1 took nothing for 3 s."
    assert time.monotonic() - begun < 20


def test_an_interruption_leaves_no_program_behind(hosts: list[Host], tmp_path: Path) -> None:
    told, pids = Told(), tmp_path / "pids"

    def interrupt() -> None:
        wait_until(
            lambda: pids.exists() and len(pids.read_text().split()) == 2,
            timeout_s=10,
            what="both programs run",
        )
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        relay(
            (hosts[0], shell(f"echo $$ >> {pids}; while :; do echo x; sleep 0.1; done")),
            {hosts[1]: shell(f"echo $$ >> {pids}; cat > /dev/null", "")},
            PATIENT,
            told.on_move,
            told.on_end,
        )
    wait_until(lambda: ended(pids), timeout_s=5, what="both programs are gone")


def test_what_is_under_way_is_in_no_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()
    spool.add(b"abc")
    assert list(tmp_path.iterdir()) == []
    assert (spool.read(1), spool.total) == (b"bc", None)
    spool.complete()
    assert (spool.read(3), spool.total) == (b"", 3)
    spool.close()
