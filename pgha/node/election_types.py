"""What goes into an election and what comes out of it, and its limits: values. Pure.

Times are seconds of this node's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from pgha.node.messages import Message
from pgha.node.report import Role

NEVER = float("-inf")
# In units of the election timeout. Beats; how long a primary may recover in place before others
# stand; how long a candidate waits for votes.
BEAT, PATIENCE, ROUND = 0.1, 5.0, 2.0
# A primary whose agent is silent and whose WAL stream ended as well is suspected sooner.
SOON = 0.3
# Who still hears a primary when it has not answered us for so many timeouts will go on to hear it.
OUT_OF_REACH = 1.5
# Seconds.
RESEND_S = 0.25
UNFENCED_S = 2.0
RETRY_S, RETRY_MAX_S = 0.1, 1.0
# What was due again after so long is a fault of its own.
FORGET_S = 30.0
BACKOFF_S, BACKOFF_MAX_S = 1.0, 60.0
FOLLOW_S = 2.0
# A follower that takes no WAL for so long is told again. Longer than PostgreSQL's own tries
# (wal_retrieve_retry_interval) and its timeouts.
DRY_S = 10.0
KILL_AFTER_S = 2.0


@dataclass(frozen=True)
class Voter:
    """A node; data: it has a database (the witness has none, and cannot lead)."""

    name: str
    data: bool = True


@dataclass(frozen=True)
class Config:
    """Who the nodes are, and what the operator wants."""

    me: str
    voters: tuple[Voter, ...]
    election_timeout_s: float = 1.5
    auto_failover: bool = True
    auto_recovery: bool = True

    @cached_property
    def data(self) -> bool:
        return next(v.data for v in self.voters if v.name == self.me)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.voters)

    @cached_property
    def others(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name != self.me)


class Server(Enum):
    """What runs on this node. STARTING: PostgreSQL, not as a standby, taking no connections yet.
    RECEIVING: the witness's pg_receivewal."""

    NONE = "none"
    STANDBY = "standby"
    STARTING = "starting"
    PRIMARY = "primary"
    RECEIVING = "receiving"


class Rest(Enum):
    """What the data directory would be when it is started: nothing usable, a primary's last state,
    a standby's."""

    NOTHING = "nothing"
    PRIMARY = "primary"
    STANDBY = "standby"


@dataclass(frozen=True)
class Local:
    """This node as it is. term to voters: its assignment, which is durable; led: the last term that
    it was the primary of.

    timeline: of the data. opened: a majority holds a commit of this term (the gate is open). up:
    whom every Pgpool-II should have attached, while it leads. door: Pgpool-II runs. cut: its stream
    of WAL was closed. streams: it takes WAL from its upstream. held: an operator's command is at
    work. idle: not initialised. fit: its disk has room to be a primary's.
    """

    term: int = 0
    voted_for: str | None = None
    led: int = 0
    role: Role = Role.FENCED
    upstream: str | None = None
    stopped: bool = False
    doors: bool = False
    voters: tuple[str, ...] = ()
    server: Server = Server.NONE
    rest: Rest = Rest.NOTHING
    timeline: int = 0
    opened: bool = False
    up: tuple[str, ...] = ()
    door: bool = False
    cut: bool = False
    streams: bool = True
    held: bool = False
    idle: bool = False
    fit: bool = True

    @property
    def leads(self) -> bool:
        """It is the primary of its term, or comes to be it in place."""
        primary = self.server in (Server.PRIMARY, Server.STARTING)
        return primary and self.role is Role.PRIMARY and not self.stopped

    @property
    def serving(self) -> bool:
        return self.leads and self.server is Server.PRIMARY

    def follows(self, leader: str, term: int) -> bool:
        return (
            self.role in (Role.STANDBY, Role.WITNESS)
            and (self.upstream, self.term) == (leader, term)
            and self.server not in (Server.PRIMARY, Server.STARTING)
        )


@dataclass(frozen=True)
class Send:
    """A message to another node."""

    to: str
    message: Message


@dataclass(frozen=True)
class Do:
    """A verb to call; its result comes back by `finished`. door: one of Pgpool-II's, which go
    beside the others."""

    verb: str
    args: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    door: bool = False


@dataclass(frozen=True)
class Say:
    """A decision, for the log and the journal."""

    event: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Action = Send | Do | Say


@dataclass(frozen=True)
class Result:
    """What became of a verb. code: its own word where it failed. timeline, lsn: where this node's
    log ends, after a vote."""

    ok: bool
    code: str = ""
    said: str = ""
    timeline: int = 0
    lsn: int = 0


@dataclass(frozen=True)
class Door:
    """Where Pgpool-II leads, and whom it has attached."""

    primary: str
    up: tuple[str, ...] = ()


LEAVE = Door("")
