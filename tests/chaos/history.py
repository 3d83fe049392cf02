"""What clients did and were told: one record an operation, all times on one monotonic clock.

The clients (`tests/client/chaos_clients.py`) and the nodes' probes (`tests/chaos/probe.py`) print a
line of JSON a record, a list whose first word is its kind; this module reads them. All of them run
on one machine, so CLOCK_MONOTONIC is the same for everybody: seconds, only their order counts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """ok: acknowledged. failed: the server refused it before a commit. unknown: all else."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Write:
    """One row, known by (client, number); numbers of a client grow. node and timeline are what the
    server said in the same transaction; empty and 0 where it said nothing."""

    client: str
    number: int
    begun: float
    ended: float
    outcome: Outcome
    node: str = ""
    timeline: int = 0
    error: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True)
class Read:
    """An answered read through a read-write door. seen: each client's largest number, -1: none."""

    client: str
    begun: float
    ended: float
    node: str
    timeline: int
    seen: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Serving:
    """A probe saw its node's PostgreSQL: out of recovery (timeline: its own) or in it."""

    node: str
    at: float
    in_recovery: bool
    timeline: int


@dataclass(frozen=True)
class Refused:
    """Tries to connect that failed, since the last record of this client. Nothing was sent."""

    client: str
    at: float
    times: int
    error: str


Record = Write | Read | Serving | Refused


@dataclass(frozen=True)
class History:
    """Everything that was recorded, in no order."""

    writes: tuple[Write, ...] = ()
    reads: tuple[Read, ...] = ()
    servings: tuple[Serving, ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def acknowledged(self) -> tuple[Write, ...]:
        return tuple(w for w in self.writes if w.acknowledged)

    @classmethod
    def of(cls, records: Iterable[Record]) -> History:
        writes, reads, servings, refused = [], [], [], []
        for record in records:
            match record:
                case Write():
                    writes.append(record)
                case Read():
                    reads.append(record)
                case Serving():
                    servings.append(record)
                case Refused():
                    refused.append(record)
        return cls(tuple(writes), tuple(reads), tuple(servings), tuple(refused))


def parse(line: str) -> Record | None:
    """A record; None for a line that was cut off (its process was killed while it wrote)."""
    try:
        kind, *words = json.loads(line)
    except ValueError:
        return None
    match kind:
        case "write":
            client, number, begun, ended, outcome, node, timeline, error = words
            return Write(client, number, begun, ended, Outcome(outcome), node, timeline, error)
        case "read":
            return Read(*words)
        case "serving":
            return Serving(*words)
        case "refused":
            return Refused(*words)
    raise ValueError(f"{kind} is no kind of record")


def records(directory: Path) -> Iterator[Record]:
    """What the files `*.jsonl` of a directory hold."""
    for path in sorted(directory.glob("*.jsonl")):
        with path.open() as lines:
            for line in lines:
                record = parse(line)
                if record is not None:
                    yield record


@dataclass(frozen=True)
class Outage:
    """Between two acknowledgements to one client: from when, how long, in seconds."""

    client: str
    begun: float
    length_s: float


def outages(history: History, client: str, at_least_s: float) -> tuple[Outage, ...]:
    """A client's times without an acknowledgement that were that long or longer."""
    ended = sorted(w.ended for w in history.acknowledged if w.client == client)
    pairs = itertools.pairwise(ended)
    return tuple(Outage(client, a, b - a) for a, b in pairs if b - a >= at_least_s)
