"""A node whose directories are gone is made anew: states, hosts and keys in, plans out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pgha.commands.base import Secret
from pgha.commands.docker_answers import EngineInfo
from pgha.errors import Refused
from pgha.heritage import NODE, POSTGRESQL_CONF, heritage_of
from pgha.keys import make_birth, with_new_keys
from pgha.operations.recovery import recovery
from pgha.operations.replacing import is_to_be_made, lost_nodes, replacement
from pgha.operations.startstop import start
from pgha.plan import Plan, Run
from pgha.render import AUTHORIZED, KNOWN_HOSTS, POOL_PASSWD, files, node_sizing
from pgha.site import HostFacts, Site, VolumeFacts
from pgha.state import ClusterState
from tests.unit.builders import cluster, missing, primary, provision, standby, stopped, witness

PROVISION = provision()
TOPOLOGY = PROVISION.topology
BIRTH = make_birth(PROVISION.settings, TOPOLOGY)
MEMORY = 4 << 30
STATE = cluster(primary("node-0", timeline=3), missing("node-1", readable=False), witness("node-2"))
STANDBY = TOPOLOGY.node("node-1")
ETC = STANDBY.volumes.etc_pgpool


def site(
    *entries: str, marked: bool = False, image: bool = True, gone: tuple[str | None, ...] = ()
) -> Site:
    """The one host; entries: of the standby's directory for its own files; with any, the others
    hold something as well, except those that are gone."""
    engine = EngineInfo("h", "28.0", "Debian", "x86_64", 2, MEMORY, "overlay2", "/d")
    plenty = 1 << 40
    volumes = tuple(
        VolumeFacts(path, () if path in gone else entries, "", marked, plenty, plenty)
        for path in STANDBY.volumes.all()
    )
    (host,) = TOPOLOGY.hosts
    return Site((HostFacts(host, engine=engine, image=image, volumes=volumes if image else ()),))


def files_of(name: str, memory_bytes: int = MEMORY) -> dict[str, str]:
    node = TOPOLOGY.node(name)
    size = node_sizing(PROVISION, node, dict.fromkeys(TOPOLOGY.hosts, memory_bytes))
    return {f.path: f.content.reveal() for f in files(PROVISION, BIRTH, node, size)}


def plan(there: Site, known: dict[str, str] | None = None, state: ClusterState = STATE) -> Plan:
    heritage = heritage_of(known or files_of("node-0"), TOPOLOGY)
    heir = replace(heritage, birth=with_new_keys(heritage.birth, "node-1"))
    return replacement(state, there, PROVISION, heir, "node-1")


def written(made: Plan, title: str) -> dict[str, Any]:
    """What the step has its node write: path → content."""
    step = next(step for stage in made.stages for step in stage if step.title == title)
    assert isinstance(step.action, Run)
    stdin = step.action.commands[-1].stdin
    assert isinstance(stdin, Secret)
    document = json.loads(stdin.reveal())
    return {file["path"]: file["content"] for file in document["files"]}


def test_it_is_known_to_the_others_then_made_and_takes_part_last() -> None:
    assert [sorted(s.title for s in stage) for stage in plan(site()).stages] == [
        ["Create the networks on localhost"],
        ["Let node-0 know node-1's new keys", "Let node-2 know node-1's new keys"],
        ["Prepare node-1's directories and files"],
        ["Create and start node-1's container"],
        ["Copy node-0 to node-1"],
        ["Let node-1 follow node-0"],
        [f"Steer Pgpool-II on node-{i} to node-0" for i in range(3)],
        ["Complete node-1"],
    ]


def test_a_slot_that_has_lost_its_wal_is_made_anew_before_the_copy() -> None:
    state = cluster(
        primary("node-0", lost_slots=("node-1",)),
        missing("node-1", readable=False),
        witness("node-2"),
    )
    titles = plan(site(), state=state).titles
    copy = titles.index("Copy node-0 to node-1")
    assert titles.index("Let node-0 keep WAL for node-1 and count it") < copy


def test_its_keys_are_new_and_the_others_keep_theirs() -> None:
    made = plan(site())
    own = written(made, "Prepare node-1's directories and files")
    told = written(made, "Let node-2 know node-1's new keys")
    assert set(told) == {AUTHORIZED, KNOWN_HOSTS}
    before = files_of("node-1")
    for path in (AUTHORIZED, KNOWN_HOSTS):
        assert told[path] == own[path]
        old, new = before[path].splitlines(), told[path].splitlines()
        assert len(old) == len(new)
        changed = [line for line, was in zip(new, old, strict=True) if line != was]
        assert len(changed) == 1
        assert "node-1" in changed[0] or STANDBY.address in changed[0]
    private = "/var/lib/postgresql/.ssh/id_ed25519"
    assert own[private] != before[private]
    same = ("/root/.ssh/id_ed25519", "/etc/pgpool2/pgha/agent.key", "/etc/pgpool2/pgpoolkey")
    assert {path: own[path] for path in same} == {path: before[path] for path in same}


def test_what_the_cluster_agrees_on_is_as_the_others_have_it() -> None:
    known = files_of("node-0", memory_bytes=64 << 30)
    theirs = {**json.loads(known[NODE]), "election_timeout_s": 9.0, "quorum_commit": False}
    known |= {NODE: json.dumps(theirs), POOL_PASSWD: "app:secret\n"}
    own = written(plan(site(), known), "Prepare node-1's directories and files")
    assert json.loads(own[NODE]) == {**theirs, "node": "node-1", "kind": "data"}
    assert own[POOL_PASSWD] == "app:secret\n"

    def of(text: str, name: str) -> str:
        return next(line for line in text.splitlines() if line.startswith(f"{name} = "))

    assert of(own[POSTGRESQL_CONF], "max_connections") == of(
        known[POSTGRESQL_CONF], "max_connections"
    )
    assert of(own[POSTGRESQL_CONF], "shared_buffers") != of(
        known[POSTGRESQL_CONF], "shared_buffers"
    )


def test_a_node_that_knows_too_little_is_no_source() -> None:
    known = files_of("node-0")
    known[KNOWN_HOSTS] = known[KNOWN_HOSTS].partition("\n")[2]
    with pytest.raises(ValueError, match="no keys of node-0"):
        heritage_of(known, TOPOLOGY)


def test_what_is_there_is_moved_aside_and_nothing_is_moved_where_nothing_is() -> None:
    made = plan(site("other"))
    assert "Prepare node-1's directories and files, what is there moved aside" in made.titles
    assert "aside" in made.notes[0]
    assert plan(site()).notes == ()


def test_who_is_away_is_named() -> None:
    state = cluster(
        primary("node-0"), missing("node-1", readable=False), stopped("node-2", readable=False)
    )
    made = plan(site(), state=state)
    assert "Let node-2 know node-1's new keys" not in made.titles
    assert made.notes[0].startswith("node-2 did not answer")


def test_without_an_image_it_is_built_first() -> None:
    assert is_to_be_made(STATE, site(image=False), "node-1")
    with pytest.raises(Refused) as refused:
        plan(site(image=False))
    assert refused.value.next == "inv build"


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        (site(), True),
        (site("other"), True),
        (site("pgha", marked=True), True),  # it was being made anew
        (site("pgha"), False),
        (site("pgha", gone=(STANDBY.volumes.postgres_archive,)), False),  # it may be empty
        (site("pgha", gone=(STANDBY.volumes.postgres_data,)), True),
        (site("pgha", gone=(STANDBY.volumes.etc_ssh,)), True),
        (site(image=False), False),  # nobody could look
        (Site((HostFacts(TOPOLOGY.hosts[0], error="away"),)), False),
        (Site(()), False),
    ],
)
def test_only_who_surely_has_nothing_of_its_own_left_is_lost(there: Site, lost: bool) -> None:
    assert lost_nodes(STATE, there) == ({"node-1"} if lost else frozenset())


def test_a_node_that_runs_or_tells_is_never_made_anew() -> None:
    for standby_now in (standby("node-1"), stopped("node-1")):
        state = cluster(primary("node-0"), standby_now, witness("node-2"))
        assert not is_to_be_made(state, site(), "node-1")
        assert not is_to_be_made(state, site(image=False), "node-1")


def test_other_commands_leave_it_and_name_the_command() -> None:
    lost = frozenset({"node-1"})
    begun = start(STATE, PROVISION, lost=lost)
    assert begun.titles == ()
    assert "inv recovery --node node-1 --force" in begun.notes[0]
    with pytest.raises(Refused) as refused:
        recovery(STATE, lost=lost)
    assert refused.value.next == "inv recovery --node node-1 --force"


def test_who_was_made_anew_but_for_the_last_step_is_completed() -> None:
    state = cluster(primary("node-0"), standby("node-1", initialising=True), witness("node-2"))
    assert recovery(state).titles[-1] == "Complete node-1"
