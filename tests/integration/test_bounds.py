"""WAL is not kept without end for a node that is away; one that comes back later is brought in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgha.waiting import wait_until
from tests.client.client import docker
from tests.integration.real_cluster import RealCluster

KEPT_MB = 32
SEGMENT_MB = 16


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    limits = {"WAL_KEEP_MAX_MB": str(KEPT_MB), "ARCHIVE_MAX_MB": "64"}
    made = RealCluster("bounds", tmp_path_factory.mktemp("bounds"), **limits)
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()


def write(cluster: RealCluster, segments: int) -> None:
    """So many segments of WAL that are nearly empty, a checkpoint behind: WAL that nobody needs is
    removed there."""
    for _ in range(segments):
        cluster.client.psql(
            "SELECT pg_logical_emit_message(true, 'x', 'x'); SELECT pg_switch_wal()"
        )
    cluster.client.psql("CHECKPOINT")


def megabytes(cluster: RealCluster, node: str, directory: str) -> int:
    words = ("exec", cluster.container(node), "du", "-sm", "--exclude=aside", directory)
    return int(docker(*words).split()[0])


def told(cluster: RealCluster, code: str) -> str:
    """The command that `status` names for a problem, once it has that problem."""
    found: list[str] = []

    def there() -> bool:
        found[:] = [p["remedy"] for p in cluster.status()["problems"] if p["code"] == code]
        return bool(found)

    wait_until(there, timeout_s=30.0, what=f"status tells of {code}")
    return found[0]


def test_a_standby_that_was_away_for_too_long_is_told_of_a_new_copy(cluster: RealCluster) -> None:
    docker("stop", cluster.container("node-1"))
    write(cluster, 12)
    kept = cluster.client.psql(
        "SELECT count(*) FROM pg_ls_waldir() WHERE length(name) = 24"
        " AND name < pg_walfile_name(pg_current_wal_lsn())"
    )
    assert int(kept) <= KEPT_MB // SEGMENT_MB + 1
    docker("start", cluster.container("node-1"))
    remedy = told(cluster, "slot-lost")
    assert remedy.startswith("inv recovery --node node-1 --force"), remedy
    cluster.inv("recovery", "--node", "node-1", "--force", "--yes")
    cluster.becomes("healthy")


def test_a_witness_that_was_away_for_too_long_goes_on_where_the_primary_is(
    cluster: RealCluster,
) -> None:
    docker("stop", cluster.container("node-2"))
    write(cluster, 12)
    docker("start", cluster.container("node-2"))
    remedy = told(cluster, "slot-lost")
    assert remedy.startswith("inv recovery --node node-2 --force"), remedy
    cluster.inv("recovery", "--node", "node-2", "--force", "--yes")
    cluster.becomes("healthy")
    docker("stop", cluster.container("node-1"))
    # Its word counts again: without it nothing would be acknowledged.
    cluster.client.psql("CREATE TABLE counts_again (i int)")
    docker("start", cluster.container("node-1"))
    cluster.becomes("healthy")


def test_archives_and_the_witness_keep_no_more_than_they_may(cluster: RealCluster) -> None:
    write(cluster, 12)

    def bounded() -> bool:
        # main looks every five seconds.
        kept = [megabytes(cluster, n, "/var/lib/postgresql/archive") for n in ("node-0", "node-2")]
        return max(kept) <= 64 + 2 * SEGMENT_MB

    wait_until(bounded, timeout_s=60.0, what="what is kept is bounded")
