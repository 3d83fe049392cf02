"""A node's directories are gone (a new disk, a new host): `recovery --force` makes it anew.

A client writes all the time, and what was acknowledged to it is there in the end.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from pgha.waiting import wait_until
from tests.chaos.world import at_night
from tests.client.client import docker
from tests.integration.real_cluster import RealCluster

USER, PASSWORD = "app", "its password"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("lost", tmp_path_factory.mktemp("lost"))
    try:
        made.inv("init")
        made.inv("user.create", USER, "--password-file", "-", stdin=PASSWORD)
        made.client.start()
        yield made
    finally:
        made.tear_down()


def lose(cluster: RealCluster, name: str, *, container: bool = True) -> None:
    """The node's disk is gone. container: and its container too."""
    docker(*(("rm", "-f") if container else ("kill",)), cluster.container(name))
    for path in cluster.client.topology.node(name).volumes.all():
        shutil.rmtree(path)


def assert_whole(cluster: RealCluster, name: str) -> None:
    """Every part of it is the cluster's again: its door and the roles there, its keys."""
    cluster.becomes("healthy")
    node, settings = cluster.client.topology.node(name), cluster.settings
    place = f"host={name} port={settings.pgpool_port} user={USER} dbname=postgres"
    password = f"PGPASSWORD={PASSWORD}"
    words = ("exec", "-e", password, cluster.client.name, "psql", "-XAt", place, "-c", "SELECT 1")
    assert docker(*words).strip() == "1"
    for other in cluster.client.topology.others(name):
        for here, there in ((node, other), (other, node)):
            ssh = ("ssh", "-o", "BatchMode=yes", there.address, "true")
            docker("exec", "-u", "postgres", here.container, *ssh)
    said = cluster.inv("doctor", check=None).stdout
    assert said.count("Its files are what the settings make of them.") == 3, said


@pytest.mark.parametrize("role", ["standby", "witness", "primary"])
def test_it_is_named_and_made_anew(cluster: RealCluster, role: str) -> None:
    roles = {node["role"]: node["name"] for node in cluster.status()["nodes"]}
    name = str(roles[role])
    again = f"inv recovery --node {name} --force"
    with cluster.client.writing(door=False) as writing:
        lose(cluster, name, container=role != "witness")
        if role == "primary":
            heir = roles["standby"]
            wait_until(
                lambda: cluster.status()["primary"] == heir, timeout_s=60, what=f"{heir} leads"
            )
        for words, code in ((("start",), 0), (("recovery", "--node", name), 3)):
            said = cluster.inv(*words, check=code)
            assert f"{name}'s directories on localhost are gone" in said.stdout + said.stderr
            assert again in said.stdout + said.stderr
        cluster.inv("recovery", "--node", name, "--force")
        assert_whole(cluster, name)
    assert writing.written is not None
    assert cluster.client.lost(writing.written) == []


def test_it_can_be_the_primary_and_the_other_one_follows(cluster: RealCluster) -> None:
    here = str(cluster.status()["primary"])
    there = next(n.name for n in cluster.client.topology.data_nodes if n.name != here)
    lose(cluster, there)
    cluster.inv("recovery", "--node", there, "--force")
    with cluster.client.writing() as writing:
        cluster.inv("failover", "--to", there)
    cluster.becomes("healthy")
    assert writing.written is not None
    assert cluster.client.lost(writing.written) == []


def test_only_the_disk_of_its_data_is_another_one(cluster: RealCluster) -> None:
    name = next(str(n["name"]) for n in cluster.status()["nodes"] if n["role"] == "standby")
    docker("kill", cluster.container(name))
    data = cluster.client.topology.node(name).volumes.postgres_data
    assert data is not None
    shutil.rmtree(data)
    assert f"{name}'s directories on localhost are gone" in cluster.inv("start").stderr
    said = cluster.inv("recovery", "--node", name, "--force")
    assert "aside/" in said.stdout + said.stderr
    assert_whole(cluster, name)


@pytest.mark.parametrize(
    "step", ["pgha-node prepare", "pgha-node copy", *at_night("container start")]
)
def test_what_was_cut_off_is_finished_by_the_same_command(cluster: RealCluster, step: str) -> None:
    name = next(str(n["name"]) for n in cluster.status()["nodes"] if n["role"] == "standby")
    lose(cluster, name)
    words = ("recovery", "--node", name, "--force")
    cluster.cut_off(*words, at=step, by=signal.SIGKILL)
    assert cluster.status()["verdict"] == "degraded"
    cluster.inv(*words)
    assert_whole(cluster, name)


def test_who_was_made_anew_in_part_takes_no_part_and_is_told(cluster: RealCluster) -> None:
    """All was done but the last step: it follows, and would not vote."""
    name = next(str(n["name"]) for n in cluster.status()["nodes"] if n["role"] == "standby")
    lose(cluster, name)
    cluster.cut_off("recovery", "--node", name, "--force", at="complete", by=signal.SIGKILL)
    problem = next(p for p in cluster.status()["problems"] if p["code"] == "init-unfinished")
    assert problem["remedy"].startswith(f"inv recovery --node {name} -e")
    cluster.inv("recovery", "--node", name)
    cluster.becomes("healthy")
