"""`start` and `stop`: states in, plans out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.errors import Refused
from pgha.node.report import Role
from pgha.operations.startstop import start, stop
from pgha.plan import Plan, Run, Step
from pgha.state import ClusterState, anything
from tests.unit.builders import (
    cluster,
    crashed,
    fenced,
    idle_witness,
    missing,
    paused,
    primary,
    provision,
    silent,
    standby,
    stopped,
    unknown,
    witness,
)

HEALTHY = cluster(primary("node-0", timeline=3), standby("node-1"), witness("node-2"))
STANDBY = stopped("node-1", timeline=3, upstream="node-0")
WITNESS = stopped("node-2", Role.WITNESS, timeline=3, upstream="node-0")
STOPPED = cluster(stopped("node-0", Role.PRIMARY, timeline=3), STANDBY, WITNESS)


def begin(state: ClusterState) -> Plan:
    return start(state, provision())


def refusal(state: ClusterState) -> Refused:
    with pytest.raises(Refused) as caught:
        begin(state)
    return caught.value


def test_the_last_primary_first_then_its_followers_then_the_doors() -> None:
    plan = begin(STOPPED)
    assert [sorted(s.title for s in stage) for stage in plan.stages] == [
        ["Start node-0's container", "Start node-1's container", "Start node-2's container"],
        ["Start node-0 as the primary of term 3"],
        ["Let node-1 follow node-0", "Let node-2 follow node-0"],
        ["Let clients in on node-0"],
        [f"Steer Pgpool-II on node-{i} to node-0" for i in range(3)],
    ]
    assert plan.notes == ()


def test_a_node_that_cannot_be_started_keeps_no_other_one_down() -> None:
    plan = begin(cluster(stopped("node-0", Role.PRIMARY, timeline=3), STANDBY, missing("node-2")))
    steps = [step for stage in plan.stages for step in stage]
    assert {s.node for s in steps if s.may_fail} == {"node-1", "node-2"}
    assert {s.node for s in steps if not s.may_fail} == {"node-0"}


def test_what_runs_is_not_started_again() -> None:
    plan = begin(HEALTHY)
    assert (plan.stages, plan.title) == ((), "The cluster runs; node-0 is the primary.")


def test_a_primary_that_a_majority_follows_lets_clients_in() -> None:
    closed = primary("node-0", timeline=3, opened=False)
    plan = begin(cluster(closed, standby("node-1"), witness("node-2")))
    assert plan.titles == ("Let clients in on node-0",)


def test_without_a_majority_of_followers_nobody_is_let_in() -> None:
    """What clients would see could still be lost; the primary's agent lets them in later."""
    fenced_one = fenced("node-1", timeline=3, term=3)
    state = cluster(stopped("node-0", Role.PRIMARY, timeline=3), fenced_one, unknown("node-2"))
    titles = begin(state).titles
    assert "Start node-0 as the primary of term 3" in titles
    assert "Let clients in on node-0" not in titles


def test_a_primary_of_those_that_were_left_needs_only_their_majority() -> None:
    alone = stopped("node-0", Role.PRIMARY, timeline=3, voters=("node-0",))
    plan = begin(cluster(alone, fenced("node-1", timeline=3, term=3), unknown("node-2")))
    assert "Let clients in on node-0" in plan.titles


def test_a_missing_container_is_made_again() -> None:
    state = cluster(
        primary("node-0", timeline=3), standby("node-1"), missing("node-2", Role.WITNESS)
    )
    assert begin(state).titles[:2] == ("Create node-2's container", "Start node-2's container")


def test_what_was_half_made_is_taken_away_first() -> None:
    state = cluster(
        primary("node-0", timeline=3), standby("node-1"), missing("node-2", Role.WITNESS)
    )
    half = replace(state.node("node-2"), half_made=True)
    action = next(begin(state.with_nodes(half)).steps).action
    assert isinstance(action, Run)
    assert [command.words[2] for command in action.commands] == ["rm", "create", "connect"]


def test_networks_that_are_gone_are_made_also_where_a_failover_has_to_decide() -> None:
    """Neither it nor `recovery` makes any, and a stopped container asks for those that it had."""
    fenced_one = stopped("node-0", Role.FENCED, timeline=3)
    state = cluster(fenced_one, STANDBY, WITNESS)
    networks = Step("Make the network", "node-0", anything(), Run(()), anything())
    plan = start(state, provision(), ((networks,),))
    made = tuple(f"Create node-{i}'s container" for i in range(3))
    assert plan.titles == ("Make the network", *made)
    assert plan.notes[0].endswith("Next: inv failover")


def test_a_crashed_primary_is_started_where_it_was() -> None:
    state = cluster(
        crashed("node-0", timeline=3), standby("node-1", timeline=3), idle_witness("node-2")
    )
    assert "Start node-0 as the primary of term 3" in begin(state).titles


def test_without_a_majority_nobody_knows_who_was_the_last_primary() -> None:
    state = cluster(stopped("node-0", Role.PRIMARY), unknown("node-1"), unknown("node-2"))
    error = refusal(state)
    assert "1 of 3 nodes can be read and 2 are needed" in error.message
    assert error.details == ("node-1: no route to host", "node-2: no route to host")


def test_two_that_were_the_primary_of_one_term_are_refused() -> None:
    state = cluster(
        stopped("node-0", Role.PRIMARY),
        stopped("node-1", Role.PRIMARY),
        stopped("node-2", Role.WITNESS),
    )
    assert "node-0 and node-1 both were the primary of term 1" in refusal(state).message


def test_the_primary_of_the_later_term_wins() -> None:
    state = cluster(
        stopped("node-0", Role.PRIMARY, timeline=3),
        stopped("node-1", Role.PRIMARY, timeline=4),
        stopped("node-2", Role.WITNESS, timeline=4),
    )
    plan = begin(state)
    assert "Start node-1 as the primary of term 4" in plan.titles
    assert "Let node-0 follow node-1" not in plan.titles
    assert plan.notes == ("node-0 cannot simply follow: inv recovery --node node-0",)


@pytest.mark.parametrize("voted", [3, 4], ids=["only the others", "the old primary as well"])
def test_a_failover_that_was_begun_must_be_finished(voted: int) -> None:
    state = cluster(
        stopped("node-0", Role.PRIMARY, timeline=3, term=voted),
        stopped("node-1", timeline=3, term=4),
        stopped("node-2", Role.WITNESS, timeline=3, term=4),
    )
    error = refusal(state)
    assert "a failover was begun" in error.message
    assert error.next == "inv failover"


def test_where_the_primary_was_fenced_a_standby_must_be_promoted() -> None:
    error = refusal(cluster(fenced("node-0"), standby("node-1"), idle_witness("node-2")))
    assert "node-0 is fenced" in error.message
    assert error.next == "inv failover"


def test_a_paused_container_is_refused() -> None:
    error = refusal(cluster(primary("node-0"), paused("node-1"), witness("node-2")))
    assert "node-1's container is paused" in error.message


def test_nothing_to_start() -> None:
    bare = [missing(f"node-{i}", readable=False) for i in range(2)]
    state = cluster(*bare, missing("node-2", Role.WITNESS, readable=False))
    assert "0 of 3 nodes can be read" in refusal(state).message


def test_a_node_that_was_away_in_an_earlier_term_is_left_for_recovery() -> None:
    """`follow` would refuse what has diverged, and the doors would stay shut."""
    late = stopped("node-1", timeline=2, term=2, upstream="node-0")
    plan = begin(cluster(stopped("node-0", Role.PRIMARY, timeline=3), late, WITNESS))
    assert plan.notes == ("node-1 cannot simply follow: inv recovery --node node-1",)


# --- stop ----------------------------------------------------------------------------------------


def test_doors_then_the_primary_then_its_followers_then_the_containers() -> None:
    """The followers last: a primary that shuts down waits until they have all its WAL."""
    assert [sorted(s.title for s in stage) for stage in stop(HEALTHY).stages] == [
        [f"Stop Pgpool-II on node-{i}" for i in range(3)],
        ["Stop PostgreSQL or the WAL receiver on node-0"],
        [f"Stop PostgreSQL or the WAL receiver on node-{i}" for i in (1, 2)],
        [f"Stop node-{i}'s container" for i in range(3)],
    ]


def test_what_is_stopped_is_not_stopped_again() -> None:
    plan = stop(STOPPED)
    assert (plan.stages, plan.title) == ((), "The cluster is stopped.")


def test_a_node_that_does_not_answer_is_stopped_by_its_container() -> None:
    plan = stop(cluster(primary("node-0"), silent("node-1"), witness("node-2")))
    assert "Stop PostgreSQL or the WAL receiver on node-1" not in plan.titles
    assert "Stop node-1's container" in plan.titles
    assert plan.notes == ("node-1 does not answer: its container is stopped as it is.",)


def test_a_host_that_does_not_answer_is_named() -> None:
    plan = stop(cluster(primary("node-0"), unknown("node-1"), witness("node-2")))
    assert plan.notes == ("node-1 is not stopped: localhost does not answer.",)


def test_only_paused_containers_are_refused() -> None:
    state = cluster(paused("node-0"), stopped("node-1"), stopped("node-2", Role.WITNESS))
    with pytest.raises(Refused, match="paused"):
        stop(state)
