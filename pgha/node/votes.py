"""This node's vote: whom it would vote for, and whom it has voted for. Pure."""

from __future__ import annotations

from pgha.node.election_types import PATIENCE, Config, Local
from pgha.node.hearing import Hearing
from pgha.node.messages import Deny, Would


class Votes:
    """What this node has promised (a vote that is still to be written) and granted."""

    def __init__(self, config: Config, now: float, hearing: Hearing) -> None:
        self.config, self._hearing = config, hearing
        self._promised: tuple[str, int] | None = None
        self._granted: tuple[str, float] = ("", now)

    def refusal(self, now: float, local: Local, sender: str, term: int) -> str:
        """Why this node would not vote for `sender` in `term`; empty: it would."""
        if local.idle or local.stopped:
            return "it is stopped"
        if local.held:
            return "an operator's command is at work"
        if local.leads:
            return "it is the primary"
        leader = self._hearing.leader
        if self._hearing.hears_leader(now, local):
            assert leader is not None
            return f"it hears {leader.name}"
        if self._hearing.just_started(now):
            return "it has just started: a primary that lives would be heard by then"
        if term < local.term:
            return f"it is of term {local.term}"
        if term == local.term and local.voted_for != sender:
            return f"it voted for {local.voted_for or 'nobody'} in term {term}"
        if term == local.term and local.upstream is not None:
            return f"it followed {local.upstream} in term {term}"
        return ""

    def just_voted(self, now: float, sender: str) -> str:
        """Who has a vote gets the time to make use of it: more, while it says that it is at it."""
        candidate, at = self._granted
        if candidate in (sender, ""):
            return ""
        beat = self._hearing.peers[candidate].beat
        at_it = beat is not None and beat.standing and candidate in self._hearing.of_late(now)
        fresh = now - at <= self.config.election_timeout_s * (PATIENCE if at_it else 1.0)
        return f"it has just voted for {candidate}" if fresh else ""

    def asked(self, now: float, local: Local, sender: str, term: int) -> Would:
        """PreVote: the answer binds nobody."""
        why = self.refusal(now, local, sender, term) or self.just_voted(now, sender)
        return Would(term, local.term, not why, why)

    def requested(self, now: float, local: Local, sender: str, term: int) -> Deny | None:
        """None: its turn comes, or somebody else's of a later term."""
        why = self.refusal(now, local, sender, term)
        if why:
            return Deny(term, local.term, why)
        if self._promised is None or term > self._promised[1]:
            self._promised = (sender, term)
        return None

    def promise(self, candidate: str, term: int) -> None:
        self._promised = (candidate, term)

    def take_promise(self) -> tuple[str, int] | None:
        """The vote that is to be written now; it is asked for once."""
        promised, self._promised = self._promised, None
        return promised

    def gave(self, now: float, candidate: str) -> None:
        self._granted = (candidate, now)
