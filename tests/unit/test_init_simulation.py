"""`init` against a model of the hosts, cut off anywhere, and run again (DESIGN section 4).

The rules are checked at each moment: never two primaries, nothing acknowledged lost, nothing gone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Any

import pytest

from pgha.commands.base import Command, Secret
from pgha.commands.docker_answers import EngineInfo, NetworkInfo
from pgha.errors import PghaError, Refused, Unreachable
from pgha.execute import Listener, execute
from pgha.keys import Birth, make_birth
from pgha.node.paths import INITIALISING
from pgha.node.report import Agent, Assignment, Postgres, Role
from pgha.node.survey import FORCED
from pgha.operations.init import FIRST_TERM, init
from pgha.plan import Plan, Relay, Run, Step
from pgha.site import HostFacts, Site, VolumeFacts
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Kind, Topology
from pgha.verdict import Verdict, judge
from tests.unit.builders import (
    provision,
    three_and_a_witness,
    three_hosts,
    two_and_a_witness,
    two_nodes,
)
from tests.unit.model import Broken, Cut, Model, ModelNode, VerbFailed
from tests.unit.simulation import CUT, DONE, FAILED, REFUSED, follow_the_advice, settle
from tests.unit.simulation import Command as Line
from tests.unit.simulation import run as run_line
from tests.unit.swarm_model import ADDRESSES, Swarm, require

CLUSTERS = {
    "two nodes and a witness": two_and_a_witness(),
    "two nodes": two_nodes(),
    "three hosts": three_hosts(),
    "three data nodes and a witness": three_and_a_witness(),
}
FRESH = "a fresh cluster"  # why `initdb` says that a node is fenced
PLENTY = 1 << 40
ENGINE = EngineInfo("h", "28.0", "Debian", "x86_64", 2, 4 << 30, "overlay2", "/d")


class Hosts(Model):
    """The World of an `init`: hosts with networks, containers and volumes, empty to begin with.

    volumes: a directory → its entries, each with the stamp of the `init` that made it; aside: the
    same of what was moved aside. marked: who has the mark of an `init` that is under way; forced:
    whose mark says that it is one with -f.
    """

    def __init__(self, topology: Topology, seed: int = 0) -> None:
        super().__init__(topology, seed)
        self.provision = provision(topology)
        self.births = count(1)
        self.networks: dict[str, dict[str, str]] = {host: {} for host in topology.hosts}
        self.swarm = Swarm()
        paths = [path for n in topology.nodes for path in n.volumes.all()]
        self.volumes: dict[str, dict[str, str]] = {path: {} for path in paths}
        self.aside: dict[str, set[tuple[str, str]]] = {path: set() for path in paths}
        self.marked: set[str] = set()
        self.forced: set[str] = set()
        self.roles: dict[str, set[str]] = {name: set() for name in topology.names}
        self.points = 0
        for node in self.nodes.values():
            node.container = ContainerStatus.MISSING
            self._blank(node)

    def _blank(self, node: ModelNode) -> None:
        """Its volumes hold nothing any more."""
        node.assignment = Assignment()
        node.become(())
        node.has_data = node.standby_signal = node.was_primary = node.rewinding = False
        node.conf_upstream, node.clean = None, True
        node.slots.clear()
        self.roles[node.name].clear()
        self.marked.discard(node.name)

    # --- what `init` sees ------------------------------------------------------------------------

    def site(self) -> Site:
        """What `pgha.survey` tells of these hosts."""
        return Site(tuple(self._facts(host) for host in self.topology.hosts))

    def _facts(self, host: str) -> HostFacts:
        nodes = [n for n in self.topology.nodes if n.host == host]
        there = [n for n in nodes if self.nodes[n.name].container is not ContainerStatus.MISSING]
        marked = {n.volumes.etc_pgpool for n in nodes if n.name in self.marked}
        forced = {n.volumes.etc_pgpool for n in nodes if n.name in self.marked & self.forced}
        return HostFacts(
            host,
            engine=replace(ENGINE, name=host, swarm=self.swarm.info(host)),
            addresses=(f"eth0 {ADDRESSES[host]}/24",) if host in ADDRESSES else (),
            swarm_nodes=self.swarm.listed(host),
            image=True,
            containers=tuple((n.container, self.topology.cluster) for n in there),
            networks=(
                NetworkInfo("1", "bridge", "bridge", ("172.17.0.0/16",), {}, ()),
                *(
                    NetworkInfo("1", name, "bridge", (subnet,), {}, ())
                    for name, subnet in self.networks[host].items()
                ),
                *(
                    NetworkInfo("1", name, "overlay", (subnet,), {}, (), attachable=True)
                    for name, subnet in self.swarm.networks.items()
                    if host in self.swarm.managers
                ),
            ),
            volumes=tuple(
                VolumeFacts(
                    path,
                    tuple(self.volumes[path]),
                    "",
                    path in marked,
                    PLENTY,
                    PLENTY,
                    path in forced,
                )
                for n in nodes
                for path in n.volumes.all()
            ),
        )

    def state_of(self, node: ModelNode, *, rest: bool = False) -> NodeState:
        state = super().state_of(node, rest=rest)
        known = self.volumes[self.topology.node(node.name).volumes.etc_pgpool]
        told = known and state.container is not ContainerStatus.PAUSED
        if told and self.topology.swarm and state.report is not None and node.up:
            up = tuple(n.name for n in self.nodes.values() if n.up and n is not node)
            state = replace(state, report=replace(state.report, agent=Agent(True, hears=up)))
        return state if told else replace(state, report=None, at_rest=False)

    # --- what `init` does ------------------------------------------------------------------------

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        """As the model does it, but with cuts before the action and between its commands."""
        self.tick()
        node = self.nodes[step.node]
        self._gate(node)
        if isinstance(step.action, Run):
            for command in step.action.commands:
                self._on_host(node, command)
                self._gate(node)
            return None
        if isinstance(step.action, Relay):
            source = self.topology.node(step.action.source).host
            said = self.swarm.run(source, step.action.ask)
            self._gate(node)
            host = self.topology.node(step.node).host
            self.swarm.run(host, replace(step.action.command, stdin=Secret(said)))
            self._gate(node)
            return None
        if not node.up or not node.reachable:
            raise Unreachable(f"{node.name} does not answer.")
        self._run_verb(node, step.action.name, dict(step.action.known_args(state)))
        return self.state_of(node)

    def _point(self, node: ModelNode) -> bool:
        self.points += 1
        return super()._point(node)

    def _gate(self, node: ModelNode) -> None:
        if self._point(node):
            self.cut_at = None
            raise Cut

    def _on_host(self, node: ModelNode, command: Command) -> None:
        words = command.words[1:]
        host = self.topology.node(node.name).host
        networks = self.networks[host]
        if host in self.swarm.members:
            networks = networks | self.swarm.networks
        exists = node.container is not ContainerStatus.MISSING
        match words[:2]:
            case ("swarm", _) | (_, 'exec "$@" > /dev/null'):
                self.swarm.run(host, command)
            case ("network", "create") if "overlay" in words:
                self.swarm.run(host, command)
            case ("network", "create"):
                require(words[-1] not in networks, words)
                networks[words[-1]] = words[words.index("--subnet") + 1]
            case ("network", "connect"):
                require(words[-2] in networks and exists, words)
            case ("container", "create"):
                known = self.volumes[self.topology.node(node.name).volumes.etc_pgpool]
                require(not exists and words[words.index("--network") + 1] in networks, words)
                require(bool(known), words)
                node.container = ContainerStatus.STOPPED
            case ("container", "start"):
                require(exists, words)
                self.start_container(node.name)
            case ("container", "stop"):
                require(exists, words)
                self.stop_container(node.name)
            case ("container", "rm"):
                require(exists and ("--force" in words or not node.up), words)
                self.remove(node.name)
            case ("run", _):
                assert isinstance(command.stdin, Secret)
                self._prepare(node, json.loads(command.stdin.reveal()))
            case _:
                raise AssertionError(words)

    def _prepare(self, node: ModelNode, document: dict[str, Any]) -> None:
        """pgha/node/prepare.py."""
        volumes = self.topology.node(node.name).volumes.all()
        if node.up:
            raise Broken(f"{node.name} runs while its files are made anew")
        if document["stamp"]:
            for path in volumes:
                self.aside[path] |= set(self.volumes[path].items())
                self.volumes[path].clear()
            self._blank(node)
        elif any(self.volumes[path] for path in volumes):
            raise Broken(f"rule 5: {node.name}'s files are overwritten")
        stamp = f"init {next(self.births)}"
        mounts = self.provision.mounts(self.topology.node(node.name))
        for file in document["files"]:
            mount = next(m for m in mounts if file["path"].startswith(f"{m.target}/"))
            inside = file["path"].removeprefix(f"{mount.target}/")
            self.volumes[mount.source][inside.split("/")[0]] = stamp
        self.marked.add(node.name)
        mark = str(INITIALISING)
        if any((f["path"], f["content"]) == (mark, FORCED) for f in document["files"]):
            self.forced.add(node.name)
        else:
            self.forced.discard(node.name)

    # --- verbs that the model lacks, or whose traces on the volumes count here -------------------

    def _verb_initdb(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        if node.has_data:
            if node.assignment.reason != FRESH:
                raise VerbFailed(f"{node.name}'s data directory is not empty.")
            node.become(())
            node.has_data = False
        yield
        node.change(role=Role.FENCED, reason=FRESH, position=None)
        yield
        node.append(((FIRST_TERM, self._number()),))
        node.has_data = node.was_primary = node.clean = True
        self._data_in_place(node)

    def _verb_serve(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        yield from super()._verb_serve(node, args)
        node.change(reason="serves")

    def _verb_copy(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        yield from super()._verb_copy(node, args)
        self._data_in_place(node)

    def _verb_door_user_set(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        yield
        self.roles[node.name].add(args["name"])

    def _verb_complete(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        yield
        self.marked.discard(node.name)

    def _verb_promote(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        yield from super()._verb_promote(node, args)
        self.marked.discard(node.name)

    def _verb_halt(self, node: ModelNode, args: dict[str, str]) -> Iterator[None]:
        self.marked.discard(node.name)
        yield from super()._verb_halt(node, args)

    def _data_in_place(self, node: ModelNode) -> None:
        path = self.topology.node(node.name).volumes.postgres_data
        assert path is not None
        if "pgdata" in self.volumes[path]:
            self.aside[path].add(("pgdata", self.volumes[path]["pgdata"]))
        self.volumes[path]["pgdata"] = f"made at {self.clock:.2f}"

    # --- the rules -------------------------------------------------------------------------------

    def check(self) -> None:
        super().check()
        primaries = [n.name for n in self.nodes.values() if n.is_primary]
        if len(primaries) > 1:
            raise Broken(f"rule 1: {primaries} are primaries")

    def everything(self) -> dict[str, set[tuple[str, str]]]:
        """All entries of all volumes, what was moved aside too."""
        return {path: set(v.items()) | self.aside[path] for path, v in self.volumes.items()}


@dataclass(frozen=True)
class Result:
    ending: str
    error: PghaError | None = None


@cache
def birth(topology: Topology) -> Birth:
    return make_birth(provision(topology).settings, topology)


def planned(hosts: Hosts, *, force: bool = False) -> tuple[ClusterState, Plan]:
    """As `pgha.cluster` asks for it: stopped containers are read where an `init` was cut off."""
    state = hosts.whole(rest=bool(hosts.marked))
    born = birth(hosts.topology)
    return state, init(state, hosts.site(), hosts.provision, born, force=force)


def run(hosts: Hosts, *, force: bool = False) -> Result:
    try:
        state, plan = planned(hosts, force=force)
    except Refused as error:
        return Result(REFUSED, error)
    return carried_out(hosts, state, plan)


def carried_out(hosts: Hosts, state: ClusterState, plan: Plan) -> Result:
    try:
        execute(plan, state, hosts, Listener())
    except Cut:
        return Result(CUT)
    except PghaError as error:
        return Result(FAILED, error)
    hosts.tick()
    return Result(DONE)


def complete(topology: Topology, seed: int = 0) -> Hosts:
    hosts = Hosts(topology, seed)
    assert run(hosts) == Result(DONE)
    return hosts


def is_whole(hosts: Hosts) -> str:
    """What is missing in the cluster that `init` promises; empty: nothing."""
    settle(hosts)
    state, topology = hosts.whole(rest=False), hosts.topology
    if state.primary is None or state.primary.name != topology.home:
        return "the home node is not the primary"
    if (state.primary.timeline, state.term) != (FIRST_TERM, FIRST_TERM):
        return f"it is term {state.term}"
    lost = [n.name for n in topology.others(topology.home) if not state.streams(n.name)]
    up = state.to_attach(topology.home, topology.names)
    away = [n.name for n in hosts.nodes.values() if n.door != (topology.home, up)]
    settings = hosts.provision.settings
    known = {settings.postgres_user, settings.replication_user}
    strange = [name for name, roles in hosts.roles.items() if roles != known]
    if topology.swarm and (fault := hosts.swarm.fault(topology.hosts)):
        return fault
    if lost or away or strange or hosts.marked:
        return f"lost={lost} doors={away} roles={strange} marked={hosts.marked}"
    return "" if judge(state)[0] is Verdict.HEALTHY else f"{judge(state)}"


def written(hosts: Hosts) -> tuple[tuple[int, int], ...]:
    """All rows of the primary, after clients wrote some more."""
    hosts.tick()
    return next((n.log for n in hosts.nodes.values() if n.is_primary), ())


def cuts(start: Hosts, mode: str, *, force: bool = False) -> Iterator[tuple[Hosts, Result]]:
    """The same `init`, cut off at one place after the other, each on hosts of its own."""
    state, plan = planned(start, force=force)
    # One run counts the places, since in each other run a step's nodes come in the same order.
    whole = clone(start)
    whole.points = 0
    assert carried_out(whole, state, plan) == Result(DONE)
    for at in range(whole.points):
        hosts = clone(start)
        hosts.mode, hosts.cut_at = mode, at
        yield hosts, carried_out(hosts, state, plan)
        assert hosts.cut()


def clone(hosts: Hosts) -> Hosts:
    return copy.deepcopy(hosts)


@pytest.mark.parametrize("name", CLUSTERS)
def test_from_nothing_to_a_whole_cluster(name: str) -> None:
    hosts = complete(CLUSTERS[name])
    assert is_whole(hosts) == ""
    assert not any(hosts.aside.values())
    assert hosts.swarm.exposed == set()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("two nodes and a witness", "operator"),
        ("two nodes and a witness", "verb"),
        ("two nodes", "operator"),
        ("three hosts", "operator"),
        ("three data nodes and a witness", "operator"),
    ],
)
def test_init_that_is_cut_off_anywhere_is_finished_by_init(name: str, mode: str) -> None:
    seen = set()
    for seed, (hosts, first) in enumerate(cuts(Hosts(CLUSTERS[name], 1), mode)):
        hosts.random.seed(seed)
        assert first.ending == CUT
        rows, before, marked = written(hosts), hosts.everything(), set(hosts.marked)
        again = run(hosts)
        seen.add((again.ending, bool(rows), bool(marked)))
        if again.ending == REFUSED:
            assert not marked, again
        else:
            assert again == Result(DONE)
        assert is_whole(hosts) == ""
        if rows:
            assert hosts.nodes[hosts.topology.home].log[: len(rows)] == rows
        assert all(before[path] <= now for path, now in hosts.everything().items())
        assert run(hosts).ending == REFUSED
    # Nothing there yet; no primary yet; a primary that is in use; all done but for the last word.
    assert {
        (DONE, False, False),
        (DONE, False, True),
        (DONE, True, True),
        (REFUSED, True, False),
    } == seen


@pytest.mark.parametrize("name", ["two nodes and a witness", "two nodes"])
def test_a_container_that_dies_in_init_costs_nothing_that_was_acknowledged(name: str) -> None:
    for hosts, first in cuts(Hosts(CLUSTERS[name], 1), "node"):
        assert first.ending == FAILED
        before, marked = hosts.everything(), set(hosts.marked)
        rows = hosts.nodes[hosts.topology.home].log
        served = hosts.nodes[hosts.topology.home].assignment.term > 0
        again = run(hosts)
        if again.ending == REFUSED:
            # The very last mark was gone when the last container died.
            assert not marked
            follow_the_advice(hosts, Line("start"))
        else:
            assert again == Result(DONE)
        assert is_whole(hosts) == ""
        assert not served or hosts.nodes[hosts.topology.home].log[: len(rows)] == rows
        assert run(hosts).ending == REFUSED
        assert all(before[path] <= now for path, now in hosts.everything().items())


def all_but_marks(*, force: bool = False) -> Hosts:
    """A cluster in use whose `init` (force: `init -f`) was cut off before its last stage."""
    hosts = complete(two_and_a_witness())
    hosts.marked = set(hosts.nodes)
    hosts.forced = set(hosts.nodes) if force else set()
    return hosts


def test_a_primary_that_crashed_since_its_init_was_cut_off_serves_again() -> None:
    hosts = all_but_marks()
    rows = written(hosts)
    hosts.kill_postgres("node-0")
    assert run(hosts) == Result(DONE)
    assert is_whole(hosts) == ""
    assert hosts.nodes["node-0"].log[: len(rows)] == rows


@pytest.mark.parametrize("removed", [False, True], ids=("stopped", "removed"))
@pytest.mark.parametrize("names", [("node-0",), ("node-0", "node-1", "node-2")], ids=len)
def test_containers_that_died_since_their_init_was_cut_off_are_started(
    names: tuple[str, ...], removed: bool
) -> None:
    hosts = all_but_marks()
    rows = written(hosts)
    for name in names:
        hosts.remove(name) if removed else hosts.kill(name)
    before = hosts.everything()
    assert run(hosts) == Result(DONE)
    assert is_whole(hosts) == ""
    assert hosts.nodes["node-0"].log[: len(rows)] == rows
    assert hosts.everything() == before


def test_a_primary_that_is_just_starting_is_waited_for() -> None:
    """The `serve` of an init that was cut off goes on: PostgreSQL does not tell anything yet."""
    hosts = all_but_marks()
    state = hosts.whole(rest=True)
    report = state.node("node-0").report
    assert report is not None
    starting = replace(report, postgres=Postgres(running=True))
    state = state.with_nodes(replace(state.node("node-0"), report=starting))
    plan = init(state, hosts.site(), hosts.provision, birth(hosts.topology))
    assert plan.titles[0] == "Start node-0 as the primary"
    assert not any("Prepare" in title for title in plan.titles)


def test_a_primary_that_does_not_answer_since_its_init_was_cut_off_is_left_alone() -> None:
    hosts = all_but_marks()
    hosts.nodes["node-0"].container = ContainerStatus.PAUSED
    before = hosts.everything()
    refused = run(hosts)
    assert (refused.ending, told_next(refused)) == (REFUSED, "inv status")
    assert hosts.everything() == before


def told_next(result: Result) -> str:
    return result.error.next if result.error is not None else ""


@pytest.mark.parametrize("dead", [False, True], ids=("serves", "crashed"))
def test_with_force_a_cluster_in_use_whose_init_was_cut_off_is_stopped_first(dead: bool) -> None:
    hosts = all_but_marks()
    rows = written(hosts)
    if dead:
        hosts.kill_postgres("node-0")
    before = hosts.everything()
    refused = run(hosts, force=True)
    assert (refused.ending, told_next(refused)) == (REFUSED, "inv stop")
    assert hosts.everything() == before
    assert run_line(hosts, Line("stop")).ending == DONE
    assert not hosts.marked
    hosts.acknowledged.clear()  # -f: an operator said that another cluster shall be here
    assert run(hosts, force=True) == Result(DONE)
    assert is_whole(hosts) == ""
    assert set(rows) <= hosts.nodes["node-0"].aside


@pytest.mark.parametrize("dead", [False, True], ids=("serves", "crashed"))
def test_an_init_with_force_that_was_cut_off_is_finished_by_the_same_command(dead: bool) -> None:
    hosts = all_but_marks(force=True)
    rows = written(hosts)
    if dead:
        hosts.kill("node-0")
    assert run(hosts, force=True) == Result(DONE)
    assert is_whole(hosts) == ""
    assert hosts.nodes["node-0"].log[: len(rows)] == rows


def test_with_force_stopped_containers_whose_init_was_cut_off_are_moved_aside() -> None:
    hosts = all_but_marks()
    rows = written(hosts)
    for name in hosts.nodes:
        hosts.kill(name)
    hosts.acknowledged.clear()
    assert run(hosts, force=True) == Result(DONE)
    assert is_whole(hosts) == ""
    assert set(rows) <= hosts.nodes["node-0"].aside


@pytest.mark.parametrize("back", [False, True], ids=("away", "back"))
def test_a_primary_that_was_passed_over_since_does_not_serve_again(back: bool) -> None:
    hosts = all_but_marks()
    hosts.kill("node-0")
    assert run_line(hosts, Line("failover", "node-1")).ending == DONE
    written(hosts)
    if back:
        hosts.start_container("node-0")
    hosts.kill_postgres("node-1")
    before = hosts.everything()
    refused = run(hosts)
    assert (refused.ending, told_next(refused)) == (REFUSED, "inv start")
    assert hosts.everything() == before
    assert not hosts.nodes["node-0"].is_primary


@pytest.mark.parametrize("stopped", [False, True], ids=("running", "stopped"))
def test_a_complete_cluster_is_refused_and_left_as_it_is(stopped: bool) -> None:
    hosts = complete(two_and_a_witness())
    if stopped:
        assert run_line(hosts, Line("stop")).ending == DONE
    before, logs = hosts.everything(), {n.name: n.log for n in hosts.nodes.values()}
    points = hosts.points
    refused = run(hosts)
    assert refused.ending == REFUSED
    assert refused.error is not None
    assert refused.error.exit_code == 3
    assert (hosts.everything(), hosts.points) == (before, points)
    assert all(n.log[: len(logs[n.name])] == logs[n.name] for n in hosts.nodes.values())
    if not stopped:
        assert run(hosts, force=True).ending == REFUSED
        assert hosts.points == points


def stopped_cluster() -> Hosts:
    hosts = complete(two_and_a_witness())
    assert run_line(hosts, Line("stop")).ending == DONE
    hosts.acknowledged.clear()  # -f: an operator said that another cluster shall be here
    return hosts


def test_with_force_what_was_there_is_aside() -> None:
    hosts = stopped_cluster()
    old = {path: set(entries.items()) for path, entries in hosts.volumes.items()}
    rows = {n.name: set(n.log) for n in hosts.nodes.values()}
    assert run(hosts, force=True) == Result(DONE)
    assert is_whole(hosts) == ""
    assert hosts.aside == old
    for node in hosts.nodes.values():
        assert rows[node.name] <= node.aside
        assert not rows[node.name] & set(node.log)


@pytest.mark.parametrize("mode", ["operator", "verb", "node"])
@pytest.mark.parametrize("again_with_force", [False, True], ids=("init", "init -f"))
def test_with_force_and_cut_off_anywhere_nothing_is_gone(mode: str, again_with_force: bool) -> None:
    start = stopped_cluster()
    old = start.everything()
    for hosts, first in cuts(start, mode, force=True):
        assert first.ending == (FAILED if mode == "node" else CUT)
        complete_before = not hosts.marked and hosts.everything() != old
        rows = written(hosts)
        again = run(hosts, force=again_with_force)
        if again.ending == REFUSED and complete_before:
            follow_the_advice(hosts, Line("start"))
        elif again.ending == REFUSED:
            # Some nodes have what they had: that is moved aside by -f alone.
            assert (again_with_force, told_next(again)) == (False, "inv init -f")
            assert run(hosts, force=True) == Result(DONE)
        else:
            assert again == Result(DONE)
        assert is_whole(hosts) == ""
        assert all(old[path] <= hosts.aside[path] for path in old)
        assert hosts.nodes[hosts.topology.home].log[: len(rows)] == rows


def test_an_even_number_of_voters_is_remarked_upon() -> None:
    notes = {name: planned(Hosts(of))[1].notes for name, of in CLUSTERS.items()}
    assert notes == {
        "two nodes and a witness": (),
        "two nodes": (),
        "three hosts": (),
        "three data nodes and a witness": (
            "4 nodes have a vote and 3 must agree: 1 of them may be lost, no more than of 3.",
        ),
    }


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_node_but_the_witness_carries_data(name: str) -> None:
    hosts = complete(CLUSTERS[name])
    held = {n.name for n in hosts.nodes.values() if n.has_data}
    assert held == {n.name for n in hosts.topology.nodes if n.kind is Kind.DATA}
