"""The image is made by a real engine, and has what a node needs; `docker` answers as we read it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import base_image, image
from pgha.commands import docker, docker_answers
from pgha.commands.base import Command
from pgha.commands.docker import Attachment, ContainerSpec, Mount
from pgha.errors import Failed, Refused
from pgha.image_inputs import image_name
from pgha.relay import unmoved
from pgha.remote import LocalHost
from pgha.settings import Settings, parse
from tests.integration.image import PREFIX

TEMPLATES = Path(__file__).parents[2] / "templates"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def settings() -> Settings:
    return parse("", source="-", environ={"DOCKER_HUB_IMAGE": "false"})


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    local = LocalHost()
    yield local
    local.close()


@pytest.fixture(scope="module")
def built(host: LocalHost, settings: Settings) -> str:
    return image.build(host, settings, print).image


def inside(host: LocalHost, built: str, script: str, *, user: str = "root") -> str:
    helper = docker.run_helper(
        built, ("sh", "-euc", script), name=f"{PREFIX}-image", labels={}, user=user
    )
    return host.run(helper, timeout_s=LIMIT_S).stdout


def test_building_again_with_nothing_changed_does_nothing(
    host: LocalHost, settings: Settings, built: str
) -> None:
    told: list[str] = []
    again = image.build(host, settings, told.append)
    assert not again.changed
    assert told == [f"{built} is up to date"]
    assert again.image == image_name(settings)


def test_what_would_be_run_is_foreseen(host: LocalHost, settings: Settings, built: str) -> None:
    def words(other: Settings, base: str) -> list[str]:
        there = image.image_of(host, base)
        return [" ".join(c.words[:3]) for c in image.build_commands(other, there)]

    assert words(replace(settings, base_image=built), built) == ["docker build --label"]
    assert words(replace(settings, base_image="127.0.0.1:1/none"), "127.0.0.1:1/none") == [
        "docker image pull",
        "docker build --label",
    ]


def test_every_program_of_a_node_is_found_by_postgres(host: LocalHost, built: str) -> None:
    programs = (
        "postgres initdb pg_ctl pg_controldata pg_basebackup pg_rewind pg_receivewal pg_waldump"
        " psql pgpool pg_enc pcp_node_info pcp_attach_node pcp_detach_node pgha-node ssh python3"
        " socat setsid nice"
    )
    path = "PATH=/usr/local/bin:/usr/bin:/bin"
    inside(host, built, f"{path}; for p in {programs}; do command -v $p; done", user="postgres")


def test_postgres_has_a_fixed_owner_and_may_log_in_by_key_only(host: LocalHost, built: str) -> None:
    assert inside(host, built, "id -u postgres; id -g postgres").split() == ["999", "999"]
    locked = inside(host, built, "grep -E '^(root|postgres):' /etc/shadow | cut -d: -f2")
    assert locked.split() == ["*", "*"]


def test_nothing_of_a_node_is_baked_in(host: LocalHost, built: str) -> None:
    script = "ls -A /etc/pgpool2 /etc/ssh/pgha /etc/postgresql /var/lib/postgresql | grep -v :$"
    assert inside(host, built, f"{script} || true").split() == []
    assert inside(host, built, "ls /etc/ssh | grep host_ || true") == ""


def test_the_node_part_runs_on_the_images_own_python(host: LocalHost, built: str) -> None:
    script = "import sys; sys.path.append('/usr/lib/pgha'); import pgha.commands.docker as d"
    inside(host, built, f'python3 -IS -c "{script}"')
    compiled = inside(host, built, "ls /usr/lib/pgha/pgha/commands/__pycache__")
    assert "base.cpython-" in compiled


def test_the_ssh_server_takes_our_configuration(host: LocalHost, built: str) -> None:
    helper = docker.run_helper(
        built,
        (
            *("sh", "-euc"),
            "mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' "
            "-f /etc/ssh/pgha/ssh_host_ed25519_key; cat > /etc/ssh/pgha/sshd_config; "
            "/usr/sbin/sshd -T -f /etc/ssh/pgha/sshd_config",
        ),
        name=f"{PREFIX}-sshd",
        labels={},
        stdin=(TEMPLATES / "sshd_config.j2").read_text(),
    )
    effective = set(host.run(helper, timeout_s=LIMIT_S).stdout.lower().splitlines())
    assert {
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitrootlogin without-password",
        "usepam no",
        "disableforwarding yes",
        "persourcepenalties no",
        "maxsessions 64",
        "hostkey /etc/ssh/pgha/ssh_host_ed25519_key",
    } <= effective


def test_a_published_image_that_cannot_be_pulled_names_the_variable_to_set(
    host: LocalHost, settings: Settings
) -> None:
    nowhere = replace(
        settings, docker_hub_image=True, docker_hub_image_name="127.0.0.1:1/nobody/nothing"
    )
    with pytest.raises(Failed, match="DOCKER_HUB_IMAGE=false") as failure:
        image.build(host, nowhere, print)
    assert failure.value.exit_code == 1


def test_a_base_that_does_not_exist_names_the_variable(host: LocalHost, settings: Settings) -> None:
    with pytest.raises(Failed, match=r"BASE_IMAGE=127\.0\.0\.1:1/none is not on"):
        image.build(host, replace(settings, base_image="127.0.0.1:1/none"), print)


def test_a_version_that_the_base_lacks_fails_with_the_builders_last_lines(
    host: LocalHost, settings: Settings, built: str
) -> None:
    with pytest.raises(Failed, match="could not be built") as failure:
        image.build(host, replace(settings, base_image=built, postgres_version=99), print)
    assert failure.value.details


def test_without_an_engine_nothing_is_tried(
    host: LocalHost, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with pytest.raises(Refused, match="No Docker engine answers") as refusal:
        image.build(host, settings, print)
    assert refusal.value.exit_code == 3


def test_without_a_tool_that_makes_a_base_both_ways_out_are_named(
    host: LocalHost, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").symlink_to(shutil.which("docker") or "docker")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match=r"mmdebstrap, or name .* BASE_IMAGE"):
        base_image.make_base(
            *(host, f"{PREFIX}-base:none", "trixie", print, host),
            *(image.silence(settings), unmoved),
        )


@pytest.fixture
def network(host: LocalHost) -> Iterator[str]:
    name = f"{PREFIX}-image-net"
    labels = {"io.pgha.cluster": PREFIX}
    host.run(docker.network_create(name, "10.253.77.0/24", labels), timeout_s=LIMIT_S)
    yield name
    host.run(docker.network_remove(name), timeout_s=LIMIT_S, check=False)


@pytest.fixture
def spec(host: LocalHost, network: str, built: str, tmp_path: Path) -> Iterator[ContainerSpec]:
    directory = tmp_path / "with, comma"
    directory.mkdir()
    name = f"{PREFIX}-image-node"
    labels = {"io.pgha.cluster": PREFIX, "io.pgha.node": "node-0"}
    place = Attachment(network, "10.253.77.11", ("node-0",))
    yield ContainerSpec(name, built, "node-0", labels, place, (Mount(str(directory), "/x"),))
    host.run(docker.remove(name, force=True), timeout_s=LIMIT_S, check=False)


def test_a_container_and_a_network_say_of_themselves_what_they_were_made_with(
    host: LocalHost, spec: ContainerSpec, network: str
) -> None:
    host.run(docker.container_create(spec), timeout_s=LIMIT_S)
    answer = host.run(docker.inspect(spec.name, f"{PREFIX}-none"), timeout_s=LIMIT_S, check=False)
    (created,) = docker_answers.parse_inspect(answer.stdout).values()
    assert (created.state, created.image, created.ssh_port) == ("created", spec.image, None)
    assert created.labels.items() >= spec.labels.items()
    assert created.mounts == {"/x": spec.mounts[0].source}

    answer = host.run(docker.ps({"io.pgha.cluster": PREFIX}), timeout_s=LIMIT_S)
    (line,) = docker_answers.parse_ps(answer.stdout)
    assert (line.name, line.node, line.state) == (spec.name, "node-0", "created")

    answer = host.run(docker.network_inspect(network), timeout_s=LIMIT_S)
    assert docker_answers.parse_networks(answer.stdout)[network].subnets == ("10.253.77.0/24",)


def test_a_directory_that_is_missing_is_no_empty_volume(
    host: LocalHost, spec: ContainerSpec, tmp_path: Path
) -> None:
    """An unmounted disk must stop a node, not start it empty."""
    lost = replace(spec, mounts=(Mount(str(tmp_path / "lost"), "/x"),))
    answer = host.run(docker.container_create(lost), timeout_s=LIMIT_S, check=False)
    assert answer.status != 0
    assert not (tmp_path / "lost").exists()


def test_a_helper_makes_directories_where_we_are_not_root(
    host: LocalHost, built: str, tmp_path: Path
) -> None:
    helper = docker.run_helper(
        built,
        ("install", "-d", "-o", "postgres", "-m", "700", "/volume/pgdata"),
        name=f"{PREFIX}-prepare",
        labels={},
        mounts=(Mount(str(tmp_path / "new"), "/volume", must_exist=False),),
    )
    host.run(helper, timeout_s=LIMIT_S)
    made = (tmp_path / "new/pgdata").stat()
    assert (made.st_uid, made.st_mode & 0o777) == (999, 0o700)


def test_the_engine_says_what_the_machine_has(host: LocalHost) -> None:
    engine = docker_answers.parse_info(host.run(docker.info(), timeout_s=LIMIT_S).stdout)
    assert engine is not None
    assert engine.cores >= 1
    assert engine.memory_bytes > 100_000_000


def test_a_failed_helper_has_its_commands_status(host: LocalHost, built: str) -> None:
    helper = docker.run_helper(built, ("sh", "-c", "exit 7"), name=f"{PREFIX}-seven", labels={})
    assert host.run(helper, timeout_s=LIMIT_S, check=False).status == 7
    gone = host.run(Command(("docker", "ps", "-aqf", f"name={PREFIX}-seven")), timeout_s=LIMIT_S)
    assert gone.stdout == ""
