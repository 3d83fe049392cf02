"""Who leads, who may vote, who follows: the decisions of one node's agent. Pure.

What was told and what time has passed go in; messages to send and verbs to call come out. Nothing
here is durable by itself: a verb writes first and is answered afterwards, and each one checks the
durable term again under the node's lock. `docs/safety.md` says why this is safe: it is Raft's
election (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014; PreVote
and leadership transfer: Ongaro's dissertation, sections 9.6 and 3.10) over PostgreSQL's WAL.

Times are seconds of this node's monotonic clock.
"""

from __future__ import annotations

from random import Random

from pgha.node.ballot import Ballot
from pgha.node.doors import Doors
from pgha.node.election_types import (
    BEAT,
    NEVER,
    Action,
    Config,
    Do,
    Door,
    Local,
    Result,
    Send,
    Server,
)
from pgha.node.hearing import Hearing, Leader, News
from pgha.node.messages import Ask, Beat, Deny, Grant, Message, Request, Would
from pgha.node.outage import Outage
from pgha.node.pauses import Pauses
from pgha.node.rejoining import Rejoining
from pgha.node.report import Role
from pgha.node.tenure import Tenure
from pgha.node.trouble import Trouble
from pgha.node.votes import Votes


class Election:
    """One node's part. Call `tick` every tenth of a second, `received` for each message that is
    known to be genuine and new, `finished` for each verb; do what they give, in that order.

    hearing, tenure, ballot: the parts that tests put faults into.
    """

    def __init__(
        self,
        config: Config,
        now: float,
        random: Random,
        *,
        hearing: type[Hearing] = Hearing,
        tenure: type[Tenure] = Tenure,
        ballot: type[Ballot] = Ballot,
    ) -> None:
        self.config = config
        self._pauses, self._outage, self._trouble = Pauses(), Outage(), Trouble()
        self._hearing = hearing(config, now)
        self._votes = Votes(config, now, self._hearing)
        shared = (self._pauses, self._outage, self._trouble)
        self._tenure = tenure(config, now, self._hearing, *shared)
        self._ballot = ballot(config, now, random, self._hearing, self._votes, *shared)
        self._rejoining = Rejoining(config, self._hearing, self._pauses, self._trouble)
        self._doors = Doors(config, self._hearing, self._pauses)
        self._work: Do | None = None
        self._was_held = False
        self._beaten_at, self._beaten = NEVER, Beat(0, Role.UNKNOWN)

    # --- what goes in ----------------------------------------------------------------------------

    def tick(self, now: float, local: Local) -> list[Action]:
        """Time has passed."""
        return self._turn(now, local, [])

    def received(
        self, now: float, local: Local, sender: str, message: Message, answers: float | None = None
    ) -> list[Action]:
        """A message came. answers: when we sent the latest of our messages that the sender had
        when it sent this one (None: none that we know of)."""
        if not self._hearing.heard(now, sender, answers):
            return []
        out: list[Action] = []
        match message:
            case Beat():
                self._on_beat(now, local, sender, message, out)
            case Ask(term=term):
                out.append(Send(sender, self._votes.asked(now, local, sender, term)))
            case Would():
                self._ballot.answered(sender, message)
            case Request(term=term):
                denial = self._votes.requested(now, local, sender, term)
                if denial is not None:
                    out.append(Send(sender, denial))
            case Grant():
                self._ballot.granted(sender, message)
            case Deny():
                self._ballot.denied(sender, message)
        return self._turn(now, local, out)

    def finished(self, now: float, local: Local, did: Do, result: Result) -> list[Action]:
        """A verb ended; `local` is as it is afterwards."""
        out: list[Action] = []
        if did.door:
            self._doors.done(now, did, result)
        else:
            self._work = None
            self._done(now, local, did, result, out)
        return self._turn(now, local, out)

    # --- what others look at ---------------------------------------------------------------------

    @property
    def leader(self) -> Leader | None:
        """The primary that was heard last."""
        return self._hearing.leader

    def hears_leader(self, now: float, local: Local) -> bool:
        """Whether a primary of our term or a later one is alive."""
        return self._hearing.hears_leader(now, local)

    def hears(self, now: float) -> tuple[str, ...]:
        """The nodes that were heard of late."""
        return self._hearing.of_late(now)

    def out_of_reach(self, now: float) -> bool:
        """Whether the primary answers others and not this node."""
        return self._hearing.out_of_reach(now)

    @property
    def why(self) -> str:
        """What keeps this node from its place, a sentence."""
        return self._trouble.why

    @property
    def needs_copy(self) -> bool:
        """Whether only a new copy helps."""
        return self._trouble.needs_copy

    def door_wish(self, now: float, local: Local) -> Door | None:
        """Where Pgpool-II should lead, as `Doors.wish` says it."""
        return self._doors.wish(now, local)

    def may_enter(self, now: float, local: Local) -> bool:
        """Whether Pgpool-II runs and leads to a primary that lets clients in."""
        return self._doors.may_enter(now, local)

    # --- one turn --------------------------------------------------------------------------------

    def _turn(self, now: float, local: Local, out: list[Action]) -> list[Action]:
        self._notice(now, local, out)
        self._ballot.stand(now, local, self._tenure.resumable(local), out)
        if self._work is None:
            self._work = self._due(now, local, out)
            if self._work is not None:
                out.append(self._work)
        door = self._doors.due(now, local)
        if door is not None:
            out.append(door)
        self._send_beats(now, local, out)
        return out

    def _notice(self, now: float, local: Local, out: list[Action]) -> None:
        """What changed on this node since the last turn."""
        if local.held or local.stopped:
            self._was_held = True
            self._ballot.wait(now)
            self._ballot.give_up()
        elif self._was_held:
            self._was_held = False
            self._ballot.wait(now)
            self._hearing.ended_on_purpose = False
            self._rejoining.start_over()
            self._doors.forget()
        if local.leads:
            self._tenure.leads(now, local)
            self._hearing.leader = None
            self._ballot.hurried = False
            self._ballot.give_up()
        elif self._tenure.ended(now):
            self._ballot.wait(now)
            self._doors.forget()
        self._rejoining.notice(now)
        if self._hearing.fell_silent(now, local):
            self._lose(now, "silent", out)

    def _on_beat(
        self, now: float, local: Local, sender: str, beat: Beat, out: list[Action]
    ) -> None:
        news = self._hearing.beat(now, local, sender, beat)
        if news in (News.SLOW, News.DEAD):
            self._lose(now, news.value, out)
        elif news is not News.NONE:
            if news is News.NEW:
                self._rejoining.start_over()
            self._ballot.hurried = False
            if beat.serving and beat.opened:
                self._outage.served(now, sender)

    def _lose(self, now: float, why: str, out: list[Action]) -> None:
        lost = self._hearing.lose(now, why)
        if lost is not None:
            out.append(lost)
            self._ballot.hurry(now)

    def _due(self, now: float, local: Local, out: list[Action]) -> Do | None:
        """The verb that comes next, the most pressing first."""
        if local.server in (Server.PRIMARY, Server.STARTING):
            return self._tenure.due(now, local, out)
        self._tenure.no_primary()
        if local.idle or local.stopped or local.held:
            return None
        return (
            self._ballot.due(now, local)
            or self._rejoining.due(now, local, out)
            or self._tenure.due_to_resume(now, local)
        )

    def _done(self, now: float, local: Local, did: Do, result: Result, out: list[Action]) -> None:
        """What became of a verb."""
        if self._ballot.is_step(did):
            self._ballot.stepped(now, result, out)
            return
        match did.verb:
            case "vote":
                answer = self._ballot.voted(now, local, did, result)
                if answer is not None:
                    out.append(answer)
            case "confirm":
                self._tenure.confirmed(now, local, result, out)
            case "follow":
                self._rejoining.followed(now, did, result, out)
            case "rewind":
                self._rejoining.rewound(now, did, result, out)
            case "tend" | "fence":
                self._pauses.later(did.verb, now)
            case _:
                self._tenure.resumed(now, did, result)

    # --- beats -----------------------------------------------------------------------------------

    def beat(self, now: float, local: Local) -> Beat:
        """How this node is."""
        leads = local.leads and not local.idle
        return Beat(
            term=local.term,
            role=local.role,
            leads=leads,
            serving=local.serving,
            opened=local.serving and local.opened,
            out_s=self._tenure.out_s(now, local) if leads else 0.0,
            up=self._doors.up(local) if leads else (),
            voters=local.voters if leads else (),
            able=self._ballot.able(local) and self.config.auto_failover,
            standing=self._ballot.standing,
            stopped=local.stopped,
            hears=self.hears(now),
        )

    def _send_beats(self, now: float, local: Local, out: list[Action]) -> None:
        beat = self.beat(now, local)
        news = _gist(beat) != _gist(self._beaten)
        if news or now - self._beaten_at >= BEAT * self.config.election_timeout_s:
            self._beaten_at, self._beaten = now, beat
            out += [Send(name, beat) for name in self.config.others]


def _gist(beat: Beat) -> tuple[object, ...]:
    """What others must know at once when it changes. (This runs all the time.)"""
    leading = (beat.leads, beat.serving, beat.opened, beat.up, beat.voters)
    return (beat.term, beat.role, *leading, beat.able, beat.standing, beat.stopped)
