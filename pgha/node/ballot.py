"""How this node stands, gathers votes and wins. Pure."""

from __future__ import annotations

from enum import Enum
from random import Random

from pgha.commands.lsn import show_lsn
from pgha.node.election_types import (
    BACKOFF_MAX_S,
    BACKOFF_S,
    NEVER,
    RESEND_S,
    ROUND,
    Action,
    Config,
    Do,
    Local,
    Rest,
    Result,
    Say,
    Send,
    Server,
)
from pgha.node.hearing import Hearing
from pgha.node.messages import Ask, Deny, Grant, Request, Would
from pgha.node.outage import Outage
from pgha.node.pauses import Pauses
from pgha.node.trouble import Trouble
from pgha.node.votes import Votes


class Phase(Enum):
    FOLLOWING = "following"
    ASKING = "asking"
    STANDING = "standing"
    WINNING = "winning"


class Ballot:
    """This node's candidacy, and when it begins. hurried: the primary was lost, so that nobody is
    waited for."""

    def __init__(
        self,
        config: Config,
        now: float,
        random: Random,
        hearing: Hearing,
        votes: Votes,
        pauses: Pauses,
        outage: Outage,
        trouble: Trouble,
    ) -> None:
        self.config, self._random = config, random
        self._hearing, self._votes, self._pauses = hearing, votes, pauses
        self._outage, self._trouble = outage, trouble
        self.hurried = False
        self._quiet_since = now
        self._phase = Phase.FOLLOWING
        self._term, self._since, self._sent_at = 0, now, NEVER
        self._yes: set[str] = set()
        self._grants: dict[str, tuple[int, int]] = {}
        self._denied: set[str] = set()
        self._spoilt = 0
        self._steps: list[Do] = []  # what makes the winner the primary
        self._jitter_s = 0.0
        self._draw()

    # --- when to stand ---------------------------------------------------------------------------

    def wait(self, now: float) -> None:
        """The quiet after which this node stands begins anew."""
        self._quiet_since = now

    def hurry(self, now: float) -> None:
        """The primary is lost. From now on nobody is waited for but by chance, so that two do not
        stand at once."""
        self.hurried = True
        self.wait(now)
        self._draw()

    def _draw(self) -> None:
        self._jitter_s = self._random.random() * 0.25 * self.config.election_timeout_s

    def _pause_s(self, local: Local) -> float:
        """How long the primary must be quiet before this node stands. Where PostgreSQL does not
        even run, others are quicker."""
        timeout_s = self.config.election_timeout_s
        if not self.hurried:
            return timeout_s + self._jitter_s
        if local.server is Server.NONE:
            return timeout_s
        rivals = sum(v.data for v in self.config.voters) > 2
        return self._jitter_s if rivals else 0.0

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
            and not self._hearing.hears_leader(now, local)
            and not self._hearing.ended_on_purpose
            and not self._votes.just_voted(now, self.config.me)
            and self._pauses.ready("stand", now)
        )

    # --- standing --------------------------------------------------------------------------------

    @property
    def standing(self) -> int:
        """The term in which it gathers votes, or has won and makes itself the primary; 0: none."""
        return self._term if self._phase in (Phase.STANDING, Phase.WINNING) else 0

    @property
    def _majority(self) -> int:
        """Of all nodes, whoever is a member now."""
        return len(self.config.names) // 2 + 1

    def stand(self, now: float, local: Local, resumable: bool, out: list[Action]) -> None:
        """Ask, then gather votes, then win. resumable: it may serve its own term again instead."""
        if self._phase is Phase.WINNING:
            return  # the verbs refuse where it is too late
        if resumable or not self._may_stand(now, local):
            self.give_up()
            return
        quiet_s = now - self._quiet_since
        if self._phase is Phase.FOLLOWING and quiet_s < self._pause_s(local):
            return
        self._ask(now, local)
        won = len(self._grants) >= self._majority and self.config.me in self._grants
        if self._phase is Phase.STANDING and won:
            self._win(local, out)
        elif self._lost(now):
            self.give_up()
            self.hurried = False
            self.wait(now - self.config.election_timeout_s)
        else:
            self._send(now, out)

    def _ask(self, now: float, local: Local) -> None:
        """From FOLLOWING to ASKING, and on to STANDING where a majority would vote for it."""
        term = self._next_term(local)
        if self._phase is Phase.FOLLOWING:
            self._phase, self._since = Phase.ASKING, now
            self._term = 0
        if self._phase is Phase.ASKING and self._term != term:
            self._term, self._yes, self._sent_at = term, {self.config.me}, NEVER
        if self._phase is Phase.ASKING and len(self._yes) >= self._majority:
            self._phase, self._since, self._sent_at = Phase.STANDING, now, NEVER
            self._grants, self._denied = {}, set()
            self._votes.promise(self.config.me, self._term)
            self._outage.caused(f"{', '.join(sorted(self._yes))} did not hear a primary")

    def _lost(self, now: float) -> bool:
        left = len(self.config.names) - len(self._denied)
        no_hope = self._hearing.known > self._term or left < self._majority
        late = now - self._since > ROUND * self.config.election_timeout_s
        return late or (self._phase is Phase.STANDING and no_hope)

    def _send(self, now: float, out: list[Action]) -> None:
        if now - self._sent_at < RESEND_S:
            return
        self._sent_at = now
        asking = self._phase is Phase.ASKING
        had = self._yes if asking else self._grants
        message = Ask(self._term) if asking else Request(self._term)
        out += [Send(n, message) for n in self.config.others if n not in had]

    def _next_term(self, local: Local) -> int:
        """The term to stand in: a new one, unless we have our own vote in the newest, did not lead
        in it, and nobody denied us one."""
        known = self._hearing.known
        mine = local.term >= known and local.voted_for == self.config.me
        mine = mine and local.term > self._spoilt
        if mine and local.upstream is None and local.led < local.term:
            return local.term
        return max(local.term, known) + 1

    def give_up(self) -> None:
        if self._phase is not Phase.FOLLOWING:
            self._phase = Phase.FOLLOWING
            self._steps = []
            self._draw()

    # --- others' votes ---------------------------------------------------------------------------

    def answered(self, sender: str, answer: Would) -> None:
        self._hearing.learn(answer.known)
        if not answer.yes:
            self._spoil(answer)
        elif self._phase is Phase.ASKING and answer.term == self._term:
            self._yes.add(sender)

    def granted(self, sender: str, grant: Grant) -> None:
        if self._phase is Phase.STANDING and grant.term == self._term:
            self._grants[sender] = (grant.timeline, grant.lsn)

    def denied(self, sender: str, denial: Deny) -> None:
        self._hearing.learn(denial.known)
        self._spoil(denial)
        if self._phase is Phase.STANDING and denial.term == self._term:
            self._denied.add(sender)

    def _spoil(self, message: Would | Deny) -> None:
        """Who is of the term already and denies it may have given its vote to another."""
        if message.known >= message.term:
            self._spoilt = max(self._spoilt, message.term)

    # --- verbs -----------------------------------------------------------------------------------

    def due(self, now: float, local: Local) -> Do | None:
        """The verb that comes next: a vote that was promised, then what makes the winner the
        primary."""
        promised = self._votes.take_promise()
        if promised is not None:
            candidate, term = promised
            if candidate == self.config.me:
                still = self._phase is Phase.STANDING and term == self._term
                if still and not self._votes.refusal(now, local, candidate, term):
                    return Do("vote", {"term": term, "for": candidate}, "it stands itself")
            elif not self._votes.refusal(now, local, candidate, term):
                # Who gives its word away does not stand in the same breath.
                self.give_up()
                self.wait(now)
                return Do("vote", {"term": term, "for": candidate}, f"{candidate} asks for it")
        return self._steps[0] if self._phase is Phase.WINNING else None

    def voted(self, now: float, local: Local, did: Do, result: Result) -> Send | None:
        """A vote was written, or refused; what its candidate is told."""
        candidate, term = did.args["for"], did.args["term"]
        if candidate == self.config.me:
            if result.ok:
                self.granted(candidate, Grant(term, result.timeline, result.lsn))
            else:
                self.give_up()
                self._pauses.later("stand", now)
            return None
        if not result.ok:
            return Send(candidate, Deny(term, local.term, result.said))
        if not result.timeline:
            # Its log is gone: with it went what it may have acknowledged, so its voice counts for
            # nothing (Raft's voters keep their logs).
            return Send(candidate, Deny(term, local.term, "it has no WAL"))
        self.wait(now)
        self._votes.gave(now, candidate)
        return Send(candidate, Grant(term, result.timeline, result.lsn))

    # --- winning ---------------------------------------------------------------------------------

    def _win(self, local: Local, out: list[Action]) -> None:
        """A majority has voted: bring what any of it has beyond our own WAL, then promote."""
        self._phase = Phase.WINNING
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
        voters = sorted(self._grants)
        text = (
            f"{' and '.join(voters)} voted for {self.config.me} in term {self._term};"
            f" WAL up to {show_lsn(end[1])} of timeline {end[0]}"
        )
        told = self._outage.won(timeline=end[0], lsn=show_lsn(end[1]))
        out.append(Say("elected", text, {"term": self._term, "voters": voters, **told}))

    def is_step(self, did: Do) -> bool:
        """Whether a verb that ended is the one that the winner waits for."""
        return bool(self._steps) and did is self._steps[0]

    def stepped(self, now: float, result: Result, out: list[Action]) -> None:
        """A step ended: on with the next one, or the term is lost."""
        if result.ok:
            self._steps.pop(0)
            if not self._steps:
                self._phase = Phase.FOLLOWING
                self._pauses.clear()
                self._trouble.over()
            return
        text = f"{self.config.me} won the vote but cannot lead: {result.said}"
        out.append(Say("lost-out", text, {"term": self._term, "code": result.code}))
        self._trouble.why = text
        self.give_up()
        self.wait(now)
        self._pauses.later("stand", now, BACKOFF_S, BACKOFF_MAX_S)
