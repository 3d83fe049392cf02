"""The nodes that settings describe."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.errors import Usage
from pgha.settings import parse
from pgha.topology import LOCAL_HOST, Kind, Topology, slot_name, topology


def described(*lines: str) -> Topology:
    return topology(parse("\n".join(lines), source="t", environ={}))


def test_two_nodes_and_a_witness_on_one_machine() -> None:
    cluster = described("WITNESS_NODE=node-2")
    assert cluster.cluster == "postgres-cluster"
    assert cluster.names == ("node-0", "node-1", "node-2")
    assert cluster.hosts == (LOCAL_HOST,)
    assert cluster.home == "node-0"
    assert (cluster.backend_network, cluster.frontend_network) == (
        "postgres-cluster-backend",
        "postgres-cluster-frontend",
    )
    assert (cluster.backend_subnet, cluster.frontend_subnet) == ("10.0.0.0/24", "10.0.1.0/24")
    assert cluster.alias == "db"
    assert [each.name for each in cluster.data_nodes] == ["node-0", "node-1"]
    witness = cluster.witness
    assert witness is cluster.node("node-2")
    assert (witness.kind, witness.carries_data) == (Kind.WITNESS, False)
    assert (witness.address, witness.container, witness.slot) == (
        "10.0.0.13",
        "postgres-cluster-node-2",
        "node_2",
    )


def test_in_ha_mode_a_node_is_on_the_host_of_its_name() -> None:
    cluster = described("MODE=ha", "MASTER_NODE=alpha", "STANDBY_NODE=beta")
    assert cluster.hosts == ("alpha", "beta")
    assert cluster.node("alpha").host == "alpha"
    assert cluster.home == "alpha"


def test_a_node_has_the_directories_of_where_it_was_born() -> None:
    cluster = described("WITNESS_NODE=w", "VOLUME_ROOT=/d", "STANDBY_VOLUME_ETC_SSH=/keys")
    standby, witness = cluster.node("node-1").volumes, cluster.node("w").volumes
    assert standby.all() == (
        "/d/standby/etc/pgpool2",
        "/keys",
        "/d/standby/root/ssh",
        "/d/standby/postgresql/ssh",
        "/d/standby/postgresql/archive",
        "/d/standby/postgresql/data",
    )
    assert witness.postgres_data is None
    assert len(witness.all()) == 5


def test_standbys_beyond_the_first_come_before_the_witness() -> None:
    cluster = described("STANDBY_2_NODE=c", "STANDBY_4_NODE=d", "WITNESS_NODE=w", "VOLUME_ROOT=/d")
    assert [(each.name, each.carries_data) for each in cluster.nodes] == [
        ("node-0", True),
        ("node-1", True),
        ("c", True),
        ("d", True),
        ("w", False),
    ]
    added = cluster.node("d")
    assert (added.address, added.slot) == ("10.0.0.16", "d")
    # The number that was left out belongs to nobody else.
    assert added.volumes.postgres_data == "/d/standby-4/postgresql/data"


@pytest.mark.parametrize(
    ("standbys", "witness", "majority", "may_be_lost"),
    [(1, 0, 2, 0), (1, 1, 2, 1), (2, 0, 2, 1), (2, 1, 3, 1), (3, 1, 3, 2), (4, 1, 4, 2)],
)
def test_as_many_may_be_lost_as_are_not_needed(
    standbys: int, witness: int, majority: int, may_be_lost: int
) -> None:
    more = [f"STANDBY_{number}_NODE=s{number}" for number in range(2, standbys + 1)]
    cluster = described(*more, f"WITNESS_NODE={'w' * witness}")
    voters = len(cluster.nodes)
    assert (cluster.majority, voters - cluster.majority) == (majority, may_be_lost)
    # Two voters alone would wait for one another: there a commit waits for nobody.
    assert cluster.quorum_commit is (voters > 2)
    assert cluster.acknowledgements == (majority - 1 if voters > 2 else 0)


@pytest.mark.parametrize(
    ("mode", "witness", "waits", "majority", "acknowledgements"),
    [
        ("auto", "node-2", True, 2, 1),
        ("auto", "", False, 2, 0),
        ("on", "node-2", True, 2, 1),
        ("on", "", True, 2, 1),
        ("off", "node-2", False, 2, 0),
        ("off", "", False, 2, 0),
    ],
)
def test_who_waits_for_whom(
    mode: str, witness: str, waits: bool, majority: int, acknowledgements: int
) -> None:
    cluster = described(f"SYNCHRONOUS_MODE={mode}", f"WITNESS_NODE={witness}")
    assert (cluster.quorum_commit, cluster.majority) == (waits, majority)
    assert cluster.acknowledgements == acknowledgements


def test_the_others_are_all_but_one() -> None:
    cluster = described("WITNESS_NODE=node-2")
    assert [each.name for each in cluster.others("node-1")] == ["node-0", "node-2"]


def test_a_node_that_is_not_there_is_a_usage_error_that_names_those_that_are() -> None:
    cluster = described()
    with pytest.raises(Usage, match=r"no node 'node-9'.*its nodes are node-0, node-1") as caught:
        cluster.node("node-9")
    assert caught.value.exit_code == 2
    with pytest.raises(Usage):
        cluster.others("node-9")


def test_without_a_witness_there_is_none() -> None:
    assert described().witness is None


@pytest.mark.parametrize(
    ("node", "slot"),
    [
        ("node-0", "node_0"),
        ("node_0", "node_0_79fc37bd"),
        ("db1.example.org", "db1_example_org_9213d79c"),
    ],
)
def test_a_slot_is_named_like_its_node(node: str, slot: str) -> None:
    assert slot_name(node) == slot


def test_names_that_differ_in_signs_have_slots_of_their_own() -> None:
    cluster = described("MASTER_NODE=node-0", "STANDBY_NODE=node_0", "WITNESS_NODE=node.0a")
    slots = {each.slot for each in cluster.nodes}
    assert len(slots) == 3
    # Whoever is born where: a node keeps its slot's name.
    turned = described("MASTER_NODE=node_0", "STANDBY_NODE=node-0", "WITNESS_NODE=node.0a")
    assert {each.name: each.slot for each in turned.nodes} == {
        each.name: each.slot for each in cluster.nodes
    }


names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", fullmatch=True)


@given(st.lists(names, unique=True, min_size=2, max_size=7))
def test_slots_are_names_that_postgresql_takes_and_none_twice(nodes: list[str]) -> None:
    taken: set[str] = set()
    for node in nodes:
        slot = slot_name(node, taken)
        assert re.fullmatch(r"[a-z0-9_]{1,63}", slot)
        assert slot not in taken
        taken.add(slot)


def test_a_taken_name_is_avoided() -> None:
    first = slot_name("node_0")
    assert slot_name("node_0", {first}) not in ("node_0", first)
