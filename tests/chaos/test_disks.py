"""Volumes run full, on small file systems of the test's own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.chaos import faults, net
from tests.chaos.disks import HangingDisk, SmallDisk, fill, volume
from tests.chaos.faults import all_of
from tests.chaos.watch import until
from tests.chaos.world import GOES_ON_S, ChaosCluster

# What is mounted: node → (variable of its volume, size in MB).
SIZES = (
    ("node-0", "postgres_data", 1200),
    ("node-1", "postgres_data", 1200),
    ("node-0", "postgres_archive", 1200),
    ("node-1", "postgres_archive", 1200),
    ("node-2", "postgres_archive", 1200),
)
# Whose own files are on a disk that can hang.
STATE = ("node-0", "node-1")
Disks = dict[tuple[str, str], SmallDisk]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChaosCluster, Disks]]:
    cluster = ChaosCluster("disks", tmp_path_factory.mktemp("disks"))
    disks: Disks = {}
    try:
        for node in STATE:
            place, file = volume(cluster, node, "etc_pgpool"), cluster.directory / f"{node}.ext4"
            disks[node, "etc_pgpool"] = HangingDisk(place, 128, file)
        for node, variable, size_mb in SIZES:
            disks[node, variable] = SmallDisk(volume(cluster, node, variable), size_mb)
        cluster.inv("init")
        cluster.client.start()
        yield cluster, disks
    finally:
        cluster.tear_down()
        for disk in disks.values():
            disk.remove()


# Rows of one page each, that no compression makes smaller.
FILLER = (
    "CREATE TABLE IF NOT EXISTS filler (t text STORAGE PLAIN);"
    "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, 40000)"
)


def write_too_much(cluster: ChaosCluster) -> None:
    """300 MB into a full volume: whatever becomes of the server, the client is told of an error."""
    with pytest.raises((AssertionError, subprocess.TimeoutExpired)):
        cluster.client.psql(FILLER, door=False)


def assert_sound(cluster: ChaosCluster) -> None:
    """Every page of the table has its checksum right, and its index agrees with it."""
    cluster.client.psql("DROP TABLE IF EXISTS filler", door=False)
    count = "SELECT count(*) FROM chaos WHERE n >= 0"
    # Clients go on writing: both look at the same moment.
    looks = "BEGIN ISOLATION LEVEL REPEATABLE READ; {}; {}; COMMIT"
    ways = (f"SET LOCAL enable_{way}=off; {count}" for way in ("seqscan", "indexscan"))
    by_index, by_table = cluster.client.psql(looks.format(*ways), door=False).split()
    assert by_index == by_table
    failures = "SELECT sum(checksum_failures) FROM pg_stat_database"
    assert cluster.client.psql(failures, door=False) == "0"


def test_the_primarys_data_volume_is_full_and_nothing_is_corrupt(
    world: tuple[ChaosCluster, Disks],
) -> None:
    """The other node may take over, once; nobody goes round in circles."""
    cluster, disks = world
    with cluster.scenario() as s:
        with fill(s.primary, disks[s.primary, "postgres_data"], "data"):
            write_too_much(cluster)
            time.sleep(5.0)
        s.writes_go_on()
        assert cluster.heals().term <= s.before.term + 2
        assert_sound(cluster)


def test_both_data_volumes_are_full_and_it_goes_on_when_there_is_space(
    world: tuple[ChaosCluster, Disks],
) -> None:
    cluster, disks = world
    with cluster.scenario() as s:
        both = [fill(n, disks[n, "postgres_data"], "data") for n in (s.standby, s.primary)]
        with all_of(*both):
            write_too_much(cluster)
            time.sleep(5.0)
        s.writes_go_on()
        assert cluster.heals().term <= s.before.term + 3
        assert_sound(cluster)


def test_the_primarys_archive_volume_is_full_and_writes_go_on(
    world: tuple[ChaosCluster, Disks],
) -> None:
    cluster, disks = world
    with cluster.scenario() as s:
        s.must_stay()
        with fill(s.primary, disks[s.primary, "postgres_archive"], "archive"):
            cluster.client.psql("SELECT pg_switch_wal()", door=False)
            s.writes_go_on(on=s.primary)
            assert cluster.status()["verdict"] == "degraded"


def test_the_witnesss_wal_volume_is_full_and_writes_go_on(
    world: tuple[ChaosCluster, Disks],
) -> None:
    cluster, disks = world
    with cluster.scenario() as s:
        s.must_stay()
        with fill(s.witness, disks[s.witness, "postgres_archive"], "WAL"):
            cluster.client.psql("SELECT pg_switch_wal()", door=False)
            time.sleep(2.0)
            s.writes_go_on(on=s.primary)
            assert cluster.status()["verdict"] == "degraded"


@pytest.mark.parametrize("role", ["primary", "standby"])
def test_the_cluster_can_be_stopped_though_a_nodes_own_volume_is_full(
    world: tuple[ChaosCluster, Disks], role: str
) -> None:
    cluster, disks = world
    with cluster.scenario() as s:
        node = s.node(role)
        with fill(node, disks[node, "etc_pgpool"], "own"):
            cluster.inv("stop")
            assert cluster.status()["verdict"] == "down"
        cluster.inv("start")
        s.writes_go_on()


def test_a_primary_that_is_cut_off_and_whose_disk_hangs_ends_all_the_same(
    world: tuple[ChaosCluster, Disks],
) -> None:
    """It can write down nothing, and shows nobody what is past."""
    cluster, disks = world
    with cluster.scenario() as s:
        s.must_move()
        disk = disks[s.primary, "etc_pgpool"]
        assert isinstance(disk, HangingDisk)
        with all_of(disk.hang(s.primary), net.cut_from_nodes(cluster, s.primary)):
            s.writes_go_on(on=s.standby)
            until(
                lambda: not faults.postgres(faults.processes(cluster, s.primary)),
                timeout_s=GOES_ON_S,
                what="the primary that was cut off has ended",
            )
