"""The lab itself: its hosts are reached as an operator's are, break as told, and leave nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from pgha.commands import docker as commands
from pgha.commands.base import Command
from pgha.commands.docker_answers import parse_info
from pgha.errors import Failed, Refused, Unreachable, Usage
from pgha.image_inputs import base_name
from pgha.remote import Reach
from pgha.settings import Settings, load, parse
from pgha.topology import topology
from pgha.waiting import wait_until
from tests.client.client import docker
from tests.integration.image import PREFIX
from tests.lab.hosts import leave_swarm

ROOT = Path(__file__).parents[2]
BASE = base_name(parse("DOCKER_HUB_IMAGE=false", source="-", environ={}))
NAMES = ("node-0", "node-1", "node-2")
SOON_S = 30.0
SUBNET = "10.77.9.0/24"


def settings_of(lab: Lab) -> Settings:
    return load(lab.name, environ={}, cwd=lab.files.root)


def asked(lab: Lab, name: str, *words: str, timeout_s: float = 10.0) -> str:
    """A command's output, over SSH as the tool runs it. Raises Unreachable, CommandFailed."""
    host = lab.host(name)
    try:
        return host.run(Command(words), timeout_s=timeout_s).stdout.strip()
    finally:
        host.close()


def answers(lab: Lab, name: str) -> bool:
    try:
        return asked(lab, name, "echo", "there", timeout_s=2.0) == "there"
    except Unreachable:
        return False


def address(lab: Lab, name: str) -> str:
    return next(each.address for each in lab.status() if each.host == name)


def hears(lab: Lab, name: str, of: str) -> bool:
    """Whether a host can open a connection to another one's SSH server."""
    place = f"/dev/tcp/{address(lab, of)}/22"
    return lab.on(name, "timeout", "2", "bash", "-c", f"exec 3<>{place}", check=False).status == 0


def faults(lab: Lab, name: str) -> str:
    return next(each.faults for each in lab.status() if each.host == name)


# A lab that is up


def test_every_hosts_engine_answers_by_the_env_file_that_up_wrote(lab: Lab) -> None:
    settings = settings_of(lab)
    with Reach(settings, topology(settings)) as reach:
        for name in NAMES:
            answer = reach.host(name).run(commands.info(), timeout_s=20.0)
            info = parse_info(answer.stdout)
            assert info is not None
            assert (info.name, info.storage_driver) == (name, "overlay2")


def test_a_host_whose_key_is_another_one_is_refused(lab: Lab) -> None:
    known = lab.files.known_hosts
    text = known.read_text()
    first, second, *rest = text.splitlines()
    swapped = (f"{first.split()[0]} {second.split(maxsplit=1)[1]}", second, *rest)
    try:
        known.write_text("\n".join(swapped) + "\n")
        with pytest.raises(Unreachable):
            asked(lab, "node-0", "true")
    finally:
        known.write_text(text)
    assert answers(lab, "node-0")


def test_the_user_may_become_root_and_systemd_runs_the_host(lab: Lab) -> None:
    assert asked(lab, "node-1", "id", "-un") == "ops"
    assert asked(lab, "node-1", "sudo", "-n", "id", "-un") == "root"
    assert asked(lab, "node-1", "systemctl", "is-active", "ssh", "docker").split() == ["active"] * 2


def test_up_twice_changes_nothing(lab: Lab) -> None:
    before, env = lab.status(), lab.files.env.read_text()
    assert not lab.up(3)
    assert (lab.status(), lab.files.env.read_text()) == (before, env)


def test_a_lab_cannot_shrink(lab: Lab) -> None:
    with pytest.raises(Refused, match="has 3 hosts, not 2"):
        lab.up(2)


def test_another_checkouts_lab_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="belongs to the checkout in"):
        Lab(lab.name, root=tmp_path).down()
    assert [each.state for each in lab.status()] == ["running"] * 4


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Iterator[str]:
    """A Swarm of the three hosts with a network, and the base's image by way of the registry."""
    image = f"{settings_of(lab).docker_registry_host}:5000/base"
    save = subprocess.Popen(("docker", "save", BASE), stdout=subprocess.PIPE)
    load_words = ("docker", "exec", "-i", f"{lab.name}-node-0", "docker", "load", "-q")
    subprocess.run(load_words, stdin=save.stdout, check=True, capture_output=True, timeout=120)
    assert save.wait(timeout=SOON_S) == 0
    asked(lab, "node-0", "docker", "tag", BASE, image)
    asked(lab, "node-0", "docker", "push", "-q", image, timeout_s=120.0)
    pool = ("--default-addr-pool", "10.200.0.0/16")
    asked(lab, "node-0", "docker", "swarm", "init", *pool, timeout_s=60.0)
    token = asked(lab, "node-0", "docker", "swarm", "join-token", "-q", "manager")
    for name in NAMES[1:]:
        asked(lab, name, "docker", "pull", "-q", image, timeout_s=120.0)
        place = f"{address(lab, 'node-0')}:2377"
        asked(lab, name, "docker", "swarm", "join", "--token", token, place, timeout_s=60.0)
    words = ("docker", "network", "create", "-d", "overlay", "--attachable", "--subnet", SUBNET)
    asked(lab, "node-0", *words, "net", timeout_s=60.0)
    yield image
    for name in NAMES:
        lab.on(name, "docker", "rm", "-f", "there", check=False)
        leave_swarm(lab, name)


# Answers each connection with a word. The base has Perl's small package, and no netcat.
_LISTEN = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 5, LocalPort => 7000);"
    ' while (my $c = $s->accept) { print $c "$ARGV[0]\\n"; close $c }'
)


def test_containers_of_all_hosts_reach_one_another_on_an_overlay(lab: Lab, overlay: str) -> None:
    for number, name in enumerate(NAMES):
        place = ("--network", "net", "--ip", f"10.77.9.{21 + number}")
        words = ("docker", "run", "-d", "--init", "--name", "there", *place, overlay)
        asked(lab, name, *words, "perl", "-e", _LISTEN, name, timeout_s=60.0)
    for name in NAMES:
        for number, other in enumerate(NAMES):
            script = f"exec 3<>/dev/tcp/10.77.9.{21 + number}/7000; read -t 3 a <&3; echo $a"
            call = ("docker", "exec", "there", "timeout", "5", "bash", "-c", script)

            def heard(name: str = name, call: tuple[str, ...] = call) -> str:
                try:
                    return asked(lab, name, *call)
                except Failed as failure:
                    raise Unreachable(failure.message) from None

            assert wait_until(heard, timeout_s=SOON_S, what=f"{name} hears {other}") == other


# Faults


def test_a_killed_host_is_dead_until_it_is_healed(healed: Lab) -> None:
    healed.kill("node-1")
    assert not answers(healed, "node-1")
    assert [each.state for each in healed.status()] == ["running", "exited", "running", "running"]
    healed.kill("node-1")
    with pytest.raises(Refused, match="node-1 does not run"):
        healed.silence("node-1")
    healed.heal("node-1")
    assert answers(healed, "node-1")


def test_in_a_paused_host_no_container_goes_on(healed: Lab, overlay: str) -> None:
    count = "i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.1; done"
    run = ("docker", "run", "-d", "--init", "--rm", "--name", "counting", "-v", "/data:/data")
    asked(healed, "node-2", *run, overlay, "sh", "-c", count, timeout_s=60.0)
    volume = next(
        Path(mount.split()[1])
        for mount in docker(
            *("inspect", "-f", "{{range .Mounts}}{{.Destination}} {{.Source}}\n{{end}}"),
            f"{healed.name}-node-2",
        ).splitlines()
        if mount.startswith("/data ")
    )

    def counted() -> str:
        return (volume / "count").read_text() if (volume / "count").exists() else ""

    def goes_on() -> bool:
        before = counted()
        time.sleep(0.5)
        return counted() != before

    wait_until(goes_on, timeout_s=SOON_S, what="the container counts")
    healed.pause("node-2")
    healed.pause("node-2")
    assert not goes_on()
    assert not answers(healed, "node-2")
    with pytest.raises(Refused, match="node-2 is paused"):
        healed.restart("node-2")
    healed.heal("node-2")
    assert goes_on()
    asked(healed, "node-2", "docker", "rm", "-f", "counting", timeout_s=60.0)


def test_an_isolated_host_is_gone_for_others_and_has_its_address_again_when_healed(
    healed: Lab,
) -> None:
    before = address(healed, "node-0")
    healed.isolate("node-0")
    healed.isolate("node-0")
    assert faults(healed, "node-0") == "isolated"
    assert not answers(healed, "node-0")
    assert not hears(healed, "node-1", "node-0")
    with pytest.raises(Refused, match="node-0 is isolated"):
        healed.cut("node-0", "node-1")
    healed.heal("node-0")
    assert before in healed.on("node-0", "ip", "-4", "address").stdout
    assert hears(healed, "node-1", "node-0")
    assert hears(healed, "node-0", "node-1")


def test_a_silent_host_is_not_refused_but_unanswered(healed: Lab) -> None:
    # Opened before: it must not go on either.
    host = healed.host("node-2")
    try:
        host.run(Command(("true",)), timeout_s=10.0)
        healed.silence("node-2")
        healed.silence("node-2")
        with pytest.raises(Unreachable):
            host.run(Command(("true",)), timeout_s=2.0)
    finally:
        host.close()
    place = f"/dev/tcp/{address(healed, 'node-2')}/22"
    words = ("timeout", "2", "bash", "-c", f"exec 3<>{place}")
    # timeout(1): 124 where the time was over. A refusal would end it with 1 at once.
    assert healed.on("node-0", *words, check=False).status == 124
    assert not hears(healed, "node-2", "node-0")
    assert hears(healed, "node-1", "node-0")
    assert faults(healed, "node-2") == "silent"
    healed.heal("node-2")
    assert answers(healed, "node-2")
    assert faults(healed, "node-2") == ""


def test_a_cut_is_between_two_hosts_alone(healed: Lab) -> None:
    healed.cut("node-0", "node-1")
    assert not hears(healed, "node-0", "node-1")
    assert not hears(healed, "node-1", "node-0")
    assert hears(healed, "node-0", "node-2")
    assert hears(healed, "node-2", "node-1")
    assert answers(healed, "node-0")
    assert faults(healed, "node-0") == "hears nothing of node-1"
    # Healing either end heals the link.
    healed.heal("node-1")
    assert hears(healed, "node-0", "node-1")
    assert hears(healed, "node-1", "node-0")


_HEAR = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => 7001);"
_HEAR += ' $| = 1; print "ready\\n"; alarm 3; recv($s, my $m, 9, 0); print "$m\\n";'


def arrives(lab: Lab, sender: str, receiver: str) -> bool:
    """Whether a datagram does; nothing has to come back for that."""
    words = ("docker", "exec", "-i", f"{lab.name}-{receiver}", "perl", "-e", _HEAR)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as there:
        assert there.stdout is not None
        assert there.stdout.readline() == "ready\n"
        place = f"/dev/udp/{address(lab, receiver)}/7001"
        lab.on(sender, "bash", "-c", f"echo heard > {place}")
        return "heard" in there.communicate(timeout=10.0)[0]


def test_a_one_way_cut_is_one_way(healed: Lab) -> None:
    healed.cut("node-0", "node-1", one_way=True)
    assert not arrives(healed, "node-0", "node-1")
    assert arrives(healed, "node-1", "node-0")
    healed.heal()
    assert arrives(healed, "node-0", "node-1")


def test_a_cut_parts_containers_on_the_overlay_too(healed: Lab, overlay: str) -> None:
    for number, name in enumerate(NAMES[:2]):
        place = ("--network", "net", "--ip", f"10.77.9.{31 + number}")
        words = ("docker", "run", "-d", "--init", "--rm", "--name", "apart", *place, overlay)
        asked(healed, name, *words, "perl", "-e", _LISTEN, name, timeout_s=60.0)
    script = "exec 3<>/dev/tcp/10.77.9.32/7000; read -t 2 a <&3; echo $a"
    call = ("docker", "exec", "apart", "timeout", "3", "bash", "-c", script)
    assert healed.on("node-0", *call).stdout == "node-1\n"
    healed.cut("node-0", "node-1")
    assert healed.on("node-0", *call, check=False).status == 124
    healed.heal()
    assert healed.on("node-0", *call).stdout == "node-1\n"
    for name in NAMES[:2]:
        asked(healed, name, "docker", "rm", "-f", "apart", timeout_s=60.0)


def test_a_reboot_is_in_order_and_brings_the_host_back(healed: Lab, overlay: str) -> None:
    script = "trap 'echo ended > /data/end; exit 0' TERM; while :; do sleep 0.1; done"
    run = ("docker", "run", "-d", "--name", "ends", "-v", "/data:/data", overlay)
    asked(healed, "node-1", *run, "sh", "-c", script, timeout_s=60.0)
    healed.cut("node-0", "node-1")
    healed.restart("node-1")
    assert asked(healed, "node-1", "cat", "/data/end") == "ended"
    assert asked(healed, "node-1", "systemctl", "is-active", "docker") == "active"
    state = ("docker", "inspect", "-f", "{{.State.Status}}", "ends")
    assert asked(healed, "node-1", *state) == "exited"
    # Its half of the cut is gone with the boot, the other's is not.
    assert faults(healed, "node-1") == ""
    assert faults(healed, "node-0") == "hears nothing of node-1"
    asked(healed, "node-1", "docker", "rm", "ends", timeout_s=60.0)


def test_up_starts_what_stopped(healed: Lab) -> None:
    healed.kill("node-0")
    docker("kill", f"{healed.name}-registry")
    assert healed.up(3)
    assert [each.state for each in healed.status()] == ["running"] * 4


@pytest.mark.parametrize("verb", ["kill", "pause", "isolate", "silence", "restart", "heal"])
def test_a_host_that_there_is_not_is_named(lab: Lab, verb: str) -> None:
    with pytest.raises(Usage, match="no host 'node-9'; it has node-0, node-1, node-2"):
        getattr(lab, verb)("node-9")


# Several, and none


def test_two_labs_live_side_by_side_and_down_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    other = Lab(f"{PREFIX}-lab-two", root=tmp_path)
    try:
        assert other.up(2)
        assert answers(other, "node-1")
        assert {each.address for each in other.status()}.isdisjoint(
            each.address for each in lab.status()
        )
        containers = docker("ps", "-aq", "--no-trunc", "-f", f"name=^{other.name}-").split()
        assert len(containers) == 3
        volumes = docker(
            *("inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", *containers)
        ).split()
    finally:
        began = time.monotonic()
        other.down()
    assert time.monotonic() - began < SOON_S
    assert set(volumes).isdisjoint(docker("volume", "ls", "-q").split())
    assert other.name not in docker("ps", "-a", "--format", "{{.Names}}")
    assert other.name not in docker("network", "ls", "--format", "{{.Name}}")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []
    groups = [p for each in containers for p in Path("/sys/fs/cgroup").glob(f"*/docker/{each}")]
    assert groups == []
    assert not other.down()
    with pytest.raises(Refused, match="There is no lab"):
        other.status()
    assert answers(lab, "node-1")


def test_an_env_file_that_is_not_the_labs_is_neither_overwritten_nor_removed(
    tmp_path: Path,
) -> None:
    other = Lab(f"{PREFIX}-lab-env", root=tmp_path)
    other.files.env.parent.mkdir()
    other.files.env.write_text("MODE=single\n")
    with pytest.raises(Refused, match="left alone"):
        other.up(2)
    assert not other.down()
    assert other.files.env.read_text() == "MODE=single\n"


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "lab", *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120.0,
        check=False,
    )


def test_the_words_of_the_command_do_what_the_verbs_do(healed: Lab) -> None:
    name = ("--name", healed.name)
    cut = typed("fault", *name, "cut", "node-0", "node-1")
    assert (cut.returncode, cut.stderr) == (0, "node-1 and node-0 are cut apart.\n")
    shown = typed("status", *name)
    assert shown.returncode == 0
    assert "hears nothing of node-1" in shown.stdout
    heal = typed("fault", "heal", *name)
    assert (heal.returncode, heal.stderr) == (0, "Every host is healed.\n")
    ssh = typed("ssh", *name, "node-2", "hostname")
    assert (ssh.returncode, ssh.stdout) == (0, "node-2\n")
    wrong = typed("fault", "kill", "node-9", *name)
    assert wrong.returncode == 2
    none = typed("status", "--name", "pgha-nobodys")
    assert (none.returncode, none.stderr) == (
        3,
        "There is no lab «pgha-nobodys».\n→ bin/lab up --name pgha-nobodys\n",
    )
