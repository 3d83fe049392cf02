"""What a state amounts to: each problem by its code, with the command that helps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pgha.errors import Refused
from pgha.node.report import Disk, Door, Role
from pgha.operations.membership import require_members
from pgha.state import ClusterState
from pgha.verdict import Problem, Verdict, judge
from tests.unit.builders import (
    Draft,
    cluster,
    crashed,
    door,
    down,
    fenced,
    hung,
    idle_witness,
    missing,
    paused,
    primary,
    silent,
    standby,
    stopped,
    three_and_a_witness,
    two_nodes,
    unknown,
    witness,
)

MB = 1024 * 1024
GB = 1024 * MB


def healthy_but(*drafts: Draft) -> ClusterState:
    """A healthy cluster in which these nodes are otherwise."""
    usual = {
        "node-0": primary("node-0", timeline=3),
        "node-1": standby("node-1"),
        "node-2": witness("node-2"),
    }
    return cluster(*{**usual, **{d.name: d for d in drafts}}.values())


def problem(state: ClusterState, code: str) -> Problem:
    found = [p for p in judge(state)[1] if p.code == code]
    assert found, f"{code} is not among {[p.code for p in judge(state)[1]]}"
    return found[0]


def test_a_healthy_cluster_has_no_problem() -> None:
    assert judge(healthy_but()) == (Verdict.HEALTHY, ())


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.HEALTHY, 0),
        (Verdict.DEGRADED, 4),
        (Verdict.DOWN, 5),
        (Verdict.SPLIT_BRAIN, 5),
    ],
)
def test_the_exit_code_follows_from_the_verdict(verdict: Verdict, code: int) -> None:
    assert verdict.exit_code == code


RECOVER = "inv recovery --node node-1"


def test_on_several_hosts_what_is_typed_on_a_host_goes_there() -> None:
    state = healthy_but(paused("node-1"))
    state = state.with_nodes(replace(state.node("node-1"), shell="ssh -F none ops@10.9.8.7"))
    (found,) = [p for p in judge(state)[1] if p.code == "container-paused"]
    line = "docker unpause postgres-cluster-node-1"
    assert found.remedy == f"ssh -F none ops@10.9.8.7 '{line}'"


def test_who_refuses_us_is_looked_at_by_the_command_that_was_named() -> None:
    state = healthy_but(unknown("node-1"))
    state = state.with_nodes(replace(state.node("node-1"), next="ssh node-1 true"))
    (found,) = [p for p in judge(state)[1] if p.code == "host-unreachable"]
    assert found.remedy == "ssh node-1 true"


@pytest.mark.parametrize(
    ("whole", "remedy", "who"),
    [
        (
            False,
            "inv init",
            "`inv init` has not come to its end: node-0 and node-1 and node-2 take",
        ),
        (True, RECOVER, "`inv recovery` has not come to its end: node-1 and node-2 take"),
    ],
)
def test_what_was_made_in_part_is_no_health_whatever_serves(
    whole: bool, remedy: str, who: str
) -> None:
    """whole: the primary, so that it is no `init` that was cut off."""
    state = cluster(
        primary("node-0", initialising=not whole),
        standby("node-1", initialising=True),
        witness("node-2", initialising=True),
    )
    verdict, problems = judge(state)
    found = (verdict, problems[0].code, problems[0].remedy)
    assert found == (Verdict.DEGRADED, "init-unfinished", remedy)
    assert problems[0].message.startswith(who)


def test_nobody_is_sent_to_a_failover_that_no_majority_can_grant() -> None:
    state = healthy_but(stopped("node-0", Role.PRIMARY), stopped("node-2", Role.WITNESS))
    found = [p for p in judge(state)[1] if p.code in ("no-primary", "container-stopped")]
    assert {p.remedy for p in found} == {"inv start"}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("otherwise", "code", "node", "remedy"),
    [
        (unknown("node-1"), "host-unreachable", "node-1", "docker info"),
        (missing("node-1"), "container-missing", "node-1", "inv start"),
        (stopped("node-1"), "container-stopped", "node-1", RECOVER),
        (paused("node-1"), "container-paused", "node-1", "docker unpause postgres-cluster-node-1"),
        (silent("node-1"), "node-silent", "node-1", RECOVER),
        (fenced("node-1"), "fenced", "node-1", RECOVER),
        (down("node-1"), "down", "node-1", RECOVER),
        (hung("node-1"), "not-accepting", "node-1", "inv status --watch"),
        (standby("node-1", follows=False), "not-streaming", "node-1", RECOVER),
        (
            standby("node-1", catches_up=True, lag_bytes=9),
            "catching-up",
            "node-1",
            "inv status --watch",
        ),
        (standby("node-1", lag_bytes=65 * MB), "lagging", "node-1", "inv status --watch"),
        (
            primary("node-0", timeline=3, lost_slots=("node-1",)),
            "slot-lost",
            "node-1",
            "inv recovery --node node-1 --force",
        ),
        (
            primary("node-0", timeline=3, voters=("node-0", "node-2")),
            "not-counted",
            "node-1",
            RECOVER,
        ),
        (standby("node-1", door=Door(False)), "door-down", "node-1", "inv recovery"),
        (
            standby("node-1", door=Door(True, (), "timeout")),
            "door-silent",
            "node-1",
            "inv recovery",
        ),
        (standby("node-1", door=door("node-1", "node-1")), "door-astray", "node-1", "inv recovery"),
        (standby("node-1", door=door("node-0", "node-0")), "door-view", "node-1", "inv recovery"),
        (
            standby("node-1", disks=(Disk("/data", 100 * GB, 500 * MB),)),
            "disk-low",
            "node-1",
            "inv status --watch",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_degraded_cluster_names_the_problem_and_the_remedy(
    otherwise: Draft, code: str, node: str, remedy: str
) -> None:
    state = healthy_but(otherwise)
    found = problem(state, code)
    assert judge(state)[0] is Verdict.DEGRADED
    assert (found.node, found.remedy) == (node, remedy)
    assert found.message.endswith((".", "more is known", "host", "answer", "timeout"))


def test_a_full_large_disk_with_a_gigabyte_left_is_no_problem() -> None:
    roomy = standby("node-1", disks=(Disk("/data", 100 * GB, 2 * GB),))
    assert judge(healthy_but(roomy)) == (Verdict.HEALTHY, ())


def test_two_primaries_are_a_split_brain_and_the_older_one_is_to_be_recovered() -> None:
    state = cluster(primary("node-0", timeline=3), primary("node-1", timeline=4), witness("node-2"))
    assert judge(state)[0] is Verdict.SPLIT_BRAIN
    assert problem(state, "split-brain").remedy == "inv recovery --node node-0"


def test_two_primaries_on_one_timeline_are_to_be_stopped() -> None:
    state = cluster(primary("node-0"), primary("node-1"), witness("node-2"))
    assert problem(state, "split-brain").remedy == "inv stop"


def test_nothing_there_at_all() -> None:
    bare = [missing(f"node-{i}", readable=False) for i in range(2)]
    state = cluster(*bare, missing("node-2", Role.WITNESS, readable=False))
    verdict, problems = judge(state)
    assert (verdict, problems[0].code) == (Verdict.DOWN, "not-initialised")
    assert problems[0].remedy.startswith("inv init")


def test_a_stopped_cluster() -> None:
    all_stopped = [stopped("node-0", Role.PRIMARY), stopped("node-1")]
    state = cluster(*all_stopped, stopped("node-2", Role.WITNESS))
    assert judge(state)[0] is Verdict.DOWN
    assert problem(state, "stopped").remedy == "inv start"


def test_a_dead_primary_with_a_standby_that_can_take_over() -> None:
    state = cluster(crashed("node-0"), standby("node-1"), idle_witness("node-2"))
    assert judge(state)[0] is Verdict.DOWN
    assert problem(state, "no-primary").remedy == "inv failover"
    assert problem(state, "fenced").remedy == "inv failover"


def test_a_dead_primary_and_no_standby() -> None:
    state = cluster(crashed("node-0"), down("node-1"), idle_witness("node-2"))
    assert problem(state, "no-primary").remedy == "inv start"


def test_where_no_node_answers_nothing_is_claimed() -> None:
    """A machine that is too busy to answer within the limit may have a primary that serves."""
    state = cluster(silent("node-0"), silent("node-1"), silent("node-2"))
    assert judge(state)[0] is Verdict.DOWN
    found = problem(state, "no-primary")
    assert "is not known" in found.message
    assert found.remedy == "inv status"


def test_a_primary_that_nobody_follows_stands_still() -> None:
    state = cluster(primary("node-0"), stopped("node-1"), stopped("node-2", Role.WITNESS))
    assert judge(state)[0] is Verdict.DOWN
    assert problem(state, "no-quorum").message == (
        "node-0 waits for 1 follower that has its commits on disk: writes stand still until node-1 "
        "or node-2 is back."
    )


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (("node-1",), "until node-2 or node-3 is back."),
        ((), "until 2 of node-1, node-2, node-3 are back."),
    ],
)
def test_of_four_voters_a_primary_waits_for_two_others(there: tuple[str, ...], says: str) -> None:
    away = [stopped("node-1"), stopped("node-2"), stopped("node-3", Role.WITNESS)]
    others = [standby(d.name) if d.name in there else d for d in away]
    state = cluster(primary("node-0"), *others, of=three_and_a_witness())
    assert judge(state)[0] is Verdict.DOWN
    found = problem(state, "no-quorum").message
    assert found.startswith("node-0 waits for 2 followers that have its commits on disk: ")
    assert found.endswith(says)


def test_nodes_that_were_made_with_others_than_the_settings_name() -> None:
    others = ("node-0", "node-1", "node-2", "node-9")
    state = healthy_but(standby("node-1", members=others))
    found = problem(state, "other-nodes")
    assert judge(state)[0] is Verdict.DEGRADED
    assert found.node == "node-1"
    assert "was made with node-0, node-1, node-2, node-9" in found.message
    with pytest.raises(Refused, match="the settings name node-0, node-1, node-2: only a new"):
        require_members(state)


def test_nodes_that_tell_no_others_and_those_of_an_older_image_are_ours() -> None:
    require_members(healthy_but())
    silent_about_it = ClusterState(two_nodes(), healthy_but().nodes[:0])
    require_members(silent_about_it)


def test_of_four_voters_one_may_be_away() -> None:
    others = (standby("node-1"), stopped("node-2"), witness("node-3"))
    state = cluster(primary("node-0"), *others, of=three_and_a_witness())
    assert judge(state)[0] is Verdict.DEGRADED


def test_only_who_counts_is_waited_for_after_a_failover_by_force() -> None:
    """node-2 streams, and a commit does not wait for it."""
    alone = primary("node-0", voters=("node-0", "node-1"))
    state = cluster(alone, stopped("node-1"), witness("node-2"))
    assert "until node-1 is back" in problem(state, "no-quorum").message


def test_an_asynchronous_primary_that_nobody_follows_goes_on() -> None:
    state = cluster(primary("node-0"), stopped("node-1"), of=two_nodes())
    assert judge(state)[0] is Verdict.DEGRADED


def test_a_failover_that_was_cut_off_in_its_election() -> None:
    state = cluster(
        primary("node-0", timeline=3),
        standby("node-1", timeline=3, term=4, follows=False),
        idle_witness("node-2", timeline=3, term=4),
    )
    assert judge(state)[1][0].code == "overtaken"
    assert problem(state, "overtaken").remedy == "inv failover"


def test_the_document_names_every_code() -> None:
    root = Path(__file__).parents[2]
    sources = ((root / "pgha" / name).read_text() for name in ("verdict.py", "drift.py"))
    codes = {code for text in sources for code in re.findall(r'Problem\(\s*"([a-z-]+)"', text)}
    document = (root / "docs" / "tasks.md").read_text()
    assert len(codes) > 25
    assert {code for code in codes if f"`{code}`" not in document} == set()
