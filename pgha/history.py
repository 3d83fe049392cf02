"""Journals of all nodes → what happened to the cluster, in order. Pure.

`pgha.records` reads them, `pgha.journal` knows how their lines look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pgha.events import CLOCK_S, Clocks, Event, Kind, in_order, times_go_back
from pgha.journal import Entry, Who, read
from pgha.leadership import take_overs

# Verbs of one command reach the nodes within this (its longest single wait is 150 s).
ONE_COMMAND_S = 180.0
# Containers that a host's shutdown ends.
TOGETHER_S = 20.0
# Commands in which a node follows the primary as a part of something that is told already.
_MOVES = ("init", "start", "failover", "failback")


@dataclass(frozen=True)
class Record:
    """What one node's journal said.

    ahead_s: how far its clock is ahead of ours, in seconds. cut: its beginning was left out.
    error: why there is none.
    """

    node: str
    lines: tuple[str, ...] = ()
    ahead_s: float | None = None
    cut: bool = False
    error: str = ""


@dataclass(frozen=True)
class History:
    """events: oldest first. notes: what they do not tell, a sentence each. missing: nodes whose
    record could not be read."""

    cluster: str
    events: tuple[Event, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The document of `history --json`."""
        return {
            "cluster": self.cluster,
            "events": [event.as_dict() for event in self.events],
            "missing": list(self.missing),
            "notes": list(self.notes),
        }


def history(cluster: str, records: Sequence[Record]) -> History:
    """What the records tell together. Where one is missing, the others' word is taken."""
    journals = {r.node: read(r.node, r.lines) for r in records}
    clocks = Clocks({r.node: r.ahead_s for r in records if r.ahead_s is not None})
    entries = [entry for found, _ in journals.values() for entry in found]
    told = take_overs(entries, clocks)
    rest = [e for e in entries if (e.node, e.index) not in told.used and e.ok]
    others = [event for name in journals for event in _events_of(name, rest, told.events, clocks)]
    events = in_order((*told.events, *_joined(others, clocks)), clocks)
    return History(
        cluster,
        events,
        tuple(_notes(records, {name: bad for name, (_, bad) in journals.items()}, events, clocks)),
        tuple(r.node for r in records if r.error),
    )


def _notes(
    records: Sequence[Record], bad: dict[str, int], events: Sequence[Event], clocks: Clocks
) -> Iterator[str]:
    for record in records:
        name = record.node
        if record.error:
            yield f"{name}'s record is missing, what it alone knows with it: {record.error}"
        if bad[name]:
            lines = "1 line" if bad[name] == 1 else f"{bad[name]} lines"
            yield f"{name}'s record has {lines} that cannot be read."
        if record.cut:
            yield f"{name}'s record is longer than what is read of it: its beginning is left out."
        if record.ahead_s is not None and abs(record.ahead_s) > CLOCK_S:
            way = "ahead of" if record.ahead_s > 0 else "behind"
            yield (
                f"{name}'s clock is {abs(record.ahead_s):.0f} s {way} this machine's; times are "
                "shown as each node wrote them."
            )
    if times_go_back(events, clocks):
        yield "Times go back where the nodes' clocks differed: terms give the order, not clocks."


# --- one node's journal -------------------------------------------------------------------------


def _events_of(
    node: str, rest: Sequence[Entry], moves: Sequence[Event], clocks: Clocks
) -> Iterator[Event]:
    """What this node's journal tells beside who became primary."""
    stopped, data = False, list[Entry]()
    joined = set[int]()
    revived: Entry | None = None
    for entry in (e for e in rest if e.node == node):
        if entry.event:
            event = _of_agent(entry)
            if event is not None and revived is not None and event.kind is Kind.REOPENED:
                event, revived = _recovered(event, revived, clocks), None
            if event is not None and not _part_of_a_vote(event, moves):
                yield event
        elif entry.verb == "revive":
            revived = entry if entry.ok else None
        elif entry.verb == "halt":
            stopped = True
            yield Event(Kind.STOP, entry, "", (node,), entry.by, entry.known_term)
        elif entry.verb == "shutdown" and not stopped:
            yield Event(Kind.ENDED, entry, "", (node,))
        elif entry.verb == "fence" and entry.by.who is not Who.AGENT:
            yield _fenced(entry)
        elif entry.verb == "serve":
            stopped = False
            if entry.by.who is Who.AGENT:
                continue  # it tells of it by itself, once a majority has the first commit
            yield Event(Kind.START, entry, "", (node,), entry.by, entry.term, to=node)
        elif entry.verb in ("rewind", "copy"):
            data.append(entry)
        elif entry.verb == "follow":
            stopped = False
            first = entry.term not in joined
            joined.add(entry.term or 0)
            if entry.by.who is Who.OPERATOR:
                yield from _followed(entry, tuple(data), moves, clocks, first)
            data.clear()


def _recovered(opened: Event, revived: Entry, clocks: Clocks) -> Event:
    """The same primary in the same term, after a crash of PostgreSQL's."""
    cause = "one of PostgreSQL's processes was killed"
    out_s = clocks.between_s(clocks.began(revived), clocks.at(opened.entry))
    text = f"{revived.node} recovered in place: {cause}"
    return replace(opened, text=text, cause=cause, out_s=out_s)


def _part_of_a_vote(event: Event, moves: Sequence[Event]) -> bool:
    """Who voted for the new primary follows it: that is no news of its own."""
    voters = {name for move in moves if move.term == event.term for name in move.voters}
    plainly = event.kind is Kind.REJOINED and event.cause == "followed"
    return plainly and event.entry.node in voters


def _followed(
    entry: Entry, data: tuple[Entry, ...], moves: Sequence[Event], clocks: Clocks, first: bool
) -> Iterator[Event]:
    """An operator let a node follow: a part of a move that is told already, of a start, or a
    recovery. A START of its own here is joined with its primary's, or gone."""
    if entry.by.command:
        part = entry.by.command in _MOVES
    else:
        part = _part_of_a_move(entry, data, moves, clocks, first)
    if part:
        yield Event(Kind.START, entry, "", (entry.node,), entry.by, entry.term)
        return
    copied = any(e.verb == "copy" for e in data)
    rewound = next((e for e in data if e.rewound), None)
    cause = "copied" if copied else "rewound" if rewound else "followed"
    upstream = entry.text("upstream")
    words = [e.result for e in data if e.rewound or e.verb == "copy"]
    text = "; ".join((f"{entry.node} was brought back as a follower of {upstream}", *words))
    yield Event(
        Kind.RECOVERY, entry, text, (entry.node, upstream), entry.by, entry.term, cause, to=upstream
    )


def _part_of_a_move(
    entry: Entry, data: tuple[Entry, ...], moves: Sequence[Event], clocks: Clocks, first: bool
) -> bool:
    """Where the command's name is not told. A node that meets a term's primary for the first time
    does so soon after the take-over, or is recovered; later it is started again. Data is made anew
    by a recovery and by `init`."""
    move = next((m for m in moves if m.term == entry.term), None)
    if not first or move is None:
        return not data
    return move.kind is Kind.INIT or (not data and _near(entry, move.entry, clocks))


def _fenced(entry: Entry) -> Event:
    to = entry.text("to")
    why = f"for {to}, which did not take over" if to else entry.text("reason")
    return Event(
        Kind.FENCED,
        entry,
        f"{entry.node} was fenced{f': {why}' if why else ''}",
        tuple(n for n in (entry.node, to) if n),
        entry.by if entry.by.who is Who.OPERATOR else None,
        entry.known_term,
        why,
        from_=entry.node,
    )


def _of_agent(entry: Entry) -> Event | None:
    """An event that the agent told, and that led to no change of the primary."""
    node, why, told = entry.node, entry.text("why"), entry.text("text")
    if told and node not in told and entry.event != "lost":
        told = f"{node}: {told}"  # its log need not say whose it is
    event = Event(Kind.LOST, entry, told, (node,), None, entry.term or entry.known_term, why)
    if entry.event == "lost":
        leader = entry.text("leader") or "the primary"
        text = f"{leader} was not heard any more{f': {why}' if why else ''}"
        return replace(event, text=told or text, nodes=(node, leader))
    if entry.event == "elected":
        text = f"{node} was elected for term {entry.term} and did not take over"
        return replace(event, kind=Kind.ELECTED, text=text, by=entry.by, to=node)
    if entry.event == "opened":
        text = f"{node} serves again in term {entry.term}"
        cause = entry.text("cause")
        return replace(
            event,
            kind=Kind.REOPENED,
            text=told or text,
            cause=cause,
            to=node,
            out_s=entry.seconds_of("out_s"),
        )
    if entry.event == "stepped-down":
        text = f"{node} stepped down{f': {why}' if why else ''}"
        return replace(event, kind=Kind.STEPPED_DOWN, text=told or text, from_=node)
    if entry.event == "passed-over":
        text = f"{node} came back and found term {entry.term}: it was passed over"
        return replace(event, kind=Kind.PASSED_OVER, text=told or text)
    if entry.event == "rejoined":
        how, upstream = entry.text("how"), entry.text("upstream")
        text = f"{node} follows {upstream or 'the primary'} again{f' ({how})' if how else ''}"
        nodes = tuple(n for n in (node, upstream) if n)
        return replace(
            event, kind=Kind.REJOINED, text=told or text, cause=how, nodes=nodes, to=upstream
        )
    return None


# --- several nodes' parts of one command ---------------------------------------------------------


def _joined(events: Sequence[Event], clocks: Clocks) -> list[Event]:
    """One event for what a command, or a host's end, did to several nodes. Followers that no
    primary's start belongs to were part of a move: they are left out."""
    joint = (Kind.STOP, Kind.START, Kind.ENDED, Kind.LOST)
    others = [e for e in events if e.kind not in joint]
    stops = _groups([e for e in events if e.kind is Kind.STOP], clocks)
    starts = _groups([e for e in events if e.kind is Kind.START], clocks)
    for group in stops:
        text = f"the cluster was stopped: {', '.join(_nodes(group))}"
        others.append(replace(group[0], text=text, nodes=_nodes(group)))
    for group in _groups([e for e in events if e.kind is Kind.ENDED], clocks, TOGETHER_S):
        names = ", ".join(_nodes(group))
        text = f"containers ended, by docker stop or with their host: {names}"
        others.append(replace(group[0], text=text, nodes=_nodes(group)))
    for group in _groups([e for e in events if e.kind is Kind.LOST], clocks, TOGETHER_S):
        who = ", ".join(sorted({e.entry.node for e in group}))
        text = f"{who}: {group[0].text}"
        others.append(replace(group[0], text=text, nodes=_nodes(group)))
    for group in starts:
        primary = next((e for e in group if e.to), None)
        if primary is not None:
            text = f"the cluster was started, with {primary.to} as its primary"
            others = [e for e in others if not _opens(e, primary, clocks)]
            others.append(replace(primary, text=text, nodes=_nodes(group)))
    return others


def _opens(event: Event, start: Event, clocks: Clocks) -> bool:
    """The agent's word that what an operator started has its first commit: the end of that."""
    same = (event.kind, event.to, event.term) == (Kind.REOPENED, start.to, start.term)
    return same and _near(event.entry, start.entry, clocks)


def _nodes(group: Sequence[Event]) -> tuple[str, ...]:
    return tuple(sorted({name for event in group for name in event.nodes}))


def _groups(
    events: Sequence[Event], clocks: Clocks, within_s: float = ONE_COMMAND_S
) -> list[list[Event]]:
    """Events of one asker and one command that are near to one another."""
    groups: list[list[Event]] = []
    for event in sorted(events, key=lambda e: clocks.at(e.entry)):
        mates = (g for g in reversed(groups) if (g[-1].by, g[-1].text) == (event.by, event.text))
        group = next((g for g in mates if _near(g[-1].entry, event.entry, clocks, within_s)), None)
        if group is None:
            groups.append([event])
        else:
            group.append(event)
    return groups


def _near(one: Entry, other: Entry, clocks: Clocks, within_s: float = ONE_COMMAND_S) -> bool:
    return abs(clocks.at(one) - clocks.at(other)) <= timedelta(seconds=within_s)
