"""The lab's decisions and texts: names, networks, files, rules. No container is touched."""

from __future__ import annotations

import io
import json
import tarfile
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from lab import engine, faults, files
from lab.archive import Packed, pack
from lab.cli import main
from lab.engine import Found, Seen
from lab.faults import Cuts
from lab.image import context
from lab.layout import (
    BACKEND,
    FRONTEND,
    MOST,
    Files,
    Layout,
    checked_name,
    checked_size,
    free_subnet,
)
from lab.up import obstacle
from pgha.docker_machine import Stored
from pgha.docker_machine import parse as parse_machine
from pgha.errors import Refused, Usage
from pgha.settings import Mode, parse
from pgha.topology import topology

ROOT = Path("/home/me/pgha")
LAYOUT = Layout("lab", ROOT, IPv4Network("172.30.4.0/24"), 3)


# Names and addresses


@pytest.mark.parametrize("name", ["", "-lab", "Lab", "a_b", "a/b", "..", "x" * 41, "lab\n"])
def test_a_name_that_no_container_and_no_file_could_have_is_refused(name: str) -> None:
    with pytest.raises(Usage, match="no name for a lab"):
        checked_name(name)


@pytest.mark.parametrize("size", [-1, 0, 1, MOST + 1])
def test_a_lab_has_two_hosts_at_least_and_no_more_than_there_are_nodes(size: int) -> None:
    with pytest.raises(Usage, match=f"not {size}"):
        checked_size(size)


def test_no_two_networks_of_a_lab_overlap() -> None:
    places = Layout("lab", ROOT, LAYOUT.subnet, MOST).places
    networks = [LAYOUT.subnet, BACKEND, FRONTEND]
    networks += [IPv4Network(place.bridge, strict=False) for place in places]
    networks += [place.pool for place in places]
    for n, one in enumerate(networks):
        assert not any(one.overlaps(other) for other in networks[n + 1 :]), one


def test_every_host_and_the_registry_have_an_address_of_their_own() -> None:
    places = Layout("lab", ROOT, LAYOUT.subnet, MOST).places
    addresses = [place.address for place in places] + [LAYOUT.registry_address]
    assert len(set(addresses)) == MOST + 1
    assert LAYOUT.subnet[1] not in addresses
    assert [place.container for place in places][:2] == ["lab-node-0", "lab-node-1"]


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], "172.30.0.0/24"),
        (["172.30.0.0/24", "172.30.1.128/25"], "172.30.2.0/24"),
        (["172.30.0.0/16"], "172.31.0.0/24"),
        (["172.16.0.0/12"], "192.168.128.0/24"),
    ],
)
def test_the_lab_takes_a_network_that_nobody_has(taken: list[str], free: str) -> None:
    assert free_subnet(map(IPv4Network, taken)) == IPv4Network(free)


def test_where_every_network_is_taken_the_lab_is_refused() -> None:
    with pytest.raises(Refused, match="No network is free"):
        free_subnet([IPv4Network("0.0.0.0/0")])


# Files


@pytest.mark.parametrize(("size", "witness"), [(2, ""), (3, "node-2"), (MOST, "node-2")])
def test_the_env_file_is_valid_and_names_the_hosts(size: int, witness: str) -> None:
    layout = Layout("lab", Path("/home/me/it's mine"), LAYOUT.subnet, size)
    settings = parse(files.env_text(layout), source="lab.env", environ={})
    assert settings.mode is Mode.HA
    assert settings.witness_node == witness
    assert settings.machine_storage_path == "/home/me/it's mine/build/lab/lab/machine"
    assert (settings.docker_registry_host, settings.docker_registry_port) == ("172.30.4.5", 5000)
    nodes = topology(settings).nodes
    assert {node.host for node in nodes} == {place.name for place in layout.places}
    assert sum(node.carries_data for node in nodes) == size - bool(witness)


def test_the_store_leads_to_each_host_with_its_user_and_key() -> None:
    place = LAYOUT.places[1]
    text = files.machine_config(LAYOUT, place)
    stored = parse_machine(text, LAYOUT.files.config("node-1"))
    assert stored == Stored("172.30.4.12", 22, "ops", LAYOUT.files.key)


def test_known_hosts_has_each_hosts_key_without_its_comment() -> None:
    keys = {f"node-{n}": f"ssh-ed25519 AAAA{n} somebody\n" for n in range(3)}
    lines = files.known_hosts(LAYOUT, keys).splitlines()
    assert lines[2] == "172.30.4.13 ssh-ed25519 AAAA2"
    assert len(lines) == 3


def test_the_engine_of_a_host_trusts_the_labs_registry() -> None:
    place = LAYOUT.places[0]
    document = json.loads(files.daemon_json(LAYOUT, place, ()))
    assert document["insecure-registries"] == ["172.30.4.5:5000"]
    assert "dns" not in document
    assert json.loads(files.daemon_json(LAYOUT, place, ("192.0.2.1",)))["dns"] == ["192.0.2.1"]


def test_name_servers_of_this_machine_alone_are_left_out() -> None:
    text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch a\n"
    assert files.nameservers(text) == ("192.0.2.53",)


def test_an_archive_keeps_modes_and_owners_and_is_the_same_each_time() -> None:
    content = (Packed("a/b", b"text", 0o600, 1000), Packed("c", b""))
    assert pack(content) == pack(content)
    with tarfile.open(fileobj=io.BytesIO(pack(content))) as archive:
        first = archive.getmembers()[0]
    assert (first.name, first.mode, first.uid, first.gid) == ("a/b", 0o600, 1000, 1000)


def test_the_image_is_built_on_the_base() -> None:
    made = context("debian:13", {"Dockerfile": (b"RUN x\n", 0o644), "rootfs/a": (b"", 0o755)})
    assert made == (
        Packed("Dockerfile", b"FROM debian:13\nRUN x\n"),
        Packed("rootfs/a", b"", 0o755),
    )


# What there is


def seen(host: str, root: Path = ROOT, state: str = "running", *, linked: bool = True) -> Seen:
    return Seen(host, f"lab-{host}", state, linked, str(root))


def test_dockers_list_is_read_with_the_registry_last() -> None:
    line = '{"container":"lab-%s","state":"%s","networks":"%s","host":"%s","root":"/r"}'
    text = "\n".join(
        (
            line % ("registry", "running", "lab", "registry"),
            line % ("node-1", "paused", "", "node-1"),
            line % ("node-0", "running", "lab,other", "node-0"),
        )
    )
    found = engine.parse_containers(text, "lab")
    assert [each.host for each in found] == ["node-0", "node-1", "registry"]
    assert [each.linked for each in found] == [True, False, True]
    assert engine.parse_containers("", "lab") == ()


WHERE = Files(ROOT, "lab")
THREE = Found(tuple(map(seen, ("node-0", "node-1", "node-2", "registry"))), LAYOUT.subnet)


def test_nothing_is_in_the_way_of_a_lab_that_is_there_or_of_a_new_one() -> None:
    mark = files.MARK + " more"
    assert obstacle(THREE, WHERE, 3, key=True, env=mark) is None
    assert obstacle(THREE, WHERE, 4, key=True, env=None) is None
    assert obstacle(Found((), None), WHERE, 3, key=False, env=None) is None


@pytest.mark.parametrize(
    ("size", "key", "env", "words"),
    [
        (3, True, "# Three hosts", "left alone"),
        (3, True, "", "left alone"),
        (2, True, None, "has 3 hosts, not 2"),
        (3, False, None, "is gone: nobody can sign on"),
    ],
)
def test_what_is_in_the_way_of_a_lab_is_named(
    size: int, key: bool, env: str | None, words: str
) -> None:
    refused = obstacle(THREE, WHERE, size, key=key, env=env)
    assert refused is not None
    assert words in refused.message
    assert refused.next.startswith("bin/lab ")


@pytest.mark.parametrize(
    "broken", [seen("node-1", state="paused"), seen("node-1", linked=False)], ids=str
)
def test_a_lab_with_a_fault_is_healed_first(broken: Seen) -> None:
    refused = obstacle(Found((broken,), LAYOUT.subnet), WHERE, 3, key=True, env=None)
    assert refused is not None
    assert refused.next == "bin/lab fault heal --name lab"


# Rules


def test_silence_is_at_the_device_and_both_ways() -> None:
    script = faults.silence(IPv4Address("172.30.4.11")).stdin
    assert isinstance(script, str)
    assert "hook ingress" in script
    assert "hook egress" in script
    assert script.count("drop") == 2


def test_a_cut_is_where_the_packets_arrive() -> None:
    command = faults.unhear(IPv4Address("172.30.4.11"), 1, IPv4Address("172.30.4.12"))
    assert command.words[-1] == "172.30.4.11"
    assert isinstance(command.stdin, str)
    assert "ip saddr 172.30.4.12 drop" in command.stdin
    assert "egress" not in command.stdin


def test_rules_are_found_again_and_others_are_left_alone() -> None:
    text = "table netdev lab_silent\ntable netdev theirs\ntable netdev lab_from_2\n"
    cuts = faults.parse(text)
    assert cuts == Cuts(True, (2,))
    assert faults.said(cuts, ("node-0", "node-1", "node-2")) == "silent, hears nothing of node-2"
    mend = faults.mend(cuts)
    assert mend is not None
    assert mend.stdin == "delete table netdev lab_silent\ndelete table netdev lab_from_2\n"
    assert faults.mend(faults.parse("table netdev theirs\n")) is None


# Words


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("explode",),
        ("fault", "kill"),
        ("fault", "cut", "node-0"),
        ("up", "--hosts", "many"),
    ],
)
def test_wrong_words_end_with_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: bin/lab" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("up", "--name", "No"), ("--name", "No", "fault", "kill", "a")])
def test_a_name_counts_wherever_it_stands(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "'No' is no name" in capsys.readouterr().err
