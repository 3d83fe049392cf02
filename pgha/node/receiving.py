"""A running standby takes no more WAL, and what it has on disk is replayed: where its log ends."""

from __future__ import annotations

import re

from pgha.commands.lsn import parse_lsn
from pgha.node import gate, paths, postgres, process, wal
from pgha.node.state import Node, read_assignment
from pgha.node.wal import End

# A title begins with the cluster's name, where it has one (PostgreSQL 17, "cluster_name").
_RECEIVER = re.compile(r"postgres: (\S+: )?walreceiver\b")

QUIET_S = 20.0
ORPHANS_S = 2.0
ROUND_S = 0.003
# A record that came in part is never replayed. Two of the startup process's waits (100 ms each, our
# wal_retrieve_retry_interval) without progress say that it has looked everywhere.
STILL_ROUNDS = 100


def disconnect(node: Node) -> End | None:
    """Take the upstream from role.conf, durably; of a running standby, end the WAL receiver for
    good: when this returns, none comes again, and everything on disk is replayed. Where its log
    ends; None where it does not run (any more).

    The gate closes: who follows nobody is stale, or is about to be the primary.
    Raises Failed("replay").
    """
    gate.close()
    changed = postgres.write_role_conf(node, None, read_assignment().voters)
    if postgres.pid() is None:
        # A receiver whose postmaster was killed is still at its last write, and tells of it.
        process.holds_within(lambda: not postgres.titles(), ORPHANS_S)
        return None
    postgres.reload()
    if not postgres.accepting():
        # It recovers and cannot be asked what it has seen of the new setting: at rest it takes
        # nothing for sure, and is started again later. One that had no upstream from its start goes
        # on: stopped at each vote, a long recovery would never come to its end.
        if changed or not postgres.started_since(paths.ROLE_CONF) or receiver_runs():
            postgres.stop()
        return None
    return _still(node, alone=True)


def drain(node: Node) -> None:
    """Wait until everything on disk is replayed, on a standby that had no receiver."""
    if postgres.accepting():
        _still(node, alone=False)


def receiver_runs() -> bool:
    """Whether a WAL receiver of the running server exists."""
    return any(_RECEIVER.match(title) for title in postgres.titles().values())


def _still(node: Node, *, alone: bool) -> End:
    """In one session, since a voter is waited for: the session has read the new setting, so its
    postmaster has, and has told the startup process; no receiver exists; the startup process waits
    for WAL to come (PostgreSQL 17, "Wait Events"), and has replayed what the last receiver flushed.

    alone: the upstream is gone from the setting, too.
    """
    waits = "'RecoveryRetrieveRetryInterval'" + ("" if alone else ", 'RecoveryWalStream'")
    read = "current_setting('primary_conninfo') = ''" if alone else "true"
    # One that has an upstream may find it meanwhile, and go on receiving.
    receives = "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver')"
    receives = receives if alone else "false"
    # A session reads a new setting between two statements.
    looks = f"SELECT pg_sleep({ROUND_S}) WHERE NOT {read};\n" * 50
    text = f"""{looks}
DO $$
DECLARE first int;
BEGIN
  FOR i IN 1..{int(QUIET_S / ROUND_S)} LOOP
    PERFORM pg_stat_clear_snapshot();
    IF EXISTS (SELECT FROM pg_stat_activity
               WHERE backend_type = 'startup' AND wait_event IN ({waits}))
       AND NOT ({receives}) THEN
      first := coalesce(first, i);
      IF pg_last_wal_replay_lsn() >= coalesce(pg_last_wal_receive_lsn(), '0/0')
         OR i - first > {STILL_ROUNDS} THEN
        PERFORM set_config('pgha.still', 't', false);
        RETURN;
      END IF;
    END IF;
    PERFORM pg_sleep({ROUND_S});
  END LOOP;
END $$;
SELECT {read} AND current_setting('pgha.still', true) = 't';
IDENTIFY_SYSTEM;
SELECT pg_last_wal_replay_lsn();
"""

    def look() -> tuple[End | None, str]:
        lines = postgres.sql(node, text, timeout_s=QUIET_S + 5, replication=True)
        if lines[-3] != "t":
            return None, "PostgreSQL has not read role.conf, or still replays"
        timeline, lsn = int(lines[-2].split("|")[1]), parse_lsn(lines[-1])
        return End(timeline, lsn, wal.history_of(paths.DATA / "pg_wal", timeline)), ""

    return process.wait_until(
        look, timeout_s=QUIET_S, code="replay", what="Its WAL receiver did not end"
    )
