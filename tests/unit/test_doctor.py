"""What the doctor makes of what it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.commands.docker_answers import EngineInfo
from pgha.doctor.checks import checkup
from pgha.doctor.drift import KEYS, Held, expected, parse_held
from pgha.doctor.facts import Facts, Failure, HostFacts, NodeFacts
from pgha.doctor.findings import Checkup, Finding, Level
from pgha.doctor.vitals import Disk, Vitals, parse_vitals
from pgha.image_inputs import image_name
from pgha.operations.provision import Provision
from pgha.problem import Problem
from pgha.settings import parse
from pgha.topology import topology

GIGABYTE = 1024**3
NOW_S = 1_800_000_000.0
DAY_S = 86_400
ENGINE = EngineInfo(
    name="box",
    version="26.1.5+dfsg1",
    operating_system="Debian",
    architecture="x86_64",
    cores=2,
    memory_bytes=8 * GIGABYTE,
    storage_driver="overlay2",
    root_dir="/var/lib/docker",
)
DISK = Disk("/data", "ext2/ext3", 50 * GIGABYTE, 100 * GIGABYTE)
VITALS = Vitals(NOW_S, "ops", True, False, 0, 60, 8 * GIGABYTE, 4 * GIGABYTE, 0, (DISK,))
HOSTS = tuple(
    HostFacts(name, vitals=VITALS, engine=ENGINE, image_id="sha256:aaa")
    for name in ("node-0", "node-1", "node-2")
)
HELD = Held({"/etc/pgpool2/pgpool.conf": "1"}, dict.fromkeys(KEYS, NOW_S - DAY_S))
NODE = NodeFacts("node-0", "node-0", True, HELD, {"/etc/pgpool2/pgpool.conf": "1"})
FACTS = Facts("db", "pgha:built", False, NOW_S, HOSTS, (NODE,), verdict="healthy")


def with_host(**changes: object) -> Facts:
    return replace(FACTS, hosts=(replace(HOSTS[0], **changes), *HOSTS[1:]))  # type: ignore[arg-type]


def with_vitals(**changes: object) -> Facts:
    return with_host(vitals=replace(VITALS, **changes))  # type: ignore[arg-type]


def with_node(**changes: object) -> Facts:
    return replace(FACTS, nodes=(replace(NODE, **changes),))  # type: ignore[arg-type]


def bad(found: Checkup) -> list[Finding]:
    return [finding for finding in found.findings if finding.level is not Level.FINE]


def test_where_all_is_well_it_says_so_and_ends_with_0() -> None:
    found = checkup(FACTS)
    assert bad(found) == []
    assert found.exit_code == 0
    assert found.summary == f"db: all {len(found.findings)} checks are fine."
    assert {f.check for f in found.findings} >= {"reach", "memory", "disk", "docker", "clock"}


@pytest.mark.parametrize(
    ("facts", "level", "check", "where", "words"),
    [
        (
            replace(FACTS, networks=("node-0 does not reach 4789/udp of node-1.",)),
            *(Level.WRONG, "networks", "", "does not reach 4789/udp"),
        ),
        (
            replace(FACTS, networks=Failure("node-2's ports could not be looked at.")),
            *(Level.WRONG, "networks", "", "could not be looked at"),
        ),
        (
            with_host(reached=Failure("node-0 did not answer within 5 s.", "ssh node-0 true")),
            *(Level.WRONG, "reach", "node-0", "did not answer"),
        ),
        (
            with_host(engine=replace(ENGINE, version="19.03.15")),
            *(Level.WRONG, "docker", "node-0", "older than 20.10"),
        ),
        (
            with_host(engine=Failure("There is no docker program.", "Install Docker there.")),
            *(Level.WRONG, "docker", "node-0", "no docker program"),
        ),
        (
            with_host(engine=replace(ENGINE, storage_driver="vfs")),
            *(Level.WARNING, "docker", "node-0", "copy of its whole image"),
        ),
        (with_host(image_id=""), Level.WRONG, "image", "node-0", "no image pgha:built"),
        (
            replace(FACTS, hosts=(HOSTS[0], replace(HOSTS[1], image_id="sha256:bbb"))),
            *(Level.WRONG, "image", "", "aaa on node-0, bbb on node-1"),
        ),
        (with_host(offset_s=2.5), Level.WARNING, "clock", "node-0", "2.5 s ahead of the others'"),
        (with_host(offset_s=-90.0), Level.WARNING, "clock", "node-0", "90.0 s behind"),
        (with_vitals(synchronised=False), Level.WARNING, "clock", "node-0", "not synchronised"),
        (with_vitals(overcommit=1), Level.WARNING, "memory", "node-0", "overcommit_memory is 1"),
        (
            with_vitals(swap_bytes=GIGABYTE),
            *(Level.WARNING, "memory", "node-0", "swappiness is 60"),
        ),
        (
            with_vitals(disks=(replace(DISK, kind="tmpfs"),)),
            *(Level.WRONG, "disk", "node-0", "gone when the host restarts"),
        ),
        (
            with_vitals(disks=(replace(DISK, kind="nfs"),)),
            *(Level.WARNING, "disk", "node-0", "is for you to know"),
        ),
        (
            with_vitals(disks=(replace(DISK, free_bytes=9 * GIGABYTE),)),
            *(Level.WARNING, "disk", "node-0", "little is left"),
        ),
        (with_vitals(systemd=True), Level.WARNING, "units", "node-0", "Nothing starts it"),
        (
            replace(FACTS, drifted=(Problem("image", "node-0", "Made from another.", "inv x"),)),
            *(Level.WARNING, "image", "node-0", "Made from another."),
        ),
        (
            with_node(wanted={"/etc/pgpool2/pgpool.conf": "2"}),
            *(Level.WARNING, "configuration", "node-0", "/etc/pgpool2/pgpool.conf"),
        ),
        (
            with_node(held=replace(HELD, written_s=dict.fromkeys(KEYS, NOW_S - 800 * DAY_S))),
            *(Level.WARNING, "keys", "node-0", "800 days old"),
        ),
        (
            with_node(held=replace(HELD, written_s=dict.fromkeys(KEYS[1:], NOW_S))),
            *(Level.WRONG, "keys", "node-0", KEYS[0]),
        ),
        (
            with_node(held=Failure("It does not answer.", "inv status")),
            *(Level.WRONG, "configuration", "node-0", "does not answer"),
        ),
        (
            replace(FACTS, verdict="degraded", problem="node-1 is down.", remedy="inv start"),
            *(Level.WARNING, "cluster", "", "degraded: node-1 is down."),
        ),
        (
            replace(FACTS, verdict="down", problem="No primary.", remedy="inv failover"),
            *(Level.WRONG, "cluster", "", "down: No primary."),
        ),
    ],
)
def test_one_thing_that_is_not_well_is_found_alone(
    facts: Facts, level: Level, check: str, where: str, words: str
) -> None:
    found = checkup(facts)
    (only,) = bad(found)
    assert (only.level, only.check, only.where) == (level, check, where)
    assert words in only.message
    assert only.remedy
    assert found.exit_code == (3 if level is Level.WRONG else 0)


def test_a_clock_counts_as_wrong_only_beyond_what_the_way_to_it_can_explain() -> None:
    assert bad(checkup(with_host(offset_s=2.5, uncertain_s=1.6))) == []


def test_a_cluster_that_is_not_there_yet_is_no_fault() -> None:
    nowhere = NodeFacts("node-0", "node-0", exists=False)
    found = checkup(replace(FACTS, nodes=(nowhere,), verdict="down"))
    assert bad(found) == []
    assert found.findings[-1].message.startswith("There is none yet: inv init makes it")
    # Where nobody could look, nothing is said of a new one.
    unseen = replace(FACTS, nodes=(NodeFacts("node-0", "node-0"),), verdict="down")
    assert checkup(unseen).findings[-1].message.startswith("It is down")


def test_what_a_host_says_is_read() -> None:
    text = (
        "now 1800000000.25\nuser ops\nsynchronised \nsystemd yes\novercommit 0\nswappiness 60\n"
        "MemTotal 1024\nMemAvailable 512\nSwapTotal 0\n"
        "disk 4096|10|20|UNKNOWN (0xabc)|/a path/with | signs\n"
    )
    vitals = parse_vitals(text)
    assert (vitals.synchronised, vitals.systemd, vitals.memory_bytes) == (None, True, 1024**2)
    assert vitals.disks == (Disk("/a path/with | signs", "UNKNOWN (0xabc)", 40_960, 81_920),)
    with pytest.raises(ValueError, match="MemTotal"):
        parse_vitals(text.replace("MemTotal", "Total"))


def test_each_setting_that_a_file_depends_on_is_seen_in_its_digest() -> None:
    def digests(**environ: str) -> dict[str, str]:
        settings = parse("", source="-", environ={"WITNESS_NODE": "node-2", **environ})
        provision = Provision(settings, topology(settings), image_name(settings))
        memory = dict.fromkeys(provision.topology.hosts, 8 * GIGABYTE)
        return expected(provision, provision.topology.nodes[0], memory)

    before = digests()
    for changed, file in (
        ({"REPLICATION_PASSWORD": "another"}, "pgpass"),
        ({"ELECTION_TIMEOUT": "3"}, "node.json"),
        ({"MEMORY_MB": "1024"}, "postgresql.conf"),
        ({"PCP_PASSWORD": "another"}, "pcp.conf"),
        ({"READ_BALANCE": "on"}, "pgpool.conf"),
    ):
        after = digests(**changed)
        assert [p for p in before if p.endswith(f"/{file}") and before[p] != after[p]]
    assert digests() == before


def test_what_depends_on_the_memory_of_a_host_that_is_away_is_not_compared() -> None:
    def digests(memory: dict[str, int], **environ: str) -> dict[str, str]:
        told = {"MODE": "ha", "WITNESS_NODE": "node-2", **environ}
        settings = parse("", source="-", environ=told)
        provision = Provision(settings, topology(settings), image_name(settings))
        return expected(provision, provision.topology.node("node-0"), memory)

    big, small = 8 * GIGABYTE, 4 * GIGABYTE
    all_seen = digests({"node-0": big, "node-1": small, "node-2": big})
    one_away = digests({"node-0": big, "node-2": big})
    assert {path.rpartition("/")[2] for path in all_seen.keys() - one_away.keys()} == {
        "postgresql.conf",
        "pgpool.conf",
    }
    assert one_away.items() <= all_seen.items()
    # Neither the witness's memory nor, with MEMORY_MB, anybody's counts.
    assert digests({"node-0": big, "node-1": small}) == all_seen
    assert digests({"node-0": big}, MEMORY_MB="4096").keys() == all_seen.keys()


def test_a_file_that_is_not_there_is_not_held() -> None:
    held = parse_held("abc 1800000000 /etc/x y\n  /etc/missing\n")
    assert held == Held({"/etc/x y": "abc"}, {"/etc/x y": NOW_S})
