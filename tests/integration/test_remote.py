"""Commands on hosts, against a real SSH server on loopback and the local machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.commands.base import Command, Secret
from pgha.errors import CommandFailed, Locked, Refused, Unreachable
from pgha.hosts import Result
from pgha.locking import holder_words, lock_all, note_now
from pgha.machines import Machine
from pgha.remote import Host, LocalHost, SshHost, host_of
from pgha.waiting import Deadline, wait_until
from tests.integration import loopback
from tests.integration.loopback import Loopback


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """One server for the tests that leave it as it is."""
    server = loopback.start(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Loopback]:
    """A server that a test may break."""
    server = loopback.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["local", "ssh", "ssh through a jump host"])
def host(request: pytest.FixtureRequest, server: Loopback) -> Iterator[Host]:
    """Every way to reach a host."""
    host: Host = LocalHost()
    if request.param != "local":
        jump = request.param != "ssh"
        if jump:
            key = (server.folder / "host_key.pub").read_text()
            known = f"[127.0.0.1]:{server.port} {key}[localhost]:{server.port} {key}"
            server.known_hosts.write_text(known)
        host = host_of(server.machine("behind" if jump else loopback.ALIAS))
    yield host
    host.close()


def shell(script: str, stdin: str | bytes | Secret | None = None) -> Command:
    return Command(("sh", "-c", script), stdin=stdin)


def test_words_arrive_as_they_are(host: Host) -> None:
    words = ("it's", 'a "b"', "$HOME `id`", "new\nline", "ü*?", "")
    result = host.run(Command(("printf", "[%s]", *words)), timeout_s=10)
    assert result.stdout == "".join(f"[{word}]" for word in words)


def test_both_streams_may_be_larger_than_any_pipe(host: Host) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' a; head -c 3000000 /dev/zero | tr '\\0' b >&2"
    result = host.run(shell(script), timeout_s=30)
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 3_000_000)


def test_tens_of_megabytes_go_in_while_as_much_comes_out(host: Host) -> None:
    data = os.urandom(1 << 20) * 24
    result = host.run(shell("tee /dev/stderr | sha256sum", data), timeout_s=60)
    digest = subprocess.run("sha256sum", input=data, capture_output=True, check=True).stdout
    assert result.stdout == digest.decode()


def test_a_command_that_does_not_read_its_input_is_no_error(host: Host) -> None:
    assert host.run(shell("exit 0", b"x" * 10_000_000), timeout_s=10).status == 0


def test_without_input_a_command_reads_the_end_at_once(host: Host) -> None:
    assert host.run(Command(("cat",)), timeout_s=5).stdout == ""


def test_lines_of_both_streams_are_handed_on_as_they_come(host: Host) -> None:
    came: list[tuple[str, float]] = []

    def on_line(line: str) -> None:
        came.append((line, time.monotonic()))

    host.run(shell("echo one; sleep 0.5; echo two >&2; printf half"), timeout_s=10, on_line=on_line)
    assert [line for line, _ in came] == ["one", "two", "half"]
    assert came[1][1] - came[0][1] > 0.3


def test_a_status_other_than_zero_is_an_error_with_what_was_said(host: Host) -> None:
    with pytest.raises(CommandFailed) as failure:
        host.run(shell("echo on the way; echo no luck >&2; exit 42"), timeout_s=10)
    assert failure.value.status == 42
    assert failure.value.details == ("no luck",)
    assert host.name in failure.value.message
    assert host.run(shell("exit 42"), timeout_s=10, check=False).status == 42


def test_a_program_that_is_not_there_is_said_to_be_missing(host: Host) -> None:
    with pytest.raises(CommandFailed, match="a program is missing") as failure:
        host.run(Command(("no-such-program", "x")), timeout_s=10)
    assert failure.value.status == 127
    assert "no-such-program" in failure.value.details[0]


@pytest.mark.parametrize("trap", ["", "trap '' TERM HUP; "])
def test_what_outlives_its_deadline_is_ended_with_its_children(
    host: Host, trap: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"{trap}echo $$ > {pids}; sleep 600 & echo $! >> {pids}; echo said >&2; wait; sleep 9"
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"not done within 2 s") as late:
        host.run(shell(script), timeout_s=2)
    assert time.monotonic() - begun < 15.0
    assert late.value.details == ("said",)
    numbers = [int(word) for word in pids.read_text().split()]
    wait_until(lambda: not any(map(runs, numbers)), timeout_s=3, what="both processes are gone")


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False


def test_a_child_left_behind_with_the_output_open_holds_nobody_up(host: Host) -> None:
    result = host.run(shell("sleep 60 & echo $!"), timeout_s=10)
    os.kill(int(result.stdout), signal.SIGKILL)


def test_the_observer_sees_the_command_and_no_secret(host: Host) -> None:
    seen: list[str] = []

    def observer(place: str, command: Command, result: Result | None) -> None:
        seen.append(f"{place} {command.shown} {result.status if result else None}")

    host.observer = observer
    with pytest.raises(CommandFailed) as failure:
        host.run(shell("cat > /dev/null; exit 5", Secret("hunter2")), timeout_s=5)
    assert len(seen) == 2
    assert "hunter2" not in f"{seen} {failure.value} {failure.value.details}"


# The lock


def test_the_second_holder_learns_who_is_at_work_since_when(host: Host, server: Loopback) -> None:
    others = (LocalHost(), host_of(server.machine()))
    with host.lock("test-two", note_now("failover by anna")):
        for other in others:
            with (
                pytest.raises(
                    Locked, match=r"failover by anna is at work on test-two since 20\d\d"
                ),
                other.lock("test-two", note_now("me")),
            ):
                pass
    for other in others:
        with other.lock("test-two", note_now("me")):
            pass
        other.close()


def test_one_machine_by_two_names_is_said_to_be_that_and_nobody_elses_work(host: Host) -> None:
    with (
        pytest.raises(Refused, match="another host's name means"),
        lock_all((host, host), "test-twice", "failover by anna"),
    ):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from pgha.locking import note_now
from pgha.machines import Machine
from pgha.remote import host_of
name, local, config, known = sys.argv[1:]
host = host_of(Machine(name, local == "True", Path(config), Path(known), 5.0))
with host.lock("test-killed", note_now("a run that is killed")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_leaves_no_lock(host: Host, server: Loopback) -> None:
    local = isinstance(host, LocalHost)
    words = (host.name, str(local), str(server.folder / "config"), str(server.known_hosts))
    with subprocess.Popen((sys.executable, "-c", HOLDER, *words), stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Locked), host.lock("test-killed", note_now("me")):
            pass
        other.kill()

    def free() -> bool:
        try:
            with host.lock("test-killed", note_now("me")):
                return True
        except Locked:
            return False

    wait_until(free, timeout_s=3, what="the lock is free")


def test_who_has_lost_a_lock_knows_it(own_server: Loopback) -> None:
    host = host_of(own_server.machine())
    with host.lock("test-lost", note_now("me")):
        assert not host.lock_lost
        own_server.signal_sessions(signal.SIGKILL)
        wait_until(lambda: host.lock_lost, timeout_s=20, what="the lock is known to be lost")
    assert not host.lock_lost
    host.close()


def test_a_holder_that_is_not_heard_of_loses_the_lock() -> None:
    """As when its host is cut off: nobody tells it that our side is gone."""
    words = holder_words("test-silent", silence_s=1)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        holder.stdin.write(b"{}\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"locked\n"
        for _ in range(4):
            with (
                pytest.raises(Locked, match="Somebody else is at work"),
                LocalHost().lock("test-silent", note_now("me")),
            ):
                pass
            holder.stdin.write(b"here\n")
            holder.stdin.flush()
            # It reads the next line within its limit: alive for as long as this goes on.
            with pytest.raises(subprocess.TimeoutExpired):
                holder.wait(0.5)
        assert holder.wait(5) == 0


INTERRUPTED = """
import sys
from pathlib import Path
from pgha.commands.base import Command
from pgha.machines import Machine
from pgha.remote import host_of
name, local, config, known, pid = sys.argv[1:]
host = host_of(Machine(name, local == "True", Path(config), Path(known), 5.0))
host.run(Command(("sh", "-c", f"echo $$ > {pid}; echo begun; sleep 600; true")), timeout_s=60,
         on_line=lambda line: print(line, flush=True))
"""


def test_ctrl_c_ends_what_runs_on_the_host(host: Host, server: Loopback, tmp_path: Path) -> None:
    local, pid = isinstance(host, LocalHost), tmp_path / "pid"
    words = (host.name, str(local), str(server.folder / "config"), str(server.known_hosts))
    with subprocess.Popen(
        (sys.executable, "-c", INTERRUPTED, *words, str(pid)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as command:
        assert command.stdout
        assert command.stdout.readline() == b"begun\n"
        command.send_signal(signal.SIGINT)
        assert command.wait(5) != 0
    wait_until(lambda: not runs(int(pid.read_text())), timeout_s=3, what="it is gone")


def test_a_lock_of_the_library_that_nobody_gives_back_holds_no_close_up(
    own_server: Loopback,
) -> None:
    """A signal's exception in the middle of the library's waiting leaves its lock taken: `init`
    that got SIGTERM while it sent a verb never ended."""
    import paramiko

    host = host_of(own_server.machine(loopback.ALIAS))
    assert isinstance(host, SshHost)
    channel = host.kept.channel(Deadline(5.0))
    session = channel.session(("cat",))
    assert session.ask("there", timeout_s=5.0) == "there"
    transport = channel._channel.get_transport()  # type: ignore[attr-defined]
    assert isinstance(transport, paramiko.Transport)
    with transport.clear_to_send._cond:  # type: ignore[attr-defined]
        begun = time.monotonic()
        session.close()
        host.close()
        assert time.monotonic() - begun < 10.0
    wait_until(lambda: not transport.is_alive(), timeout_s=5, what="the connection has ended")


# What can be wrong with an SSH server


def fails(machine: Machine) -> Unreachable:
    """What we are told, long before the command's own deadline: there is nothing to wait for."""
    begun = time.monotonic()
    host = host_of(machine)
    with pytest.raises(Unreachable) as failure:
        host.run(Command(("true",)), timeout_s=60)
    assert time.monotonic() - begun < 20.0
    host.close()
    return failure.value


def test_an_unknown_host_key_is_refused_with_its_fingerprint(own_server: Loopback) -> None:
    own_server.known_hosts.write_text("")
    error = fails(own_server.machine())
    assert f"not in {own_server.known_hosts}" in error.message
    assert "SHA256:" in error.details[0]
    known = f"-o UserKnownHostsFile={own_server.known_hosts}"
    assert error.next == f"ssh -F {own_server.folder}/config {known} box true"


def test_a_missing_known_hosts_file_is_an_empty_one(own_server: Loopback) -> None:
    own_server.known_hosts.unlink()
    assert "not in" in fails(own_server.machine()).message


def test_a_changed_host_key_is_refused_with_the_place_to_look(own_server: Loopback) -> None:
    other = loopback.keygen(own_server.folder / "other_key")
    own_server.known_hosts.write_text(f"[127.0.0.1]:{own_server.port} {other}\n")
    error = fails(own_server.machine())
    assert f"not the one in {own_server.known_hosts}" in error.message
    assert "SHA256:" in error.details[0]
    assert subprocess.run(error.next, shell=True, check=True, capture_output=True).stdout


def test_a_key_that_the_host_does_not_accept(own_server: Loopback) -> None:
    loopback.keygen(own_server.folder / "our_key")
    error = fails(own_server.machine())
    assert "refuses our keys for user" in error.message


def test_a_key_that_is_not_there_is_named(own_server: Loopback) -> None:
    (own_server.folder / "our_key").unlink()
    assert str(own_server.folder / "our_key") in fails(own_server.machine()).message


@pytest.mark.parametrize(
    ("file", "text"), [("config", "Host\n"), ("known_hosts", "box ssh-ed25519 =broken=\n")]
)
def test_a_file_that_cannot_be_read_is_named(own_server: Loopback, file: str, text: str) -> None:
    (own_server.folder / file).write_text(text)
    assert f"{own_server.folder}/{file}" in fails(own_server.machine()).message


def test_nobody_listens(own_server: Loopback) -> None:
    own_server.stop()
    assert "Connection refused" in fails(own_server.machine()).message


def test_a_name_that_does_not_exist(server: Loopback) -> None:
    error = fails(server.machine("no-such-host.invalid"))
    assert "no-such-host.invalid cannot be reached" in error.message


def test_what_accepts_tcp_and_never_speaks(
    own_server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    own_server.stop()
    with socket.create_server(("127.0.0.1", own_server.port)):
        error = fails(own_server.machine(connect_timeout_s=0.8))
    assert error.message == "box did not answer within 0.8 s."
    assert capfd.readouterr().err == ""


def test_what_answers_but_is_no_ssh_server(
    own_server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    own_server.stop()
    web = (sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(own_server.port))
    with subprocess.Popen(web, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: listens(own_server.port), timeout_s=10, what="it listens")
        assert "box" in fails(own_server.machine(connect_timeout_s=2)).message
        process.kill()
    assert capfd.readouterr().err == ""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_connection_lost_while_a_command_runs(own_server: Loopback, tmp_path: Path) -> None:
    host = host_of(own_server.machine())
    began = tmp_path / "began"

    def cut(line: str) -> None:
        began.write_text(line)
        own_server.signal_sessions(signal.SIGKILL)

    with pytest.raises(Unreachable, match=r"lost while .* whether it was done is not known"):
        host.run(shell("echo begun; exec sleep 3"), timeout_s=10, on_line=cut)
    assert began.exists()
    # And the next command has a new one.
    assert host.run(Command(("echo", "again")), timeout_s=10).stdout == "again\n"
    host.close()


def test_a_host_that_stalls_is_unreachable_in_time(own_server: Loopback) -> None:
    host = host_of(own_server.machine(connect_timeout_s=1))
    host.run(Command(("true",)), timeout_s=5)
    own_server.signal_sessions(signal.SIGSTOP)
    os.kill(own_server.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(Unreachable):
            host.run(Command(("true",)), timeout_s=2)
        assert time.monotonic() - begun < 10.0
    finally:
        own_server.signal_sessions(signal.SIGCONT)
        os.kill(own_server.process.pid, signal.SIGCONT)
    assert host.run(Command(("echo", "awake")), timeout_s=5).stdout == "awake\n"
    host.close()
