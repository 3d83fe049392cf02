"""The operations on a real cluster, with a client that writes through `db` all the time."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pgha.image_inputs import POSTGRES_UID
from tests.integration.real_cluster import BY_HAND, Done, RealCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("ops", tmp_path_factory.mktemp("ops"), **BY_HAND)
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()


def steps(done: Done) -> list[str]:
    """The titles of the steps that a command did (`--json`)."""
    return [step["title"] for step in done.json["steps"]]


def foreseen(done: Done) -> list[str]:
    """The titles of the steps that `--dry-run` printed."""
    return re.findall(r"^\s+(?:\d+\.|-) (?!at once)(.+?)$", done.stdout, re.MULTILINE)


def did_what_it_said(cluster: RealCluster, *words: str) -> None:
    """Run a command, after its dry run: both name the same steps."""
    said = foreseen(cluster.inv(*words, "--dry-run"))
    assert steps(cluster.inv(*words, "--json")) == said


def test_a_new_cluster_is_healthy_and_clients_write_and_read_through_db(
    cluster: RealCluster,
) -> None:
    assert cluster.status()["verdict"] == "healthy"
    cluster.client.psql("CREATE TABLE hello (t text); INSERT INTO hello VALUES ('world')")
    assert cluster.client.psql("SELECT t FROM hello") == "world"
    assert cluster.client.psql("SELECT t FROM hello", door=False) == "world"


def rows(listed: str) -> list[tuple[str, str, str]]:
    lines = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [(pid, nice, words) for pid, nice, words in lines]


def test_on_a_busy_machine_the_agent_and_who_watches_it_come_first(cluster: RealCluster) -> None:
    for node in ("node-0", "node-1", "node-2"):
        listed = cluster.engine(node)("top", cluster.container(node), "-eo", "pid,ni,comm,uid")
        urgent = [who.split() for _, nice, who in rows(listed) if nice == "-10"]
        assert urgent == [["pgha-main", "0"], ["pgha-agent", str(POSTGRES_UID)]]


def test_start_makes_again_what_a_prune_took_away(cluster: RealCluster) -> None:
    """Containers and networks are gone; what counts is in the volumes."""
    cluster.client.psql("CREATE TABLE kept (t text); INSERT INTO kept VALUES ('there')")
    cluster.inv("stop")
    cluster.client.remove()
    for engine in cluster.engines():
        cluster.remove_containers(engine)
    cluster.remove_networks()
    cluster.inv("start")
    cluster.becomes("healthy")
    cluster.client.start()
    assert cluster.client.psql("SELECT t FROM kept") == "there"


def test_nothing_that_was_acknowledged_is_lost_through_all_of_it(cluster: RealCluster) -> None:
    with cluster.client.writing() as writing:
        did_what_it_said(cluster, "failover")
        assert cluster.role("node-1") == "primary"
        assert cluster.role("node-0") == "standby"
        did_what_it_said(cluster, "failback")
        assert cluster.role("node-0") == "primary"
        cluster.kill("node-0")
        did_what_it_said(cluster, "failover")
        assert cluster.role("node-1") == "primary"
        did_what_it_said(cluster, "recovery")
        assert cluster.role("node-0") == "standby"
        did_what_it_said(cluster, "failback")
    assert writing.written is not None
    assert len(writing.written.acknowledged) > 100
    assert cluster.client.lost(writing.written) == []
    status = cluster.status()
    assert (status["verdict"], status["primary"]) == ("healthy", "node-0")
