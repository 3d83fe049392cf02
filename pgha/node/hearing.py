"""Who is heard, who leads, and which term is the latest. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pgha.node.election_types import NEVER, OUT_OF_REACH, PATIENCE, SOON, Config, Local, Say
from pgha.node.messages import Beat


@dataclass
class Peer:
    """Another node: its last beat, when it came, and when we sent what it has answered to."""

    beat: Beat | None = None
    heard_at: float = NEVER
    acked_at: float = NEVER


@dataclass(frozen=True)
class Leader:
    """The primary that was heard last; alive_at: NEVER once it is lost."""

    name: str
    term: int
    alive_at: float
    beat: Beat


class News(Enum):
    """What a beat says of the primary. NEW: another one, or another term; the last two: it is
    lost."""

    NONE = "none"
    LEADS = "leads"
    NEW = "new"
    SLOW = "recovering too long"
    DEAD = "dead"


class Hearing:
    """What this node has heard of the others. boot: since when it listens. known: the latest term
    that anybody spoke of. ended_on_purpose: an operator stopped the last primary."""

    def __init__(self, config: Config, now: float) -> None:
        self.config = config
        self.boot = now
        self.peers = {name: Peer() for name in config.others}
        self.leader: Leader | None = None
        self.known = 0
        self.ended_on_purpose = False

    # --- what goes in ----------------------------------------------------------------------------

    def heard(self, now: float, sender: str, answers: float | None) -> bool:
        """Whether the sender of a message is one of us; its voice is noted."""
        peer = self.peers.get(sender)
        if peer is None:
            return False
        peer.heard_at = now
        if answers is not None:
            peer.acked_at = max(peer.acked_at, answers)
        return True

    def learn(self, term: int) -> None:
        self.known = max(self.known, term)

    def beat(self, now: float, local: Local, sender: str, beat: Beat) -> News:
        """A beat came. What is lost by it is still to be told: `lose`."""
        self.peers[sender].beat = beat
        self.learn(beat.term)
        leader = self.leader
        its_own = leader is not None and leader.name == sender
        if beat.leads and not local.leads and beat.term >= (leader.term if leader else 0):
            if not beat.serving and beat.out_s > PATIENCE * self.config.election_timeout_s:
                return News.SLOW if its_own else News.NONE
            same = leader is not None and (leader.name, leader.term) == (sender, beat.term)
            self.leader = Leader(sender, beat.term, now, beat)
            self.ended_on_purpose = False
            return News.LEADS if same else News.NEW
        if its_own and not beat.leads:
            # Half of an operator's `stop` is no reason to take over.
            self.ended_on_purpose = beat.stopped
            return News.DEAD
        return News.NONE

    def lose(self, now: float, why: str) -> Say | None:
        """The primary is taken for dead; None: it was already."""
        leader = self.leader
        if leader is None or leader.alive_at == NEVER:
            return None
        text = {
            "silent": f"{leader.name} was not heard for {now - leader.alive_at:.1f} s",
            "dead": f"{leader.name} says that its PostgreSQL does not serve",
        }.get(why, f"{leader.name} recovers for too long")
        self.leader = replace(leader, alive_at=NEVER)
        return Say("lost", text, {"leader": leader.name, "term": leader.term, "why": why})

    # --- who leads -------------------------------------------------------------------------------

    def hears_leader(self, now: float, local: Local) -> bool:
        """Whether a primary of our term or a later one is alive."""
        leader = self.leader
        return (
            leader is not None
            and leader.term >= local.term
            and now - leader.alive_at <= self._limit(local)
        )

    def fell_silent(self, now: float, local: Local) -> bool:
        """Whether the primary is due to be lost, since it is not heard any more."""
        leader = self.leader
        if leader is None or leader.alive_at == NEVER:
            return False
        return now - leader.alive_at > self._limit(local) and leader.term >= local.term

    def unanswered_s(self, now: float) -> float:
        """For how long the primary has not answered us: it may be heard all the same."""
        return now - max(self.peers[self.leader.name].acked_at, self.boot) if self.leader else 0.0

    def out_of_reach(self, now: float) -> bool:
        """Whether another node hears the primary that does not answer us: the link to it is cut,
        nobody will be elected, and a client that waits here had better go to another door."""
        leader = self.leader
        if leader is None:
            return False
        others = (self.peers[name].beat for name in self.of_late(now) if name != leader.name)
        return self.unanswered_s(now) > OUT_OF_REACH * self.config.election_timeout_s and any(
            beat is not None and leader.name in beat.hears for beat in others
        )

    def _limit(self, local: Local) -> float:
        """How long a primary may be silent; less where its connections were closed as well."""
        return self.config.election_timeout_s * (SOON if local.cut else 1.0)

    def just_started(self, now: float) -> bool:
        """Whether a primary that lives may not have been heard yet."""
        return self.leader is None and now - self.boot < self.config.election_timeout_s

    # --- who is there ----------------------------------------------------------------------------

    def of_late(self, now: float) -> tuple[str, ...]:
        """The nodes that were heard of late."""
        limit_s = self.config.election_timeout_s
        return tuple(n for n, p in self.peers.items() if now - p.heard_at <= limit_s)

    def members(self, local: Local) -> tuple[str, ...]:
        """Who counts: all, unless this node was made primary of some of them by force."""
        return local.voters or self.config.names

    def fellows(self, local: Local) -> list[str]:
        """The members without this node."""
        return [name for name in self.members(local) if name != self.config.me]

    def majority(self, local: Local) -> int:
        return len(self.members(local)) // 2 + 1
