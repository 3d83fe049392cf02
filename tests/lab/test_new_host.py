"""A host is lost for good, and a new machine has its name: nothing of the cluster is on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgha.image_inputs import image_name
from pgha.waiting import wait_until
from tests.lab.hosts import SOON_S, Hosts

NEW = "node-1"


@pytest.fixture
def made(fresh: Hosts) -> Iterator[Hosts]:
    try:
        fresh.cluster.inv("init")
        yield fresh
    finally:
        fresh.wipe()


def test_a_new_host_takes_the_place_of_one_that_is_lost(made: Hosts) -> None:
    inv, image = made.cluster.inv, image_name(made.cluster.settings)
    made.sql("node-0", "CREATE TABLE kept AS SELECT 1 AS n")
    made.empty(next(node for node in made.nodes if node.host == NEW))
    made.docker(NEW, "rmi", "-f", image)
    replace = ("recovery", "--node", NEW, "--force")
    assert "inv build" in inv(*replace, check=3).stderr
    inv("build")
    listed = ("node", "ls", "--format", "{{.Status}}")
    wait_until(
        lambda: "Down" in made.docker("node-0", *listed).split(),
        timeout_s=SOON_S,
        what="the Swarm knows that the old machine is gone",
    )
    said = inv(*replace)
    # Swarm still counts the old machine, and that is for people to decide.
    assert "docker node demote" in said.stdout + said.stderr
    wait_until(
        lambda: made.cluster.status()["verdict"] == "healthy", timeout_s=SOON_S, what="all is well"
    )
    inv("failover", "--to", NEW)
    assert made.sql(NEW, "SELECT n FROM kept") == "1"
