"""Judges a history against the rules that are never broken: a history and rows in, faults out.

Every rule is written so that what is allowed stays allowed whatever the network did: an operation
took effect at some point between its begin and its end, and only what ended before something else
began is known to have come before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.history import History, Outcome, Read, Serving, Write

# (client, number) → how often this row is there.
Rows = Mapping[tuple[str, int], int]

LOST = "lost"
TWICE = "twice"
REFUSED_BUT_THERE = "refused but there"
NEVER_WRITTEN = "never written"
TWO_OF_ONE_TERM = "two writers in one term"
AFTER_PROMOTION = "acknowledged after a promotion"
WENT_BACK = "a read went back"


@dataclass(frozen=True)
class Violation:
    """A rule that was broken, in a sentence. rule: one of the names above. at, node: when a read
    that went back was answered, by the monotonic clock, and by whom."""

    rule: str
    sentence: str
    at: float = 0.0
    node: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


@dataclass(frozen=True)
class Past:
    """While nothing on a node can end its PostgreSQL, who insists on it reads what is past
    (docs/safety.md, rule 4): its reads from `begun` to `ended` are not held against it."""

    node: str
    begun: float
    ended: float

    def covers(self, violation: Violation) -> bool:
        in_time = self.begun <= violation.at <= self.ended
        return violation.rule == WENT_BACK and violation.node == self.node and in_time


def check(history: History, final: Rows, past: Sequence[Past] = ()) -> tuple[Violation, ...]:
    """All violations; final: the rows in the end, from the primary of the healed cluster."""
    found = (
        *_rows(history, final),
        *_one_writer_a_term(history),
        *_nothing_after_a_promotion(history),
        *_reads_never_go_back(history),
    )
    return tuple(v for v in found if not any(each.covers(v) for each in past))


def summary(violations: tuple[Violation, ...], most: int = 5) -> str:
    """A few examples of each rule, and how many there are."""
    lines = []
    for rule, number in Counter(v.rule for v in violations).items():
        lines.append(f"{rule}: {number} times")
        examples = [v.sentence for v in violations if v.rule == rule]
        lines += [f"    {sentence}" for sentence in examples[:most]]
    return "\n".join(lines)


def _rows(history: History, final: Rows) -> Iterator[Violation]:
    """Acknowledged: there once. Unknown: at most once. Refused: not there. Else: never written."""
    known = set()
    for write in history.writes:
        row = (write.client, write.number)
        known.add(row)
        times = final.get(row, 0)
        if times > 1:
            yield Violation(TWICE, f"{_name(write)} is there {times} times")
        if write.acknowledged and times == 0:
            yield Violation(LOST, f"{_name(write)}, acknowledged by {_by(write)}, is not there")
        if write.outcome is Outcome.FAILED and times:
            yield Violation(REFUSED_BUT_THERE, f"{_name(write)} ({write.error}) is there")
    for client, number in final:
        # A probe dies with its container, and with it the record of what it had under way.
        if (client, number) not in known and "probe" not in client:
            yield Violation(NEVER_WRITTEN, f"{client}:{number} is there, nobody wrote it")


def _one_writer_a_term(history: History) -> Iterator[Violation]:
    """A timeline's number is the term, and a term has one primary, for all time."""
    first: dict[int, Write | Serving] = {}
    accused: set[tuple[int, str]] = set()
    for one in _primaries(history):
        other = first.setdefault(one.timeline, one)
        if other.node != one.node and (one.timeline, one.node) not in accused:
            accused.add((one.timeline, one.node))
            yield Violation(
                TWO_OF_ONE_TERM,
                f"timeline {one.timeline} was {other.node}'s at {_end(other):.3f}"
                f" and {one.node}'s at {_end(one):.3f}",
            )


def _nothing_after_a_promotion(history: History) -> Iterator[Violation]:
    """Once somebody is known to be out of recovery on a later timeline (it acknowledged a write, or
    its probe saw it), nothing that begins then is acknowledged on an earlier one."""
    promoted = _primaries(history)
    newest: Write | Serving | None = None
    index = 0
    for write in sorted(history.acknowledged, key=lambda w: w.begun):
        while index < len(promoted) and _end(promoted[index]) < write.begun:
            if newest is None or promoted[index].timeline > newest.timeline:
                newest = promoted[index]
            index += 1
        if newest is not None and write.timeline < newest.timeline:
            yield Violation(
                AFTER_PROMOTION,
                f"{_name(write)} was acknowledged by {_by(write)}, begun {write.begun:.3f}, after"
                f" {newest.node} was primary on timeline {newest.timeline} at {_end(newest):.3f}",
            )


def _reads_never_go_back(history: History) -> Iterator[Violation]:
    """What was acknowledged, or read by anybody, before a read began is seen by it."""
    known: dict[str, tuple[int, str]] = {}
    sources: list[Write | Read] = sorted((*history.acknowledged, *history.reads), key=_end)
    index = 0
    for read in sorted(history.reads, key=lambda r: r.begun):
        while index < len(sources) and _end(sources[index]) < read.begun:
            _learn(known, sources[index])
            index += 1
        for client, number in read.seen.items():
            least, since = known.get(client, (-1, ""))
            if number < least:
                yield Violation(
                    WENT_BACK,
                    f"{read.client} read {client}:{number} on {read.node}, timeline"
                    f" {read.timeline}, {read.begun:.3f} to {read.ended:.3f},"
                    f" after {least} {since}",
                    read.ended,
                    read.node,
                )


def _learn(known: dict[str, tuple[int, str]], source: Write | Read) -> None:
    seen, how = (
        ({source.client: source.number}, "was acknowledged")
        if isinstance(source, Write)
        else (source.seen, "was read")
    )
    for client, number in seen.items():
        if number > known.get(client, (-1, ""))[0]:
            known[client] = (number, f"{how} by {source.node} at {source.ended:.3f}")


def _primaries(history: History) -> list[Write | Serving]:
    """Whatever shows that a node was a primary, in the order in which it was known."""
    shown: list[Write | Serving] = [s for s in history.servings if not s.in_recovery]
    return sorted((*shown, *history.acknowledged), key=_end)


def _end(one: Write | Read | Serving) -> float:
    return one.at if isinstance(one, Serving) else one.ended


def _name(write: Write) -> str:
    return f"{write.client}:{write.number}"


def _by(write: Write) -> str:
    return f"{write.node} on timeline {write.timeline} at {write.ended:.3f}"
