"""What one probe of a node says, as values that travel as JSON between node and operator."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from typing import Any, get_args, get_origin, get_type_hints


class Role(StrEnum):
    """What a node is, as observed; never what it is configured to be."""

    PRIMARY = "primary"
    STANDBY = "standby"
    WITNESS = "witness"
    FENCED = "fenced"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Assignment:
    """What the node was last told to be (`state.json`): durable, and `term` never goes down.

    role: primary, standby, witness or fenced. upstream: the node it follows.
    doors: whether Pgpool-II should run. stopped: an operator stopped the services on purpose.
    voters: who counts for the quorum of the primary that this node is (empty: every node).
    position: where this node's WAL ended when it was fenced or voted (None: not known), on the
    timeline `ended_on`. voted_for: who has this node's vote in `term`. led: the last term that it
    was made the primary of.
    """

    term: int = 0
    role: Role = Role.FENCED
    upstream: str | None = None
    doors: bool = False
    stopped: bool = False
    reason: str = ""
    since: str = ""
    voters: tuple[str, ...] = ()
    position: int | None = None
    ended_on: int | None = None
    voted_for: str | None = None
    led: int = 0


@dataclass(frozen=True)
class Data:
    """What the data directory says of itself at rest (pg_controldata).

    state: `in production`, `shut down`, `shut down in recovery`, …
    position: the LSN where its WAL ends, when it was shut down cleanly; else None.
    """

    system_identifier: str
    state: str
    timeline: int
    checkpoint_lsn: int
    position: int | None = None


@dataclass(frozen=True)
class Follower:
    """One line of the primary's pg_stat_replication; lag_bytes: the primary's LSN less its own."""

    name: str
    state: str
    sync_state: str
    flush_lsn: int
    lag_bytes: int


@dataclass(frozen=True)
class Slot:
    """A physical replication slot; held_bytes: the WAL that it holds back; wal_status as PostgreSQL
    says it (`reserved`, `extended`, `unreserved`, `lost`)."""

    name: str
    active: bool
    wal_status: str
    held_bytes: int


@dataclass(frozen=True)
class Postgres:
    """PostgreSQL as it runs. lsn: what is on disk here (primary: flushed; standby: received and
    flushed, or replayed where that is more). history: (timeline, where it was left), oldest first.
    upstream: the node a running WAL receiver streams from. opened: clients are let in."""

    running: bool
    accepting: bool = False
    in_recovery: bool | None = None
    timeline: int | None = None
    lsn: int | None = None
    replay_lsn: int | None = None
    history: tuple[tuple[int, int], ...] = ()
    quorum: str = ""
    followers: tuple[Follower, ...] = ()
    slots: tuple[Slot, ...] = ()
    upstream: str | None = None
    waiting_commits: int = 0
    opened: bool = False
    error: str = ""


@dataclass(frozen=True)
class Wal:
    """The witness's WAL: whether pg_receivewal runs, and where what it has on disk ends."""

    running: bool
    timeline: int | None = None
    lsn: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Backend:
    """A node as this Pgpool-II sees it; status: `up`, `down`, `unused`; role: primary, standby."""

    name: str
    status: str
    role: str


@dataclass(frozen=True)
class Door:
    """Pgpool-II on this node."""

    running: bool
    backends: tuple[Backend, ...] = ()
    error: str = ""

    @property
    def primary(self) -> str | None:
        """The node to which it sends writes."""
        up = [b.name for b in self.backends if b.role == "primary" and b.status == "up"]
        return up[0] if len(up) == 1 else None

    @property
    def up(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.backends if b.status == "up")


@dataclass(frozen=True)
class Disk:
    """A file system below one of the node's volumes, in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Agent:
    """The node's agent. leader: the primary that it hears, of `term`. hears: whom it hears at all.
    why: what keeps this node from being what it should be, a sentence; needs_copy: only a new copy
    helps. held: an operator's command is at work."""

    running: bool
    term: int = 0
    leader: str | None = None
    hears: tuple[str, ...] = ()
    opened: bool = False
    held: bool = False
    why: str = ""
    needs_copy: bool = False


@dataclass(frozen=True)
class Report:
    """Everything that one probe says. None: not observed, never zero.

    members: all nodes of the cluster that `init` made, itself included. initialising: that `init`
    has not come to its end, and its agent takes no part yet.
    """

    node: str
    assignment: Assignment
    main_running: bool = False
    data: Data | None = None
    postgres: Postgres | None = None
    wal: Wal | None = None
    door: Door | None = None
    agent: Agent | None = None
    disks: tuple[Disk, ...] = ()
    image: str = ""
    busy: str = ""
    members: tuple[str, ...] = ()
    initialising: bool = False


def to_json(value: Any) -> Any:
    """A dataclass of this module → what `json.dumps` takes. LSNs stay integers."""
    if is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [to_json(v) for v in value]
    return value


def from_json(document: Any, kind: Any = Report) -> Any:
    """What `to_json` made → the dataclass. Fields it does not know are left out, so that an older
    operator can read a newer node. Raises ValueError for anything else that does not fit."""
    try:
        return _build(document, kind)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a report: {error}") from error


def _build(value: Any, kind: Any) -> Any:
    origin = get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _build(value, next(a for a in get_args(kind) if a is not type(None)))
    if origin is tuple:
        inner = get_args(kind)
        if inner[-1] is Ellipsis:
            return tuple(_build(v, inner[0]) for v in value)
        return tuple(_build(v, k) for v, k in zip(value, inner, strict=True))
    if is_dataclass(kind):
        hints, make = get_type_hints(kind), typing.cast(Any, kind)
        return make(
            **{
                f.name: _build(value[f.name], hints[f.name])
                for f in fields(kind)
                if f.name in value
            }
        )
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} where {kind.__name__} was expected")
