"""What an image is built from: equal inputs give equal bytes, and every input counts."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, replace

import pytest

from pgha.errors import Refused
from pgha.image_inputs import Build, base_name, build_inputs, image_name, node_files

NODE = {"node/__init__.py": b"", "node/cli.py": b"print(1)\n"}


@dataclass(frozen=True)
class Variables:
    postgres_version: int = 17
    base_image: str = ""
    apt_source: str = ""
    docker_hub_image: bool = False
    docker_hub_image_name: str = "pgha/postgres-cluster"
    docker_hub_image_version: str = "latest"


def members(build: Build) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(build.context)) as archive:
        return {each.name: each for each in archive.getmembers()}


def test_equal_inputs_give_equal_bytes_whatever_their_order() -> None:
    reversed_files = dict(reversed(NODE.items()))
    first, second = build_inputs(Variables(), NODE), build_inputs(Variables(), reversed_files)
    assert first.context == second.context
    assert first.digest == second.digest


@pytest.mark.parametrize(
    "other",
    [
        Variables(postgres_version=18),
        Variables(base_image="debian:13"),
        Variables(apt_source="deb http://packages.example trixie main"),
    ],
)
def test_every_variable_that_counts_changes_the_digest_and_the_name(other: Variables) -> None:
    usual = build_inputs(Variables(), NODE)
    build = build_inputs(other, NODE)
    assert build.digest != usual.digest
    assert build.tag != usual.tag


def test_a_changed_file_changes_the_digest_and_not_the_name() -> None:
    usual = build_inputs(Variables(), NODE)
    build = build_inputs(Variables(), NODE | {"node/cli.py": b"print(2)\n"})
    assert build.digest != usual.digest
    assert build.tag == usual.tag


def test_the_context_holds_the_node_part_and_two_programs() -> None:
    found = members(build_inputs(Variables(), NODE))
    assert sorted(found) == [
        "Dockerfile",
        "rootfs/usr/bin/pgha-main",
        "rootfs/usr/bin/pgha-node",
        "rootfs/usr/lib/pgha/pgha/__init__.py",
        "rootfs/usr/lib/pgha/pgha/node/__init__.py",
        "rootfs/usr/lib/pgha/pgha/node/cli.py",
    ]
    assert found["rootfs/usr/bin/pgha-node"].mode == 0o755
    assert {(each.uid, each.gid, each.mtime) for each in found.values()} == {(0, 0, 0)}


def test_a_further_source_of_packages_is_for_root_alone_and_may_be_https() -> None:
    line = "deb https://user:secret@packages.example trixie main"
    build = build_inputs(Variables(apt_source=line), NODE)
    assert members(build)["apt/pgha.list"].mode == 0o600
    assert "ca-certificates" in build.dockerfile
    assert "secret" not in build.dockerfile
    assert "COPY apt/" in build.dockerfile
    assert "COPY apt/" not in build_inputs(Variables(), NODE).dockerfile


def test_a_published_image_and_a_built_one_never_share_a_name() -> None:
    published = Variables(docker_hub_image=True, docker_hub_image_version="17")
    assert image_name(published) == "pgha/postgres-cluster:17"
    assert image_name(Variables()) == "pgha/postgres-cluster:built-17"
    other = image_name(Variables(base_image="debian:13"))
    assert other.startswith("pgha/postgres-cluster:built-17-")


def test_the_base_is_the_one_that_is_named_else_debians_of_that_version() -> None:
    assert base_name(Variables()) == "pgha-base:trixie"
    assert base_name(Variables(postgres_version=18)) == "pgha-base:forky"
    assert base_name(Variables(postgres_version=99, base_image="own:1")) == "own:1"


def test_a_version_that_no_debian_has_is_refused_and_the_variables_are_named() -> None:
    with pytest.raises(Refused, match=r"BASE_IMAGE.*POSTGRES_VERSION to 17 or 18"):
        build_inputs(Variables(postgres_version=99), NODE)


def test_the_dockerfile_starts_from_the_base_and_installs_that_version() -> None:
    build = build_inputs(replace(Variables(), postgres_version=18), NODE)
    assert "FROM pgha-base:forky\n" in build.dockerfile
    assert (
        " postgresql-18 pgpool2 openssh-server openssh-client tini python3 socat;"
        in build.dockerfile
    )
    assert "{{" not in build.dockerfile


def test_the_node_part_imports_nothing_that_the_image_lacks() -> None:
    files = node_files()
    assert "node/__init__.py" in files
    assert "commands/base.py" in files
    lines = [
        (path, line)
        for path, content in files.items()
        for line in content.decode().splitlines()
        if line.startswith(("import pgha", "from pgha"))
    ]
    outside = [
        (path, line)
        for path, line in lines
        if not line.split()[1].startswith(("pgha.node", "pgha.commands"))
    ]
    assert outside == []
