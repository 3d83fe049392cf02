"""Containers that are made from another image than their host has now: `status` says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.engine import docker
from tests.integration.image import IMAGE, PREFIX
from tests.integration.real_cluster import RealCluster

NAME = f"{PREFIX}-drift/image"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A cluster made from an image whose name is the test's own."""
    made = RealCluster("drift", tmp_path_factory.mktemp("drift"), DOCKER_HUB_IMAGE_NAME=NAME)
    docker("tag", IMAGE, f"{NAME}:{IMAGE.rpartition(':')[2]}")
    try:
        made.inv("init")
        yield made
    finally:
        made.tear_down()
        docker("rmi", f"{NAME}:{IMAGE.rpartition(':')[2]}", check=False)


def drifted(cluster: RealCluster) -> list[str]:
    """The nodes that `status` says are made from another image; the cluster is healthy."""
    status = cluster.status()
    assert status["verdict"] == "healthy"
    assert {p["code"] for p in status["problems"]} <= {"image"}
    return [p["node"] for p in status["problems"]]


def test_a_newer_image_is_told_until_a_container_is_made_from_it(cluster: RealCluster) -> None:
    tag = f"{NAME}:{IMAGE.rpartition(':')[2]}"
    assert drifted(cluster) == []
    ids = {node["image_id"] for node in cluster.status()["nodes"]}
    assert ids == {docker("image", "inspect", "--format", "{{.Id}}", tag).strip()}
    newer = f"{PREFIX}-drift-newer"
    docker("create", "--name", newer, tag)
    docker("commit", newer, tag)
    docker("rm", newer)
    assert drifted(cluster) == ["node-0", "node-1", "node-2"]
    remedies = {p["node"]: p["remedy"] for p in cluster.status()["problems"]}
    assert remedies["node-0"].startswith("inv failover")
    stop, remove, start = remedies["node-2"].split(" && ")
    assert start.startswith("inv start")
    for command in (stop, remove):
        docker(*command.split()[1:])
    cluster.inv("start")
    cluster.becomes("healthy")
    assert drifted(cluster) == ["node-0", "node-1"]
