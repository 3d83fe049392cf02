"""`recovery`: states in, plans out."""

from __future__ import annotations

import pytest

from pgha.errors import Refused
from pgha.node.report import Role
from pgha.operations.recovery import recovery
from tests.unit.builders import (
    LSN,
    cluster,
    crashed,
    door,
    down,
    fenced,
    idle_witness,
    missing,
    paused,
    primary,
    silent,
    standby,
    stopped,
    two_and_a_witness,
    unknown,
    witness,
)

NEW = primary("node-1", timeline=4, history=((3, LSN),))
WITNESS = witness("node-2", timeline=4)


def test_where_everybody_streams_there_is_nothing_to_recover() -> None:
    plan = recovery(cluster(standby("node-0"), NEW, WITNESS))
    assert (plan.stages, plan.title) == ((), "Every node follows node-1: nothing to recover.")


def test_a_node_whose_wal_is_a_beginning_of_the_primarys_just_follows() -> None:
    plan = recovery(cluster(fenced("node-0", timeline=3), NEW, WITNESS))
    assert plan.titles[0] == "Let node-0 follow node-1"
    assert plan.titles[1:] == (
        "Steer Pgpool-II on node-0 to node-1",
        "Steer Pgpool-II on node-1 to node-1",
        "Steer Pgpool-II on node-2 to node-1",
    )


def test_a_follower_that_makes_a_majority_lets_clients_in_on_the_primary() -> None:
    closed = primary("node-1", timeline=4, history=((3, LSN),), opened=False)
    plan = recovery(cluster(fenced("node-0", timeline=3), closed, unknown("node-2")))
    assert plan.titles[:2] == ("Let node-0 follow node-1", "Let clients in on node-1")


def test_a_stopped_node_that_could_not_be_read_is_not_copied_over_unasked() -> None:
    unread = cluster(stopped("node-0", readable=False), NEW, WITNESS)
    titles = recovery(unread).titles
    assert titles[:2] == ("Start node-0's container", "Let node-0 follow node-1")
    assert not any(title.startswith(("Copy", "Check", "Rewind")) for title in titles)
    assert any(title.startswith("Copy") for title in recovery(unread, "node-0", force=True).titles)


def test_an_old_primary_with_more_wal_than_the_new_one_took_over_is_rewound() -> None:
    plan = recovery(cluster(fenced("node-0", timeline=3, lsn=LSN + 8), NEW, WITNESS))
    assert plan.titles[:3] == (
        "Check that node-0 can be rewound onto node-1",
        "Rewind node-0 onto node-1",
        "Let node-0 follow node-1",
    )


def test_a_crashed_node_is_checked_since_the_end_of_its_wal_is_not_known() -> None:
    plan = recovery(cluster(crashed("node-0", timeline=3), NEW, WITNESS))
    assert plan.titles[0] == "Check that node-0 can be rewound onto node-1"


def test_a_follower_whose_postgresql_died_goes_on_without_a_rewind() -> None:
    dead = down("node-0", upstream="node-1", lsn=None, clean=False)
    assert recovery(cluster(dead, NEW, WITNESS)).titles[0] == "Let node-0 follow node-1"


def test_force_makes_a_new_copy_and_never_rewinds() -> None:
    plan = recovery(
        cluster(fenced("node-0", timeline=3, lsn=LSN + 8), NEW, WITNESS), "node-0", force=True
    )
    assert plan.titles[:2] == (
        "Copy node-1 to node-0, its old data moved aside",
        "Let node-0 follow node-1",
    )


def test_force_copies_a_healthy_standby_only_when_it_is_named() -> None:
    state = cluster(standby("node-0"), NEW, WITNESS)
    assert recovery(state, force=True).stages == ()
    assert recovery(state, "node-0", force=True).titles[0].startswith("Copy node-1")


def test_a_stopped_container_is_started_first() -> None:
    plan = recovery(cluster(stopped("node-0", timeline=3), NEW, WITNESS))
    assert plan.titles[0] == "Start node-0's container"


@pytest.mark.parametrize(
    ("away", "sentence", "remedy"),
    [
        (missing("node-0"), "has no container", "inv start"),
        (paused("node-0"), "is paused", "inv status"),
        (unknown("node-0", "no route to host"), "no route to host", "inv status"),
        (silent("node-0", "no answer"), "no answer", "docker restart postgres-cluster-node-0"),
    ],
)
def test_a_node_out_of_reach_is_refused(away: object, sentence: str, remedy: str) -> None:
    state = cluster(away, NEW, WITNESS)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=sentence) as refusal:
        recovery(state, "node-0")
    assert refusal.value.next == remedy


def test_of_several_those_within_reach_are_recovered_and_the_others_named() -> None:
    plan = recovery(cluster(unknown("node-0", "no route"), NEW, idle_witness("node-2", timeline=4)))
    assert plan.titles[0] == "Let node-2 follow node-1"
    assert plan.notes == ("node-0 cannot be reached: no route",)


def test_an_old_primary_that_still_runs_is_fenced_rewound_and_follows() -> None:
    state = cluster(primary("node-0", timeline=3, lsn=LSN + 8), NEW, WITNESS)
    assert recovery(state).titles[:4] == (
        "Fence node-0",
        "Check that node-0 can be rewound onto node-1",
        "Rewind node-0 onto node-1",
        "Let node-0 follow node-1",
    )


def test_the_primary_itself_is_refused() -> None:
    with pytest.raises(Refused, match="node-1 is the primary"):
        recovery(cluster(standby("node-0"), NEW, WITNESS), "node-1")


def test_without_a_primary_it_is_refused_and_the_way_named() -> None:
    gone = unknown("node-0")
    with pytest.raises(Refused) as refusal:
        recovery(cluster(gone, standby("node-1"), idle_witness("node-2")))
    assert refusal.value.next == "inv failover"
    with pytest.raises(Refused) as refusal:
        recovery(
            cluster(stopped("node-0", Role.PRIMARY), standby("node-1"), idle_witness("node-2"))
        )
    assert refusal.value.next == "inv start"


def test_an_overtaken_primary_is_nobody_to_follow() -> None:
    state = cluster(
        primary("node-0", timeline=3),
        standby("node-1", timeline=3, term=4, follows=False),
        idle_witness("node-2", timeline=3, term=4),
    )
    with pytest.raises(Refused, match="failover was cut off") as refusal:
        recovery(state)
    assert refusal.value.next == "inv failover"


def test_a_node_that_does_not_count_since_a_forced_failover_counts_once_it_streams() -> None:
    """Counted before, every commit would wait for it as long as its copy takes."""
    forced = primary("node-1", timeline=4, voters=("node-1",), history=((3, LSN),))
    titles = recovery(
        cluster(fenced("node-0", timeline=3), forced, WITNESS), "node-0", force=True
    ).titles
    assert titles.index("Let node-0 follow node-1") < titles.index(
        "Let node-1 keep WAL for node-0 and count it"
    )


def test_a_slot_that_lost_its_wal_is_made_anew_before_the_copy() -> None:
    keeper = primary("node-1", timeline=4, lost_slots=("node-0",))
    titles = recovery(cluster(down("node-0"), keeper, WITNESS), "node-0", force=True).titles
    assert titles[0] == "Let node-1 keep WAL for node-0 and count it"


def test_a_follower_that_streams_and_does_not_count_is_admitted() -> None:
    forced = primary("node-1", timeline=4, voters=("node-0", "node-1"))
    plan = recovery(cluster(standby("node-0"), forced, WITNESS))
    assert "Let node-1 keep WAL for node-2 and count it" in plan.titles


def test_a_door_that_leads_elsewhere_is_put_right_without_touching_a_node() -> None:
    state = cluster(standby("node-0"), NEW, witness("node-2", door=door("node-0", "node-0")))
    assert recovery(state).titles == ("Steer Pgpool-II on node-2 to node-1",)


def test_doors_are_put_right_though_the_node_that_needs_it_is_out_of_reach() -> None:
    state = cluster(unknown("node-0"), NEW, witness("node-2", timeline=4, door=door("node-0")))
    plan = recovery(state)
    assert plan.titles == ("Steer Pgpool-II on node-2 to node-1",)
    assert plan.notes == ("node-0 cannot be reached: no route to host",)


def test_without_read_balance_no_door_is_touched_when_a_standby_comes_back() -> None:
    away = (primary("node-0"), down("node-1"), witness("node-2"))
    state = cluster(*away, of=two_and_a_witness(read_balance=False))
    steered = [t for t in recovery(state).titles if t.startswith("Steer")]
    assert steered == ["Steer Pgpool-II on node-1 to node-0"]
