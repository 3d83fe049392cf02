"""Clients that write and read without pause, and print what they were told: for tests/chaos.

It runs inside a client container, which has psycopg: `python3 -u - JSON < chaos_clients.py`, the
JSON {"run": name, "pool": conninfo, "direct": conninfo}. On standard output a line of JSON a
record (tests/chaos/history.py has the kinds), until SIGTERM. Times are CLOCK_MONOTONIC, which all
containers of a machine share.

A write whose outcome was not told is never repeated: its number is used up. `long` clients hold on
to a session for as long as it lives and wait long for an answer, as an application's connection
pool does; the others give up early and take a new session.
"""

from __future__ import annotations

import json
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence

import psycopg

PAUSE_S = 0.015  # between two writes, and before a new try to connect
READ_PAUSE_S = 0.1
SHORT_S = 4.0
LONG_S = 30.0
REFUSED_EVERY_S = 1.0

# The server says who it is in the same transaction: its name is its container's host name.
NAME = "trim(E'\\n' from pg_read_file('/etc/hostname'))"
TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int"
WRITE = f"INSERT INTO chaos (client, n) VALUES ($1, $2) RETURNING {NAME}, {TIMELINE}"
READ = (
    f"SELECT {NAME}, CASE WHEN pg_is_in_recovery() THEN 0 ELSE {TIMELINE} END, json_object_agg(c,"
    " coalesce((SELECT max(n) FROM chaos WHERE client = c), -1)) FROM unnest($1::text[]) AS c"
)
# Said by PostgreSQL before any commit: such a row is not there. Everything else is not known:
# Pgpool-II has errors of its own for a server that it lost.
BEFORE_COMMIT = {"25006", "42P01", "53100", "55000"}

ends = threading.Event()
printing = threading.Lock()


def record(*words: object) -> None:
    line = json.dumps(words, separators=(",", ":"))
    with printing:
        print(line, flush=True)


class Late(Exception):
    """No answer within the limit."""


class Session:
    """One connection, whose every answer has a limit in seconds: libpq's own calls have none."""

    def __init__(self, conninfo: str) -> None:
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.raw = self.connection.pgconn

    def ask(self, sql: str, values: Sequence[str], limit_s: float) -> list[bytes]:
        """The first row. Raises psycopg.Error, with its sqlstate if the server said one; Late."""
        end = time.monotonic() + limit_s
        self.raw.send_query_params(sql.encode(), [value.encode() for value in values])
        row: list[bytes] | None = None
        error: str | None = None
        while True:
            unsent = self.raw.flush()
            if not self._turn(bool(unsent), end):
                continue
            self.raw.consume_input()
            while not self.raw.is_busy():
                result = self.raw.get_result()
                # Only the end of all results says that the commit was done as well.
                if result is None:
                    if error is not None or row is None:
                        failure = psycopg.OperationalError(error or "no row")
                        failure.sqlstate = error
                        raise failure
                    return row
                if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
                    error = state.decode() if state else "lost"
                elif result.ntuples:
                    row = [result.get_value(0, column) for column in range(result.nfields)]

    def _turn(self, unsent: bool, end: float) -> bool:
        """Wait a little; whether there is something to read. Raises Late."""
        if time.monotonic() > end or ends.is_set():
            raise Late
        writable = [self.raw.socket] if unsent else []
        readable, _, _ = select.select([self.raw.socket], writable, [], 0.2)
        return bool(readable)

    def close(self) -> None:
        # Not psycopg's close: it says goodbye, which may wait on a server that is cut off.
        self.raw.finish()


class Client:
    """Connects again after every error, and counts the tries that failed."""

    def __init__(self, name: str, conninfo: str) -> None:
        self.name = name
        self.conninfo = conninfo
        self.refused = 0
        self.said = 0.0

    def connect(self) -> Session | None:
        try:
            return Session(self.conninfo)
        except psycopg.Error as error:
            self.refused += 1
            if time.monotonic() - self.said > REFUSED_EVERY_S:
                why = error.sqlstate or str(error).strip().replace("\n", "; ")
                record("refused", self.name, time.monotonic(), self.refused, why)
                self.refused, self.said = 0, time.monotonic()
            ends.wait(PAUSE_S)
            return None


class Writer(Client):
    def __init__(self, name: str, conninfo: str, limit_s: float) -> None:
        super().__init__(name, conninfo)
        self.limit_s = limit_s
        self.number = 0

    def run(self) -> None:
        while not ends.is_set():
            session = self.connect()
            while session is not None and not ends.is_set():
                goes_on = self.write(session)
                ends.wait(PAUSE_S)
                if not goes_on:
                    session.close()
                    session = None

    def write(self, session: Session) -> bool:
        """Write one row; whether this session can go on."""
        number, self.number = self.number, self.number + 1
        begun = time.monotonic()
        try:
            node, timeline = session.ask(WRITE, (self.name, str(number)), self.limit_s)
        except Late:
            outcome, error = "unknown", "late"
        except psycopg.Error as failure:
            error = failure.sqlstate or "lost"
            outcome = "failed" if error in BEFORE_COMMIT else "unknown"
        else:
            ended = time.monotonic()
            record("write", self.name, number, begun, ended, "ok", node.decode(), int(timeline), "")
            return True
        record("write", self.name, number, begun, time.monotonic(), outcome, "", 0, error)
        # A standby refuses writes for ever, a full disk does not.
        return error == "53100"


class Reader(Client):
    """Each read in a session of its own: it is the door that is tried."""

    def __init__(self, name: str, conninfo: str, writers: Sequence[str]) -> None:
        super().__init__(name, conninfo)
        self.writers = "{" + ",".join(f'"{writer}"' for writer in writers) + "}"

    def run(self) -> None:
        while not ends.is_set():
            # What is seen can be as old as the moment when the session was opened, no older.
            session = self.connect()
            if session is not None:
                self.read(session)
                session.close()
                ends.wait(READ_PAUSE_S)

    def read(self, session: Session) -> None:
        begun = time.monotonic()
        try:
            node, timeline, seen = session.ask(READ, (self.writers,), SHORT_S)
        except (Late, psycopg.Error):
            return
        ended, numbers = time.monotonic(), json.loads(seen)
        record("read", self.name, begun, ended, node.decode(), int(timeline), numbers)


def main(run: str, pool: str, direct: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    # A dead host answers nothing: without this the kernel tries for a quarter of an hour.
    short = " tcp_user_timeout=2000 keepalives_idle=1 keepalives_interval=1"
    writers = [
        Writer(f"{run}/pool", pool + short, SHORT_S),
        Writer(f"{run}/direct", direct + short, SHORT_S),
        Writer(f"{run}/pool-long", pool, LONG_S),
        Writer(f"{run}/direct-long", direct, LONG_S),
    ]
    names = [writer.name for writer in writers]
    readers = [
        Reader(f"{run}/pool-read", pool + short, names),
        Reader(f"{run}/direct-read", direct + short, names),
    ]
    runs = [*(writer.run for writer in writers), *(reader.run for reader in readers)]
    threads = [threading.Thread(target=run, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    while not ends.wait(1.0):
        pass
    for thread in threads:
        thread.join(3.0)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
