"""JSON documents that `docker` prints, one a line, and their parts with a type.

What lacks a key, or has another type there, raises KeyError or TypeError: a defect of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

# JSON's own type, narrowed where a document is read.
Table = Mapping[str, object]


def documents(text: str) -> Iterator[Table]:
    """The documents of an answer; lines that are none (warnings) are passed over."""
    return (as_table(json.loads(line)) for line in text.splitlines() if line.startswith("{"))


def as_table(value: object) -> Table:
    """The same value, which must be a table."""
    if not isinstance(value, dict):
        raise TypeError(f"docker's answer has {type(value).__name__} where a table belongs")
    return value


def table(document: Table, key: str) -> Table:
    """A table in it. One that is absent or null is empty, since the engine writes null for that."""
    return as_table(document.get(key) or {})


def items(document: Table, key: str) -> list[object]:
    """A list in it; absent or null, it is empty."""
    value = document.get(key) or []
    if not isinstance(value, list):
        raise TypeError(f"docker's answer has no list in {key}")
    return value


def rows(document: Table, key: str) -> list[Table]:
    """A list of tables in it."""
    return [as_table(row) for row in items(document, key)]


def text_of(document: Table, key: str) -> str:
    """A text in it."""
    return str(document[key])


def texts_of(document: Table, key: str) -> dict[str, str]:
    """A table of texts in it."""
    return {name: str(value) for name, value in table(document, key).items()}


def number(document: Table, key: str) -> int:
    """A whole number in it."""
    value = document[key]
    if not isinstance(value, int):
        raise TypeError(f"docker's answer has no number in {key}")
    return value
