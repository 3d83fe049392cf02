"""`history` on a real cluster: what an operator did is told with his name, whoever is away."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator

import pytest

from pgha import Cluster
from pgha.errors import Unreachable
from pgha.history import History
from pgha.waiting import wait_until
from tests.client.client import docker
from tests.integration.real_cluster import BECOMES_S, RealCluster

ME = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("history", tmp_path_factory.mktemp("history"))
    try:
        refused = made.inv("history", "--json", check=3)
        assert refused.json["next"].startswith("inv status")
        made.inv("init")
        made.inv("failover")
        made.inv("failback")
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def without_node_1(cluster: RealCluster) -> Iterator[None]:
    """node-1's container is stopped, not by `inv stop`; it comes back, and follows, afterwards."""
    docker("stop", cluster.container("node-1"))
    try:
        yield
    finally:
        docker("start", cluster.container("node-1"))
        cluster.becomes("healthy")


def told(cluster: RealCluster) -> History:
    with Cluster.load(str(cluster.env), environ={}) as opened:
        history: History = opened.history()
        return history


def moves(history: History) -> list[tuple[str | None, str | None]]:
    return [(e.from_, e.to) for e in history.events if e.kind.value == "failover"]


def test_an_operator_s_failover_and_failback_are_told_with_all_there_is_to_know(
    cluster: RealCluster,
) -> None:
    done = cluster.inv("history", "--json")
    document = done.json
    assert done.stderr == ""
    assert (document["missing"], document["notes"]) == ([], [])
    events = document["events"]
    assert [e["event"] for e in events][:3] == ["init", "failover", "failover"]
    assert {(e["asked_by"], e["operator"]) for e in events[:3]} == {("operator", ME)}
    there, back = events[1:3]
    assert (there["from"], there["to"], there["timeline"]) == ("node-0", "node-1", 2)
    assert (back["from"], back["to"], back["timeline"]) == ("node-1", "node-0", 3)
    for event in (there, back):
        assert event["cause"] == "hand-over"
        assert 0.0 < event["out_s"] < 10.0
        assert "/" in event["lsn"]
        assert "node-2" in event["voters"]
    assert events == sorted(events, key=lambda e: e["at"])


def test_the_table_has_a_row_for_each_and_the_operator_s_name(cluster: RealCluster) -> None:
    lines = cluster.inv("history").stdout.splitlines()
    assert lines[0].split()[:3] == ["time", "(UTC)", "event"]
    rows = [line for line in lines if " failover " in line]
    assert len(rows) >= 2
    assert all(ME in row for row in rows)


@pytest.mark.usefixtures("without_node_1")
def test_a_stopped_node_is_read_at_rest(cluster: RealCluster) -> None:
    history = told(cluster)
    assert (history.missing, moves(history)) == (
        (),
        [("node-0", "node-1"), ("node-1", "node-0")],
    )
    assert ("ended", ("node-1",)) in [(e.kind.value, e.nodes) for e in history.events]


@pytest.mark.usefixtures("without_node_1")
def test_a_record_that_cannot_be_had_is_said_and_the_others_tell(cluster: RealCluster) -> None:
    place = cluster.directory / "volumes" / "standby" / "etc" / "pgpool2"
    away = place.with_name("away")
    place.rename(away)
    try:
        done = cluster.inv("history", "--json")
    finally:
        away.rename(place)
    assert done.json["missing"] == ["node-1"]
    assert done.json["notes"][0].startswith("node-1's record is missing")
    assert [e["to"] for e in done.json["events"] if e["event"] == "failover"] == [
        "node-1",
        "node-0",
    ]


def test_a_failover_by_the_nodes_own_vote_is_told_as_theirs(cluster: RealCluster) -> None:
    cluster.kill("node-0")

    def moved() -> bool:
        if cluster.status()["primary"] != "node-1":
            raise Unreachable("node-1 is not the primary yet")
        return True

    wait_until(moved, timeout_s=BECOMES_S, what="node-1 is the primary")
    docker("start", cluster.container("node-0"))
    cluster.becomes("healthy")
    history = told(cluster)
    assert moves(history)[-1] == ("node-0", "node-1")
    event = next(e for e in reversed(history.events) if e.kind.value == "failover")
    assert (event.asked_by, event.timeline) == ("vote", 4)
    assert event.out_s is None or event.out_s > 0
    back = [e for e in history.events if e.kind.value in ("rejoined", "passed-over")]
    assert "node-0" in {e.entry.node for e in back}


def test_stop_and_start_are_one_line_each(cluster: RealCluster) -> None:
    cluster.inv("stop")
    cluster.inv("start")
    # Agents tell that they hear no primary meanwhile.
    kinds = [e.kind.value for e in told(cluster).events if e.kind.value in ("stop", "start")]
    assert kinds == ["stop", "start"]
