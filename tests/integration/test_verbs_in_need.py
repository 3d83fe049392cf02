"""The verbs where less is there than usual: one follower, a promotion that died, a disk that takes
no word. On real containers, one scenario a test."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator

import pytest

from pgha.commands.lsn import parse_lsn
from tests.integration.containers import Nodes, eventually, run
from tests.integration.test_verbs import (
    _streams,
    attended,
    cluster,
    cut_off,
    join,
    nodes,
    position,
)

__all__ = ["attended", "cluster", "nodes"]

WAL = "/var/lib/pgha/volume/pgdata/pg_wal"
ARCHIVE = "/var/lib/postgresql/archive"
STATE = "/etc/pgpool2/pgha/state.json"
SEGMENT_BYTES, ODD_BYTES = 16 * 1024 * 1024, 5 * 1024 * 1024


def in_the_background(nodes: Nodes, name: str, verb: str) -> subprocess.Popen[bytes]:
    words = ("docker", "exec", "-u", "postgres", f"{nodes.prefix}-{name}", "pgha-node")
    return subprocess.Popen((*words, *verb.split()), stdout=subprocess.DEVNULL)


def followers(nodes: Nodes) -> dict[str, int]:
    """Who takes WAL from a, and how far it says that it has it on disk."""
    text = nodes.sql(
        "a",
        "SELECT json_object_agg(application_name, (coalesce(flush_lsn, '0/0') - '0/0')::bigint)"
        " FROM pg_stat_replication;",
    )
    return json.loads(text) if text else {}


@pytest.fixture
def busy(cluster: Nodes) -> Iterator[Nodes]:
    """Only b follows, and a is written to all the time, but for what waits for the quorum."""
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 200000);")
    cut_off(cluster, "w")
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            cluster.sql(
                "a",
                "SET synchronous_commit = local; UPDATE t SET i = i WHERE i < 2000;",
                check=False,
            )

    writer = threading.Thread(target=write)
    writer.start()
    yield cluster
    over.set()
    writer.join()


def test_a_copy_under_way_counts_for_no_quorum(busy: Nodes) -> None:
    """Nothing of it is on disk yet, and all of it may be thrown away."""
    busy.done("b", "halt", services="all")
    # What serves a standby on a busy primary notices a moment later that it is gone.
    eventually(lambda: "b" not in followers(busy))
    seen: set[str] = set()
    copying = in_the_background(busy, "b", "copy upstream=a")
    while copying.poll() is None:
        seen |= followers(busy).keys() - {"w"}
    assert copying.returncode == 0
    assert seen == {"pgha"}


def test_what_a_standby_acknowledged_while_it_was_copied_anew_is_still_there(busy: Nodes) -> None:
    acknowledged = 0
    copying = in_the_background(busy, "b", "copy upstream=a")
    while copying.poll() is None:
        acknowledged = max(acknowledged, followers(busy).get("b", 0))
    assert copying.returncode == 0
    assert acknowledged
    busy.docker("kill", "a")
    assert busy.vote("b", "b", 2).exit == 0
    assert position(busy, "b") >= acknowledged


def test_a_standby_starts_though_a_promotion_died_between_its_numbers_and_its_own(
    cluster: Nodes,
) -> None:
    cluster.docker("kill", "a")
    for name in ("b", "w"):
        assert cluster.vote(name, "b", 5).exit == 0
    unused = "for n in 2 3 4; do for d in {0} {1}; do printf '1\\t0/1\\tnumber not used\\n' >"
    cluster.sh("b", f"{unused.format(WAL, ARCHIVE)} $d/0000000$n.history; done; done")
    cluster.docker("kill", "b")
    cluster.docker("start", "b")
    eventually(lambda: cluster.verb("b", "probe").report["main_running"])
    promoted = cluster.done("b", "promote", term=5)
    assert promoted.report["postgres"]["timeline"] == 5


def test_wal_is_fetched_across_numbers_that_were_never_used(cluster: Nodes) -> None:
    cut_off(cluster, "b")
    cluster.sql("a", "INSERT INTO t VALUES (1);")
    # a becomes the primary of term 4 itself, and w follows it there.
    cluster.done("a", "fence", reason="a promotion of its own")
    cluster.sh("a", f'sed -i \'s/"role": "fenced"/"role": "standby"/\' {STATE}')
    cluster.done("a", "promote", term=4)
    cluster.done("w", "follow", upstream="a", term=4)
    cluster.sql("a", "INSERT INTO t SELECT generate_series(2, 1000);")
    cluster.docker("kill", "a")
    join(cluster, "b")
    for name in ("w", "b"):
        assert cluster.vote(name, "b", 6).exit == 0
    cluster.done("b", "fetch", source="w")
    promoted = cluster.done("b", "promote", term=6)
    assert promoted.report["postgres"]["timeline"] == 6
    cluster.done("w", "follow", upstream="b", term=6)
    assert cluster.sql("b", "SELECT count(*) FROM t;") == "1000"


def test_a_witness_receives_again_though_its_segment_was_padded_in_part(cluster: Nodes) -> None:
    """After a full disk, a power cut or a vote's SIGKILL, pg_receivewal refuses such a size."""
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 1000);")
    (partial,) = cluster.sh("w", f"ls {ARCHIVE}/*.partial").split()
    written = parse_lsn(cluster.sql("a", "SELECT pg_current_wal_flush_lsn();")) % SEGMENT_BYTES
    assert written < ODD_BYTES
    had = f"head -c {written} {partial} | sha256sum"
    before = cluster.sh("w", had)
    cluster.sh("w", "kill -9 $(cat /run/pgha/pg_receivewal.pid)")
    eventually(lambda: not cluster.sh("w", "pgrep pg_receivewal", check=False))
    ended_at = cluster.verb("w", "probe").report["wal"]["lsn"]
    cluster.sh("w", f"truncate -s {ODD_BYTES} {partial}")
    assert cluster.verb("w", "probe").report["wal"]["lsn"] == ended_at
    cluster.done("w", "tend")
    eventually(lambda: _streams(cluster, "w"))
    assert cluster.sh("w", f"stat -c %s {partial}") == str(SEGMENT_BYTES)
    assert cluster.sh("w", had) == before
    # Its word alone makes a majority again.
    cut_off(cluster, "b")
    assert cluster.sql("a", "INSERT INTO t VALUES (0); SELECT count(*) FROM t;") == "1001"


def test_a_vote_finds_the_end_of_a_segment_that_was_padded_in_part(cluster: Nodes) -> None:
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 1000);")
    written = parse_lsn(cluster.sql("a", "SELECT pg_current_wal_flush_lsn();"))
    cluster.docker("kill", "a")
    eventually(lambda: not cluster.sh("w", "pgrep pg_receivewal", check=False))
    cluster.sh("w", f"truncate -s {ODD_BYTES} {ARCHIVE}/*.partial")
    for name in ("w", "b"):
        assert cluster.vote(name, "b", 2).exit == 0
    assert position(cluster, "w") >= written
    cluster.done("b", "promote", term=2)
    cluster.done("w", "follow", upstream="b", term=2)


def ended(nodes: Nodes, name: str) -> bool:
    return not nodes.sh(name, "pgrep -f '^/usr/lib/postgresql/.*/postgres '", check=False)


def test_a_primary_that_is_cut_off_ends_though_its_disk_takes_no_word(attended: Nodes) -> None:
    attended.sh("a", f"chmod 555 $(dirname {STATE})", user="root")
    cut_off(attended, "a")
    eventually(lambda: ended(attended, "a"))
    attended.sh("a", f"chmod 700 $(dirname {STATE})", user="root")


@pytest.mark.parametrize("how", [f"rm {STATE}", f"echo nonsense > {STATE}"])
def test_a_primary_that_does_not_know_any_more_what_it_was_told_ends(
    attended: Nodes, how: str
) -> None:
    attended.sh("a", how)
    eventually(lambda: ended(attended, "a"))


# Stops the process that replays WAL as soon as it is there: a recovery as long as one likes.
_STALL = "until pkill -STOP -f '^postgres: .*startup'; do :; done"
_SERVER = "head -n 1 /var/lib/postgresql/data/postmaster.pid"


def test_a_vote_leaves_a_long_crash_recovery_alone(cluster: Nodes) -> None:
    """Stopped at each vote, it would never come to its end, and nobody would be elected."""
    cluster.sql("a", "CHECKPOINT; INSERT INTO t SELECT generate_series(1, 300000);")
    acknowledged = followers(cluster)["b"]
    cluster.docker("kill", "a")
    cut_off(cluster, "b")
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    stalled = subprocess.Popen(("docker", "exec", f"{cluster.prefix}-a", "sh", "-c", _STALL))
    starting = in_the_background(cluster, "a", "stand_by")
    assert stalled.wait(20) == 0
    # Its agent only launches a server, and votes meanwhile.
    cluster.sh("a", "pkill -KILL -f 'pgha-node stand_b[y]'")
    assert starting.wait(20) != 0
    server = cluster.sh("a", _SERVER)
    for term in (2, 3):
        # It cannot tell yet where its log ends.
        assert cluster.vote("a", "a", term).code == "sql"
        assert cluster.sh("a", _SERVER) == server
    assert not ended(cluster, "a")
    cluster.sh("a", "pkill -CONT -f '^postgres: .*startup'")
    eventually(lambda: cluster.vote("a", "a", 3).exit == 0)
    assert position(cluster, "a") >= acknowledged
    promoted = cluster.done("a", "promote", term=3)
    assert promoted.report["postgres"]["timeline"] == 3
    assert cluster.sql("a", "SELECT count(*) FROM t;") == "300000"


def test_what_a_killed_fetch_left_does_not_shorten_a_log(cluster: Nodes) -> None:
    """PostgreSQL asks for archived segments first, and would believe the shorter one."""
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 1000);")
    segment = cluster.sql("a", "SELECT pg_walfile_name(pg_current_wal_lsn());")
    cluster.sh("b", f"mkdir -m 700 {ARCHIVE}/left && cp {WAL}/{segment} {ARCHIVE}/left/")
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1001, 2000);")
    acknowledged = followers(cluster)["b"]
    for name in ("a", "b"):
        cluster.docker("kill", name)
    cluster.docker("start", "b")
    eventually(lambda: cluster.verb("b", "probe").report["main_running"])
    cluster.sh("b", f"mv {ARCHIVE}/left {ARCHIVE}/incoming")
    cluster.done("b", "stand_by")
    assert cluster.vote("b", "b", 2).exit == 0
    assert position(cluster, "b") >= acknowledged
    assert not cluster.sh("b", f"ls -d {ARCHIVE}/incoming", check=False)
    cluster.done("b", "promote", term=2)
    assert cluster.sql("b", "SELECT count(*) FROM t;") == "2000"


def test_a_lock_holds_though_the_disk_takes_no_note_of_it(cluster: Nodes) -> None:
    """As on a disk of Docker's own that is full: /dev/full refuses whatever is written."""
    inside = run("docker", "inspect", "-f", "{{.State.Pid}}", f"{cluster.prefix}-a").strip()
    run("nsenter", "-t", inside, "-m", "mount", "--bind", "/dev/full", "/run/pgha/verb.lock")
    cluster.done("a", "fence", reason="a full disk", to="b")
    assert ended(cluster, "a")
