"""A command is killed as one of its steps begins; the same command again finishes the work.

Every kind of step is cut somewhere, by SIGKILL, SIGTERM and SIGINT in turns. A client writes all
the time, and what was acknowledged to it is there in the end.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.locking import path_of
from pgha.waiting import wait_until
from tests.chaos.world import NIGHTLY, at_night
from tests.client.client import Written, docker
from tests.client.engine import stall
from tests.integration.real_cluster import BY_HAND, Done, RealCluster

SIGNALS = itertools.cycle((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("cut", tmp_path_factory.mktemp("cut"), **BY_HAND)
    try:
        made.inv("init")
        made.client.start()
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def at_home(cluster: RealCluster) -> RealCluster:
    """Healthy, the primary at home: what each test begins with, whatever the last one left."""
    if cluster.status()["verdict"] != "healthy":
        cluster.inv("start", check=None)
        cluster.inv("recovery", check=None)
    cluster.inv("failback")
    cluster.becomes("healthy")
    return cluster


def cut(cluster: RealCluster, *words: str, at: str) -> Done:
    """Cut a command off at a step. It says so where it can, and leaves no lock."""
    by = next(SIGNALS)
    done = cluster.cut_off(*words, at=at, by=by)
    if by is signal.SIGKILL:
        assert done.code == -signal.SIGKILL
    else:
        assert done.code == 1, f"{by.name} at {at}: {done.stderr}"
        assert "Traceback" not in done.stderr
        assert "the same command again finishes the work" in done.stderr
    # A child that was forked just then has the lock until it becomes another program.
    wait_until(lambda: lock_is_free(cluster), timeout_s=5, what="the lock is free")
    return done


def lock_is_free(cluster: RealCluster) -> bool:
    lock = os.open(path_of(cluster.name), os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


FAILOVER = ("pgha-node fence", "pgha-node promote", "pgha-node follow", "pgha-node steer")


@pytest.mark.parametrize("step", FAILOVER)
def test_a_hand_over(at_home: RealCluster, step: str) -> None:
    with at_home.client.writing() as writing:
        cut(at_home, "failover", "--to", "node-1", at=step)
        at_home.inv("failover", "--to", "node-1")
    assert at_home.role("node-1") == "primary"
    finished(at_home, writing.written)


# The steps are those of a hand-over to another node: by day one of them will do.
@pytest.mark.parametrize("step", FAILOVER if NIGHTLY else FAILOVER[1:2])
def test_a_move_home(at_home: RealCluster, step: str) -> None:
    at_home.inv("failover", "--to", "node-1")
    with at_home.client.writing() as writing:
        cut(at_home, "failback", at=step)
        at_home.inv("failback")
    assert at_home.role("node-0") == "primary"
    finished(at_home, writing.written)


@pytest.mark.parametrize(
    "step",
    ["pgha-node vote", "pgha-node fetch", "pgha-node promote", *at_night(*FAILOVER[2:])],
)
def test_a_promotion(at_home: RealCluster, step: str) -> None:
    standby = at_home.container("node-1")
    with at_home.client.writing() as writing:
        # It lags while the witness acknowledges: so it has something to fetch.
        stall(standby)
        at_home.client.psql("CREATE TABLE lag AS SELECT generate_series(1, 100000); DROP TABLE lag")
        at_home.kill("node-0")
        docker("unpause", standby)
        cut(at_home, "failover", at=step)
        at_home.inv("failover", "--to", "node-1")
        at_home.inv("recovery")
    assert at_home.role("node-1") == "primary"
    finished(at_home, writing.written)


@pytest.mark.parametrize(
    "step",
    [
        "container start",
        "pgha-node rewind upstream=node-1 check=true",
        "pgha-node rewind upstream=node-1 'by=",
        *at_night("pgha-node follow", "pgha-node steer"),
    ],
)
def test_a_recovery_by_rewinding(at_home: RealCluster, step: str) -> None:
    with at_home.client.writing() as writing:
        diverge(at_home)
        at_home.inv("failover", "--to", "node-1")
        cut(at_home, "recovery", "--node", "node-0", at=step)
        at_home.inv("recovery", "--node", "node-0")
    assert at_home.role("node-0") == "standby"
    assert at_home.client.psql("SELECT to_regclass('alone')") == ""
    finished(at_home, writing.written)


@pytest.mark.parametrize(
    "step", ["pgha-node copy", *at_night("pgha-node follow", "pgha-node steer")]
)
def test_a_recovery_by_a_new_copy(at_home: RealCluster, step: str) -> None:
    with at_home.client.writing() as writing:
        cut(at_home, "recovery", "--node", "node-1", "-f", at=step)
        at_home.inv("recovery", "--node", "node-1", "-f")
    assert at_home.role("node-1") == "standby"
    finished(at_home, writing.written)


@pytest.mark.parametrize(
    "step", ["pgha-node halt services=doors", "pgha-node halt services=all", "container stop"]
)
def test_a_stop(at_home: RealCluster, step: str) -> None:
    with at_home.client.writing() as writing:
        pass
    cut(at_home, "stop", at=step)
    at_home.inv("stop")
    assert {n["container"] for n in at_home.status()["nodes"]} == {"stopped"}
    at_home.inv("start")
    finished(at_home, writing.written)


@pytest.mark.parametrize(
    "step",
    ["container start", "pgha-node serve", "pgha-node follow", *at_night("pgha-node steer")],
)
def test_a_start(at_home: RealCluster, step: str) -> None:
    with at_home.client.writing() as writing:
        pass
    at_home.inv("stop")
    cut(at_home, "start", at=step)
    at_home.inv("start")
    finished(at_home, writing.written)


INIT = (
    "network create",
    "pgha-node prepare",
    "container create",
    "pgha-node initdb",
    "pgha-node door_user_set",
    "pgha-node serve",
    "pgha-node copy",
    "pgha-node follow",
    "pgha-node steer",
    "pgha-node complete",
)


def test_an_init_at_each_of_its_steps_one_after_the_other(tmp_path: Path) -> None:
    cluster = RealCluster("cut-init", tmp_path)
    try:
        for step in INIT:
            cut(cluster, "init", at=step)
        # It may have been at its end when the signal came: then there is a cluster, which is said.
        assert cluster.inv("init", check=None).code in (0, 3)
        cluster.becomes("healthy")
        cluster.inv("init", check=3)
    finally:
        cluster.tear_down()


@pytest.mark.parametrize(
    "step", ["pgha-node copy", *at_night("pgha-node prepare", "pgha-node complete")]
)
def test_an_init_that_was_cut_off_needs_no_force(tmp_path: Path, step: str) -> None:
    cluster = RealCluster("cut-once", tmp_path)
    try:
        cut(cluster, "init", at=step)
        assert cluster.inv("init", check=None).code in ((0, 3) if "complete" in step else (0,))
        cluster.becomes("healthy")
        assert "node-0 has data" in cluster.inv("init", check=3).stderr
    finally:
        cluster.tear_down()


def test_an_init_that_lacked_its_last_mark_keeps_what_was_written_since(tmp_path: Path) -> None:
    """Its cluster was healthy when it was killed: it may have been in use from then on."""
    cluster = RealCluster("cut-last", tmp_path)
    try:
        cluster.cut_off("init", at="pgha-node complete", by=signal.SIGKILL)
        cluster.client.start()
        cluster.client.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        cluster.inv("init", check=None)
        assert cluster.client.psql("SELECT n FROM kept") == "1"
        cluster.becomes("healthy")
    finally:
        cluster.tear_down()


def test_an_init_that_was_cut_off_starts_what_served_and_died_since(tmp_path: Path) -> None:
    """And -f moves aside what has served only once it is stopped."""
    cluster = RealCluster("cut-died", tmp_path)
    try:
        cluster.cut_off("init", at="pgha-node complete", by=signal.SIGKILL)
        cluster.client.start()
        cluster.client.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        mark_again(cluster)
        cluster.kill("node-0")
        refused = cluster.inv("init", "-f", check=3).stderr
        assert "completes it" in refused
        assert "inv stop" in refused
        cluster.inv("init")
        cluster.becomes("healthy")
        assert cluster.client.psql("SELECT n FROM kept") == "1"
        assert "node-0 has data" in cluster.inv("init", check=3).stderr
    finally:
        cluster.tear_down()


def test_an_init_with_force_is_finished_by_itself(tmp_path: Path) -> None:
    cluster = RealCluster("cut-force", tmp_path)
    try:
        cluster.inv("init")
        cluster.inv("stop")
        for step in ("pgha-node prepare", "container create", "pgha-node serve", "pgha-node copy"):
            cut(cluster, "init", "-f", at=step)
        cluster.inv("init", "-f")
        cluster.becomes("healthy")
        assert "inv stop" in cluster.inv("init", "-f", check=3).stderr
        kept = list((tmp_path / "volumes").glob("*/postgresql/data/aside/*/pgdata/PG_VERSION"))
        assert {file.relative_to(tmp_path / "volumes").parts[0] for file in kept} >= {
            "master",
            "standby",
        }
    finally:
        cluster.tear_down()


def mark_again(cluster: RealCluster) -> None:
    """As if `init` had been killed before any node was complete (some may have been)."""
    for node in ("node-0", "node-1", "node-2"):
        docker("exec", cluster.container(node), "touch", "/etc/pgpool2/pgha/initialising")


ALONE = """SET synchronous_commit = local;
DO $$ BEGIN LOOP
  PERFORM pg_stat_clear_snapshot();
  EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_replication);
  PERFORM pg_sleep(0.01);
END LOOP; END $$;
CREATE TABLE alone AS SELECT generate_series(1, 9)"""


def diverge(cluster: RealCluster) -> None:
    """The primary at home has WAL that nobody else will ever have, and is gone."""
    others = ("node-1", "node-2")
    words = ("exec", "-u", "postgres", cluster.container("node-0"), "psql", "-XAtq")
    where = ("-h", "/var/run/postgresql", "-p", str(cluster.settings.pgport), "postgres", "-c")
    # It waits for their end where nobody is quicker: an agent ends a primary that hears nobody.
    writer = subprocess.Popen(docker.words(*words, *where, ALONE))
    there = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%alone%'"
    wait_until(
        lambda: docker(*words, *where, f"SELECT EXISTS ({there})").strip() == "t",
        timeout_s=30,
        what="the writer waits",
    )
    docker("kill", *(cluster.container(node) for node in others))
    assert writer.wait(30) == 0
    cluster.kill("node-0")
    docker("start", *(cluster.container(node) for node in others))
    wait_until(
        lambda: [cluster.role(node) for node in others] == ["standby", "witness"],
        timeout_s=30,
        what="the others are back",
    )


def finished(cluster: RealCluster, written: Written | None) -> None:
    """Healthy in the end, with every row that was acknowledged."""
    assert written is not None
    cluster.becomes("healthy")
    assert written.acknowledged
    assert cluster.client.lost(written) == []
