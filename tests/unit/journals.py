"""Journals for tests, as nodes write them: each node has a clock of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pgha.history import History, Record, history

BEGIN = datetime(2026, 11, 24, 3, 0, 0, tzinfo=UTC)
OPERATOR = "ann@desk"


class Journals:
    """Lines that nodes write while time passes. ahead_s: how wrong a node's clock is."""

    def __init__(self, *nodes: str) -> None:
        self.lines: dict[str, list[str]] = {name: [] for name in nodes}
        self.ahead_s = dict.fromkeys(nodes, 0.0)
        self._now_s = 0.0
        self._by = OPERATOR

    def wait(self, seconds: float) -> None:
        self._now_s += seconds

    @contextmanager
    def command(self, name: str, operator: str = OPERATOR) -> Iterator[None]:
        """An operator's command, whose name the nodes are told."""
        before, self._by = self._by, f"{operator}: {name}"
        yield
        self._by = before

    def verb(
        self, node: str, verb: str, result: str = "done", *, by: str | None = None, **args: str
    ) -> None:
        """A verb that took 0.1 s."""
        self.wait(0.1)
        seconds = {"verb": verb, "args": args, "result": result, "seconds": 0.1}
        self._write(node, {"by": self._by if by is None else by, **seconds})

    def event(self, node: str, event: str, term: int, **fields: object) -> None:
        """What the node's agent tells."""
        self._write(node, {"event": event, "by": "agent", "term": term, "text": "", **fields})

    def _write(self, node: str, entry: dict[str, object]) -> None:
        at = BEGIN + timedelta(seconds=self._now_s + self.ahead_s[node])
        line = {"at": at.isoformat(timespec="milliseconds"), **entry}
        self.lines[node].append(json.dumps(line))

    def told(self, *missing: str, known: bool = True) -> History:
        """What the records tell, those of `missing` left out. known: the clocks are known to be as
        wrong as they are."""
        records = [
            Record(name, error=f"{name} is away.")
            if name in missing
            else Record(name, tuple(lines), self.ahead_s[name] if known else None)
            for name, lines in self.lines.items()
        ]
        return history("postgres-cluster", records)


def made() -> Journals:
    """Two data nodes and a witness, as `init` leaves them: node-0 leads term 1."""
    journals = Journals("node-0", "node-1", "node-2")
    journals.verb("node-0", "initdb", "a fresh cluster")
    journals.verb("node-0", "serve", "serves as the primary of term 1", term="1")
    journals.verb("node-1", "copy", "a fresh copy of node-0", upstream="node-0")
    for node in ("node-1", "node-2"):
        journals.verb(node, "follow", "follows", upstream="node-0", term="1")
    journals.wait(3600)
    return journals


def hand_over(journals: Journals, old: str, new: str, term: int, lsn: str = "0/4000000") -> None:
    """What `failover` and `failback` do."""
    journals.verb("node-2", "vote", "voted", term=str(term))
    journals.verb(old, "fence", f"fenced (fast) at {lsn}", reason=f"hand-over to {new}", to=new)
    journals.verb(new, "promote", f"promoted to term {term}", term=str(term), lsn=lsn)
    for node in ("node-2", old):
        journals.verb(node, "follow", "streams", upstream=new, term=str(term))
    journals.wait(3600)


def election(journals: Journals, old: str, new: str, term: int, *, silent_s: float = 1.6) -> None:
    """What the agents do by themselves: 0.4 s from noticing to the first commit."""
    journals.event(new, "lost", term - 1, leader=old, last_heard_s=silent_s, why="silent")
    for node in ("node-2", new):
        journals.verb(node, "vote", "voted", by="agent", term=str(term))
    # The vote is about the end of the old primary's WAL.
    told = {"from": old, "timeline": term - 1, "lsn": "0/5000000"}
    journals.event(new, "elected", term, voters=["node-2", new], **told)
    journals.verb(new, "promote", "promoted", by="agent", term=str(term), lsn="0/5000000")
    journals.verb("node-2", "follow", "streams", by="agent", upstream=new, term=str(term))
    outage = {"cause": "node-0 was silent", "to": new, "out_s": silent_s + 0.4, "asked_by": "vote"}
    journals.event(new, "opened", term, **told, **outage)
    journals.wait(3600)
