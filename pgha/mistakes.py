"""Mistakes in a configuration: where each is, shown without secrets, all of them in one Usage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgha.errors import Usage
from pgha.variable import MORE_STANDBYS
from pgha.variables import BY_NAME, VARIABLES

# A place in messages, beside the file's name.
ENVIRONMENT = "environment"

# A variable of a standby beyond the first, whatever its number.
_NUMBERED = re.compile(r"STANDBY_([0-9]{1,9})_(NODE|IP|VOLUME_\w+)")


@dataclass(frozen=True)
class Given:
    """What a variable is given by.

    text: as it is written. value: with `${…}` replaced; None where that failed.
    line: in the file; 0 for the process environment, None for a default.
    """

    text: str
    value: str | None
    line: int | None


@dataclass(frozen=True)
class Mistake:
    """A sentence, and the line as in Given."""

    line: int | None
    text: str


class Mask:
    """How values are shown: never a password, wherever it stands by mistake."""

    def __init__(self, given: Mapping[str, Given]) -> None:
        self._given = given
        hidden = (given[each.name] for each in VARIABLES if each.kind.hidden)
        self._secrets = {
            text
            for each in hidden
            if each.line is not None
            for text in (each.text, each.value or "")
            if len(text) >= 3
        }

    def shown(self, name: str) -> str:
        """`NAME=value`; `NAME` alone where it holds a secret; "(default)" where it is one."""
        if BY_NAME[name].kind.hidden:
            return name
        given = self._given[name]
        # What comes after a line's end belongs to a quote that was not closed.
        shown = re.split(r"[\x00-\x1f\x7f]", given.text, maxsplit=1)[0][:80]
        if "PASSWORD" in given.text.upper() or any(each in given.text for each in self._secrets):
            shown = "***"
        elif shown != given.text:
            shown += "…"
        # The process environment can hold bytes that are no text.
        shown = shown.encode(errors="backslashreplace").decode()
        return f"{name}={shown}" + (" (default)" if given.line is None else "")


def blamed(lines: Iterable[int | None]) -> int | None:
    """Of several places the one to show: the environment, else the last in the file."""
    places = [line for line in lines if line is not None]
    return 0 if 0 in places else max(places, default=None)


def near(name: str) -> str:
    """The end of a sentence about a name that nobody knows: what was perhaps meant."""
    import difflib

    numbered = _NUMBERED.fullmatch(name.upper())
    if numbered and name.upper() not in BY_NAME and f"STANDBY_{numbered[2]}" in BY_NAME:
        first, *_, last = (f"STANDBY_{number}_{numbered[2]}" for number in MORE_STANDBYS)
        low = int(numbered[1]) < MORE_STANDBYS[0]
        return f"; did you mean {f'STANDBY_{numbered[2]}' if low else f'one of {first} to {last}'}?"
    found = difflib.get_close_matches(name.upper(), BY_NAME, n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else ""


def looks_ours(name: str) -> bool:
    """Whether a name of the process environment is surely meant for us: a slip in a long name.

    Short names are left alone, and those that differ by more: PGUSER, POSTGRES_DB and
    POSTGRES_PASSWORD_FILE belong to others.
    """
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{7,}", name):
        return False
    if re.match(r"(MASTER|STANDBY|WITNESS)_VOLUME_", name) or _NUMBERED.fullmatch(name):
        return True
    return any(one_slip(name, known) for known in BY_NAME)


def one_slip(one: str, other: str) -> bool:
    """Whether one character is missing, too many or wrong, or two neighbours are swapped."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = 0
    while one[start : start + 1] == other[start : start + 1]:
        start += 1
    a, b = one[start:], other[start:]
    swapped = a[:2] == b[:2][::-1] and a[2:] == b[2:]
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]


def usage(mistakes: Iterable[Mistake], source: str) -> Usage:
    """All mistakes as one error: the file's from its top, then the environment's."""

    def place(line: int | None) -> str:
        if line is None:
            return source
        return f"{source}:{line}" if line else ENVIRONMENT

    ordered = sorted(mistakes, key=lambda each: (each.line == 0, each.line or 0))
    where = [source] if any(each.line != 0 for each in ordered) else []
    where += ["the environment"] if any(each.line == 0 for each in ordered) else []
    count = "One mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
    return Usage(
        f"{count} in {' and in '.join(where)}; nothing was contacted.",
        details=tuple(f"{place(each.line)}: {each.text}" for each in ordered),
    )
