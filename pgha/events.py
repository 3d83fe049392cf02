"""What happened, as values: an Event, and the order of events whose clocks may differ. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from pgha.commands.lsn import show_lsn
from pgha.journal import By, Entry, Who

# Less than this is no clock that is wrong, but a network's and a process's delay.
CLOCK_S = 2.0


class Kind(Enum):
    """What an event is."""

    INIT = "init"
    FAILOVER = "failover"
    REOPENED = "reopened"
    LOST = "lost"
    ELECTED = "elected"
    STEPPED_DOWN = "stepped-down"
    PASSED_OVER = "passed-over"
    FENCED = "fenced"
    REJOINED = "rejoined"
    RECOVERY = "recovery"
    START = "start"
    STOP = "stop"
    ENDED = "ended"


@dataclass(frozen=True)
class Event:
    """One thing that happened to the cluster.

    entry: the line that it is known by; its node's clock gives the time. text: a sentence.
    nodes: whom it concerns. from_, to: the old and the new primary. lsn: where the timeline begins.
    out_s: how long writes were out, in seconds; None: not known. at_most: the outage was shorter.
    by: whose word it was; None: nobody's.
    """

    kind: Kind
    entry: Entry
    text: str
    nodes: tuple[str, ...]
    by: By | None = None
    term: int | None = None
    cause: str = ""
    from_: str | None = None
    to: str | None = None
    timeline: int | None = None
    lsn: int | None = None
    out_s: float | None = None
    at_most: bool = False
    voters: tuple[str, ...] = ()
    takes_over: bool = field(default=False, repr=False)

    @property
    def at(self) -> datetime:
        return self.entry.at

    @property
    def asked_by(self) -> str | None:
        """`vote` (the nodes' own election), `operator`, or None: nobody asked."""
        if self.by is None or self.by.who is Who.NODE:
            return None
        return "vote" if self.by.who is Who.AGENT else "operator"

    def as_dict(self) -> dict[str, Any]:
        """As `history --json` has it. `at` is the node's own record, in UTC."""
        return {
            "at": self.at.isoformat(timespec="milliseconds"),
            "event": self.kind.value,
            "text": self.text,
            "node": self.entry.node,
            "nodes": list(self.nodes),
            "cause": self.cause or None,
            "from": self.from_,
            "to": self.to,
            "term": self.term,
            "timeline": self.timeline,
            "lsn": None if self.lsn is None else show_lsn(self.lsn),
            "out_s": None if self.out_s is None else round(self.out_s, 3),
            "out_at_most": self.at_most,
            "asked_by": self.asked_by,
            "operator": (self.by.operator or None) if self.by else None,
            "command": (self.by.command or None) if self.by else None,
            "voters": list(self.voters),
        }


@dataclass(frozen=True)
class Clocks:
    """How far each node's clock is ahead of ours now, in seconds; what is not known is 0.

    It may have been another in the past: so it decides nothing that a term decides.
    """

    ahead_s: Mapping[str, float] = field(default_factory=dict)

    def at(self, entry: Entry) -> datetime:
        return entry.at - self._ahead(entry)

    def began(self, entry: Entry) -> datetime:
        return entry.began - self._ahead(entry)

    def between_s(self, earlier: datetime, later: datetime) -> float | None:
        """Seconds from one to the other; None where the clocks contradict one another."""
        seconds = (later - earlier).total_seconds()
        return seconds if seconds >= 0 else None

    def _ahead(self, entry: Entry) -> timedelta:
        ahead_s = self.ahead_s.get(entry.node, 0.0)
        return timedelta(seconds=ahead_s if abs(ahead_s) > CLOCK_S else 0.0)


def in_order(events: Sequence[Event], clocks: Clocks) -> tuple[Event, ...]:
    """The events as they followed on one another.

    What is certain comes first: each node's own order, and that of the terms (an event of a node
    that has met a term's primary is later than that primary). Clocks decide the rest.
    """
    after = _certain(events)
    waits_for = [0] * len(events)
    for later in after:
        for each in later:
            waits_for[each] += 1
    left = set(range(len(events)))
    ready = [(clocks.at(events[i].entry), i) for i in left if waits_for[i] == 0]
    heapq.heapify(ready)
    ordered: list[Event] = []
    while left:
        # Journals that contradict one another (somebody's editor): then time alone tells.
        now = heapq.heappop(ready)[1] if ready else min(left, key=lambda i: events[i].at)
        if now not in left:
            continue
        left.remove(now)
        ordered.append(events[now])
        for each in after[now]:
            waits_for[each] -= 1
            if waits_for[each] == 0 and each in left:
                heapq.heappush(ready, (clocks.at(events[each].entry), each))
    return tuple(ordered)


def _certain(events: Sequence[Event]) -> list[list[int]]:
    """For each event those that are certainly later: of a chain, the next one is enough."""
    after: list[list[int]] = [[] for _ in events]

    def chain(places: list[int]) -> None:
        for one, next in itertools.pairwise(places):
            after[one].append(next)

    places = range(len(events))
    for node in {event.entry.node for event in events}:
        own = [i for i in places if events[i].entry.node == node]
        chain(sorted(own, key=lambda i: events[i].entry.index))
    leaders = sorted((i for i in places if events[i].takes_over), key=lambda i: events[i].term or 0)
    chain(leaders)
    for i in places:
        known = [j for j in leaders if (events[j].term or 0) <= events[i].entry.known_term]
        if known and known[-1] != i and not events[i].takes_over:
            after[known[-1]].append(i)
    return after


def times_go_back(events: Sequence[Event], clocks: Clocks) -> bool:
    """Whether times contradict the order: then the clocks differed when these were written."""
    times = [clocks.at(event.entry) for event in events]
    slack = timedelta(seconds=CLOCK_S)
    return any(b < a - slack for a, b in itertools.pairwise(times))
