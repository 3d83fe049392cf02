"""What agents tell one another, as values that travel as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pgha.node.report import Role


@dataclass(frozen=True)
class Beat:
    """How a node is, sent to every other one all the time.

    leads: it is the primary of `term`, or comes to be it in place (crash recovery, a restart).
    serving: its PostgreSQL takes connections as the primary. opened: a majority holds a commit of
    this term, so its doors may be open. out_s: for so long it has not been serving, in seconds.
    up: the nodes that every Pgpool-II should have attached. voters: who counts, where not all do.
    able: a data node that could take over. standing: the term in which it gathers votes, or has won
    and makes itself the primary (0: none). hears: whom this node hears.
    """

    term: int
    role: Role
    leads: bool = False
    serving: bool = False
    opened: bool = False
    out_s: float = 0.0
    up: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    able: bool = False
    standing: int = 0
    stopped: bool = False
    hears: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ask:
    """Would you vote for me in `term`? (PreVote: nothing changes by the answer.)"""

    term: int


@dataclass(frozen=True)
class Would:
    """The answer to Ask; known: the answering node's own term."""

    term: int
    known: int
    yes: bool
    why: str = ""


@dataclass(frozen=True)
class Request:
    """Vote for me in `term`."""

    term: int


@dataclass(frozen=True)
class Grant:
    """The vote: it is on disk, and this node takes no more WAL of earlier terms. Where its log
    ends: (timeline, lsn), both 0 where it has none."""

    term: int
    timeline: int
    lsn: int


@dataclass(frozen=True)
class Deny:
    """No vote in `term`; known: the answering node's own term."""

    term: int
    known: int
    why: str = ""


Message = Beat | Ask | Would | Request | Grant | Deny

_KINDS: Mapping[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Beat, Ask, Would, Request, Grant, Deny)
}


def to_document(message: Message) -> dict[str, Any]:
    """What `json.dumps` takes."""
    document = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(message).items()}
    return {"kind": type(message).__name__.lower(), **document}


def from_document(document: Mapping[str, Any]) -> Message:
    """What `to_document` made. Fields that it does not know are left out, so that nodes of two
    versions understand one another. Raises ValueError for anything else."""
    try:
        kind = _KINDS[document["kind"]]
        known = {f.name: str(f.type) for f in fields(kind)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document.items() if k in known
        }
        if "role" in values:
            values["role"] = Role(values["role"])
        wrong = [name for name, value in values.items() if not _fits(known[name], value)]
        if wrong:
            raise ValueError(f"not of their type: {', '.join(wrong)}")
        return kind(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no message of an agent: {error}") from error


def _fits(kind: str, value: object) -> bool:
    """Whether a value is of a field's type: whoever decides by it must not stumble over it."""
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    return isinstance(value, {"bool": bool, "str": str, "Role": Role}[kind])
