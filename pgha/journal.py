"""A line of a node's journal → an Entry. The one place that knows how the lines look. Pure.

Verbs: {at, verb, by, args, result, seconds}, where `at` is the end. Events of the agent:
{at, event, by, term, text, …}. `by`: "agent", "user@host: command" (an operator), "main" or "".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from pgha.commands.lsn import parse_lsn

# A verb that refused or failed has its code before its sentence; what it did never begins so.
_FAILURE = re.compile(r"[a-z][a-z0-9-]*: ")
# `rewind` begins so where it changed anything.
_REWOUND = "rewound to "
# What a node does only once it has met that term's primary, or is it: so they date what comes after
# them in the same journal. A vote does not: its term may never have had a primary.
_OF_A_TERM = ("serve", "follow", "promote", "opened", "rejoined", "passed-over")


class Who(Enum):
    """What kind of asker: an operator's command, the cluster's own agents, the node's main."""

    OPERATOR = "operator"
    AGENT = "agent"
    NODE = "node"


@dataclass(frozen=True)
class By:
    """Who asked. operator: `user@host`; command: `failover` (empty where it is not told)."""

    who: Who
    operator: str = ""
    command: str = ""

    @classmethod
    def of(cls, text: str) -> By:
        if text == "agent":
            return cls(Who.AGENT)
        if text == "main":
            return cls(Who.NODE)
        operator, _, command = text.partition(": ")
        return cls(Who.OPERATOR, operator, command) if operator else cls(Who.NODE)


@dataclass(frozen=True)
class Entry:
    """One line: a verb that was called, or an event that the agent tells.

    at: its end, by the node's own clock, in UTC. index: its place in the node's journal.
    known_term: the latest term whose primary the node had met up to here: it dates the entry,
    whatever the clocks say.
    """

    node: str
    index: int
    at: datetime
    by: By
    verb: str = ""
    event: str = ""
    ok: bool = True
    result: str = ""
    seconds: float = 0.0
    known_term: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def began(self) -> datetime:
        return self.at - timedelta(seconds=self.seconds)

    @property
    def term(self) -> int | None:
        return _whole(self.fields.get("term"))

    @property
    def rewound(self) -> bool:
        """A `rewind` that changed something; the others looked whether it could, or must."""
        return self.verb == "rewind" and self.result.startswith(_REWOUND)

    def text(self, key: str) -> str:
        """A field as text; "" where it is not there."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else ""

    def seconds_of(self, key: str) -> float | None:
        value = self.fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if value >= 0 else None

    def lsn(self) -> int | None:
        """Verbs write it as PostgreSQL does, reports as a number."""
        value = self.fields.get("lsn")
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        try:
            return parse_lsn(value) if isinstance(value, str) else None
        except ValueError:
            return None

    def names(self, key: str) -> tuple[str, ...]:
        """A list of nodes, as JSON or as the words of a verb have it."""
        value = self.fields.get(key)
        if isinstance(value, str):
            value = value.split(",")
        return tuple(str(v) for v in value if v) if isinstance(value, list) else ()


def read(node: str, lines: tuple[str, ...]) -> tuple[tuple[Entry, ...], int]:
    """A journal's entries in their order, and how many of its lines are none (cut off, or torn)."""
    entries = tuple(_dated(_entries(node, lines)))
    return entries, len(lines) - len(entries)


def _entries(node: str, lines: tuple[str, ...]) -> Iterator[Entry]:
    for index, line in enumerate(lines):
        try:
            entry = _entry(node, index, json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue
        if entry is not None:
            yield entry


def _entry(node: str, index: int, document: Mapping[str, Any]) -> Entry | None:
    at = datetime.fromisoformat(document["at"])
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    by = By.of(str(document.get("by") or ""))
    if "event" in document:
        return Entry(node, index, at, by, event=str(document["event"]), fields=document)
    result = str(document.get("result") or "")
    told = document.get("ok")
    return Entry(
        node,
        index,
        at,
        by,
        verb=str(document["verb"]),
        ok=told if isinstance(told, bool) else _FAILURE.match(result) is None,
        result=result,
        seconds=float(document.get("seconds") or 0.0),
        fields=dict(document.get("args") or {}),
    )


def _dated(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Each with the latest term that was spoken of up to it."""
    term = 0
    for entry in entries:
        if entry.ok and (entry.event or entry.verb) in _OF_A_TERM:
            term = max(term, entry.term or 0)
        yield replace(entry, known_term=term)


def _whole(value: object) -> int | None:
    """Arguments of verbs are words, fields of events are numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() else None
