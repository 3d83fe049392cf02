"""Who leads, who may vote, who follows: the decisions of one node's agent. Pure.

What was told and what time has passed go in; messages to send and verbs to call come out. Nothing
here is durable by itself: a verb writes first and is answered afterwards, and each one checks the
durable term again under the node's lock. `docs/safety.md` says why this is safe: it is Raft's
election (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014; PreVote
and leadership transfer: Ongaro's dissertation, sections 9.6 and 3.10) over PostgreSQL's WAL.

Times are seconds of this node's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from random import Random
from typing import Any

from pgha.commands.lsn import show_lsn
from pgha.node.messages import Ask, Beat, Deny, Grant, Message, Request, Would
from pgha.node.report import Role

# In units of the election timeout. Beats; how long a primary may recover in place before others
# stand; how long a candidate waits for votes.
BEAT, PATIENCE, ROUND = 0.1, 5.0, 2.0
# A primary whose agent is silent and whose WAL stream ended as well is suspected sooner.
SOON = 0.3
# Seconds.
RESEND_S = 0.25
UNFENCED_S = 2.0
RETRY_S, RETRY_MAX_S = 0.1, 1.0
ENDS = "what is started here ends at once; the container's log says why"
# What was due again after so long is a fault of its own.
FORGET_S = 30.0
BACKOFF_S, BACKOFF_MAX_S = 1.0, 60.0
FOLLOW_S = 2.0
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
    of WAL was closed. held: an operator's command is at work. idle: not initialised. fit: its disk
    has room to be a primary's.
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


@dataclass
class _Peer:
    """Another node: its last beat, when it came, and when we sent what it has answered to."""

    beat: Beat | None = None
    heard_at: float = float("-inf")
    acked_at: float = float("-inf")


@dataclass(frozen=True)
class _Leader:
    name: str
    term: int
    alive_at: float
    beat: Beat


@dataclass(frozen=True)
class Door:
    """Where Pgpool-II leads, and whom it has attached."""

    primary: str
    up: tuple[str, ...] = ()


LEAVE = Door("")


class _Phase(Enum):
    FOLLOWING = "following"
    ASKING = "asking"
    STANDING = "standing"
    WINNING = "winning"


class Election:
    """One node's part. Call `tick` every tenth of a second, `received` for each message that is
    known to be genuine and new, `finished` for each verb; do what they give, in that order."""

    def __init__(self, config: Config, now: float, random: Random) -> None:
        self.config = config
        self._random = random
        self._peers = {name: _Peer() for name in config.others}
        self._boot = self._quiet_since = now
        self.leader: _Leader | None = None
        self._known = 0
        self._phase = _Phase.FOLLOWING
        self._term, self._since, self._sent_at = 0, now, float("-inf")
        self._yes: set[str] = set()
        self._grants: dict[str, tuple[int, int]] = {}
        self._denied: set[str] = set()
        self._spoilt = self._spent = 0
        self._steps: list[Do] = []
        self._promised: tuple[str, int] | None = None
        self._granted: tuple[str, float] = ("", now)
        self.work: Do | None = None
        self.door_work: Do | None = None
        self._beaten_at, self._beaten = float("-inf"), Beat(0, Role.UNKNOWN)
        self._jitter_s = 0.0
        self._hurried = False
        self._not_before: dict[str, tuple[float, float]] = {}
        self._lead_since: float | None = None
        self._served_at: float | None = None
        self._served_by: str | None = None
        self._own_served_at = now
        self._out_since: float | None = None
        self._down_since = now
        self._watched = False
        self._unfenced_since: float | None = None
        self._was_held = False
        self._ended_on_purpose = False
        self._door_to: Door | None = None
        self._rewind_from: tuple[str, int] | None = None
        self._rewound_to: tuple[str, int] | None = None
        self._stuck: tuple[str, int] | None = None
        # What keeps this node from its place, a sentence; whether only a new copy helps.
        self.why, self.needs_copy = "", False
        self._began: Mapping[str, Any] = {}
        self._draw()

    # --- what goes in ----------------------------------------------------------------------------

    def tick(self, now: float, local: Local) -> list[Action]:
        """Time has passed."""
        return self._turn(now, local, [])

    def received(
        self, now: float, local: Local, sender: str, message: Message, answers: float | None = None
    ) -> list[Action]:
        """A message came. answers: when we sent the latest of our messages that the sender had
        when it sent this one (None: none that we know of)."""
        peer = self._peers.get(sender)
        if peer is None:
            return []
        peer.heard_at = now
        if answers is not None:
            peer.acked_at = max(peer.acked_at, answers)
        out: list[Action] = []
        match message:
            case Beat():
                self._on_beat(now, local, sender, message, out)
            case Ask(term=term):
                why = self._no_vote(now, local, sender, term) or self._just_voted(now, sender)
                out.append(Send(sender, Would(term, local.term, not why, why)))
            case Would():
                self._known = max(self._known, message.known)
                if not message.yes:
                    self._spoil(message)
                elif self._phase is _Phase.ASKING and message.term == self._term:
                    self._yes.add(sender)
            case Request(term=term):
                self._on_request(now, local, sender, term, out)
            case Grant():
                if self._phase is _Phase.STANDING and message.term == self._term:
                    self._grants[sender] = (message.timeline, message.lsn)
            case Deny():
                self._known = max(self._known, message.known)
                self._spoil(message)
                if self._phase is _Phase.STANDING and message.term == self._term:
                    self._denied.add(sender)
        return self._turn(now, local, out)

    def finished(self, now: float, local: Local, did: Do, result: Result) -> list[Action]:
        """A verb ended; `local` is as it is afterwards."""
        out: list[Action] = []
        if did.door:
            self.door_work = None
            self._door_done(now, did, result)
        else:
            self.work = None
            self._done(now, local, did, result, out)
        return self._turn(now, local, out)

    # --- one turn --------------------------------------------------------------------------------

    def _turn(self, now: float, local: Local, out: list[Action]) -> list[Action]:
        self._notice(now, local, out)
        self._stand(now, local, out)
        if self.work is None:
            due = self._due(now, local, out)
            if due is not None:
                self.work = due
                out.append(due)
        if self.door_work is None:
            door = self._door_due(now, local)
            if door is not None:
                self.door_work = door
                out.append(door)
        self._send_beats(now, local, out)
        return out

    def _notice(self, now: float, local: Local, out: list[Action]) -> None:
        """What changed on this node since the last turn."""
        if local.held or local.stopped:
            self._was_held = True
            self._quiet_since = now
            self._give_up(now)
        elif self._was_held:
            self._was_held = False
            self._quiet_since = now
            self._not_before.clear()
            self._ended_on_purpose = False
            self._rewind_from = self._stuck = self._door_to = None
            self._content()
        if local.leads:
            if self._lead_since is None:
                self._lead_since = now
            self._watched, self._hurried = True, False
            self.leader = None
            if local.serving:
                self._own_served_at = self._served_at = now
                self._served_by = self.config.me
            self._give_up(now)
        elif self._lead_since is not None:
            self._lead_since = None
            self._down_since = self._quiet_since = now
            self._door_to = None
        if self.why == ENDS and self._not_before.get("tend", (now, 0))[0] < now - RETRY_MAX_S:
            self._content()  # it has lasted
        leader = self.leader
        if leader is not None and leader.alive_at > float("-inf"):
            silent = now - leader.alive_at > self._limit(local)
            if silent and leader.term >= local.term:
                self._lose(now, "silent", out)

    # --- hearing ---------------------------------------------------------------------------------

    @property
    def _timeout(self) -> float:
        return self.config.election_timeout_s

    def _on_beat(
        self, now: float, local: Local, sender: str, beat: Beat, out: list[Action]
    ) -> None:
        peer = self._peers[sender]
        peer.beat = beat
        self._known = max(self._known, beat.term)
        leader = self.leader
        patient = beat.serving or beat.out_s <= PATIENCE * self._timeout
        if beat.leads and not local.leads and beat.term >= (leader.term if leader else 0):
            if patient:
                if leader is None or (leader.name, leader.term) != (sender, beat.term):
                    self._not_before.clear()
                    self._rewind_from = self._stuck = None
                    self._content()
                self.leader = _Leader(sender, beat.term, now, beat)
                self._hurried = self._ended_on_purpose = False
                if beat.serving and beat.opened:
                    self._served_at, self._served_by = now, sender
            elif leader is not None and leader.name == sender:
                self._lose(now, "recovering too long", out)
        elif leader is not None and leader.name == sender and not beat.leads:
            # Half of an operator's `stop` is no reason to take over.
            self._ended_on_purpose = beat.stopped
            self._lose(now, "dead", out)

    def _lose(self, now: float, why: str, out: list[Action]) -> None:
        leader = self.leader
        if leader is None or leader.alive_at == float("-inf"):
            return
        text = {
            "silent": f"{leader.name} was not heard for {now - leader.alive_at:.1f} s",
            "dead": f"{leader.name} says that its PostgreSQL does not serve",
        }.get(why, f"{leader.name} recovers for too long")
        out.append(Say("lost", text, {"leader": leader.name, "term": leader.term, "why": why}))
        # From now on nobody is waited for but by chance, so that two do not stand at once.
        self._hurried = True
        self._quiet_since = now
        self._draw()
        self.leader = replace(leader, alive_at=float("-inf"))

    def hears_leader(self, now: float, local: Local) -> bool:
        """Whether a primary of our term or a later one is alive."""
        leader = self.leader
        return (
            leader is not None
            and leader.term >= local.term
            and now - leader.alive_at <= self._limit(local)
        )

    def _limit(self, local: Local) -> float:
        """How long a primary may be silent; less where its connections were closed as well."""
        return self._timeout * (SOON if local.cut else 1.0)

    def hears(self, now: float) -> tuple[str, ...]:
        """The nodes that were heard of late."""
        return tuple(n for n, p in self._peers.items() if now - p.heard_at <= self._timeout)

    def _members(self, local: Local) -> tuple[str, ...]:
        """Who counts: all, unless this node was made primary of some of them by force."""
        return local.voters or self.config.names

    def _majority(self, local: Local) -> int:
        return len(self._members(local)) // 2 + 1

    # --- voting ----------------------------------------------------------------------------------

    def _no_vote(self, now: float, local: Local, sender: str, term: int) -> str:
        """Why this node would not vote for `sender` in `term`; empty: it would."""
        if local.idle or local.stopped:
            return "it is stopped"
        if local.held:
            return "an operator's command is at work"
        if local.leads:
            return "it is the primary"
        if self.hears_leader(now, local):
            assert self.leader is not None
            return f"it hears {self.leader.name}"
        if self.leader is None and now - self._boot < self._timeout:
            return "it has just started: a primary that lives would be heard by then"
        if term < local.term:
            return f"it is of term {local.term}"
        if term == local.term and local.voted_for != sender:
            return f"it voted for {local.voted_for or 'nobody'} in term {term}"
        if term == local.term and local.upstream is not None:
            return f"it followed {local.upstream} in term {term}"
        return ""

    def _just_voted(self, now: float, sender: str) -> str:
        """Who has a vote gets the time to make use of it: more, while it says that it is at it."""
        candidate, at = self._granted
        if candidate in (sender, ""):
            return ""
        peer = self._peers[candidate]
        at_it = peer.beat is not None and peer.beat.standing and candidate in self.hears(now)
        fresh = now - at <= self._timeout * (PATIENCE if at_it else 1.0)
        return f"it has just voted for {candidate}" if fresh else ""

    def _on_request(
        self, now: float, local: Local, sender: str, term: int, out: list[Action]
    ) -> None:
        why = self._no_vote(now, local, sender, term)
        if why:
            out.append(Send(sender, Deny(term, local.term, why)))
        elif self._promised is None or term > self._promised[1]:
            self._promised = (sender, term)

    def _draw(self) -> None:
        self._jitter_s = self._random.random() * 0.25 * self._timeout

    def _pause_s(self, local: Local) -> float:
        """How long the primary must be quiet before this node stands. Where PostgreSQL does not
        even run, others are quicker."""
        if not self._hurried:
            return self._timeout + self._jitter_s
        if local.server is Server.NONE:
            return self._timeout
        rivals = sum(v.data for v in self.config.voters) > 2
        return self._jitter_s if rivals else 0.0

    # --- standing --------------------------------------------------------------------------------

    def able(self, local: Local) -> bool:
        """Whether this node could take over."""
        if not self.config.data or local.idle or local.stopped or not local.fit:
            return False
        return local.server is Server.STANDBY or (
            local.server is Server.NONE and local.rest is not Rest.NOTHING
        )

    def _may_stand(self, now: float, local: Local) -> bool:
        return (
            self.config.auto_failover
            and self.able(local)
            and not local.held
            and not local.leads
            and not self.hears_leader(now, local)
            and not self._resumable(local)
            and not self._ended_on_purpose
            and not self._just_voted(now, self.config.me)
            and self._ready("stand", now)
        )

    def _give_up(self, now: float) -> None:
        if self._phase is not _Phase.FOLLOWING:
            self._phase = _Phase.FOLLOWING
            self._steps = []
            self._draw()

    def _stand(self, now: float, local: Local, out: list[Action]) -> None:
        if self._phase is _Phase.WINNING:
            return  # the verbs refuse where it is too late
        if not self._may_stand(now, local):
            self._give_up(now)
            return
        if self._phase is _Phase.FOLLOWING and now - self._quiet_since < self._pause_s(local):
            return
        term = self._next_term(local)
        if self._phase is _Phase.FOLLOWING:
            self._phase, self._since = _Phase.ASKING, now
            self._term = 0
        if self._phase is _Phase.ASKING and self._term != term:
            self._term, self._yes, self._sent_at = term, {self.config.me}, float("-inf")
        majority = len(self.config.names) // 2 + 1
        if self._phase is _Phase.ASKING and len(self._yes) >= majority:
            self._phase, self._since, self._sent_at = _Phase.STANDING, now, float("-inf")
            self._grants, self._denied = {}, set()
            self._promised = (self.config.me, self._term)
            self._began = {
                "from": self._served_by,
                "cause": f"{', '.join(sorted(self._yes))} did not hear a primary",
            }
        won = len(self._grants) >= majority and self.config.me in self._grants
        if self._phase is _Phase.STANDING and won:
            self._win(local, out)
            return
        left = len(self.config.names) - len(self._denied)
        lost = self._phase is _Phase.STANDING and (self._known > self._term or left < majority)
        if lost or now - self._since > ROUND * self._timeout:
            self._give_up(now)
            self._hurried = False
            self._quiet_since = now - self._timeout
            return
        if now - self._sent_at >= RESEND_S:
            self._sent_at = now
            asking = self._phase is _Phase.ASKING
            had = self._yes if asking else self._grants
            message = Ask(self._term) if asking else Request(self._term)
            out += [Send(n, message) for n in self.config.others if n not in had]

    def _spoil(self, message: Would | Deny) -> None:
        """Who is of the term already and denies it may have given its vote to another."""
        if message.known >= message.term:
            self._spoilt = max(self._spoilt, message.term)

    def _next_term(self, local: Local) -> int:
        """The term to stand in: a new one, unless we have our own vote in the newest, did not lead
        in it, and nobody denied us one."""
        mine = local.term >= self._known and local.voted_for == self.config.me
        mine = mine and local.term > self._spoilt
        if mine and local.upstream is None and local.led < local.term:
            return local.term
        return max(local.term, self._known) + 1

    def _win(self, local: Local, out: list[Action]) -> None:
        """A majority has voted: bring what any of it has beyond our own WAL, then promote."""
        self._phase = _Phase.WINNING
        mine = self._grants[self.config.me]
        best = max(self._grants, key=lambda name: (self._grants[name], name == self.config.me))
        end = self._grants[best]
        steps = []
        if local.server is Server.NONE:
            steps.append(Do("stand_by", {}, "the vote is won"))
        if end > mine:
            steps.append(Do("fetch", {"source": best}, f"{best} has more WAL"))
        lsn = end[1] if end[1] else None
        steps.append(Do("promote", {"term": self._term, "lsn": lsn}, "the vote is won"))
        self._steps = steps
        self._out_since = self._served_at
        voters = sorted(self._grants)
        self._began = {**self._began, "timeline": end[0], "lsn": show_lsn(end[1])}
        text = (
            f"{' and '.join(voters)} voted for {self.config.me} in term {self._term};"
            f" WAL up to {show_lsn(end[1])} of timeline {end[0]}"
        )
        fields = {"term": self._term, "voters": voters, **self._began}
        out.append(Say("elected", text, fields))

    # --- what is to be done ----------------------------------------------------------------------

    def _due(self, now: float, local: Local, out: list[Action]) -> Do | None:
        """The verb that comes next, the most pressing first."""
        if local.server in (Server.PRIMARY, Server.STARTING):
            return self._due_of_primary(now, local, out)
        self._unfenced_since = None
        if local.idle or local.stopped or local.held:
            return None
        if self._promised is not None:
            (candidate, term), self._promised = self._promised, None
            if candidate == self.config.me:
                still = self._phase is _Phase.STANDING and term == self._term
                if still and not self._no_vote(now, local, candidate, term):
                    return Do("vote", {"term": term, "for": candidate}, "it stands itself")
            elif not self._no_vote(now, local, candidate, term):
                # Who gives its word away does not stand in the same breath.
                self._give_up(now)
                self._quiet_since = now
                return Do("vote", {"term": term, "for": candidate}, f"{candidate} asks for it")
        if self._phase is _Phase.WINNING and self._steps:
            return self._steps[0]
        due = self._due_of_follower(now, local, out)
        return due or self._due_to_resume(now, local)

    def _due_of_primary(self, now: float, local: Local, out: list[Action]) -> Do | None:
        # An operator's `init` ends with this; for him it is done as soon as it can be.
        why = "" if local.idle else self._must_fence(now, local)
        if why and self._ready("fence", now):
            fields = {"term": local.term, "why": why}
            out.append(Say("stepped-down", f"{self.config.me} steps down: {why}", fields))
            return _fence(why)
        if why or local.role is not Role.PRIMARY or local.stopped:
            return None
        if local.serving and not local.opened and self._ready("confirm", now):
            return Do("confirm", {"term": local.term}, "the first commit of its term")
        return None

    def _must_fence(self, now: float, local: Local) -> str:
        if local.role is not Role.PRIMARY or local.stopped:
            if local.held:
                self._unfenced_since = None
                return ""
            self._unfenced_since = self._unfenced_since or now
            late = now - self._unfenced_since > UNFENCED_S
            return "a fence was cut off" if late else ""
        self._unfenced_since = None
        members = [name for name in self._members(local) if name != self.config.me]
        if not local.held:
            for name in members:
                beat = self._peers[name].beat
                if beat is not None and beat.term > local.term:
                    return f"{name} is of term {beat.term}"
        since = self._lead_since if self._lead_since is not None else now
        silent = [
            name for name in members if now - max(self._peers[name].acked_at, since) > self._timeout
        ]
        # Those that are not heard may elect another one: only if they are a majority by themselves.
        if len(silent) >= self._majority(local):
            return "no majority heard"
        return ""

    def _due_of_follower(self, now: float, local: Local, out: list[Action]) -> Do | None:
        """Follow whoever leads; start again what died."""
        leader = self.leader
        if leader is None or not self.hears_leader(now, local):
            return self._due_to_tend(now, local)
        if local.follows(leader.name, leader.term) and not self._astray(local):
            return self._due_to_tend(now, local)
        if not leader.beat.serving or self._phase is _Phase.WINNING:
            return None
        target = (leader.name, leader.term)
        passed_over = local.role in (Role.PRIMARY, Role.FENCED)
        if local.role is Role.PRIMARY:
            text = f"{leader.name} took over in term {leader.term} while this node did not serve"
            out.append(Say("passed-over", text, {"term": leader.term, "leader": leader.name}))
            return _fence(f"passed over by {leader.name}")
        if leader.beat.voters and self.config.me not in leader.beat.voters:
            self.why = f"{leader.name} was made the primary without it"
            return None
        if passed_over and self.config.data and not self.config.auto_recovery:
            self.why = f"passed over by {leader.name}, and AUTO_RECOVERY is off"
            return None
        if self._stuck == target or not self._ready("follow", now):
            return None
        if self._rewind_from == target:
            return Do("rewind", {"upstream": leader.name}, f"its WAL is apart from {leader.name}'s")
        args = {"upstream": leader.name, "term": leader.term, "timeout_s": FOLLOW_S}
        return Do("follow", args, f"{leader.name} is the primary of term {leader.term}")

    def _astray(self, local: Local) -> bool:
        """Whether it was told to follow, and a plain start does not bring it there: something was
        cut off between word and deed. To be told again helps: `follow` looks at log and files."""
        if local.server is not Server.NONE:
            return False
        in_vain = self._not_before.get("tend", (0.0, 0.0))[1] >= RETRY_MAX_S
        return in_vain or (local.role is Role.STANDBY and local.rest is Rest.PRIMARY)

    def _due_to_tend(self, now: float, local: Local) -> Do | None:
        if local.server is not Server.NONE or not self._ready("tend", now):
            return None
        if self.hears_leader(now, local) and self._not_before.get("tend", (0, 0))[1] >= RETRY_MAX_S:
            self.why = ENDS
        standby = local.role is Role.STANDBY and local.rest is Rest.STANDBY
        if standby or (local.role is Role.WITNESS and local.upstream is not None):
            return Do("tend", {}, "what should run does not")
        return None

    # --- the primary again, in its own term ------------------------------------------------------

    def _resumable(self, local: Local) -> bool:
        """Whether it can be the primary of its term again: its log is the one of that term, and
        nobody is known to have left the term."""
        if not self.config.data or self._known > local.term or local.term == 0:
            return False
        if (
            local.role is Role.PRIMARY
            and local.term > self._spent
            and (
                local.server is Server.STANDBY
                or (local.server is Server.NONE and local.rest is Rest.STANDBY)
            )
        ):
            return True  # a promotion was cut off between its two words
        return (
            local.server is Server.NONE
            and local.role in (Role.PRIMARY, Role.FENCED)
            and local.rest is Rest.PRIMARY
            and local.led == local.timeline == local.term
        )

    def _due_to_resume(self, now: float, local: Local) -> Do | None:
        """A majority that has left the term for no other one is word enough: who served it may
        serve it again. Nobody is let in before a first commit, so a vote that comes in between
        harms nothing."""
        if not self._resumable(local) or self.hears_leader(now, local):
            return None
        if not self._ready("resume", now):
            return None
        if not local.fit:
            self.why = "its disk is full"
            return None
        members = [n for n in self._members(local) if n != self.config.me]
        # Of late, and not as it was before: what happened meanwhile we may have slept through.
        since = max(self._down_since, self._boot, now - self._timeout)
        here = [n for n in members if self._peers[n].acked_at >= since]
        if len(here) + 1 < self._majority(local):
            return None
        rivals = [n for n in here if (beat := self._peers[n].beat) is not None and beat.able]
        # It died before our eyes: who is up already is quicker.
        grace = self._timeout if self._watched and rivals and self.config.auto_failover else 0.0
        if now - self._down_since < grace:
            return None
        self._out_since = self._served_at
        self._began = {"from": self._served_by, "cause": "it was down, and serves its term again"}
        if local.rest is Rest.PRIMARY and local.server is Server.NONE:
            why = f"{' and '.join(here)} know of no later term"
            return Do("serve", {"term": local.term}, why)
        return Do("promote", {"term": local.term}, "its promotion was cut off")

    # --- Pgpool-II -------------------------------------------------------------------------------

    def door_wish(self, now: float, local: Local) -> Door | None:
        """Where Pgpool-II should lead; None: it should not run, so that a client's libpq goes on to
        the next address; LEAVE: as it is. It may start before the primary is open: PostgreSQL
        itself lets nobody in."""
        if local.idle or local.held or local.stopped or not local.doors:
            return LEAVE
        leader = self.leader
        if local.leads:
            members = [n for n in self._members(local) if n != self.config.me]
            unheard = [n for n in members if self._peers[n].acked_at < self._boot]
            # It recovers in place, and sessions wait; or the agent has just started, and others may
            # have elected another one.
            if not local.serving or len(unheard) >= self._majority(local):
                return LEAVE
            return Door(self.config.me, self._up(local))
        if self.hears_leader(now, local):
            assert leader is not None
            if not leader.beat.serving:
                return LEAVE
            return Door(leader.name, leader.beat.up or (leader.name,))
        return LEAVE if leader is None and now - self._boot < self._timeout else None

    def may_enter(self, now: float, local: Local) -> bool:
        """Whether Pgpool-II runs and leads to a primary that lets clients in."""
        if not local.door or self.door_work is not None or self._door_to is None:
            return False
        if local.leads:
            return local.serving and local.opened
        leader = self.leader if self.hears_leader(now, local) else None
        return leader is not None and leader.beat.serving and leader.beat.opened

    def _door_due(self, now: float, local: Local) -> Do | None:
        if not self._ready("door", now):
            return None
        wish = self.door_wish(now, local)
        if wish is None:
            if not local.door:
                return None
            return Do("close", {}, "no primary is heard", door=True)
        if wish is LEAVE or (local.door and self._door_to == wish):
            return None
        args = {"primary": wish.primary, "up": ",".join(wish.up)}
        return Do("steer", args, f"{wish.primary} is the primary", door=True)

    def _up(self, local: Local) -> tuple[str, ...]:
        """Its own name first."""
        return (self.config.me, *(n for n in local.up if n != self.config.me))

    def _door_done(self, now: float, did: Do, result: Result) -> None:
        if not result.ok:
            self._later("door", now)
            return
        self._not_before.pop("door", None)
        if did.verb == "steer":
            self._door_to = Door(did.args["primary"], tuple(str(did.args["up"]).split(",")))
        else:
            self._door_to = None

    # --- what became of it -----------------------------------------------------------------------

    def _done(self, now: float, local: Local, did: Do, result: Result, out: list[Action]) -> None:
        handlers: Mapping[str, Callable[[], None]] = {
            "vote": lambda: self._voted(now, local, did, result, out),
            "confirm": lambda: self._confirmed(now, local, result, out),
            "follow": lambda: self._followed(now, did, result, out),
            "rewind": lambda: self._rewound(now, did, result, out),
            "tend": lambda: self._retry("tend", now, result),
            "serve": lambda: self._retry("resume", now, result),
            "fence": lambda: self._retry("fence", now, result),
        }
        if self._steps and did is self._steps[0]:
            self._stepped(now, did, result, out)
        elif did.verb in handlers:
            handlers[did.verb]()
        else:
            if did.verb == "promote" and result.code in ("timeline-taken", "not-standby"):
                # Cut off within PostgreSQL's own part: the number is used up, so is the term.
                self._spent = max(self._spent, did.args["term"])
            self._retry("resume", now, result)

    def _voted(self, now: float, local: Local, did: Do, result: Result, out: list[Action]) -> None:
        candidate, term = did.args["for"], did.args["term"]
        if candidate == self.config.me:
            if result.ok and self._phase is _Phase.STANDING and self._term == term:
                self._grants[candidate] = (result.timeline, result.lsn)
            elif not result.ok:
                self._give_up(now)
                self._later("stand", now)
        elif result.ok and not result.timeline:
            # Its log is gone: with it went what it may have acknowledged, so its voice counts for
            # nothing (Raft's voters keep their logs).
            out.append(Send(candidate, Deny(term, local.term, "it has no WAL")))
        elif result.ok:
            out.append(Send(candidate, Grant(term, result.timeline, result.lsn)))
            self._quiet_since = now
            self._granted = (candidate, now)
        else:
            out.append(Send(candidate, Deny(term, local.term, result.said)))

    def _stepped(self, now: float, did: Do, result: Result, out: list[Action]) -> None:
        if result.ok:
            self._steps.pop(0)
            if not self._steps:
                self._phase = _Phase.FOLLOWING
                self._not_before.clear()
                self._content()
            return
        text = f"{self.config.me} won the vote but cannot lead: {result.said}"
        out.append(Say("lost-out", text, {"term": self._term, "code": result.code}))
        self.why = text
        self._give_up(now)
        self._quiet_since = now
        self._later("stand", now, BACKOFF_S, BACKOFF_MAX_S)

    def _confirmed(self, now: float, local: Local, result: Result, out: list[Action]) -> None:
        if not result.ok:
            self._later("confirm", now, RETRY_S, RETRY_S)
            return
        began, self._began = self._began, {}
        fields = {"term": local.term, "to": self.config.me, "asked_by": "vote", **began}
        if self._out_since is not None:
            fields["out_s"] = round(max(0.0, now - self._out_since), 3)
        self._out_since = None
        out.append(Say("opened", f"{self.config.me} is open in term {local.term}", fields))

    def _followed(self, now: float, did: Do, result: Result, out: list[Action]) -> None:
        target = (did.args["upstream"], did.args["term"])
        if result.ok or result.code == "not-streaming":
            # Its word is durable: PostgreSQL goes on by itself.
            self._not_before.pop("follow", None)
            how = "rewound" if self._rewound_to == target else "followed"
            self._rewound_to = None
            self._content()
            text = f"{self.config.me} follows {target[0]} in term {target[1]}"
            out.append(Say("rejoined", text, {"how": how, "upstream": target[0]}))
        elif result.code in ("diverged", "rewinding") and self.config.data:
            if self.config.auto_recovery:
                if self._rewound_to == target:
                    self._later("follow", now)
                self._rewind_from = target
            else:
                self._stuck = target
                self.why = result.said
                out.append(Say("stuck", self.why, {"upstream": target[0]}))
        elif result.code in ("other-cluster", "no-data"):
            self._get_stuck(target, result, out)
        else:
            self._later("follow", now)

    def _rewound(self, now: float, did: Do, result: Result, out: list[Action]) -> None:
        target = self._rewind_from
        if result.ok or target is None:
            self._rewound_to, self._rewind_from = target, None
            self._not_before.pop("follow", None)
        elif result.code in ("cannot-rewind", "other-cluster", "no-data"):
            self._rewind_from = None
            self._get_stuck(target, result, out)
        else:
            self._later("follow", now)

    def _content(self) -> None:
        self.why, self.needs_copy = "", False

    def _get_stuck(self, target: tuple[str, int], result: Result, out: list[Action]) -> None:
        self._stuck = target
        self.why, self.needs_copy = result.said, True
        out.append(Say("stuck", self.why, {"upstream": target[0]}))

    # --- pauses between tries --------------------------------------------------------------------

    def _ready(self, what: str, now: float) -> bool:
        return now >= self._not_before.get(what, (0.0, 0.0))[0]

    def _later(
        self, what: str, now: float, first_s: float = RETRY_S, most_s: float = RETRY_MAX_S
    ) -> None:
        """Not again at once; the pauses double, unless it is long ago."""
        until, last_s = self._not_before.get(what, (float("-inf"), 0.0))
        pause = min(most_s, max(first_s, 2 * last_s)) if now - until < FORGET_S else first_s
        self._not_before[what] = (now + pause, pause)

    def _retry(self, what: str, now: float, result: Result) -> None:
        # What succeeds and is due again a moment later did not last.
        self._later(what, now)

    # --- beats -----------------------------------------------------------------------------------

    def beat(self, now: float, local: Local) -> Beat:
        """How this node is."""
        leads = local.leads and not local.idle
        out_s = 0.0 if local.serving else round(now - self._own_served_at, 1)
        return Beat(
            term=local.term,
            role=local.role,
            leads=leads,
            serving=local.serving,
            opened=local.serving and local.opened,
            out_s=out_s if leads else 0.0,
            up=self._up(local) if leads else (),
            voters=local.voters if leads else (),
            able=self.able(local) and self.config.auto_failover,
            standing=self._term if self._phase in (_Phase.STANDING, _Phase.WINNING) else 0,
            stopped=local.stopped,
            hears=self.hears(now),
        )

    def _send_beats(self, now: float, local: Local, out: list[Action]) -> None:
        beat = self.beat(now, local)
        news = _gist(beat) != _gist(self._beaten)
        if news or now - self._beaten_at >= BEAT * self._timeout:
            self._beaten_at, self._beaten = now, beat
            out += [Send(name, beat) for name in self.config.others]


def _gist(beat: Beat) -> tuple[object, ...]:
    """What others must know at once when it changes. (This runs all the time.)"""
    leading = (beat.leads, beat.serving, beat.opened, beat.up, beat.voters)
    return (beat.term, beat.role, *leading, beat.able, beat.standing, beat.stopped)


def _fence(why: str) -> Do:
    return Do("fence", {"reason": why, "checkpoint_s": 0, "kill_after_s": KILL_AFTER_S}, why)
