"""`doctor` on a real cluster: what it finds fine, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.client import docker
from tests.client.engine import stall
from tests.integration.real_cluster import RealCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("doctor", tmp_path_factory.mktemp("doctor"))
    try:
        yield made
    finally:
        made.tear_down()


def findings(cluster: RealCluster, *, code: int, **environ: str) -> list[dict[str, Any]]:
    document = cluster.inv("doctor", "--json", check=code, environ=environ).json
    assert document["cluster"] == cluster.name
    # Disks and clocks are this machine's own affair.
    ours = ("image", "configuration", "keys", "cluster", "docker")
    return [f for f in document["findings"] if f["check"] in ours and f["level"] != "fine"]


def test_before_there_is_a_cluster_nothing_of_it_is_missed(cluster: RealCluster) -> None:
    assert findings(cluster, code=0) == []
    assert "There is none yet" in cluster.inv("doctor").stdout
    (found,) = findings(cluster, code=3, BASE_IMAGE="nobody/has:this")
    assert (found["check"], found["level"]) == ("image", "wrong")
    assert found["remedy"].startswith("inv build")


def test_a_fresh_cluster_is_what_its_settings_make_of_it(cluster: RealCluster) -> None:
    cluster.inv("init")
    assert findings(cluster, code=0) == []
    said = cluster.inv("doctor").stdout
    assert said.count("Its files are what the settings make of them.") == 3
    assert said.count("Its oldest key is 0 days old.") == 3


def test_other_settings_than_at_init_are_told_file_by_file(cluster: RealCluster) -> None:
    found = findings(cluster, code=0, WAL_KEEP_MAX_MB="3000")
    assert [f["where"] for f in found] == ["node-0", "node-1", "node-2"]
    assert all("node.json" in f["message"] and "postgresql.conf" in f["message"] for f in found)


def test_a_node_that_is_away_is_told_and_not_waited_for(cluster: RealCluster) -> None:
    stall(cluster.container("node-1"))
    try:
        found = findings(cluster, code=0)
    finally:
        docker("unpause", cluster.container("node-1"))
    assert [(f["check"], f["level"]) for f in found] == [("cluster", "warning")]
    cluster.becomes("healthy")


def test_a_changed_file_and_a_lost_key_are_found(cluster: RealCluster) -> None:
    ours = "/etc/pgpool2/pgha"
    docker("exec", cluster.container("node-1"), "sh", "-c", f"echo >> {ours}/pg_hba.conf")
    docker("exec", cluster.container("node-2"), "rm", f"{ours}/agent.key")
    changed, lost = findings(cluster, code=3)
    assert (changed["where"], changed["level"]) == ("node-1", "warning")
    assert changed["message"].endswith(f": {ours}/pg_hba.conf.")
    assert (lost["where"], lost["level"]) == ("node-2", "wrong")
    assert f"{ours}/agent.key" in lost["message"]
