"""`failover` and `failback`: states in, plans out."""

from __future__ import annotations

import pytest

from pgha.errors import Refused, Usage
from pgha.node.report import Role
from pgha.operations import promotion
from pgha.operations.failover import failback, failover
from pgha.plan import Plan, Step, Verb
from pgha.state import ClusterState
from pgha.variables import BIRTHS
from tests.unit.builders import (
    LSN,
    Draft,
    cluster,
    crashed,
    door,
    down,
    fenced,
    four_and_a_witness,
    hung,
    idle_witness,
    primary,
    standby,
    stopped,
    three_and_a_witness,
    three_data_nodes,
    two_and_a_witness,
    two_nodes,
    unknown,
    witness,
)

GONE = unknown("node-0")
HEALTHY = cluster(primary("node-0", timeline=3), standby("node-1"), witness("node-2"))


def step(plan: Plan, title: str) -> Step:
    return next(s for s in plan.steps if s.title == title)


def argument(plan: Plan, title: str, key: str) -> object:
    action = step(plan, title).action
    assert isinstance(action, Verb)
    return dict(action.args).get(key)


# --- the primary lives ---------------------------------------------------------------------------


def test_a_hand_over_without_a_majority_s_word_is_refused_before_anything_is_fenced() -> None:
    state = cluster(
        primary("node-0"),
        standby("node-1"),
        stopped("node-2"),
        unknown("node-3"),
        of=three_and_a_witness(),
    )
    with pytest.raises(Refused, match="2 of 4 nodes could give their word for node-1, and 3 are"):
        failover(state)


def test_the_primary_is_fenced_the_standby_promoted_and_the_rest_follows() -> None:
    plan = failover(HEALTHY)
    assert [sorted(s.title for s in stage) for stage in plan.stages] == [
        ["Let node-2 vote for node-1 in term 4"],
        ["Fence node-0"],
        ["Promote node-1"],
        [
            "Let node-2 follow node-1",
            "Steer Pgpool-II on node-0 to node-1",
            "Steer Pgpool-II on node-1 to node-1",
            "Steer Pgpool-II on node-2 to node-1",
        ],
        ["Let clients in on node-1", "Let node-0 follow node-1"],
        [
            "Attach node-0 and node-1 to Pgpool-II on node-0",
            "Attach node-0 and node-1 to Pgpool-II on node-1",
            "Attach node-0 and node-1 to Pgpool-II on node-2",
        ],
    ]
    assert (plan.loses, plan.notes) == ("", ())


def test_the_promotion_is_of_the_next_term_and_waits_for_the_last_lsn_of_the_old_primary() -> None:
    plan = failover(HEALTHY)
    assert argument(plan, "Promote node-1", "term") == 4
    assert step(plan, "Promote node-1").commands()[0].words[-1] == "lsn=<the last LSN of node-0>"


def test_the_fence_is_for_the_one_that_takes_over() -> None:
    assert argument(failover(HEALTHY), "Fence node-0", "to") == "node-1"


def test_without_the_witness_the_fenced_primary_gives_its_word_before_the_promotion() -> None:
    """Else a later election without node-1 could use the number of its timeline again."""
    plan = failover(cluster(primary("node-0"), standby("node-1"), unknown("node-2")))
    assert plan.titles[:3] == (
        "Fence node-0",
        "Let node-0 vote for node-1 in term 2",
        "Promote node-1",
    )


def test_without_a_witness_the_old_primary_follows_at_once() -> None:
    plan = failover(cluster(primary("node-0"), standby("node-1")))
    assert [len(stage) for stage in plan.stages] == [1, 1, 3, 1, 2]
    assert "Let node-0 follow node-1" in [s.title for s in plan.stages[2]]


def test_a_witness_that_does_not_stream_is_left_out_and_named() -> None:
    plan = failover(
        cluster(primary("node-0"), standby("node-1"), idle_witness("node-2", upstream="node-0"))
    )
    assert "Let node-2 follow node-1" not in plan.titles
    assert plan.notes == ("node-2 is not a follower until `inv recovery --node node-2`.",)


def test_of_two_standbys_the_one_that_has_more_takes_over() -> None:
    drafts = (primary("node-0"), standby("node-1", lsn=LSN - 8), standby("node-2"))
    assert "Promote node-2" in failover(cluster(*drafts, of=three_data_nodes())).titles


def test_the_named_standby_takes_over() -> None:
    drafts = (primary("node-0"), standby("node-1", lsn=LSN - 8), standby("node-2"))
    plan = failover(cluster(*drafts, of=three_data_nodes()), "node-1")
    assert "Promote node-1" in plan.titles
    assert "Let node-2 follow node-1" in plan.titles


FOUR = three_and_a_witness()


def four(*otherwise: Draft) -> ClusterState:
    """Three data nodes and a witness, healthy but for these."""
    usual = (primary("node-0"), standby("node-1"), standby("node-2"), witness("node-3"))
    drafts = {**{d.name: d for d in usual}, **{d.name: d for d in otherwise}}
    return cluster(*drafts.values(), of=FOUR)


def test_of_four_voters_one_follows_the_old_primary_until_the_fence_beside_the_heir() -> None:
    """A commit waits for two of them: writes would stand still from the votes on."""
    plan = failover(four(), "node-2")
    assert [sorted(s.title for s in stage) for stage in plan.stages[:5]] == [
        ["Let node-3 vote for node-2 in term 2"],
        ["Fence node-0"],
        ["Let node-1 vote for node-2 in term 2"],
        ["Promote node-2"],
        [
            "Let node-1 follow node-2",
            "Let node-3 follow node-2",
            *(f"Steer Pgpool-II on node-{i} to node-2" for i in range(4)),
        ],
    ]
    assert "Let node-0 follow node-2" in [s.title for s in plan.stages[5]]
    assert plan.notes == ()


def test_of_four_voters_one_of_which_is_away_all_others_are_waited_for() -> None:
    plan = failover(four(unknown("node-3")))
    assert [sorted(s.title for s in stage) for stage in plan.stages[:3]] == [
        ["Fence node-0"],
        ["Let node-0 vote for node-1 in term 2", "Let node-2 vote for node-1 in term 2"],
        ["Promote node-1"],
    ]
    follow = {s.title for s in plan.stages[3] if "follow" in s.title}
    assert follow == {"Let node-0 follow node-1", "Let node-2 follow node-1"}


def test_of_five_voters_two_vote_before_the_fence_and_a_third_is_not_asked() -> None:
    drafts = (*(standby(f"node-{i}") for i in (1, 2, 3)), witness("node-4"))
    plan = failover(cluster(primary("node-0"), *drafts, of=four_and_a_witness()), "node-3")
    assert [t for t in plan.titles if "vote" in t] == [
        "Let node-1 vote for node-3 in term 2",
        "Let node-4 vote for node-3 in term 2",
    ]
    assert [t for t in plan.titles if "follow" in t] == [
        *(f"Let node-{i} follow node-3" for i in (1, 2, 4)),
        "Let node-0 follow node-3",
    ]


def test_to_where_the_primary_is_nothing_is_done() -> None:
    plan = failover(HEALTHY, "node-0")
    assert (plan.stages, plan.title) == ((), "node-0 is the primary already.")


def test_failback_of_a_primary_that_is_at_home_does_nothing() -> None:
    assert failback(HEALTHY).stages == ()


def test_failback_moves_it_home() -> None:
    away = cluster(standby("node-0"), primary("node-1", timeline=4), witness("node-2"))
    assert failback(away).titles[1:3] == ("Fence node-1", "Promote node-0")


def test_the_witness_cannot_take_over() -> None:
    with pytest.raises(Refused, match="node-2 is the witness"):
        failover(HEALTHY, "node-2")


def test_a_node_that_does_not_exist_is_wrong_usage_and_the_names_are_told() -> None:
    with pytest.raises(Usage, match="node-0, node-1, node-2"):
        failover(HEALTHY, "node-9")


def test_a_standby_on_an_older_timeline_is_refused() -> None:
    state = cluster(primary("node-0", timeline=3), standby("node-1", timeline=2), witness("node-2"))
    with pytest.raises(Refused, match="does not stream from node-0") as refusal:
        failover(state, "node-1")
    assert (refusal.value.exit_code, refusal.value.next) == (3, "inv recovery --node node-1")


def test_where_nobody_streams_nobody_takes_over() -> None:
    with pytest.raises(Refused, match="No standby streams") as refusal:
        failover(cluster(primary("node-0"), down("node-1", upstream="node-0"), witness("node-2")))
    assert refusal.value.next == "inv recovery"


def test_a_standby_that_lags_far_behind_is_refused_since_writers_would_wait() -> None:
    late = standby("node-1", lag_bytes=200 * 1024 * 1024)
    with pytest.raises(Refused, match="lags by 200 MB"):
        failover(cluster(primary("node-0"), late, witness("node-2")))


def test_of_two_running_primaries_the_older_is_to_be_recovered_first() -> None:
    state = cluster(
        primary("node-0", timeline=3), primary("node-1", timeline=4), witness("node-2", timeline=4)
    )
    with pytest.raises(Refused, match="node-0 runs as a primary too") as refusal:
        failover(state)
    assert refusal.value.next == "inv recovery --node node-0"


def test_two_primaries_on_one_timeline_are_not_touched() -> None:
    with pytest.raises(Refused, match="on one timeline"):
        failover(cluster(primary("node-0"), primary("node-1"), witness("node-2")))


# --- an earlier run was cut off ------------------------------------------------------------------


def test_a_run_cut_off_after_fencing_goes_on_with_the_promotion() -> None:
    state = cluster(
        fenced("node-0", upstream="node-1"),
        standby("node-1", follows=False),
        idle_witness("node-2"),
    )
    plan = failover(state)
    assert "Promote node-1" in plan.titles
    assert "Let node-0 follow node-1" in plan.titles
    assert plan.loses == ""


def test_a_run_cut_off_after_the_promotion_goes_on_with_the_followers_and_the_doors() -> None:
    state = cluster(
        fenced("node-0", timeline=3, door=door("node-0", "node-0", "node-1")),
        primary("node-1", timeline=4, history=((3, LSN),)),
        idle_witness("node-2", timeline=3, term=3),
    )
    plan = failover(state)
    assert plan.title == "Finish the move of the primary to node-1"
    assert set(plan.titles[:2]) == {"Let node-0 follow node-1", "Let node-2 follow node-1"}
    assert "Steer Pgpool-II on node-0 to node-1" in plan.titles


def test_a_run_cut_off_before_clients_were_let_in_lets_them_in() -> None:
    doors = door("node-1", "node-0", "node-1")
    state = cluster(
        standby("node-0", door=doors),
        primary("node-1", timeline=2, door=doors, opened=False),
        witness("node-2", door=doors),
    )
    assert failover(state).titles == ("Let clients in on node-1",)


def test_a_run_cut_off_before_the_last_door_finishes_with_that_door() -> None:
    stale = door("node-1", "node-1")
    state = cluster(standby("node-0"), primary("node-1", timeline=4), witness("node-2", door=stale))
    assert failover(state).titles == ("Steer Pgpool-II on node-2 to node-1",)


def test_a_door_that_is_broken_by_itself_does_not_hold_a_move_back() -> None:
    dead = door("")
    state = cluster(primary("node-0"), standby("node-1"), witness("node-2", door=type(dead)(False)))
    assert "Fence node-0" in failover(state).titles


def test_an_election_that_was_cut_off_while_the_primary_lived_is_held_again() -> None:
    """The voters take no more WAL from this primary: it must not just go on."""
    state = cluster(
        primary("node-0", timeline=3),
        standby("node-1", timeline=3, term=4, follows=False),
        idle_witness("node-2", timeline=3, term=4),
    )
    plan = failover(state)
    assert plan.titles[0] == "Fence node-0"
    assert argument(plan, "Promote node-1", "term") == 5


# --- the primary is gone -------------------------------------------------------------------------


def test_a_majority_gives_its_word_before_the_standby_is_promoted() -> None:
    state = cluster(GONE, standby("node-1", timeline=3), idle_witness("node-2", timeline=3))
    plan = failover(state)
    assert [sorted(s.title for s in stage) for stage in plan.stages] == [
        ["Let node-1 vote for node-1 in term 4", "Let node-2 vote for node-1 in term 4"],
        ["Fetch what node-2 has beyond node-1"],
        ["Promote node-1"],
        [
            "Let node-2 follow node-1",
            "Steer Pgpool-II on node-1 to node-1",
            "Steer Pgpool-II on node-2 to node-1",
        ],
        ["Let clients in on node-1"],
    ]
    assert plan.loses == ""


def test_what_the_witness_has_beyond_the_standby_is_fetched_first() -> None:
    state = cluster(GONE, standby("node-1", lsn=LSN - 64), idle_witness("node-2"))
    titles = failover(state).titles
    fetch = titles.index("Fetch what node-2 has beyond node-1")
    assert fetch < titles.index("Promote node-1")
    promote = step(failover(state), "Promote node-1")
    assert promote.commands(state)[0].words[-1] == f"lsn=0/{LSN:X}"


def test_a_fetch_is_passed_over_where_the_votes_show_that_nothing_is_lacking() -> None:
    plan = failover(cluster(GONE, standby("node-1"), idle_witness("node-2")))
    assert step(plan, "Fetch what node-2 has beyond node-1").if_needed


def test_without_a_majority_it_is_refused_and_the_sentence_says_what_would_help() -> None:
    state = cluster(GONE, standby("node-1"), unknown("node-2", "connection refused"))
    with pytest.raises(Refused, match="1 of 3 nodes answer and 2 are needed") as refusal:
        failover(state)
    assert refusal.value.next == "inv failover --to node-1 --force"
    assert "node-2: connection refused." in refusal.value.details


def test_force_says_what_may_be_lost_and_makes_a_cluster_of_those_that_answer() -> None:
    state = cluster(GONE, standby("node-1"), unknown("node-2"))
    plan = failover(state, force=True)
    assert plan.loses.startswith("Acknowledged writes may be lost: 1 of 3 nodes answer")
    assert argument(plan, "Promote node-1", "voters") == "node-1"


def test_force_tells_how_much_a_stopped_node_is_known_to_have_beyond() -> None:
    old = stopped("node-0", Role.PRIMARY, lsn=LSN + 4096)
    plan = failover(cluster(old, standby("node-1"), unknown("node-2")), force=True)
    assert "at least 4096 bytes of WAL" in plan.loses


def test_force_with_a_majority_loses_nothing_and_changes_nothing() -> None:
    state = cluster(GONE, standby("node-1"), idle_witness("node-2"))
    assert failover(state, force=True) == failover(state)


def test_a_stopped_witness_is_started_for_its_word() -> None:
    state = cluster(GONE, standby("node-1"), stopped("node-2", Role.WITNESS))
    plan = failover(state)
    assert plan.titles[0] == "Start node-2's container"
    assert plan.loses == ""


def test_a_crashed_primary_is_not_needed_where_others_are_a_majority() -> None:
    plan = failover(cluster(crashed("node-0"), standby("node-1"), idle_witness("node-2")))
    assert not [t for t in plan.titles if "Let node-0" in t]
    assert plan.notes == ("node-0 is not a follower until `inv recovery --node node-0`.",)


def test_a_crashed_primary_gives_its_word_where_the_witness_is_gone() -> None:
    plan = failover(cluster(crashed("node-0"), standby("node-1"), unknown("node-2")))
    assert "Let node-0 vote for node-1 in term 2" in plan.titles
    assert "Fetch what node-0 has beyond node-1" in plan.titles
    assert "Let node-0 follow node-1" in plan.titles


def test_a_primary_that_hangs_is_fenced_after_the_doors_are_open_again() -> None:
    plan = failover(cluster(hung("node-0"), standby("node-1"), idle_witness("node-2")))
    assert plan.titles[-1] == "Fence node-0"


def test_a_primary_that_hangs_is_fenced_first_where_its_word_is_needed() -> None:
    plan = failover(cluster(hung("node-0"), standby("node-1"), unknown("node-2")))
    assert plan.titles[0] == "Fence node-0"


def test_two_asynchronous_nodes_fail_over_alone_when_the_old_primary_answers() -> None:
    plan = failover(cluster(crashed("node-0"), standby("node-1"), of=two_nodes()))
    assert "Fetch what node-0 has beyond node-1" in plan.titles
    assert plan.loses == ""


def test_two_asynchronous_nodes_wait_for_an_operator_when_the_old_primary_is_silent() -> None:
    state = cluster(GONE, standby("node-1"), of=two_nodes())
    with pytest.raises(Refused, match="Replication is asynchronous and node-0 cannot be asked"):
        failover(state)
    plan = failover(state, force=True)
    assert "may be lost" in plan.loses
    assert argument(plan, "Promote node-1", "voters") is None


def test_the_stopped_container_of_an_asynchronous_primary_is_started_for_its_wal() -> None:
    old = stopped("node-0", Role.PRIMARY)
    plan = failover(cluster(old, standby("node-1"), of=two_nodes()))
    assert plan.titles[0] == "Start node-0's container"
    assert "Fetch what node-0 has beyond node-1" in plan.titles


def test_both_data_nodes_fenced_the_one_of_the_newest_timeline_takes_over() -> None:
    state = cluster(
        fenced("node-0", timeline=3),
        fenced("node-1", timeline=4),
        idle_witness("node-2", timeline=4),
    )
    plan = failover(state)
    assert "Start node-1 as a standby of nobody" in plan.titles
    assert argument(plan, "Promote node-1", "term") == 5


def test_where_the_last_primary_is_known_and_no_standby_runs_start_is_the_way() -> None:
    state = cluster(crashed("node-0"), down("node-1"), idle_witness("node-2"))
    with pytest.raises(Refused, match="last primary is known") as refusal:
        failover(state)
    assert refusal.value.next == "inv start"


def test_after_a_power_cut_that_the_primary_did_not_survive_a_stopped_standby_takes_over() -> None:
    state = cluster(GONE, stopped("node-1"), stopped("node-2", Role.WITNESS))
    titles = failover(state).titles
    assert set(titles[:2]) == {"Start node-1's container", "Start node-2's container"}
    assert "Start node-1 as a standby of nobody" in titles


def test_a_standby_that_was_passed_over_is_refused_while_a_newer_one_answers() -> None:
    state = cluster(
        GONE, standby("node-1", timeline=2), standby("node-2", timeline=3), of=three_data_nodes()
    )
    with pytest.raises(Refused, match="node-1 was passed over") as refusal:
        failover(state, "node-1")
    assert refusal.value.next == "inv failover --to node-2"


def test_wal_of_a_later_timeline_is_given_up_by_force_only_and_named() -> None:
    state = cluster(GONE, standby("node-1", timeline=2), idle_witness("node-2", timeline=3))
    assert "Fetch what node-2 has beyond node-1" in failover(state).titles
    assert "node-2 has WAL of timeline 3" in failover(state, force=True).loses


def test_of_three_data_nodes_the_other_standby_follows() -> None:
    state = cluster(GONE, standby("node-1"), standby("node-2", lsn=LSN + 8), of=three_data_nodes())
    plan = failover(state)
    assert "Promote node-2" in plan.titles
    assert "Let node-1 follow node-2" in plan.titles


def test_of_four_voters_whose_primary_is_gone_three_vote_and_both_others_follow() -> None:
    behind = standby("node-1", lsn=LSN - 8)
    plan = failover(four(GONE, behind, idle_witness("node-3")))
    assert [t for t in plan.titles if "vote" in t] == [
        f"Let node-{i} vote for node-2 in term 2" for i in (1, 2, 3)
    ]
    assert [t for t in plan.titles if "follow" in t] == [
        "Let node-1 follow node-2",
        "Let node-3 follow node-2",
    ]
    assert plan.loses == ""


def test_of_four_voters_two_are_no_majority() -> None:
    state = four(GONE, unknown("node-1"), idle_witness("node-3"))
    with pytest.raises(Refused, match="2 of 4 nodes answer and 3 are needed") as refusal:
        failover(state)
    assert refusal.value.next == "inv failover --to node-2 --force"
    plan = failover(state, force=True)
    assert argument(plan, "Promote node-2", "voters") == "node-2,node-3"
    assert argument(plan, "Promote node-2", "term") == 132


def test_every_heir_by_force_has_a_range_of_numbers_below_the_next_hundred() -> None:
    """As many nodes with data as the settings can name."""
    most = sum(birth != "WITNESS" for birth in BIRTHS)
    assert most * promotion.APART <= promotion.FORCED_TERMS


def test_nobody_within_reach() -> None:
    with pytest.raises(Refused, match="nobody can take over"):
        failover(cluster(GONE, unknown("node-1"), unknown("node-2")))


def test_a_fenced_node_of_the_newest_timeline_takes_over_where_it_is_named() -> None:
    state = cluster(fenced("node-0"), standby("node-1", follows=False), idle_witness("node-2"))
    assert "Start node-0 as a standby of nobody" in failback(state).titles
    assert "Promote node-1" in failover(state).titles


def test_a_named_node_out_of_reach_is_refused_and_another_one_named() -> None:
    with pytest.raises(Refused, match="node-0 is unknown") as refusal:
        failover(cluster(GONE, standby("node-1"), idle_witness("node-2")), "node-0")
    assert refusal.value.next == "inv failover --to node-1"


def test_a_promotion_without_a_majority_takes_a_term_that_the_others_do_not_come_to() -> None:
    """Two logs on a timeline of one number would look like one."""
    alone = cluster(unknown("node-0"), standby("node-1", timeline=3), unknown("node-2"))
    assert argument(failover(alone, force=True), "Promote node-1", "term") == 116
    other = cluster(standby("node-0", timeline=3), unknown("node-1"), unknown("node-2"))
    assert argument(failover(other, force=True), "Promote node-0", "term") == 100


def test_without_read_balance_a_door_has_the_primary_alone() -> None:
    pair = (primary("node-0"), standby("node-1"), witness("node-2"))
    state = cluster(*pair, of=two_and_a_witness(read_balance=False))
    plan = failover(state)
    assert not [title for title in plan.titles if title.startswith("Attach")]
    commands = [step.commands(state)[0].shown for step in plan.steps]
    assert [line for line in commands if " steer " in line] == [
        "pgha-node steer primary=node-1 up=node-1"
    ] * 3
