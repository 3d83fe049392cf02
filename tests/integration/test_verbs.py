"""The verbs on real containers: two data nodes and a witness, one scenario a test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.commands.lsn import parse_lsn, show_lsn
from tests.integration import networks
from tests.integration.containers import PASSWORD, Nodes, eventually, never, run
from tests.integration.image import IMAGE, PREFIX


@contextlib.contextmanager
def three_nodes(place: Path, *, agents: bool = False) -> Iterator[Nodes]:
    number = networks.take()
    made = Nodes(f"{PREFIX}-verbs", place / "n", f"10.{number}.0.0/24", agents=agents)
    made.place.mkdir()
    try:
        made.create()
        yield made
    finally:
        made.remove()
        networks.give_back(number)


def with_a_table(nodes: Nodes) -> Nodes:
    nodes.cluster()
    nodes.sql("a", "CREATE TABLE t (i int PRIMARY KEY);")
    return nodes


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three empty nodes without agents."""
    with three_nodes(tmp_path) as made:
        yield made


@pytest.fixture
def cluster(nodes: Nodes) -> Nodes:
    """a: primary of term 1 with a table `t`; b: standby; w: witness. Nobody acts but the test."""
    return with_a_table(nodes)


@pytest.fixture
def attended(tmp_path: Path) -> Iterator[Nodes]:
    """The same with agents, that leave a failover to the operator."""
    with three_nodes(tmp_path, agents=True) as made:
        yield with_a_table(made)


def cut_off(nodes: Nodes, *names: str) -> None:
    """No packet comes or goes any more."""
    for name in names:
        run("docker", "network", "disconnect", f"{nodes.prefix}-net", f"{nodes.prefix}-{name}")


def join(nodes: Nodes, *names: str) -> None:
    for name in names:
        words = ("--ip", nodes.address(name), f"{nodes.prefix}-net", f"{nodes.prefix}-{name}")
        run("docker", "network", "connect", *words)


def position(nodes: Nodes, name: str) -> int:
    """Where the node says that its WAL ended when it was fenced or voted."""
    found = nodes.verb(name, "probe").report["assignment"]["position"]
    assert isinstance(found, int)
    return found


def test_a_fenced_primary_hands_over_and_follows_the_new_one(cluster: Nodes) -> None:
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 1000);")
    for _ in range(2):
        cluster.done("a", "fence", reason="hand-over", to="b")
    lsn = show_lsn(position(cluster, "a"))
    for _ in range(2):
        promoted = cluster.done("b", "promote", term=2, lsn=lsn)
        assert promoted.report["postgres"]["timeline"] == 2
        assert promoted.report["postgres"]["quorum"] == 'ANY 1 ("a", "w")'
    for _ in range(2):
        cluster.done("w", "follow", upstream="b", term=2)
        follower = cluster.done("a", "follow", upstream="b", term=2)
        assert follower.report["postgres"]["upstream"] == "b"
        assert follower.report["postgres"]["slots"] == []
    assert cluster.sql("b", "INSERT INTO t VALUES (0); SELECT count(*) FROM t;") == "1001"
    # Who was passed over stays so.
    cluster.done("a", "fence", reason="again")
    assert cluster.verb("a", "serve", term=1).code == "passed-over"
    assert cluster.verb("a", "serve", term=2).code == "not-primary"


def test_nothing_acknowledged_is_lost_when_the_primary_dies_before_a_standby_that_lags(
    cluster: Nodes,
) -> None:
    cut_off(cluster, "b")
    for start in range(0, 20000, 2000):
        cluster.sql("a", f"INSERT INTO t SELECT generate_series({start + 1}, {start + 2000});")
    cluster.docker("kill", "a")
    join(cluster, "b")
    witness = cluster.vote("w", "b", 2)
    assert witness.report["wal"]["running"] is False
    standby = cluster.vote("b", "b", 2)
    theirs, mine = position(cluster, "w"), position(cluster, "b")
    assert theirs > mine
    refused = cluster.verb("b", "promote", term=2, lsn=show_lsn(theirs))
    assert (refused.exit, refused.code) == (3, "behind"), standby.document
    for _ in range(2):
        fetched = cluster.done("b", "fetch", source="w")
    assert fetched.report["postgres"]["replay_lsn"] >= theirs
    cluster.done("b", "promote", term=2, lsn=show_lsn(theirs))
    cluster.done("w", "follow", upstream="b", term=2)
    assert cluster.sql("b", "SELECT count(*) FROM t;") == "20000"
    # The old primary comes back fenced, has nothing of its own, and follows.
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    assert cluster.verb("a", "probe").report["postgres"]["running"] is False
    cluster.done("a", "follow", upstream="b", term=2)
    assert cluster.sql("a", "SELECT count(*) FROM t;") == "20000"


def test_a_diverged_primary_is_refused_until_it_was_rewound(cluster: Nodes) -> None:
    cut_off(cluster, "b", "w")
    cluster.sql("a", "SET synchronous_commit = local; INSERT INTO t VALUES (666);")
    cluster.docker("kill", "a")
    join(cluster, "b", "w")
    for name in ("b", "w"):
        assert cluster.vote(name, "b", 4).exit == 0
    cluster.done("b", "promote", term=4)
    cluster.done("w", "follow", upstream="b", term=4)
    cluster.sql("b", "INSERT INTO t SELECT generate_series(1, 1000);")
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    assert cluster.verb("a", "follow", upstream="b", term=4).code == "diverged"
    cluster.done("a", "fence", reason="passed over")
    cluster.done("a", "rewind", upstream="b", check="true")
    cluster.done("a", "rewind", upstream="b")
    assert "no rewind" in cluster.done("a", "rewind", upstream="b").document["did"]
    cluster.done("a", "follow", upstream="b", term=4)
    assert cluster.sql("a", "SELECT count(*), max(i) FROM t;") == "1000|1000"
    assert cluster.sh("a", "ls /var/lib/postgresql/archive/aside/*/NOTE")
    # The numbers between were taken out of use, and that does not disturb the next hand-over.
    cluster.done("b", "fence", reason="back")
    cluster.done("a", "promote", term=7, lsn=show_lsn(position(cluster, "b")))
    cluster.done("b", "follow", upstream="a", term=7)
    cluster.done("w", "follow", upstream="a", term=7)
    assert cluster.verb("a", "probe").report["postgres"]["timeline"] == 7


def test_a_session_that_waits_for_the_quorum_gets_no_success_from_a_fence(cluster: Nodes) -> None:
    cut_off(cluster, "b", "w")
    words = ("psql", "-XAt", "-h", "/var/run/postgresql", "-p", "5433", "-d", "postgres")
    client = subprocess.Popen(
        (
            *("docker", "exec", "-u", "postgres", f"{cluster.prefix}-a", *words),
            *("-c", "INSERT INTO t VALUES (1)"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: cluster.verb("a", "probe").report["postgres"]["waiting_commits"] == 1)
    fenced = cluster.done("a", "fence", reason="alone", kill_after_s=20)
    out, err = client.communicate(timeout=20)
    assert client.returncode != 0, fenced.document
    assert "INSERT" not in out, err
    assert fenced.report["postgres"]["running"] is False


def test_segments_that_were_made_beforehand_do_not_hide_where_the_log_ends(
    cluster: Nodes,
) -> None:
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 1000);")
    written = parse_lsn(cluster.sql("a", "SELECT pg_current_wal_flush_lsn();"))
    # PostgreSQL makes them ahead, pg_receivewal begins each one so: the right size, nothing in it.
    for name, suffix in (("a", ""), ("w", ".partial")):
        where = (
            "/var/lib/pgha/volume/pgdata/pg_wal" if name == "a" else "/var/lib/postgresql/archive"
        )
        cluster.sh(
            name,
            f"for i in 20 21 22 23 24 25 26 27 28 29 2A 2B 2C 2D 2E 2F; do"
            f" truncate -s 16M {where}/0000000100000000000000$i{suffix}; done",
        )
    cluster.docker("kill", "a")
    assert cluster.vote("w", "b", 2).exit == 0
    assert position(cluster, "w") >= written
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    cluster.done("a", "fence", reason="killed")
    assert position(cluster, "a") >= written


def test_verbs_that_were_killed_are_finished_or_done_again(cluster: Nodes) -> None:
    cluster.done("a", "fence", reason="hand-over", to="b")
    cluster.done("b", "promote", term=2, lsn=show_lsn(position(cluster, "a")))
    cluster.done("w", "follow", upstream="b", term=2)
    cluster.sql("b", "INSERT INTO t SELECT generate_series(1, 200000);")
    # Copies and follows, killed at some moment or other.
    for pause_s in (0.1, 0.4, 0.8):
        for verb in ("copy upstream=b", "follow upstream=b term=2"):
            cluster.sh("a", f"timeout -s KILL {pause_s} pgha-node {verb}", check=False)
    cluster.done("a", "copy", upstream="b")
    cluster.done("a", "follow", upstream="b", term=2)
    # A promotion that is killed is done, or done again, or needs the next term.
    cluster.done("b", "fence", reason="back")
    lsn = show_lsn(position(cluster, "b"))
    cluster.sh("a", f"timeout -s KILL 0.12 pgha-node promote term=3 lsn={lsn}", check=False)
    again = cluster.verb("a", "promote", term=3, lsn=lsn)
    assert again.exit == 0, again.document
    for name in ("b", "w"):
        cluster.done(name, "follow", upstream="a", term=3)
    assert cluster.sql("a", "SELECT count(*) FROM t;") == "200000"


def test_a_rewind_that_was_killed_is_done_again_and_starts_nothing_before(cluster: Nodes) -> None:
    cluster.sql("a", "INSERT INTO t SELECT generate_series(1, 300000);")
    cut_off(cluster, "b", "w")
    cluster.sql("a", "SET synchronous_commit = local; UPDATE t SET i = -i;")
    cluster.docker("kill", "a")
    join(cluster, "b", "w")
    for name in ("b", "w"):
        assert cluster.vote(name, "b", 2).exit == 0
    cluster.done("b", "promote", term=2)
    cluster.done("w", "follow", upstream="b", term=2)
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    kill = (
        "pgha-node rewind upstream=b & v=$!;"
        "until test -e /var/lib/pgha/volume/rewinding; do sleep 0.01; done; sleep 0.15;"
        "kill -9 $v; for p in /proc/[0-9]*; do"
        " grep -qz ^/usr/lib/postgresql/.*/pg_rewind $p/cmdline 2>/dev/null && kill -9 ${p#/proc/};"
        " done; true"
    )
    cluster.sh("a", kill, check=False)
    if cluster.sh("a", "ls /var/lib/pgha/volume/rewinding", check=False):
        assert cluster.verb("a", "follow", upstream="b", term=2).code == "rewinding"
    cluster.done("a", "rewind", upstream="b")
    cluster.done("a", "follow", upstream="b", term=2)
    assert cluster.sql("a", "SELECT count(*), min(i) FROM t;") == "300000|1"


def test_users_are_made_and_dropped_and_no_secret_is_logged(cluster: Nodes) -> None:
    name, password = 'we"ird näme', "pä$$'\\wörd " + "x" * 100
    made = cluster.done("a", "sql_user_create", {"name": name, "password": password})
    assert made.document["did"]
    assert cluster.verb("a", "sql_user_create", {"name": name, "password": "y"}).code == "exists"
    login = (
        f"PGPASSFILE=/dev/null psql -XAt -h {cluster.members[0]['address']} -p 5433 -d postgres"
        " -U \"$U\" -c 'SELECT 1'"
    )
    words = ("docker", "exec", "-e", f"U={name}", "-e", f"PGPASSWORD={password}")
    assert run(*words, f"{cluster.prefix}-b", "sh", "-c", login).strip() == "1"
    quoted = '"' + name.replace('"', '""') + '"'
    cluster.sql("a", f"CREATE TABLE own (i int); ALTER TABLE own OWNER TO {quoted};")
    owns = cluster.verb("a", "sql_user_delete", {"name": name})
    assert owns.code == "owns"
    assert "own" in owns.document["error"]
    assert cluster.verb("a", "sql_user_check", {"name": name}, expect="free").code == "owns"
    assert cluster.verb("a", "sql_user_check", {"name": name}, expect="absent").code == "exists"
    cluster.sql("a", "DROP TABLE own;")
    cluster.done("a", "sql_user_check", {"name": name}, expect="free")
    changed = {"name": name, "password": "another"}
    cluster.done("a", "sql_user_password", changed)
    cluster.done("a", "sql_user_delete", {"name": name})
    assert cluster.verb("a", "sql_user_delete", {"name": name}).code == "missing"
    assert cluster.verb("a", "sql_user_delete", {"name": "postgres"}).code == "reserved"
    assert (
        cluster.verb("a", "sql_user_create", {"name": "pg_x", "password": "y"}).code == "reserved"
    )
    assert (
        cluster.verb("b", "sql_user_create", {"name": "x", "password": "y"}).code == "not-primary"
    )
    logs = subprocess.run(
        ("docker", "logs", f"{cluster.prefix}-a"), capture_output=True, text=True, check=True
    )
    journal = cluster.sh("a", "cat /etc/pgpool2/pgha/journal.jsonl")
    for text in (logs.stdout, logs.stderr, journal):
        assert "SCRAM-SHA-256$" not in text
        assert password not in text
        assert PASSWORD not in text
    assert "ready to accept connections" in logs.stderr


def test_a_probe_answers_whatever_state_the_node_is_in(nodes: Nodes) -> None:
    empty = nodes.done("a", "probe")
    assert empty.report["data"] is None
    assert empty.report["postgres"]["running"] is False
    nodes.cluster()
    full = nodes.done("a", "probe")
    assert {f["name"] for f in full.report["postgres"]["followers"]} == {"b", "w"}
    nodes.sh("a", "kill -STOP $(head -1 /var/lib/pgha/volume/pgdata/postmaster.pid)")
    began = time.monotonic()
    stalled = nodes.done("a", "probe")
    assert time.monotonic() - began < 10.0
    assert stalled.report["postgres"]["running"] is True
    assert stalled.report["postgres"]["accepting"] in (False, True)
    nodes.sh("a", "kill -CONT $(head -1 /var/lib/pgha/volume/pgdata/postmaster.pid)")
    nodes.docker("stop", "b")
    offline = ("--entrypoint", "/usr/bin/pgha-node", IMAGE, "probe", "offline=true")
    said = run("docker", "run", "--rm", *nodes.mounts("b"), *offline)
    assert '"state": "shut down in recovery"' in said


def _streams(nodes: Nodes, name: str) -> bool:
    followers = nodes.verb("a", "probe").report["postgres"]["followers"]
    return any(f["name"] == name and f["state"] == "streaming" for f in followers)


def test_a_vote_ends_a_receiver_that_no_file_tells_of(cluster: Nodes) -> None:
    """Whoever started it was killed before it wrote the file: a vote must not leave it alone."""
    cluster.sh("w", "rm /run/pgha/pg_receivewal.pid")
    assert cluster.vote("w", "b", 2).exit == 0
    assert cluster.sh("w", "pgrep -c pg_receivewal", check=False).strip() == "0"


# --- who is let in, and by whose word ------------------------------------------------------------


def test_nobody_is_let_in_before_a_majority_has_a_commit_of_the_term(nodes: Nodes) -> None:
    nodes.done("a", "initdb", {"superuser": PASSWORD, "replication": PASSWORD})
    nodes.done("a", "serve", term=1)
    assert not nodes.lets_in("a")
    nodes.done("b", "copy", upstream="a")
    nodes.done("b", "follow", upstream="a", term=1)
    nodes.done("w", "follow", upstream="a", term=1)
    # Followers come in while clients do not; so a commit gets its majority.
    nodes.sql("a", "CREATE TABLE t (i int PRIMARY KEY);")
    assert not nodes.lets_in("a")
    for _ in range(2):
        assert nodes.done("a", "confirm", term=1, wait_s=30).report["postgres"]["opened"]
        assert nodes.lets_in("a")
    assert nodes.lets_in("b")
    assert nodes.done("a", "serve", term=1).report["postgres"]["opened"]
    # The next primary lets nobody in either, whom it had let in to read a moment ago.
    nodes.done("a", "fence", reason="hand-over", to="b")
    promoted = nodes.done("b", "promote", term=2, lsn=show_lsn(position(nodes, "a")))
    assert not promoted.report["postgres"]["opened"]
    assert not nodes.lets_in("b")
    assert nodes.verb("b", "confirm", term=1).code == "not-primary"
    nodes.done("a", "follow", upstream="b", term=2)
    assert nodes.lets_in("a")
    nodes.done("b", "confirm", term=2, wait_s=30)
    assert nodes.lets_in("b")


def test_a_door_that_was_not_told_of_the_new_primary_is_let_in_by_no_follower(
    cluster: Nodes,
) -> None:
    """Its clients take a follower for the primary, and would read what is past."""
    assert all(cluster.lets_in("a", door=door) for door in ("a", "b", "w"))
    assert not any(cluster.lets_in("b", door=door) for door in ("a", "b", "w"))
    assert cluster.lets_in("b")
    cluster.done("a", "fence", reason="hand-over", to="b")
    cluster.done("b", "promote", term=2, lsn=show_lsn(position(cluster, "a")))
    cluster.done("a", "follow", upstream="b", term=2)
    cluster.done("b", "confirm", term=2, wait_s=30)
    assert not any(cluster.lets_in("a", door=door) for door in ("a", "b", "w"))
    assert all(cluster.lets_in("b", door=door) for door in ("a", "b", "w"))
    assert cluster.lets_in("a")


def test_a_primary_that_comes_back_without_a_majority_lets_nobody_in(cluster: Nodes) -> None:
    assert cluster.lets_in("a")
    cut_off(cluster, "b", "w")
    cluster.docker("kill", "a")
    cluster.docker("start", "a")
    eventually(lambda: cluster.verb("a", "probe").report["main_running"])
    cluster.done("a", "serve", term=1)
    refused = cluster.verb("a", "confirm", term=1, wait_s=1)
    assert (refused.exit, refused.code) == (1, "waiting"), refused.document
    assert not refused.report["postgres"]["opened"]
    assert not cluster.lets_in("a")
    join(cluster, "b", "w")
    eventually(lambda: cluster.verb("a", "confirm", term=1, wait_s=1).exit == 0, 30.0)
    assert cluster.lets_in("a")


def test_a_node_votes_for_one_candidate_in_a_term(cluster: Nodes) -> None:
    cluster.docker("stop", "a")
    for _ in range(2):
        assert cluster.vote("w", "b", 2).exit == 0
    refused = cluster.vote("w", "a", 2)
    assert (refused.exit, refused.code) == (3, "voted")
    assert refused.report["assignment"]["voted_for"] == "b"
    assert cluster.vote("w", "b", 1).code == "old-term"
    # A restart forgets nothing.
    cluster.docker("kill", "w")
    cluster.docker("start", "w")
    eventually(lambda: cluster.verb("w", "probe").report["main_running"])
    assert cluster.vote("w", "a", 2).code == "voted"
    # Nor does it vote again in a term in which it followed.
    assert cluster.vote("b", "b", 2).exit == 0
    cluster.done("b", "promote", term=2)
    cluster.done("w", "follow", upstream="b", term=2)
    assert cluster.vote("w", "b", 2).code == "voted"
    assert cluster.vote("b", "b", 3).code == "primary"


def test_who_gave_its_vote_to_another_is_not_promoted_in_that_term(cluster: Nodes) -> None:
    cluster.docker("stop", "a")
    assert cluster.vote("b", "a", 2).exit == 0
    assert cluster.verb("b", "promote", term=2).code == "voted"
    assert cluster.vote("b", "b", 3).exit == 0
    cluster.done("b", "promote", term=3)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_standby_at_rest_soon_after_a_promotion_names_the_new_timeline(
    cluster: Nodes, how: str
) -> None:
    """Its pg_control may name the old one until its next restartpoint."""
    # a becomes the primary of term 2 itself, and the others follow it there.
    cluster.done("a", "fence", reason="a promotion of its own")
    left_at = position(cluster, "a")
    state = "/etc/pgpool2/pgha/state.json"
    cluster.sh("a", f'sed -i \'s/"role": "fenced"/"role": "standby"/\' {state}')
    cluster.done("a", "promote", term=2)
    for name in ("b", "w"):
        cluster.done(name, "follow", upstream="a", term=2)
    cut_off(cluster, "w")
    for i in range(3):
        cluster.sql("a", f"INSERT INTO t VALUES ({i});")
    flushed = "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'b';"
    acknowledged = parse_lsn(cluster.sql("a", flushed))
    if how == "killed":
        cluster.sh("b", KILL_POSTGRES)
    else:
        cluster.done("b", "halt", services="all")
    eventually(lambda: not cluster.sh("b", "pgrep -x postgres", check=False))
    voted = cluster.vote("b", "b", 3)
    assert voted.exit == 0, voted.document
    assert voted.report["assignment"]["ended_on"] == 2
    assert position(cluster, "b") >= acknowledged > left_at
    # It hands that out as well, and has it when it goes on.
    words = f"pgha-node hand_out timeline=1 from={show_lsn(left_at)} | head -1"
    assert json.loads(cluster.sh("b", words))["timeline"] == 2
    cluster.done("b", "stand_by")
    promoted = cluster.done("b", "promote", term=3, lsn=show_lsn(acknowledged))
    assert promoted.report["postgres"]["timeline"] == 3
    assert cluster.sql("b", "SELECT count(*) FROM t;") == "3"


# --- beside agents -------------------------------------------------------------------------------

KILL_POSTGRES = "kill -9 $(head -1 /var/lib/pgha/volume/pgdata/postmaster.pid)"


def runs(nodes: Nodes, name: str) -> bool:
    return bool(nodes.verb(name, "probe").report["postgres"]["running"])


def opened(nodes: Nodes, name: str) -> bool:
    postgres = nodes.verb(name, "probe").report["postgres"]
    return bool(postgres["running"] and not postgres["in_recovery"] and postgres["opened"])


def held(nodes: Nodes, name: str) -> bool:
    agent = nodes.verb(name, "probe").report["agent"]
    return bool(agent["running"] and agent["held"])


@contextlib.contextmanager
def session(nodes: Nodes, name: str) -> Iterator[subprocess.Popen[str]]:
    """An operator's session in a container, that holds its agent."""
    words = ("docker", "exec", "-i", "-u", "postgres", f"{nodes.prefix}-{name}", "pgha-node")
    with subprocess.Popen(
        (*words, "session"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as there:
        assert there.stdin is not None
        assert there.stdout is not None
        there.stdin.write(json.dumps({"verb": "hold", "args": {"reason": "a test"}}) + "\n")
        there.stdin.flush()
        assert json.loads(there.stdout.readline())["ok"]
        yield there


def test_the_agent_starts_what_died_and_leaves_alone_what_was_stopped(attended: Nodes) -> None:
    attended.sh("b", KILL_POSTGRES)
    eventually(lambda: _streams(attended, "b"))
    attended.sh("w", "kill -9 $(cat /run/pgha/pg_receivewal.pid)")
    eventually(lambda: _streams(attended, "w"))
    attended.docker("stop", "b")
    attended.docker("start", "b")
    eventually(lambda: _streams(attended, "b"))
    for _ in range(2):
        attended.done("b", "halt", services="all")
    never(lambda: runs(attended, "b"), 2.0)
    attended.done("b", "follow", upstream="a", term=1)


def test_a_primary_is_started_again_by_the_word_of_a_majority_alone(attended: Nodes) -> None:
    attended.sh("a", KILL_POSTGRES)
    eventually(lambda: opened(attended, "a"))
    for name in ("b", "w"):
        attended.docker("stop", name)
    # Who hears no majority may have been passed over: it ends, and stays so over a restart.
    eventually(lambda: not runs(attended, "a"))
    attended.docker("kill", "a")
    attended.docker("start", "a")
    eventually(lambda: attended.verb("a", "probe").report["main_running"])
    never(lambda: runs(attended, "a"), 3.0)
    attended.docker("start", "w")
    eventually(lambda: opened(attended, "a"), 30.0)
    assert attended.sql("a", "INSERT INTO t VALUES (1); SELECT count(*) FROM t;") == "1"


def test_a_hold_ends_with_its_session(attended: Nodes) -> None:
    with session(attended, "b") as there:
        eventually(lambda: held(attended, "b"))
        attended.sh("b", KILL_POSTGRES)
        never(lambda: runs(attended, "b"), 2.0)
        assert there.stdin is not None
        there.stdin.close()
        eventually(lambda: not held(attended, "b"))
        eventually(lambda: _streams(attended, "b"))


def test_a_session_releases_what_it_holds(attended: Nodes) -> None:
    with session(attended, "w") as there:
        eventually(lambda: held(attended, "w"))
        assert there.stdin is not None
        there.stdin.write(json.dumps({"verb": "release"}) + "\n")
        there.stdin.flush()
        eventually(lambda: not held(attended, "w"))


def test_a_fence_that_was_cut_off_is_finished_by_the_agent(attended: Nodes) -> None:
    """It died after its word. Nobody took over, so the same node then serves its term again."""
    attended.sh(
        "a",
        'python3 -IS -c \'import sys; sys.path.append("/usr/lib/pgha");'
        "from dataclasses import replace; from pgha.node import state, report;"
        "state.change(lambda a: replace(a, role=report.Role.FENCED))'",
    )
    journal = "cat /etc/pgpool2/pgha/journal.jsonl"
    eventually(lambda: "a fence was cut off" in attended.sh("a", journal))
    eventually(lambda: opened(attended, "a"))
    assert attended.verb("a", "probe").report["assignment"]["role"] == "primary"


def test_a_receiver_that_the_agent_started_is_no_obstacle_for_a_verb(attended: Nodes) -> None:
    attended.docker("kill", "a")
    attended.docker("kill", "w")
    attended.docker("start", "w")
    eventually(lambda: attended.sh("w", "cat /run/pgha/pg_receivewal.pid", check=False) != "")
    for name in ("w", "b"):
        assert attended.vote(name, "b", 2).exit == 0
    attended.done("b", "promote", term=2)
    attended.done("w", "follow", upstream="b", term=2)
    assert attended.sql("b", "INSERT INTO t VALUES (1); SELECT count(*) FROM t;") == "1"
