"""Tries to write on its own node all the time, by the local socket; and says what PostgreSQL is.

It runs inside a node's container, as postgres, with the standard library alone:
`python3 -u - < probe.py` with {"run", "port", "user"} as JSON in its first argument. It prints
records as tests/chaos/history.py reads them. A fenced node must not answer it, a standby must
refuse it, and what a primary acknowledges to it counts like any client's write.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import threading
import time

PAUSE_S = 0.2
SERVING_PAUSE_S = 0.5
# A commit without a quorum waits; a probe that gave up early would pile up sessions.
LIMIT_S = 30.0
TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int"
SERVING = (
    "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery()"
    f" THEN (SELECT timeline_id FROM pg_control_checkpoint()) ELSE {TIMELINE} END"
)
BEFORE_COMMIT = {"25006", "42P01", "53100"}
NODE = socket.gethostname()
printing = threading.Lock()
# Another number for each life of this container: what it wrote before has a client of its own.
LIFE = str(int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000))


def record(*words: object) -> None:
    line = json.dumps(words, separators=(",", ":"))
    with printing:
        print(line, flush=True)


class Refused(Exception):
    """The server said no; the argument is its SQLSTATE."""


class Session:
    """PostgreSQL's protocol, version 3, as far as one statement over the local socket needs it
    (the manual, "Frontend/Backend Protocol", "Message Formats")."""

    def __init__(self, port: int, user: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(2.0)
            self.socket.connect(f"/var/run/postgresql/.s.PGSQL.{port}")
            words = f"user\0{user}\0database\0postgres\0application_name\0chaos-probe\0\0".encode()
            self.socket.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
            self._answer()
        except BaseException:
            self.socket.close()
            raise

    def ask(self, sql: str) -> list[str]:
        """The first row. Raises Refused; OSError when the answer does not come."""
        words = sql.encode() + b"\0"
        self.socket.settimeout(LIMIT_S)
        self.socket.sendall(b"Q" + struct.pack("!i", 4 + len(words)) + words)
        return self._answer()

    def _answer(self) -> list[str]:
        row: list[str] = []
        error = ""
        while True:
            kind, body = self._message()
            if kind == b"E":
                fields = {f[:1]: f[1:].decode() for f in body.split(b"\0") if f}
                error = fields.get(b"C", "?")
                if fields.get(b"V") in ("FATAL", "PANIC"):
                    raise OSError(error)
            elif kind == b"D":
                row = list(_fields(body))
            elif kind == b"Z":
                if error:
                    raise Refused(error)
                return row

    def _message(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        (length,) = struct.unpack("!i", head[1:])
        return head[:1], self._exactly(length - 4)

    def _exactly(self, length: int) -> bytes:
        got = b""
        while len(got) < length:
            part = self.socket.recv(length - len(got))
            if not part:
                raise ConnectionResetError
            got += part
        return got


def _fields(body: bytes) -> list[str]:
    values, at = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (length,) = struct.unpack_from("!i", body, at)
        values.append(body[at + 4 : at + 4 + length].decode() if length >= 0 else "")
        at += 4 + max(length, 0)
    return values


def write(run: str, port: int, user: str) -> None:
    """One row after the other, each with a number of its own."""
    client, number = f"{run}/probe/{NODE}/{LIFE}", 0
    while True:
        try:
            session = Session(port, user)
        except (OSError, Refused):
            time.sleep(PAUSE_S)
            continue
        with session.socket:
            while _write(session, client, number):
                number += 1
                time.sleep(PAUSE_S)
        number += 1
        time.sleep(PAUSE_S)


def _write(session: Session, client: str, number: int) -> bool:
    sql = f"INSERT INTO chaos (client, n) VALUES ('{client}', {number}) RETURNING {TIMELINE}"
    begun = time.monotonic()
    try:
        (timeline,) = session.ask(sql)
    except Refused as error:
        state = str(error)
        # A standby's refusals, five a second, would be most of the history.
        if state != "25006":
            outcome = "failed" if state in BEFORE_COMMIT else "unknown"
            record("write", client, number, begun, time.monotonic(), outcome, NODE, 0, state)
        return True
    except OSError as error:
        lost = type(error).__name__
        record("write", client, number, begun, time.monotonic(), "unknown", NODE, 0, lost)
        return False
    record("write", client, number, begun, time.monotonic(), "ok", NODE, int(timeline), "")
    return True


def serving(port: int, user: str) -> None:
    """Says what PostgreSQL is each time it is something else."""
    last: list[str] = []
    while True:
        try:
            session = Session(port, user)
            with session.socket:
                while True:
                    seen = session.ask(SERVING)
                    if seen != last:
                        record("serving", NODE, time.monotonic(), seen[0] == "t", int(seen[1]))
                        last = seen
                    time.sleep(SERVING_PAUSE_S)
        except (OSError, Refused):
            last = []
            time.sleep(PAUSE_S)


def main(run: str, port: int, user: str) -> None:
    # Its pipe's reader has gone, or a terminal: nobody is left to tell.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    threading.Thread(target=serving, args=(port, user), daemon=True).start()
    write(run, port, user)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
