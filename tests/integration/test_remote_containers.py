"""Commands in a container: by its SSH server, through its host, and past it by the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pgha.at_once import at_once
from pgha.commands.base import Command, Secret
from pgha.errors import CommandFailed, Unreachable
from pgha.remote import Container, Host, LocalHost, NotRunning, Reach, container_on, host_of
from pgha.settings import parse
from pgha.topology import topology
from pgha.waiting import wait_until
from tests.integration import loopback
from tests.integration.image import IMAGE, PREFIX
from tests.integration.loopback import Loopback

# What `init` will have laid out: the operator's key pair, the host key, who may come in.
SET_UP = """
mkdir -p /run/sshd /root/.ssh /etc/ssh/pgha /var/lib/postgresql/.ssh
[ -f /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
key=/etc/ssh/pgha/ssh_host_ed25519_key
[ -f $key ] || ssh-keygen -q -t ed25519 -N '' -f $key
cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
cp /root/.ssh/id_ed25519.pub /var/lib/postgresql/.ssh/authorized_keys
chown -R postgres: /var/lib/postgresql/.ssh; chmod 700 /root/.ssh /var/lib/postgresql/.ssh
usermod -p '*' postgres
/usr/sbin/sshd -o HostKey=$key -o UsePAM=no -o UseDNS=no -o MaxSessions=50 -o MaxStartups=50
echo ready > /ready; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    server = loopback.start(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest, server: Loopback) -> Iterator[Host]:
    """The engine's host: this machine, or this machine as if it were another one."""
    host: Host = LocalHost() if request.param == "local" else host_of(server.machine())
    yield host
    host.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of keys of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pgha"


def docker(*words: str) -> str:
    return subprocess.run(("docker", *words), check=True, capture_output=True, text=True).stdout


def start_container() -> str:
    name = f"{PREFIX}-{uuid.uuid4().hex[:8]}"
    docker(
        *("run", "-d", "--name", name, "-p", "127.0.0.1::22", "--entrypoint", "sh"),
        *(IMAGE, "-c", SET_UP),
    )
    await_ready(name)
    return name


def await_ready(name: str) -> None:
    def ready() -> bool:
        look = ("docker", "exec", name, "test", "-e", "/ready")
        return subprocess.run(look, capture_output=True, check=False).returncode == 0

    wait_until(ready, timeout_s=20, what=f"{name} is set up")


@pytest.fixture(scope="module")
def shared_name() -> Iterator[str]:
    name = start_container()
    yield name
    subprocess.run(("docker", "rm", "-f", name), capture_output=True, check=False)


@pytest.fixture
def own_name() -> Iterator[str]:
    """The name of a container that the test may break."""
    name = start_container()
    yield name
    subprocess.run(("docker", "rm", "-f", name), capture_output=True, check=False)


@pytest.fixture
def container(shared_name: str, host: Host) -> Iterator[Container]:
    container = container_on(host, shared_name)
    yield container
    container.close()


@pytest.fixture
def own(own_name: str, host: Host) -> Iterator[Container]:
    container = container_on(host, own_name)
    yield container
    container.close()


def shell(script: str, *, user: str | None = None) -> Command:
    return Command(("sh", "-c", script), user=user)


def test_commands_run_as_postgres_over_ssh_unless_they_name_root(container: Container) -> None:
    script = shell('echo "$(id -un) ${SSH_CONNECTION:+ssh}"')
    assert container.run(script, timeout_s=10).stdout == "postgres ssh\n"
    script = shell('echo "$(id -un) ${SSH_CONNECTION:+ssh}"', user="root")
    assert container.run(script, timeout_s=10).stdout == "root ssh\n"
    assert not container.silent


def test_words_and_secrets_arrive_as_they_are(container: Container) -> None:
    words = ("it's", "$HOME `id`", "new\nline", "")
    shown = container.run(Command(("printf", "[%s]", *words)), timeout_s=10).stdout
    assert shown == "".join(f"[{word}]" for word in words)
    told = container.run(Command(("cat",), stdin=Secret("hunter2")), timeout_s=10)
    assert told.stdout == "hunter2"


def test_a_command_over_a_kept_connection_costs_a_few_milliseconds(container: Container) -> None:
    """With Nagle's algorithm, which Paramiko leaves on, each of them waits 40 ms."""
    took = [container.run(Command(("true",)), timeout_s=5).seconds for _ in range(15)]
    assert min(took) < 0.03


def test_a_failed_command_names_the_container_and_what_it_said(container: Container) -> None:
    with pytest.raises(CommandFailed, match=container.name) as failure:
        container.run(shell("echo no luck >&2; exit 3"), timeout_s=10)
    assert (failure.value.status, failure.value.details) == (3, ("no luck",))


def test_a_command_that_outlives_its_deadline_is_ended_in_the_container(
    container: Container,
) -> None:
    with pytest.raises(Unreachable, match="not done within 1 s"):
        container.run(shell("sleep 531; true"), timeout_s=1)
    gone = shell("! pgrep -f '[s]leep 531'")
    wait_until(
        lambda: container.run(gone, timeout_s=5, check=False).status == 0,
        timeout_s=3,
        what="the process is gone",
    )


def test_keys_are_kept_for_the_owner_alone_and_used_by_the_next_command(
    container: Container, host: Host, cache: Path
) -> None:
    container.run(Command(("true",)), timeout_s=10)
    (file,) = cache.iterdir()
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    seen: list[str] = []
    again = container_on(host, container.name, lambda place, command, _: seen.append(command.shown))
    again.run(Command(("true",)), timeout_s=10)
    again.close()
    assert not [line for line in seen if "id_ed25519" in line]


def test_a_cache_that_others_can_write_is_not_believed(
    container: Container, host: Host, cache: Path
) -> None:
    container.run(Command(("true",)), timeout_s=10)
    (file,) = cache.iterdir()
    file.chmod(0o644)
    again = container_on(host, container.name)
    assert again.run(Command(("true",)), timeout_s=10).status == 0
    again.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_container_that_was_started_again_is_found_at_its_new_port(
    own: Container, own_name: str
) -> None:
    own.run(Command(("true",)), timeout_s=10)
    docker("exec", own_name, "rm", "/ready")
    docker("restart", "-t", "5", own_name)
    await_ready(own_name)
    assert own.run(shell("echo ${SSH_CONNECTION:+ssh}"), timeout_s=10).stdout == "ssh\n"


def test_a_container_with_new_keys_is_believed_once_they_were_read_from_it(
    own: Container, own_name: str
) -> None:
    own.run(Command(("true",)), timeout_s=10)
    own.close()
    docker("exec", own_name, "sh", "-c", "rm /ready /root/.ssh/* /etc/ssh/pgha/*")
    docker("restart", "-t", "5", own_name)
    await_ready(own_name)
    assert own.run(shell("echo ${SSH_CONNECTION:+ssh}"), timeout_s=10).stdout == "ssh\n"


@pytest.mark.parametrize("fault", ["KILL", "STOP"])
def test_where_its_ssh_server_is_silent_the_engine_is_the_way_in(
    own: Container, own_name: str, fault: str
) -> None:
    own.run(Command(("true",)), timeout_s=10)
    docker("exec", own_name, "sh", "-c", f"pkill -{fault} -f '[s]shd'")
    script = 'echo "$(id -un) ${SSH_CONNECTION:+ssh}"; cat; exit 7'
    command = Command(("sh", "-c", script), stdin="fed")
    result = own.run(command, timeout_s=10, check=False)
    assert (result.status, result.stdout) == (7, "postgres \nfed")
    assert own.silent
    with pytest.raises(Unreachable, match="not done within"):
        own.run(shell("sleep 532; true"), timeout_s=2)
    left = subprocess.run(("docker", "exec", own_name, "pgrep", "-f", "sleep 532"), check=False)
    assert left.returncode == 1


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (("kill",), "is exited"),
        (("pause",), "is paused"),
        (("rm", "-f"), "There is no container"),
    ],
)
def test_a_container_that_does_not_run_is_said_to_be_so_in_time(
    own: Container, own_name: str, fault: tuple[str, ...], sentence: str
) -> None:
    own.run(Command(("true",)), timeout_s=10)
    docker(*fault, own_name)
    try:
        begun = time.monotonic()
        with pytest.raises(NotRunning, match=sentence):
            own.run(Command(("true",)), timeout_s=2.5)
        assert time.monotonic() - begun < 10.0
    finally:
        if fault == ("pause",):
            docker("unpause", own_name)


def test_a_session_is_asked_line_by_line(container: Container) -> None:
    script = 'echo hello from rc >&2; while read -r line; do echo "<$line>"; done'
    session = container.session(("sh", "-c", script))
    assert session.ask("one", timeout_s=5) == "<one>"
    assert session.ask('{"zwei": "ü"}', timeout_s=5) == '<{"zwei": "ü"}>'
    session.close()


def test_a_session_that_ends_or_hangs_says_so(container: Container) -> None:
    session = container.session(("sh", "-c", "echo broken >&2; exit 1"))
    with pytest.raises(Unreachable, match="ended") as ended:
        session.ask("x", timeout_s=5)
    assert ended.value.details == ("broken",)
    session = container.session(("sleep", "533"))
    with pytest.raises(Unreachable, match=r"not done within 0\.5 s"):
        session.ask("x", timeout_s=0.5)
    missing = container.session(("no-such-program",))
    with pytest.raises(Unreachable) as gone:
        missing.ask("x", timeout_s=5)
    assert "no-such-program" in gone.value.details[0]


def test_many_threads_share_one_connection(container: Container) -> None:
    def echo(number: int) -> str:
        return container.run(Command(("echo", str(number))), timeout_s=20).stdout

    answers = at_once({number: partial(echo, number) for number in range(20)}, timeout_s=30)
    assert answers == {number: f"{number}\n" for number in range(20)}


def test_a_container_behind_a_host_that_stalls_is_unreachable_in_time(
    shared_name: str, tmp_path: Path
) -> None:
    server = loopback.start(tmp_path)
    host = host_of(server.machine(connect_timeout_s=3))
    container = container_on(host, shared_name)
    host.run(Command(("true",)), timeout_s=5)
    server.signal_sessions(signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        container.run(Command(("true",)), timeout_s=2)
    assert time.monotonic() - begun < 10.0
    server.stop()
    container.close()
    host.close()


def test_single_mode_has_one_host_for_all_nodes() -> None:
    settings = parse("WITNESS_NODE=node-2\n", source="test", environ={})
    with Reach(settings, topology(settings)) as reach:
        assert len(reach.hosts()) == 1
        assert reach.host("node-0") is reach.host("node-2")
        assert reach.container("node-1").name == "postgres-cluster-node-1"


def test_in_ha_mode_each_host_is_found_in_the_ssh_configuration(server: Loopback) -> None:
    text = (
        "MODE=ha\nMASTER_NODE=box\nSTANDBY_NODE=no-such-host\n"
        f"SSH_CONFIG={server.folder}/config\nSSH_KNOWN_HOSTS={server.known_hosts}\n"
    )
    settings = parse(text, source="test", environ={})
    with Reach(settings, topology(settings)) as reach:
        assert [host.name for host in reach.hosts()] == ["box", "no-such-host"]
        assert reach.host("box").run(Command(("echo", "x")), timeout_s=10).stdout == "x\n"
        with pytest.raises(NotRunning, match="There is no container postgres-cluster-box on box"):
            reach.container("box").run(Command(("true",)), timeout_s=10)
