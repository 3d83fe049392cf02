"""How an image is called in a registry, and what an engine says of HTTP."""

from __future__ import annotations

import json

import pytest

from pgha.commands import docker
from pgha.commands.docker_answers import EngineInfo, parse_info
from pgha.operations.build import consents, differing, in_registry, named
from pgha.settings import Settings, parse


def settings(**values: str) -> Settings:
    return parse("", source="-", environ={"MODE": "ha", "DOCKER_HUB_IMAGE": "false", **values})


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("pgha/postgres-cluster", "192.168.56.10:5000/pgha/postgres-cluster:built-17"),
        ("cluster", "192.168.56.10:5000/cluster:built-17"),
        ("registry.example/team/cluster", "192.168.56.10:5000/team/cluster:built-17"),
        ("hub:8443/cluster", "192.168.56.10:5000/cluster:built-17"),
        ("localhost/cluster", "192.168.56.10:5000/cluster:built-17"),
    ],
)
def test_an_images_name_in_our_registry_has_no_other_registry_in_it(name: str, there: str) -> None:
    assert in_registry(settings(DOCKER_HUB_IMAGE_NAME=name)) == there


def engine(*named: str, networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")) -> EngineInfo:
    """An engine that was told of these registries in its daemon.json."""
    document = {
        "Name": "node-0",
        "ServerVersion": "26.1.5",
        "OperatingSystem": "Debian",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 1,
        "Driver": "overlay2",
        "DockerRootDir": "/var/lib/docker",
        "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False},
        "RegistryConfig": {
            "InsecureRegistryCIDRs": list(networks),
            "IndexConfigs": {
                "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True},
                **{name: {"Name": name, "Mirrors": [], "Secure": False} for name in named},
            },
        },
    }
    info = parse_info(json.dumps(document))
    assert info is not None
    return info


def test_an_engine_speaks_http_with_the_registries_that_it_was_told_of() -> None:
    assert not consents(engine(), settings())
    assert consents(engine("192.168.56.10:5000"), settings())
    assert not consents(engine("192.168.56.10:5001"), settings())
    assert consents(engine(networks=("192.168.0.0/16",)), settings())
    assert consents(engine(), settings(DOCKER_REGISTRY_HOST="127.0.0.1"))
    assert not consents(engine(), settings(DOCKER_REGISTRY_HOST="registry"))
    assert consents(engine("registry:5000"), settings(DOCKER_REGISTRY_HOST="registry"))


def test_hosts_with_the_same_image_are_told_in_one_line() -> None:
    assert differing({"a": "sha256:1", "b": "sha256:1"}) == ()
    assert differing({"a": "sha256:1", "b": "sha256:2", "c": "sha256:1"}) == (
        "sha256:1 on a and c",
        "sha256:2 on b",
    )
    assert named(["a", "b", "c"]) == "a, b and c"


def test_a_save_that_fails_takes_its_shell_with_it() -> None:
    assert docker.save("x:1").quoted == (
        """sh -c '{ "$@" || kill $$; } | gzip -1' sh docker image save x:1"""
    )
    assert docker.load().words == ("docker", "image", "load", "--quiet")
