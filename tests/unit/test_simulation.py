"""Every operation against a model of the nodes, cut off anywhere, and run again (DESIGN section 4).

The rules are checked by the model at each moment: one writer, nothing acknowledged lost, nothing
deleted. PGHA_NIGHTLY=1 tries forty times as many histories.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgha.errors import Refused
from pgha.node.report import Role
from pgha.operations import failover as failover_module
from pgha.operations import promotion
from pgha.operations import recovery as recovery_module
from pgha.operations import startstop as startstop_module
from pgha.state import ClusterState, NodeState, anything
from pgha.topology import Topology
from tests.unit.builders import (
    four_and_a_witness,
    three_and_a_witness,
    three_data_nodes,
    two_and_a_witness,
    two_nodes,
)
from tests.unit.model import Broken, Model
from tests.unit.simulation import (
    CUT,
    DONE,
    FAILED,
    FAULTS,
    REFUSED,
    Command,
    Result,
    clone,
    follow_the_advice,
    is_settled,
    reached,
    run,
    settle,
)

NIGHTLY = os.environ.get("PGHA_NIGHTLY") == "1"
MANY = settings(
    max_examples=12_000 if NIGHTLY else 600,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

CLUSTERS = {
    "two nodes and a witness": two_and_a_witness(),
    "two nodes": two_nodes(),
    "three data nodes": three_data_nodes(),
    "three data nodes and a witness": three_and_a_witness(),
    "four data nodes and a witness": four_and_a_witness(),
}
MODES = ("operator", "verb", "node")
COMMANDS = (
    Command("start"),
    Command("stop"),
    Command("failover"),
    Command("failover", force=True),
    Command("failover", "node-0"),
    Command("failover", "node-1"),
    Command("failback"),
    Command("recovery"),
    Command("recovery", "node-0"),
    Command("recovery", "node-1"),
    Command("recovery", "node-1", force=True),
    Command("recovery", "node-0", force=True),
)
# node-2 is the witness of the cluster that most people have: there some of these are refused.
OF_MORE_NODES = (
    Command("failover", "node-2"),
    Command("recovery", "node-2"),
    Command("recovery", "node-2", force=True),
)
EVERY_COMMAND = (*COMMANDS, *OF_MORE_NODES)
Event = tuple[str, str] | tuple[Command, str, int]

events = st.one_of(
    st.tuples(st.sampled_from(sorted(FAULTS)), st.sampled_from([f"node-{i}" for i in range(5)])),
    st.tuples(st.sampled_from(EVERY_COMMAND), st.sampled_from(MODES), st.integers(0, 60)),
)
histories = st.lists(events, max_size=5)
# The cluster with a witness is what most people have.
clusters = st.sampled_from(("two nodes and a witness", *CLUSTERS))


def after(topology: Topology, seed: int, history: list[Event], *mutations: str) -> Model:
    """A cluster that was healthy before all this happened to it."""
    model = Model.healthy(topology, seed, frozenset(mutations))
    for event in history:
        if isinstance(event[0], str):
            if event[1] in topology.names:
                FAULTS[event[0]](model, str(event[1]))
        else:
            command, model.mode, model.cut_at = event
            run(model, command)
            model.cut_at = None
        model.tick()
    return model


def cut_off(model: Model, command: Command, mode: str, at: int) -> Result:
    """The command, cut off at this point, if it gets there."""
    model.mode, model.cut_at = mode, at
    result = run(model, command)
    model.cut_at = None
    return result


def finish(model: Model, command: Command, first: Result) -> None:
    """The same command again, after the operator's process died in the first run."""
    assert first.plan is not None
    again = run(model, command)
    if again.ending == FAILED:  # a hand-over whose fence did not end in time: the standby lacks WAL
        again = run(model, command)
    if again.ending == REFUSED and command.node is None and not reached(model, command, first.plan):
        return  # all was done: without a goal, this is the wish for another move
    if again.ending != DONE or again.plan is None:
        raise Broken(f"{command} again: {again.ending} {again.message}")
    problem = reached(model, command, again.plan)
    if problem:
        raise Broken(f"{command} again: {again.plan.titles}, but {problem}")


def everybody_is_back(model: Model) -> None:
    for node in model.nodes.values():
        node.reachable = True


# Of four voters a commit waits for two: one follower that is back is not enough yet.
@example(
    "three data nodes and a witness",
    0,
    [(Command("failover"), "operator", 12)],
    Command("recovery", "node-0", force=True),
)
@MANY
@given(clusters, st.integers(0, 2**16), histories, st.sampled_from(EVERY_COMMAND))
def test_a_command_reaches_its_goal_and_has_nothing_to_do_the_second_time(
    name: str, seed: int, history: list[Event], command: Command
) -> None:
    model = after(CLUSTERS[name], seed, history)
    if command.node not in (None, *model.nodes):
        return
    result = run(model, command)
    if result.ending == DONE and result.plan is not None:
        assert reached(model, command, result.plan) == ""
        assert result.plan.notes or is_settled(model, command)


@MANY
@given(
    clusters, st.integers(0, 2**16), histories, st.sampled_from(EVERY_COMMAND), st.integers(0, 60)
)
def test_a_command_whose_operator_dies_anywhere_is_finished_by_the_same_command(
    name: str, seed: int, history: list[Event], command: Command, at: int
) -> None:
    model = after(CLUSTERS[name], seed, history)
    whole = run(clone(model), command)
    first = cut_off(model, command, "operator", at)
    if whole.ending == DONE and first.ending == CUT:
        finish(model, command, first)


@MANY
@given(
    clusters,
    st.integers(0, 2**16),
    histories,
    st.sampled_from(EVERY_COMMAND),
    st.sampled_from(MODES),
    st.integers(0, 60),
)
@example(
    "two nodes and a witness",
    0,
    [("remove", "node-0"), (Command("failover"), "operator", 0), ("remove", "node-1")],
    Command("start"),
    "operator",
    0,
)
def test_what_errors_and_status_advise_leads_to_health(
    name: str, seed: int, history: list[Event], command: Command, mode: str, at: int
) -> None:
    model = after(CLUSTERS[name], seed, history)
    cut_off(model, command, mode, at)
    everybody_is_back(model)
    follow_the_advice(model, command)


BEFORE: dict[str, list[Event]] = {
    "healthy": [],
    "the primary was killed": [("kill", "node-0")],
    "the primary's PostgreSQL is dead": [("kill_postgres", "node-0")],
    "the primary cannot be reached": [("lose_touch", "node-0")],
    "the standby lags": [("lag", "node-1")],
    "the standby was killed": [("kill", "node-1")],
    "all were killed": [("kill", "node-0"), ("kill", "node-1"), ("kill", "node-2")],
    "the old primary is back": [
        ("kill", "node-0"),
        (Command("failover", "node-1"), "operator", 99),
        ("come_back", "node-0"),
    ],
    "stopped": [(Command("stop"), "operator", 99)],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.name}-{c.node}-{c.force}")
def test_every_cut_of_every_command(command: Command, before: str, mode: str) -> None:
    for seed in range(12 if NIGHTLY else 1):
        start = after(CLUSTERS["two nodes and a witness"], seed, BEFORE[before])
        cut_off_everywhere(start, command, mode)


BEFORE_OF_MORE: dict[str, list[Event]] = {
    **{name: BEFORE[name] for name in ("healthy", "the primary was killed", "stopped")},
    "a standby was killed": [("kill", "node-2")],
    "all were killed": [("kill", f"node-{i}") for i in range(4)],
    "both followers of a moved primary were away": [
        ("kill", "node-0"),
        ("kill", "node-1"),
        (Command("failover", "node-2", force=True), "operator", 99),
        ("come_back", "node-0"),
        ("come_back", "node-1"),
    ],
}


@pytest.mark.parametrize("mode", MODES if NIGHTLY else ("operator",))
@pytest.mark.parametrize("before", BEFORE_OF_MORE)
@pytest.mark.parametrize(
    "command",
    [*OF_MORE_NODES[:2], *(c for c in COMMANDS if not c.node and not c.force)],
    ids=lambda c: f"{c.name}-{c.node}-{c.force}",
)
def test_every_cut_of_a_command_with_four_voters(command: Command, before: str, mode: str) -> None:
    for seed in range(12 if NIGHTLY else 1):
        start = after(CLUSTERS["three data nodes and a witness"], seed, BEFORE_OF_MORE[before])
        cut_off_everywhere(start, command, mode)


def cut_off_everywhere(start: Model, command: Command, mode: str) -> None:
    """The command, cut off at one place after the other; again, and what is advised, mend it."""
    whole = run(clone(start), command)
    at, first = 0, None
    while first is None or first.ending == CUT or (mode == "node" and at < 12):
        model = clone(start)
        first = cut_off(model, command, mode, at)
        if mode == "operator" and first.ending == CUT and whole.ending == DONE:
            finish(model, command, first)
        everybody_is_back(model)
        follow_the_advice(model, command)
        at += 1


@pytest.mark.parametrize("name", [n for n, t in CLUSTERS.items() if len(t.data_nodes) > 2])
@pytest.mark.parametrize("dead", [False, True], ids=("handed over", "promoted"))
def test_after_a_failover_every_standby_follows_the_new_primary(name: str, dead: bool) -> None:
    model = after(CLUSTERS[name], 0, [("kill", "node-0")] if dead else [])
    assert run(model, Command("failover", "node-2")).ending == DONE
    state = model.whole(rest=False)
    assert state.primary is not None
    assert state.primary.name == "node-2"
    gone = {"node-2", *(["node-0"] if dead else [])}
    assert all(state.streams(n) for n in state.topology.names if n not in gone)


@pytest.mark.parametrize("name", [n for n, t in CLUSTERS.items() if len(t.data_nodes) > 2])
def test_recovery_brings_every_standby_to_a_primary_that_was_elected_without_them(
    name: str,
) -> None:
    """Two were away while the primary moved by force: both follow it by one command."""
    model = after(CLUSTERS[name], 0, [("lag", "node-1"), ("kill", "node-0"), ("kill", "node-1")])
    assert run(model, Command("failover", "node-2", force=True)).ending == DONE
    for away in ("node-0", "node-1"):
        FAULTS["come_back"](model, away)
    assert run(model, Command("recovery")).ending == DONE
    state = model.whole(rest=False)
    assert all(state.streams(n) for n in state.topology.names if n != "node-2")
    assert model.nodes["node-2"] in model.writers()


def test_two_sides_that_promoted_without_one_another_are_told_apart_afterwards() -> None:
    """node-1 was elected by the witness; nobody told node-0, which was then promoted by force."""
    model = after(
        CLUSTERS["two nodes and a witness"],
        0,
        [("lose_touch", "node-0"), (Command("failover"), "operator", 99)],
    )
    FAULTS["lose_touch"](model, "node-1")
    FAULTS["lose_touch"](model, "node-2")
    model.nodes["node-0"].reachable = True
    model.kill_postgres("node-0")
    assert run(model, Command("failover", force=True)).ending == DONE
    everybody_is_back(model)
    follow_the_advice(model)
    settle(model)
    assert len({node.log for node in model.nodes.values()}) == 1


def any_former_primary(state: ClusterState) -> NodeState:
    for node in state.readable:
        if node.has_data and node.report and node.report.assignment.role is Role.PRIMARY:
            return node
    raise Refused("nobody")


Patches = tuple[tuple[Any, str, Any], ...]

# Most rules are kept twice, by the plan and by the verb: then both have to be broken.
MUTATIONS: dict[str, tuple[tuple[str, ...], Patches]] = {
    "promotion without a majority": ((), ((promotion, "what_may_be_lost", lambda *_: ""),)),
    "fetch and promote that check nothing": (
        ("fetch brings nothing", "promote ignores the LSN"),
        ((promotion, "caught_up", lambda *_: anything()),),
    ),
    "fence that stops nothing, and nobody looks": (
        ("fence stops nothing",),
        (
            (failover_module, "has_role", lambda *_: anything()),
            (failover_module, "fenced_at_known_lsn", lambda *_: anything()),
        ),
    ),
    "vote that goes on receiving": (("vote goes on receiving",), ()),
    "follow that never checks for divergence": (
        ("follow checks nothing",),
        (
            (recovery_module, "can_follow", lambda *_: True),
            (failover_module, "can_follow", lambda *_: True),
        ),
    ),
    "confirm that waits for nobody": (("confirm waits for nobody",), ()),
    "promote that leaves the gate open": (("promote leaves the gate open",), ()),
    "serve that leaves the gate open": (("serve leaves the gate open",), ()),
    "serve whoever was a primary once": (
        ("serve ignores terms",),
        ((startstop_module, "last_primary", any_former_primary),),
    ),
}


# Where the search begins, since these are rare; without them it takes some seconds more.
HINTS = {"serve whoever was a primary once": 3370}
# With quorum commit the vote alone keeps the old primary from acknowledging anything.
HUNTED_IN = {"fence that stops nothing, and nobody looks": "two nodes"}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_simulation_finds_what_breaks_a_rule(
    mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that finds nothing in broken verbs and plans would prove nothing about whole ones."""
    verbs, patches = MUTATIONS[mutation]
    for module, name, instead in patches:
        monkeypatch.setattr(module, name, instead)
    found = hunt(verbs, HUNTED_IN.get(mutation, "two nodes and a witness"), HINTS.get(mutation, 0))
    assert found.startswith("rule"), f"{mutation}: {found or 'nothing was found'}"


def hunt(mutations: tuple[str, ...], name: str, first: int) -> str:
    """The first broken rule in some thousand histories; `first`: where one was found last time."""
    for seed in (*range(first, first + 50), *range(6000)):
        chance = random.Random(seed)
        history: list[Event] = []
        for _ in range(chance.randrange(1, 6)):
            if chance.random() < 0.6:
                history.append((chance.choice(sorted(FAULTS)), f"node-{chance.randrange(3)}"))
            else:
                history.append(
                    (chance.choice(COMMANDS), chance.choice(MODES), chance.randrange(45))
                )
        try:
            model = after(CLUSTERS[name], seed, history, *mutations)
            run(model, chance.choice(COMMANDS))
            everybody_is_back(model)
            run(model, Command("recovery"))
        except Broken as error:
            if str(error).startswith("rule"):
                return f"{error}"
    return ""
