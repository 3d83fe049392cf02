"""Three nodes with data and a witness, four voters: every command, and a vote of three of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pgha.errors import Unreachable
from pgha.waiting import wait_until
from tests.integration.doors import doors, open_doors
from tests.integration.real_cluster import BECOMES_S, RealCluster

DATA = ("node-0", "node-1", "node-3")
WITNESS = "node-2"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("four", tmp_path_factory.mktemp("four"), STANDBY_2_NODE="node-3")
    try:
        said = made.inv("init").stderr
        assert "4 nodes have a vote and 3 must agree: 1 of them may be lost" in said
        made.client.start()
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def healthy(cluster: RealCluster) -> RealCluster:
    """Each test begins with a running cluster whose primary is at home."""
    status = cluster.status()
    if (status["verdict"], status["primary"]) != ("healthy", "node-0"):
        for command in ("start", "recovery", "failback"):
            cluster.inv(command)
    all_follow(cluster, "node-0")
    return cluster


def all_follow(cluster: RealCluster, primary: str, *, but: str = "") -> None:
    """Wait until the primary is this one, and every other node that is not away streams from it."""
    standbys = {name: "standby" for name in DATA if name not in (primary, but)}
    wanted = {primary: "primary", WITNESS: "witness", **standbys}

    def all_there() -> bool:
        status = cluster.status()
        roles = {node["name"]: node["role"] for node in status["nodes"] if node["name"] != but}
        told = next(n["postgres"]["replication"] for n in status["nodes"] if n["name"] == primary)
        streaming = {f["name"] for f in told if f["state"] == "streaming"}
        if (roles, streaming) != (wanted, {*standbys, WITNESS}):
            raise Unreachable(f"{roles}, and {streaming} stream")
        return bool(but) or status["verdict"] == "healthy"

    wait_until(all_there, timeout_s=BECOMES_S, what=f"all nodes follow {primary}")


def of_node(cluster: RealCluster, name: str, file: str) -> str:
    volumes = cluster.client.topology.node(name).volumes
    text = cluster.text_of(name, f"{volumes.etc_pgpool}/{file}")
    assert text is not None
    return text


def test_a_commit_waits_for_two_of_the_three_others(healthy: RealCluster) -> None:
    told = of_node(healthy, "node-0", "pgha/role.conf")
    quorum = re.search(r"synchronous_standby_names = '(.*)'", told)
    assert quorum is not None
    assert quorum[1] == 'ANY 2 ("node-1", "node-3", "node-2")'
    doors_config = of_node(healthy, WITNESS, "pgpool.conf")
    names = re.findall(r"backend_application_name\d = '(.*)'", doors_config)
    assert names == list(DATA)


def test_all_follow_wherever_the_primary_goes_and_nothing_is_lost(healthy: RealCluster) -> None:
    with healthy.client.writing() as writing:
        healthy.inv("failover", "--to", "node-3")
        all_follow(healthy, "node-3")

        healthy.kill("node-3")
        elected = wait_until(
            lambda: str(healthy.status()["primary"] or ""),
            timeout_s=BECOMES_S,
            what="another node is the primary",
        )
        assert elected in ("node-0", "node-1")
        all_follow(healthy, elected, but="node-3")

        healthy.inv("start")
        all_follow(healthy, elected)
        healthy.inv("failback")
        all_follow(healthy, "node-0")
    assert writing.written is not None
    assert len(writing.written.acknowledged) > 100
    assert healthy.client.lost(writing.written) == []


def test_a_role_is_let_in_at_all_seven_doors(healthy: RealCluster) -> None:
    healthy.inv("user.create", "ann", "pw")
    assert len(doors(healthy)) == 7
    assert open_doors(healthy, "ann", "pw") == doors(healthy)
    healthy.inv("user.delete", "ann")
    assert open_doors(healthy, "ann", "pw") == []


def test_what_was_stopped_starts_with_every_follower(healthy: RealCluster) -> None:
    healthy.client.psql("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
    healthy.inv("stop")
    healthy.inv("start")
    all_follow(healthy, "node-0")
    assert healthy.client.psql("SELECT DISTINCT n FROM kept") == "1"


def test_a_standby_that_is_copied_anew_follows(healthy: RealCluster) -> None:
    healthy.inv("recovery", "--node", "node-3", "--force")
    all_follow(healthy, "node-0")
    data = healthy.client.topology.node("node-3").volumes.postgres_data
    assert any(f"{data}/aside/" in file for file in healthy.fingerprint()["files"])


def test_with_two_of_four_gone_a_failover_starts_one_of_them_for_its_word(
    healthy: RealCluster,
) -> None:
    healthy.inv("failover", "--to", "node-3")
    for name in (WITNESS, "node-3"):
        healthy.kill(name)
    status = healthy.status()
    assert (status["verdict"], status["primary"]) == ("down", None)
    done = healthy.inv("failover", "--to", "node-1", "--json").json
    titles = [step["title"] for step in done["steps"]]
    assert titles[0] == f"Start {WITNESS}'s container"
    assert sum("vote for node-1" in title for title in titles) == 3
    healthy.inv("recovery")
    all_follow(healthy, "node-1")


@pytest.mark.parametrize(
    "settings", [{"STANDBY_2_NODE": ""}, {"STANDBY_3_NODE": "node-4"}], ids=["fewer", "more"]
)
def test_settings_that_name_other_nodes_than_were_made_change_nothing(
    healthy: RealCluster, settings: dict[str, str]
) -> None:
    """With three names, two would count as a majority; it is three of four."""
    subnet = str(healthy.settings.postgres_backend_subnet)
    environ = {"STANDBY_3_IP": subnet.replace(".0/24", ".15"), **settings}
    before = healthy.fingerprint()
    status = healthy.inv("status", "--json", check=4, environ=environ).json
    assert status["problems"][0]["code"] == "other-nodes"
    for words in (("failover", "--force", "--yes"), ("recovery",)):
        refusal = healthy.inv(*words, check=3, environ=environ).stderr
        assert "was made with node-0, node-1, node-3, node-2" in refusal
    assert healthy.fingerprint() == before
