"""Plans and steps as values: what they show, what is known when."""

from __future__ import annotations

import pytest

from pgha.commands.base import Command, Secret
from pgha.errors import Failed
from pgha.node.report import Role
from pgha.plan import Plan, PositionOf, Run, Step, Verb, stages, verb
from pgha.state import Condition, anything, has_role
from tests.unit.builders import LSN, cluster, idle_witness, primary, standby, unknown, witness

STATE = cluster(primary("node-0"), standby("node-1", lsn=LSN - 16), witness("node-2"))


def step(title: str, holds: bool = False) -> Step:
    ensures = Condition("it is so", (), lambda _: holds)
    return Step(title, "node-0", anything(), verb("probe"), ensures)


def test_a_docker_command_without_a_limit_of_its_own_has_the_operators() -> None:
    commands = (Command(("docker", "a")), Command(("docker", "b")))
    free = Step("Make", "node-0", anything(), Run(commands), anything())
    bound = Step("Stop", "node-0", anything(), Run(commands, 9.0), anything())
    plan = Plan("Both", stages(free, bound, step("Ask"))).within(20)
    first, second, third = (each.action for each in plan.steps)
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    assert (first.command_s, first.timeout_s) == (20, 40)
    assert (second.command_s, second.timeout_s) == (9, 18)
    assert third.timeout_s == 60


def test_a_position_is_that_of_the_node_that_is_furthest() -> None:
    assert PositionOf(("node-1", "node-0")).resolve(STATE) == f"0/{LSN:X}"


def test_a_witness_that_kept_no_wal_has_no_say_in_a_position() -> None:
    state = cluster(unknown("node-0"), standby("node-1"), idle_witness("node-2", lsn=None))
    assert PositionOf(("node-1", "node-2")).resolve(state) == f"0/{LSN:X}"


def test_in_a_dry_run_a_position_is_in_words() -> None:
    action = verb("promote", term=2, lsn=PositionOf(("node-0",)))
    assert action.command().words == (
        "pgha-node",
        "promote",
        "term=2",
        "lsn=<the last LSN of node-0>",
    )


def test_a_position_that_nobody_tells_is_never_sent_in_words() -> None:
    state = cluster(unknown("node-0"), standby("node-1"), witness("node-2"))
    with pytest.raises(Failed, match="The last lsn of node-0 is not known"):
        verb("promote", lsn=PositionOf(("node-0",))).command(state)


def test_an_argument_that_is_none_is_left_out() -> None:
    assert verb("promote", term=2, voters=None).args == (("term", 2),)


def test_secrets_travel_on_standard_input_only() -> None:
    command = Verb("initdb", (), {"superuser": Secret("geheim")}).command()
    assert command.words == ("pgha-node", "initdb")
    assert "geheim" not in repr(command)
    assert isinstance(command.stdin, Secret)
    assert command.stdin.reveal() == '{"superuser": "geheim"}'


def test_empty_stages_are_left_out() -> None:
    one, other = step("one"), step("other")
    assert stages(None, (), one, (one, other)) == ((one,), (one, other))


def test_two_conditions_together_name_the_nodes_of_both_once() -> None:
    both = has_role("node-0", Role.PRIMARY) & has_role("node-1", Role.STANDBY)
    assert both.nodes == ("node-0", "node-1")
    assert both.words == "node-0 is primary and node-1 is standby"
    assert both.holds(STATE)
