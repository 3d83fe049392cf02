"""Where a host is found: docker-machine's config.json, and what `ssh -G` answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgha import docker_machine, known_hosts
from pgha.docker_machine import Stored
from pgha.known_hosts import Known, keys_of
from pgha.machines import hops, machine_of
from pgha.openssh import (
    Answer,
    Here,
    Hop,
    Jump,
    expand,
    hop_of,
    joined,
    parse_answer,
    parse_jumps,
    paths,
    question,
)
from pgha.settings import parse

HERE = Here(Path("/home/anna"), "anna", 1000, "desk.example.org", {"SSH_AUTH_SOCK": "/run/agent"})
STORE = Path("/store")
FILE = docker_machine.config_of(STORE, "node-0")

ANSWER = """\
host db
user postgres
hostname 10.1.2.3
port 2222
identitiesonly yes
stricthostkeychecking ask
hostkeyalias db-alias
identityagent /run/%u.agent
identityfile ~/.ssh/%h_key
identityfile /keys/with space
globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
userknownhostsfile /home/anna/.ssh/known hosts ~/k2
proxyjump one,root@[fe80::1]:2200
"""


def hop(text: str, known_hosts: Path | None = None) -> Hop:
    return hop_of("db", parse_answer(text), HERE, known_hosts)


def stored(driver: dict[str, object], kind: str = "kvm2") -> Stored:
    return docker_machine.parse(json.dumps({"DriverName": kind, "Driver": driver}), FILE)


# What OpenSSH answers


def test_every_fact_of_an_answer_is_taken() -> None:
    assert hop(ANSWER) == Hop(
        address="10.1.2.3",
        port=2222,
        user="postgres",
        known_as="db-alias",
        known_hosts=(
            Path("/home/anna/.ssh/known hosts"),
            Path("/home/anna/k2"),
            Path("/etc/ssh/ssh_known_hosts"),
            Path("/etc/ssh/ssh_known_hosts2"),
        ),
        keys=(Path("/home/anna/.ssh/10.1.2.3_key"), Path("/keys/with space")),
        only_keys=True,
        agent="/run/anna.agent",
        jumps=(Jump("one"), Jump("fe80::1", "root", 2200)),
    )


def test_what_an_answer_leaves_open_has_opensshs_defaults() -> None:
    plain = hop("hostname db.example.org")
    assert (plain.port, plain.user, plain.known_as) == (22, "anna", "db.example.org")
    assert plain.known_hosts[0] == Path("/home/anna/.ssh/known_hosts")
    assert Path("/home/anna/.ssh/id_ed25519") in plain.keys
    assert plain.optional == plain.keys
    assert (plain.only_keys, plain.agent, plain.proxy, plain.jumps) == (False, "/run/agent", "", ())


def test_a_servers_port_is_part_of_its_name_among_the_known_keys() -> None:
    assert hop("hostname 10.0.0.1\nport 2222").known_as == "[10.0.0.1]:2222"


def test_our_setting_of_known_hosts_takes_the_place_of_the_users_files_only() -> None:
    known = hop(ANSWER, Path("/our/known_hosts")).known_hosts
    assert known[0] == Path("/our/known_hosts")
    assert known[1:] == (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        ("none", ""),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("$SSH_AUTH_SOCK", "/run/agent"),
        ("$NOBODY", ""),
        ("~/agent", "/home/anna/agent"),
    ],
)
def test_which_agent_is_asked(line: str, agent: str) -> None:
    assert hop(f"identityagent {line}").agent == agent


def test_a_proxy_command_is_told_where_to_go() -> None:
    text = "hostname 10.0.0.1\nport 2222\nuser bob\nproxycommand nc -x %%1 %h %p %r %n"
    assert hop(text).proxy == "nc -x %1 10.0.0.1 2222 bob db"
    assert hop("proxycommand none").proxy == ""


@pytest.mark.parametrize(
    ("text", "jumps"),
    [
        ("none", ()),
        ("a", (Jump("a"),)),
        ("me@a:22,b", (Jump("a", "me", 22), Jump("b"))),
        ("ssh://me@a:2200", (Jump("a", "me", 2200),)),
        ("me@corp@a", (Jump("a", "me@corp"),)),
        ("[::1]:22", (Jump("::1", "", 22),)),
        ("fe80::1%eth0", (Jump("fe80::1%eth0"),)),
    ],
)
def test_the_forms_of_proxyjump(text: str, jumps: tuple[Jump, ...]) -> None:
    assert parse_jumps(text) == jumps
    assert parse_jumps(joined(jumps)) == jumps or text.startswith("fe80")


@pytest.mark.parametrize("text", ["g:x:y", "a:x", "me@"])
def test_a_proxyjump_that_nobody_understands_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_jumps(text)


def test_files_with_spaces_are_told_apart() -> None:
    assert paths("/a b ~/c none") == ("/a b", "~/c none")
    assert paths("none") == ()


def test_the_tokens_of_a_path() -> None:
    tokens = {"h": "host", "d": "/home/anna"}
    assert expand("~/%h/%%/${SSH_AUTH_SOCK}", tokens, HERE) == "/home/anna/host/%//run/agent"
    for unknown in ("%Z", "${NOBODY}", "%"):
        with pytest.raises(ValueError, match="stands for nothing"):
            expand(unknown, tokens, HERE)


def test_the_whole_question() -> None:
    asked = question(Jump("db", "me", 2200), Path("/c"), (Jump("a", "x", 1), Jump("::1", "", 2)))
    assert asked.quoted == "ssh -T -G -F /c -l me -p 2200 -o 'ProxyJump=x@a:1,[::1]:2' -- db"
    assert question(Jump("db"), None).quoted == "ssh -T -G -- db"


# The way


def way(answers: dict[str, str]) -> list[str]:
    """The addresses on the way to `db`, where the hosts have these jumps in the configuration."""

    def ask(jump: Jump, through: tuple[Jump, ...]) -> Answer:
        jumps = joined(through) or answers.get(jump.name, "")
        return parse_answer(f"hostname {jump.name}\n" + (f"proxyjump {jumps}\n" if jumps else ""))

    return [each.address for each in hops("db", ask, HERE, None)]


def test_the_last_jump_host_is_the_next_one() -> None:
    assert way({"db": "a,b,c"}) == ["db", "c", "b", "a"]


def test_the_first_jump_host_may_have_jump_hosts_of_its_own() -> None:
    assert way({"db": "b", "b": "a"}) == ["db", "b", "a"]
    # What comes before a host in a list counts more than that host's own configuration.
    assert way({"db": "a,b", "b": "z", "a": "y"}) == ["db", "b", "a", "y"]


def test_jump_hosts_that_lead_to_one_another_are_said() -> None:
    with pytest.raises(ValueError, match="without end"):
        way({"db": "a", "a": "b", "b": "a"})


# Known keys


@pytest.mark.parametrize(
    ("names", "entry", "meant"),
    [
        ("db", "db", True),
        ("db", "[db]:2222", False),
        ("DB.example.org", "db.example.org", True),
        ("other,[10.0.0.?]:22*", "[10.0.0.7]:2222", True),
        ("*.example.org,!db.example.org", "db.example.org", False),
        ("*.example.org,!db.example.org", "web.example.org", True),
        ("|1|broken", "db", False),
    ],
)
def test_whom_a_line_of_known_hosts_means(names: str, entry: str, meant: bool) -> None:
    assert Known(names, "ssh-ed25519", b"key").means(entry) is meant


def test_a_revoked_key_is_nobodys() -> None:
    text = "db ssh-ed25519 AAAA\n@revoked * ssh-ed25519 AAAA\ndb ssh-rsa BBBB comment\n"
    lines = tuple(known_hosts.parse(text))
    assert [each.kind for each in keys_of(lines, "db")] == ["ssh-rsa"]


def test_lines_that_are_no_keys() -> None:
    assert not list(known_hosts.parse("\n  # db\n@cert-authority * ssh-ed25519 AAAA\n"))
    for broken in ("db", "db ssh-ed25519", "db ssh-ed25519 =broken="):
        with pytest.raises(ValueError, match="line 2 is no known key"):
            list(known_hosts.parse(f"\n{broken}\n"))


# docker-machine's store


def test_a_driver_says_everything() -> None:
    driver = {"IPAddress": "10.9.8.7", "SSHPort": 2022, "SSHUser": "core", "SSHKeyPath": "/k/id"}
    assert stored({**driver}) == Stored("10.9.8.7", 2022, "core", Path("/k/id"))


def test_what_a_driver_leaves_open_is_docker_machines_default() -> None:
    key = Path("/store/machines/node-0/id_rsa")
    driver: dict[str, object] = {"IPAddress": "10.9.8.7", "SSHUser": "", "SSHPort": 0}
    assert stored(driver) == Stored("10.9.8.7", 22, "root", key)
    assert stored(driver, "amazonec2").user == "ubuntu"


def test_the_generic_driver_has_no_key_where_it_was_given_none() -> None:
    driver: dict[str, object] = {"IPAddress": "10.9.8.7", "SSHKey": "", "SSHKeyPath": ""}
    assert stored(driver, "generic").key is None
    reached = docker_machine.hop_of(stored(driver, "generic"), HERE, None)
    assert Path("/home/anna/.ssh/id_ed25519") in reached.optional
    assert not reached.only_keys
    assert stored({**driver, "SSHKey": "/k/own"}, "generic").key == Path("/k/own")


def test_virtualbox_is_reached_at_the_port_that_it_forwards() -> None:
    driver: dict[str, object] = {"IPAddress": "192.168.99.100", "SSHPort": 49153}
    found = stored(driver, "virtualbox")
    assert (found.address, found.port, found.user) == ("127.0.0.1", 49153, "docker")


def test_a_stores_machine_is_signed_on_to_with_its_key_alone() -> None:
    found = Stored("10.9.8.7", 2022, "core", Path("/k/id"))
    reached = docker_machine.hop_of(found, HERE, Path("/known"))
    assert (reached.keys, reached.only_keys) == ((Path("/k/id"),), True)
    assert reached.known_as == "[10.9.8.7]:2022"
    assert reached.known_hosts[0] == Path("/known")
    words = "ssh -F none -o IdentitiesOnly=yes -i /k/id -p 2022 core@10.9.8.7"
    assert docker_machine.ssh(found, ()) == tuple(words.split())


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "it is no JSON"),
        ("[]", "it has no Driver"),
        ('{"Driver": null}', "it has no Driver"),
        ('{"Driver": {}}', "its Driver has no IPAddress"),
        ('{"Driver": {"IPAddress": 7}}', "its IPAddress is no text"),
        ('{"Driver": {"IPAddress": "a", "SSHPort": "22"}}', "its SSHPort is no port"),
        ('{"Driver": {"IPAddress": "a", "SSHPort": 65536}}', "its SSHPort is no port"),
        ('{"Driver": {"IPAddress": "a", "SSHKeyPath": []}}', "its SSHKeyPath is no text"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        docker_machine.parse(text, FILE)


def test_the_store_is_where_docker_machine_itself_looks() -> None:
    ha = parse("MODE=ha", source="t", environ={"MACHINE_STORAGE_PATH": "/mnt/store"})
    assert machine_of(ha, "node-0").store == Path("/mnt/store")
    found = machine_of(parse("MODE=ha", source="t", environ={}), "node-0")
    assert found.store == Path("~/.docker/machine").expanduser()
    assert (found.name, found.ssh_config, found.known_hosts) == ("node-0", None, None)


def test_in_single_mode_every_host_is_this_one() -> None:
    assert machine_of(parse("", source="t", environ={}), "node-1").local
