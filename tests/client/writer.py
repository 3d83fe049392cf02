"""A client that writes without pause, for tests and benchmarks; it runs inside a client container.

`writer.py CONNINFO`: one row after the other in a transaction of its own, a new try 15 ms after an
error, until it is told to end (SIGTERM). A row whose commit was not answered is written again under
another number, so a number is acknowledged once or never. On standard output a line each second for
whoever waits, at the end one JSON document: {"acknowledged": [numbers], "unknown": [numbers],
"gap_s": the longest time between two acknowledgements, "gap_at_s": …, "gap_door": the server's
address before it, "errors": {sqlstate: count}, "events": [[seconds since 1970, what], …]}.
"""

from __future__ import annotations

import collections
import json
import signal
import sys
import time

import psycopg

RETRY_S = 0.015
TABLE = "CREATE TABLE IF NOT EXISTS written (n bigint PRIMARY KEY, at timestamptz DEFAULT now())"


class Writer:
    """Counts what was acknowledged, and when."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.events: collections.deque[tuple[float, str]] = collections.deque(maxlen=200)
        self.gap_s = self.gap_at_s = 0.0
        self.door = self.gap_door = ""
        self.begun = self.last = time.monotonic()
        self.ends = False
        self.next = 0

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        while not self.ends:
            try:
                with psycopg.connect(self.conninfo, autocommit=True) as connection:
                    self._note(f"connected to {connection.info.hostaddr}")
                    connection.execute("SET client_min_messages = warning")
                    if not self.acknowledged:
                        connection.execute(TABLE)
                    self._write(connection)
            except psycopg.Error as error:
                self.errors[error.sqlstate or type(error).__name__] += 1
                self._note(str(error))
                time.sleep(RETRY_S)
        self._measure(time.monotonic())  # an outage that lasts until the end is one as well

    def _note(self, text: str) -> None:
        self.events.append((round(time.time(), 3), text))

    def _end(self, *_: object) -> None:
        self.ends = True

    def _write(self, connection: psycopg.Connection) -> None:
        while not self.ends:
            number, self.next = self.next, self.next + 1
            try:
                connection.execute("INSERT INTO written (n) VALUES (%s)", (number,))
            except psycopg.Error:
                self.unknown.append(number)
                raise
            self._acknowledge(number, connection.info.hostaddr)

    def _measure(self, now: float) -> None:
        """How long it is since the last acknowledgement, where that is the longest time."""
        if self.acknowledged and now - self.last > self.gap_s:
            self.gap_s, self.gap_at_s = now - self.last, now - self.begun
            self.gap_door = self.door

    def _acknowledge(self, number: int, door: str) -> None:
        now = time.monotonic()
        self._measure(now)
        self.door = door
        if not self.acknowledged or int(now) != int(self.last):
            print(f"acknowledged {number}", flush=True)
        self.acknowledged.append(number)
        self.last = now


def main() -> None:
    writer = Writer(sys.argv[1])
    writer.run()
    print(
        json.dumps(
            {
                "acknowledged": writer.acknowledged,
                "unknown": writer.unknown,
                "gap_s": writer.gap_s,
                "gap_at_s": writer.gap_at_s,
                "gap_door": writer.gap_door,
                "errors": writer.errors,
                "events": list(writer.events),
            }
        )
    )


if __name__ == "__main__":
    main()
