"""Where hosts are found, against a real SSH server on loopback: the store, `ssh -G`, the agent."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import machines
from pgha.commands.base import Command, Secret
from pgha.credentials import Credentials
from pgha.errors import Unreachable
from pgha.machines import Machine
from pgha.openssh import Hop
from pgha.remote import host_of
from pgha.remote.sign_on import to_unlock
from pgha.waiting import Deadline, wait_until
from tests.integration import loopback
from tests.integration.loopback import Loopback


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    server = loopback.start(tmp_path)
    yield server
    server.stop()


def answers(machine: Machine, credentials: Credentials | None = None) -> bool:
    host = host_of(machine, credentials=credentials)
    try:
        return host.run(Command(("echo", "there")), timeout_s=10).stdout == "there\n"
    finally:
        host.close()


def fails(machine: Machine, credentials: Credentials | None = None) -> Unreachable:
    with pytest.raises(Unreachable) as failure:
        answers(machine, credentials)
    return failure.value


def configured(server: Loopback, text: str) -> Machine:
    """A machine `db` by a configuration of its own; `text` comes first."""
    common = (
        f"Host *\n HostName 127.0.0.1\n Port {server.port}\n User {getpass.getuser()}\n"
        f" IdentityFile {server.folder}/our_key\n"
    )
    (server.folder / "own config").write_text(text + common)
    return replace(server.machine("db"), ssh_config=server.folder / "own config")


# docker-machine's store


def stored(server: Loopback, **driver: object) -> Machine:
    """The server as a machine of a store. The SSH configuration knows the name too, wrongly."""
    folder = server.folder / "store" / "machines" / "node-0"
    folder.mkdir(parents=True)
    facts = {
        "IPAddress": "127.0.0.1",
        "SSHPort": server.port,
        "SSHUser": getpass.getuser(),
        "SSHKeyPath": str(server.folder / "our_key"),
        "MachineName": "node-0",
        "StorePath": str(server.folder / "store"),
    }
    whole = {"ConfigVersion": 3, "DriverName": "generic", "Driver": {**facts, **driver}}
    (folder / "config.json").write_text(json.dumps(whole))
    (server.folder / "config").write_text("Host node-0\n Port 1\n User nobody\n")
    return replace(server.machine("node-0"), store=server.folder / "store")


def test_a_machine_of_the_store_is_reached_as_its_config_says(server: Loopback) -> None:
    assert answers(stored(server))


def test_a_key_that_came_along_with_its_store_is_found(server: Loopback) -> None:
    machine = stored(server, SSHKeyPath="/home/somebody-else/machines/node-0/id")
    (server.folder / "our_key").rename(server.folder / "store/machines/node-0/id")
    assert answers(machine)


def test_a_host_that_the_store_does_not_have_is_the_ssh_configurations(server: Loopback) -> None:
    machine = server.machine()
    assert answers(replace(machine, store=server.folder / "store"))


def test_a_broken_config_of_a_machine_is_named(server: Loopback) -> None:
    machine = stored(server)
    file = server.folder / "store/machines/node-0/config.json"
    file.write_text("{")
    error = fails(machine)
    assert error.message.startswith(f"{file} cannot be used: it is no JSON")
    file.unlink()
    file.mkdir()
    assert fails(machine).message == f"{file} cannot be read: Is a directory."


def test_an_unknown_key_of_a_stores_machine_has_a_command_that_works(server: Loopback) -> None:
    machine = stored(server)
    known = server.known_hosts.read_text()
    server.known_hosts.write_text("")
    error = fails(machine)
    assert f"([127.0.0.1]:{server.port}) is not in {server.known_hosts}" in error.message
    server.known_hosts.write_text(known)
    subprocess.run(error.next, shell=True, check=True, stdin=subprocess.DEVNULL)


# What OpenSSH makes of a name


def test_match_exec_and_include_decide(server: Loopback) -> None:
    included = server.folder / "included"
    included.write_text(f'Match exec "test %n = db"\n Port {server.port}\n')
    machine = configured(server, f"Include {included}\nHost *\n Port 1\n")
    assert answers(machine)
    included.write_text(f'Match exec "test %n = other"\n Port {server.port}\n')
    assert "Connection refused" in fails(machine).message


def test_a_match_exec_that_does_not_end_holds_nobody_up(server: Loopback) -> None:
    machine = configured(server, 'Match exec "sleep 60"\n Port 1\n')
    begun = time.monotonic()
    error = fails(replace(machine, connect_timeout_s=0.8))
    assert time.monotonic() - begun < 20.0
    assert error.message == "ssh did not say within 0.8 s what db is."


def test_a_configuration_that_is_not_there_is_named(server: Loopback) -> None:
    missing = server.folder / "missing"
    assert str(missing) in fails(replace(server.machine(), ssh_config=missing)).message


@pytest.mark.parametrize("with_ssh", [True, False])
def test_jump_hosts_one_after_the_other(
    server: Loopback, with_ssh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_ssh:
        monkeypatch.setattr(machines.shutil, "which", lambda program: None)  # type: ignore[attr-defined]
    user = getpass.getuser()
    jumps = f"{user}@first:{server.port},box"
    machine = configured(server, f"Host db\n ProxyJump {jumps}\nHost box\n User {user}\n")
    assert answers(machine)
    assert answers(server.machine())


def test_a_jump_host_that_refuses_us_is_named(server: Loopback) -> None:
    machine = configured(server, "Host db\n ProxyJump box\nHost box\n User nobody\n")
    error = fails(machine)
    assert (
        error.message == "db refuses our keys for user nobody, "
        f"at [127.0.0.1]:{server.port} on the way."
    )


def test_a_proxy_command_leads_there(server: Loopback) -> None:
    way = f"ssh -F {server.folder}/config -o UserKnownHostsFile={server.known_hosts} -W %h:%p box"
    assert answers(configured(server, f"Host db\n ProxyCommand {way}\n"))


def test_a_proxy_command_that_ends_at_once_is_no_long_wait(server: Loopback) -> None:
    error = fails(configured(server, "Host db\n ProxyCommand false\n"))
    # Where we waited for it, it did not answer within some seconds.
    assert "db does not answer as an SSH server" in error.message
    # So it looks as well where OpenSSH turns us away for what we did before.
    assert "After failed sign-ons OpenSSH turns whoever made them away" in error.message


def test_host_key_alias_is_the_name_that_counts(server: Loopback) -> None:
    machine = configured(server, "Host db\n HostKeyAlias the-db\n")
    assert f"(the-db) is not in {server.known_hosts}" in fails(machine).message
    key = (server.folder / "host_key.pub").read_text()
    server.known_hosts.write_text(f"the-db {key}")
    assert answers(machine)


def test_wildcards_and_hashes_are_names_too(server: Loopback) -> None:
    names, key = server.known_hosts.read_text().split(" ", 1)
    authority = f"@cert-authority *.example.org {key}"
    server.known_hosts.write_text(f"# ours\n\n{authority}[127.0.0.*]:{server.port} {key}")
    assert answers(server.machine())
    server.known_hosts.write_text(f"{names} {key}")
    hashing = ("ssh-keygen", "-q", "-H", "-f", str(server.known_hosts))
    subprocess.run(hashing, check=True, capture_output=True)
    assert server.known_hosts.read_text().startswith("|1|")
    assert answers(server.machine())


def test_any_of_several_keys_is_accepted(server: Loopback) -> None:
    names, key = server.known_hosts.read_text().split(" ", 1)
    others = [loopback.keygen(server.folder / f"other_{number}") for number in range(2)]
    # The server has no key of the other kind that is known: it shows the one that it has.
    other_kind = "ecdsa-sha2-nistp256 AAAA"
    lines = [other_kind, others[0], key.strip(), others[1]]
    server.known_hosts.write_text("".join(f"{names} {line}\n" for line in lines))
    assert answers(server.machine())
    server.known_hosts.write_text(f"{names} {other_kind}\n")
    assert f"is not in {server.known_hosts}" in fails(server.machine()).message


def test_a_changed_key_of_a_jump_host_is_told_with_its_name(server: Loopback) -> None:
    other = loopback.keygen(server.folder / "other_key")
    text = "Host db\n ProxyJump box\nHost box\n HostKeyAlias the-box\n"
    server.known_hosts.write_text(f"the-box {other}\n{server.known_hosts.read_text()}")
    error = fails(configured(server, text))
    message = f"The host key of db (the-box) is not the one in {server.known_hosts}."
    assert error.message == message
    assert error.next == f"ssh-keygen -l -F 'the-box' -f {server.known_hosts}"


def test_a_revoked_key_is_not_accepted(server: Loopback) -> None:
    known = server.known_hosts.read_text()
    server.known_hosts.write_text(f"{known}@revoked * {known.split(' ', 1)[1]}")
    assert f"is not in {server.known_hosts}" in fails(server.machine()).message


def test_known_hosts_are_where_the_configuration_says(server: Loopback) -> None:
    server.known_hosts.rename(server.folder / "other file")
    text = f'Host db\n UserKnownHostsFile "{server.folder}/other file"\n'
    assert answers(replace(configured(server, text), known_hosts=None))


# Keys


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """An agent that is not SSH_AUTH_SOCK's; its socket."""
    path = tmp_path / "agent.sock"
    with subprocess.Popen(("ssh-agent", "-D", "-a", str(path)), stdout=subprocess.DEVNULL) as run:
        wait_until(path.exists, timeout_s=5, what="the agent listens", pause_s=0.02)
        yield path
        run.terminate()


def add(agent: Path, *keys: Path) -> None:
    environ = {"SSH_AUTH_SOCK": str(agent)}
    words = ("/usr/bin/ssh-add", "-q", *map(str, keys))
    subprocess.run(words, env=environ, check=True, capture_output=True)


def test_a_key_that_only_the_agent_has_is_chosen_by_its_public_half(
    server: Loopback, agent: Path
) -> None:
    ours = server.folder / "our_key"
    # More wrong keys than the server lets anybody try.
    others = [server.folder / f"other_{number}" for number in range(8)]
    for other in others:
        loopback.keygen(other)
    add(agent, *others, ours)
    ours.unlink()
    machine = configured(server, f"Host *\n IdentityAgent {agent}\n IdentitiesOnly yes\n")
    assert answers(machine)


def test_the_agent_may_have_what_a_missing_file_has_not(server: Loopback, agent: Path) -> None:
    ours = server.folder / "our_key"
    add(agent, ours)
    ours.unlink()
    ours.with_suffix(".pub").unlink()
    assert answers(configured(server, f"Host *\n IdentityAgent {agent}\n"))
    assert str(ours) in fails(configured(server, "Host *\n IdentityAgent none\n")).message


def test_a_key_with_a_passphrase_is_said_to_have_one(server: Loopback) -> None:
    ours = server.folder / "our_key"
    words = ("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", str(ours))
    subprocess.run(words, check=True)
    error = fails(configured(server, "Host *\n IdentityAgent none\n"))
    assert "refuses our keys" in error.message
    assert f"{ours} has a passphrase, and the agent has not got it: ssh-add." in error.details


@pytest.mark.parametrize("form", [(), ("-m", "PEM")])
def test_a_key_opens_with_its_passphrase(server: Loopback, form: tuple[str, ...]) -> None:
    ours = server.folder / "our_key"
    words = ("ssh-keygen", "-q", "-p", *form, "-P", "", "-N", "a passphrase", "-f", str(ours))
    subprocess.run(words, check=True)
    machine = configured(server, "Host *\n IdentityAgent none\n")
    known = Credentials(by_file={ours: Secret("a passphrase")})
    assert answers(machine, known)
    assert answers(machine, Credentials(passphrase=Secret("a passphrase")))
    error = fails(machine, Credentials(passphrase=Secret("another one")))
    assert f"The passphrase that was given is not that of {ours}." in error.details


def test_a_passphrase_does_no_harm_to_a_key_that_has_none(server: Loopback) -> None:
    machine = configured(server, "Host *\n IdentityAgent none\n")
    assert answers(machine, Credentials(passphrase=Secret("a passphrase")))


def hop(server: Loopback, text: str) -> Hop:
    return machines.way_to(configured(server, text), Deadline(5.0)).hops[0]


def test_only_what_is_locked_and_in_no_agent_is_asked_for(server: Loopback, agent: Path) -> None:
    ours, limit = server.folder / "our_key", Deadline(5.0)
    without, within = (f"Host *\n IdentityAgent {each}\n" for each in ("none", agent))
    assert to_unlock(hop(server, without), limit) == ()
    add(agent, ours)
    words = ("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", str(ours))
    subprocess.run(words, check=True)
    assert to_unlock(hop(server, within), limit) == ()
    assert to_unlock(hop(server, without), limit) == (ours,)
