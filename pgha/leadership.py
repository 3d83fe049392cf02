"""Who led in each term and how that came about, from the entries of all journals. Pure.

A term has one primary at most, and its number only grows: so terms, not clocks, tie together what
several nodes wrote about one failover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from pgha.events import Clocks, Event, Kind
from pgha.journal import By, Entry, Who

# What a voter saw before an election is not older than this.
ELECTION_S = 120.0


@dataclass(frozen=True)
class Leadership:
    """A term's primary, and the first entry of each sort that tells of it.

    Where the primary's own record is missing, those who followed it tell (`follows` alone).
    """

    term: int
    node: str
    promoted: Entry | None = None
    served: Entry | None = None
    elected: Entry | None = None
    opened: Entry | None = None
    confirmed: Entry | None = None
    follows: tuple[Entry, ...] = ()
    votes: tuple[Entry, ...] = ()

    @property
    def first(self) -> Entry:
        """The entry that it is known by."""
        own = self.promoted or self.opened or self.served
        return own or self.follows[0]


def leaderships(entries: Sequence[Entry]) -> tuple[Leadership, ...]:
    """Every term that had a primary, in order; a vote or an election alone does not make one."""
    of_term: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.ok and entry.term is not None:
            of_term.setdefault(entry.term, []).append(entry)
    found = (_leadership(term, of_term[term]) for term in sorted(of_term))
    return tuple(each for each in found if each is not None)


def _leadership(term: int, entries: Sequence[Entry]) -> Leadership | None:
    def first(name: str) -> Entry | None:
        return next((e for e in entries if name in (e.verb, e.event)), None)

    follows = tuple(e for e in entries if e.verb == "follow" and e.text("upstream"))
    promoted, served, opened = first("promote"), first("serve"), first("opened")
    revived = first("revive")
    if opened and revived and opened.index > revived.index:
        opened = None  # that was after a crash: an operator's command had opened it the first time
    own = promoted or opened or served
    if own is None and not follows:
        return None
    return Leadership(
        term,
        own.node if own else follows[0].text("upstream"),
        promoted,
        served,
        first("elected"),
        opened,
        first("confirm"),
        follows,
        tuple(e for e in entries if e.verb == "vote"),
    )


@dataclass(frozen=True)
class Told:
    """Events, and the entries that they account for: nothing is told twice."""

    events: tuple[Event, ...]
    used: frozenset[tuple[str, int]]


def take_overs(entries: Sequence[Entry], clocks: Clocks) -> Told:
    """Who became primary, one event a term: `init`, `failover`, or `reopened` (the same node)."""
    all_terms = leaderships(entries)
    events, used = list[Event](), set[tuple[str, int]]()
    before: Leadership | None = None
    for this in all_terms:
        marks = _before(entries, clocks, before, this)
        event = _event(entries, clocks, before, this, marks)
        if event is not None:
            events.append(event)
            told = (*marks, this.promoted, this.elected, this.opened, this.confirmed)
            used |= {(e.node, e.index) for e in told if e is not None}
            if event.kind is Kind.INIT and this.served:
                used.add((this.served.node, this.served.index))
        before = this
    return Told(tuple(events), frozenset(used))


def _before(
    entries: Sequence[Entry], clocks: Clocks, before: Leadership | None, this: Leadership
) -> tuple[Entry, ...]:
    """What led up to it: the old primary's fence for this node's sake, and each node's last word
    that it no longer heard the old primary."""
    if before is None:
        return ()
    fences, lost = list[Entry](), dict[str, Entry]()
    for entry in (e for e in entries if e.ok and e.known_term < this.term):
        # A record that begins here does not know its term.
        since = entry.known_term == 0 or entry.known_term >= before.term
        if entry.verb == "fence" and entry.node == before.node and since:
            fences += [entry] if entry.text("to") == this.node else []
        elif entry.event == "lost" and before.term <= (entry.term or 0) < this.term:
            near = abs(clocks.at(entry) - clocks.at(this.first)) < timedelta(seconds=ELECTION_S)
            if near or entry.node == this.node:
                lost[entry.node] = entry
    return (*fences, *lost.values())


def _event(
    entries: Sequence[Entry],
    clocks: Clocks,
    before: Leadership | None,
    this: Leadership,
    marks: tuple[Entry, ...],
) -> Event | None:
    if before is None and this.promoted is None:
        made = next((e for e in entries if e.node == this.node and e.verb == "initdb"), None)
        if made is None or this.served is None:
            return None  # the record begins later: who became primary, and how, is not known
        text = f"the cluster was made, with {this.node} as its primary"
        event = Event(Kind.INIT, this.served, text, (this.node,), made.by, this.term)
        return replace(event, to=this.node, timeline=this.term, takes_over=True)
    # Of two calls the first has stopped it; the record has the second one's answer too.
    fence = next((e for e in marks if e.verb == "fence"), None)
    # The promoted node's own word for it counts before the others'.
    lost = sorted((e for e in marks if e.event == "lost"), key=lambda e: e.node != this.node)
    old = _old(before, this)
    again = old == this.node
    # Only the old primary's own record can say that it did not hand over.
    recorded = any(e.node == old for e in entries)
    by, cause = _asked_by(this, fence), _cause(this, fence, lost, recorded)
    out_s, at_most = _out(clocks, this, fence, lost)
    return Event(
        Kind.REOPENED if again else Kind.FAILOVER,
        this.first,
        _text(this, None if again else old, cause, again),
        tuple(dict.fromkeys(n for n in (old, this.node) if n)),
        by,
        this.term,
        cause,
        old,
        this.node,
        _timeline(this),
        _lsn(this, fence),
        out_s,
        at_most,
        _voters(this),
        takes_over=True,
    )


def _old(before: Leadership | None, this: Leadership) -> str | None:
    told = (e.text("from") for e in (this.opened, this.elected) if e)
    return next(filter(None, told), before.node if before else None)


def _asked_by(this: Leadership, fence: Entry | None) -> By | None:
    """An operator who called any part of it asked for it all; else the agents' own vote."""
    askers = [e.by for e in (this.promoted, fence, this.served) if e is not None]
    operator = next((by for by in askers if by.who is Who.OPERATOR), None)
    if operator is None and not askers and this.follows:
        return this.follows[0].by
    return operator or By(Who.AGENT)


def _cause(this: Leadership, fence: Entry | None, lost: list[Entry], recorded: bool) -> str:
    if this.opened and this.opened.text("cause"):
        return this.opened.text("cause")
    if fence is not None:
        return "hand-over"
    if this.promoted and this.promoted.names("voters"):
        return f"forced, without a majority: {', '.join(this.promoted.names('voters'))} alone"
    if lost and lost[0].text("why"):
        return lost[0].text("why")
    return "there was no primary" if this.promoted and recorded else ""


def _text(this: Leadership, old: str | None, cause: str, again: bool) -> str:
    if again:
        text = f"{this.node} leads again, in term {this.term}"
    elif old is None:
        text = f"{this.node} became the primary"
    else:
        text = f"the primary moved from {old} to {this.node}"
    text += f": {cause}" if cause else ""
    by_agent = this.promoted is not None and this.promoted.by.who is Who.AGENT
    if by_agent and this.opened is None:
        text += "; no majority is known to have held its first commit"
    return text


def _timeline(this: Leadership) -> int | None:
    """A promotion takes the term's own number; who only serves again stays on its timeline, which
    is the one that the vote was about."""
    for event in (this.opened, this.elected) if this.promoted is None else ():
        number = event.fields.get("timeline") if event else None
        if isinstance(number, int):
            return number
    return this.term


def _lsn(this: Leadership, fence: Entry | None) -> int | None:
    known = (e.lsn() for e in (this.promoted, this.opened, this.elected, fence) if e)
    return next((lsn for lsn in known if lsn is not None), None)


def _voters(this: Leadership) -> tuple[str, ...]:
    if this.elected and this.elected.names("voters"):
        return this.elected.names("voters")
    return tuple(dict.fromkeys((*(e.node for e in this.votes), this.node))) if this.votes else ()


def _out(
    clocks: Clocks, this: Leadership, fence: Entry | None, lost: list[Entry]
) -> tuple[float | None, bool]:
    """How long writes were out, and whether that is an upper bound.

    The agents' own word first. Else from the old primary's fence (its beginning: sessions may go on
    for the length of a checkpoint), or from when it was last heard, to the first commit that a
    majority holds, or to the first node that streams.
    """
    told = this.opened.seconds_of("out_s") if this.opened else None
    if told is not None:
        return told, False
    ends = [clocks.at(e) for e in (this.opened, this.confirmed) if e]
    ends = ends or sorted(clocks.at(e) for e in this.follows)
    if this.promoted and not ends:
        ends = [clocks.at(this.promoted)]
    if not ends:
        return None, False
    if fence is not None:
        out_s = clocks.between_s(clocks.began(fence), ends[0])
        return out_s, out_s is not None
    for entry in lost:
        silent_s = entry.seconds_of("last_heard_s")
        if silent_s is not None:
            heard = clocks.at(entry) - timedelta(seconds=silent_s)
            return clocks.between_s(heard, ends[0]), False
    return None, False
