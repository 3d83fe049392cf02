"""An env file's syntax: its assignments with their lines, `${NAME}` in them, and an example.

The syntax is python-dotenv's, by its own parser; the lines and the mistakes are ours, since a
mistake without its line is hard to find in a file of sixty variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgha.variables import Variable


@dataclass(frozen=True)
class Assignment:
    """`NAME=value` of a file, before `${…}` in it is replaced; None: there was no `=`."""

    name: str
    value: str | None
    line: int


@dataclass(frozen=True)
class BadLine:
    """A line that is no assignment. What it holds may be a secret, and is not kept."""

    line: int


def read(text: str) -> tuple[tuple[Assignment, ...], tuple[BadLine, ...]]:
    """The assignments of a file in their order, and the lines that are none."""
    # Imported here: python-dotenv costs 25 ms, which `--help` need not pay.
    from dotenv.parser import parse_stream

    assignments: list[Assignment] = []
    bad: list[BadLine] = []
    for binding in parse_stream(io.StringIO(text, newline="")):
        whole = binding.original.string
        blank = whole[: len(whole) - len(whole.lstrip())]
        # dotenv counts blank lines to the assignment that follows them.
        line = binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))
        if binding.error:
            bad.append(BadLine(line))
        elif binding.key is not None:
            assignments.append(Assignment(binding.key, binding.value, line))
    return tuple(assignments), tuple(bad)


class Undefined(LookupError):
    """A `${NAME}` without a default that names nothing; `args[0]` is the name."""


def interpolate(value: str, known: Mapping[str, str]) -> str:
    """The value with each `${NAME}` and `${NAME:-default}` replaced.

    Raises Undefined where dotenv would silently put nothing: half a password is worse than none.
    """
    if "${" not in value:
        return value
    from dotenv.variables import Variable as Reference
    from dotenv.variables import parse_variables

    atoms = tuple(parse_variables(value))
    for atom in atoms:
        if isinstance(atom, Reference) and atom.default is None and atom.name not in known:
            raise Undefined(atom.name)
    return "".join(atom.resolve(known) for atom in atoms)


def escaped(value: str) -> str:
    """The value as `interpolate` gives it back: what looks like `${NAME}` in it is none."""
    # python-dotenv has no escape. A name of nothing is never set, so its default stands: a `$`.
    return value.replace("${", "${:-$}{")


def written(value: str) -> str:
    """How a value of one line stands in a file, so that `read` and `interpolate` give it back."""
    text = escaped(value)
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def example(heading: str, values: Mapping[str, str], variables: Iterable[Variable]) -> str:
    """A file with every variable and its explanation; set to `values`, else a comment.

    heading: the comment at the top, without its '#'.
    """
    import textwrap

    def comment(text: str) -> list[str]:
        return textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# ")

    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    for each in variables:
        if each.opens:
            lines += ["", "", f"# {f' {each.opens} '.center(76, '-')}"]
        if each.text:
            lines += ["", *comment(f"{each.text} [{each.kind.expected}]")]
        if each.name in values:
            lines.append(f"{each.name}={values[each.name]}")
        else:
            lines.append(f"# {each.name}={each.default}")
    return "\n".join(lines) + "\n"
