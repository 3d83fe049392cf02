"""The assignments of a file that a shell reads, without a shell: nothing in it is ever run.

Read is what a shell makes of `NAME=value`: quotes, comments, `export`, and references to what is
set further up. All else is a mistake with its line; a value that only a shell could tell is never
guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgha.mistakes import Mistake

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# ${NAME-word} and ${NAME:-word}: the word stands where NAME is not set, or is empty.
_REFERENCE = (
    rf"\$(?:(?P<short>{_NAME})|\{{(?P<long>{_NAME})(?:(?P<mark>:?-)(?P<word>[^}}$`'\"\\]*))?\}})"
)
# A `$` before anything that no shell takes for the beginning of a reference stands for itself.
_DOLLAR = r"(?P<dollar>\$(?=[ \t./:,;%+=^~\]}]|$))"

_BARE = re.compile(
    rf"(?P<space>[ \t]+)|(?P<end>;)|(?P<plain>[^ \t;'\"\\$`&|<>()]+)"
    rf"|'(?P<single>[^']*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"|{_REFERENCE}|{_DOLLAR}"
)
_QUOTED = re.compile(
    rf"(?P<plain>[^\\$`]+)|\\(?P<escaped>[$`\"\\])|(?P<backslash>\\)|{_REFERENCE}|{_DOLLAR}"
)

ONE_EXPECTED = "one NAME=value was expected, and nothing else for a shell to do"
LITERALLY = "in single quotes it stands for itself"


@dataclass(frozen=True)
class ShellAssignment:
    """`NAME=value` as a shell reads it. quoted: quotes stood around the value, or a part of it."""

    name: str
    value: str
    line: int
    quoted: bool


@dataclass(frozen=True)
class _Piece:
    """A part of a word. bare: it stood there without quotes, and was no reference."""

    text: str
    bare: bool = False
    quoted: bool = False


_Word = tuple[_Piece, ...]


class _Unreadable(ValueError):
    """Why a line cannot be read, as a sentence about it; what the line holds is never part of it.

    rest: what follows cannot be read either.
    """

    def __init__(self, text: str, *, rest: bool = False) -> None:
        super().__init__(text)
        self.rest = rest


def read_shell(text: str) -> tuple[tuple[ShellAssignment, ...], tuple[Mistake, ...]]:
    """The assignments of a file in their order, and what cannot be read without a shell."""
    found: list[ShellAssignment] = []
    mistakes: list[Mistake] = []
    known: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        try:
            assignments = tuple(_assignments(line.removesuffix("\r"), number, known))
        except _Unreadable as unreadable:
            names = re.findall(rf"(?<!\w)({_NAME})=", line)
            whose = f"{names[0]}: " if len(names) == 1 else ""
            mistakes.append(Mistake(number, f"{whose}{unreadable}"))
            if unreadable.rest:
                break
            # A name whose value is not known is set all the same: one mistake, not two.
            known.update((name, "") for name in names)
            continue
        found += assignments
    return tuple(found), tuple(mistakes)


def _assignments(line: str, number: int, known: dict[str, str]) -> Iterator[ShellAssignment]:
    """The assignments of a line, which `known` has afterwards."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line):
        raise _Unreadable("a line without control characters was expected")
    for words in _commands(line, known):
        exported = _is(words[0], "export")
        rest = words[1:] if exported else words
        for word in rest:
            match = re.match(rf"({_NAME})=", word[0].text) if word[0].bare else None
            # Of two assignments in one command, whether the second one sees the first depends.
            if match is None or len(rest) > 1:
                # `export NAME` of what is set further up says nothing new.
                if exported and len(word) == 1 and word[0].bare and word[0].text in known:
                    continue
                raise _Unreadable(ONE_EXPECTED)
            value = "".join(piece.text for piece in word)[match.end() :]
            if re.search(r"(^|:)~", word[0].text[match.end() :]):
                raise _Unreadable(f"what ~ is, only a shell can tell; {LITERALLY}")
            known[match[1]] = value
            quoted = any(piece.quoted for piece in word)
            yield ShellAssignment(match[1], value, number, quoted)


def _is(word: _Word, text: str) -> bool:
    return len(word) == 1 and word[0].bare and word[0].text == text


def _commands(line: str, known: dict[str, str]) -> Iterator[tuple[_Word, ...]]:
    """The words of a line, from `;` to `;`; a generator, so that each sees what was set before."""
    words: list[_Word] = []
    word: list[_Piece] = []
    at = 0
    while at < len(line) and not (line[at] == "#" and not word):
        match = _BARE.match(line, at)
        if match is None:
            raise _why_not(line[at:])
        at = match.end()
        if match["space"] is None and match["end"] is None:
            word += _pieces(match, known)
            continue
        if word:
            words.append(tuple(word))
            word = []
        if match["end"] is not None and words:
            yield tuple(words)
            words = []
    if word:
        words.append(tuple(word))
    if words:
        yield tuple(words)


def _pieces(match: re.Match[str], known: Mapping[str, str]) -> Iterator[_Piece]:
    if match["plain"] is not None:
        yield _Piece(match["plain"], bare=True)
    elif match["single"] is not None:
        yield _Piece(match["single"], quoted=True)
    elif match["double"] is not None:
        yield _Piece(_in_quotes(match["double"], known), quoted=True)
    else:
        yield _Piece(_resolved(match, known))


def _in_quotes(text: str, known: Mapping[str, str]) -> str:
    """What stands between double quotes, as a shell reads it."""
    read: list[str] = []
    at = 0
    while at < len(text):
        match = _QUOTED.match(text, at)
        if match is None:
            raise _why_not(text[at:])
        at = match.end()
        plain = match["plain"] or match["escaped"] or match["backslash"]
        read.append(_resolved(match, known) if plain is None else plain)
    return "".join(read)


def _resolved(match: re.Match[str], known: Mapping[str, str]) -> str:
    """What a reference stands for. Raises _Unreadable where its name is not set further up."""
    if match["dollar"]:
        return "$"
    name = match["short"] or match["long"]
    value = known.get(name)
    if match["mark"] and (value is None or (match["mark"] == ":-" and not value)):
        return match["word"]
    if value is None:
        # The name may be the end of a password.
        raise _Unreadable(f"a $ in it names nothing that is set above it; {LITERALLY}")
    return value


def _why_not(rest: str) -> _Unreadable:
    """Why a shell is needed from here on."""
    sign = rest[0]
    if sign in "'\"":
        expected = "the end of a quote was expected on its line"
        return _Unreadable(f"{expected}; what follows was not read", rest=True)
    if sign == "`" or rest.startswith("$("):
        return _Unreadable("a command in it would have to be run, which is not done")
    if sign == "$":
        return _Unreadable(f"what a $ in it stands for, only a shell can tell; {LITERALLY}")
    if sign == "\\":
        return _Unreadable(f"a backslash in it needs a shell; {LITERALLY}")
    return _Unreadable(f"a {sign} in it needs a shell; {LITERALLY}")
