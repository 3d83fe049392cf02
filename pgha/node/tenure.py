"""This node as the primary: since when, when it must end, how it serves its term again. Pure."""

from __future__ import annotations

from pgha.node.election_types import (
    KILL_AFTER_S,
    RETRY_S,
    UNFENCED_S,
    Action,
    Config,
    Do,
    Local,
    Rest,
    Result,
    Say,
    Server,
)
from pgha.node.hearing import Hearing
from pgha.node.outage import Outage
from pgha.node.pauses import Pauses
from pgha.node.report import Role
from pgha.node.trouble import Trouble


class Tenure:
    """Its time as the primary, now or of late. A term is spent when its promotion was cut off so
    that nobody can lead in it any more."""

    def __init__(
        self,
        config: Config,
        now: float,
        hearing: Hearing,
        pauses: Pauses,
        outage: Outage,
        trouble: Trouble,
    ) -> None:
        self.config, self._hearing, self._pauses = config, hearing, pauses
        self._outage, self._trouble = outage, trouble
        self._lead_since: float | None = None
        self._served_at = self._down_since = now
        self._watched = False  # whether it led while this agent ran
        self._unfenced_since: float | None = None
        self._spent = 0

    def leads(self, now: float, local: Local) -> None:
        if self._lead_since is None:
            self._lead_since = now
        self._watched = True
        if local.serving:
            self._served_at = now
            self._outage.served(now, self.config.me)

    def ended(self, now: float) -> bool:
        """It does not lead. Whether that is new."""
        if self._lead_since is None:
            return False
        self._lead_since, self._down_since = None, now
        return True

    def out_s(self, now: float, local: Local) -> float:
        """For how long it has not been serving."""
        return 0.0 if local.serving else round(now - self._served_at, 1)

    # --- while it runs ---------------------------------------------------------------------------

    def due(self, now: float, local: Local, out: list[Action]) -> Do | None:
        # An operator's `init` ends with this; for him it is done as soon as it can be.
        why = "" if local.idle else self._must_fence(now, local)
        if why and self._pauses.ready("fence", now):
            fields = {"term": local.term, "why": why}
            out.append(Say("stepped-down", f"{self.config.me} steps down: {why}", fields))
            return fence(why)
        if why or local.role is not Role.PRIMARY or local.stopped:
            return None
        if local.serving and not local.opened and self._pauses.ready("confirm", now):
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
        peers, fellows = self._hearing.peers, self._hearing.fellows(local)
        if not local.held:
            for name in fellows:
                beat = peers[name].beat
                if beat is not None and beat.term > local.term:
                    return f"{name} is of term {beat.term}"
        since = self._lead_since if self._lead_since is not None else now
        limit_s = self.config.election_timeout_s
        silent = [name for name in fellows if now - max(peers[name].acked_at, since) > limit_s]
        # Those that are not heard may elect another one: only if they are a majority by themselves.
        if len(silent) >= self._hearing.majority(local):
            return "no majority heard"
        return ""

    def no_primary(self) -> None:
        """No primary runs here: nothing is left to fence."""
        self._unfenced_since = None

    def confirmed(self, now: float, local: Local, result: Result, out: list[Action]) -> None:
        if not result.ok:
            self._pauses.later("confirm", now, RETRY_S, RETRY_S)
            return
        told = self._outage.opened(now)
        fields = {"term": local.term, "to": self.config.me, "asked_by": "vote", **told}
        out.append(Say("opened", f"{self.config.me} is open in term {local.term}", fields))

    # --- again, in its own term ------------------------------------------------------------------

    def resumable(self, local: Local) -> bool:
        """Whether it can be the primary of its term again: its log is the one of that term, and
        nobody is known to have left the term."""
        if not self.config.data or self._hearing.known > local.term or local.term == 0:
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

    def due_to_resume(self, now: float, local: Local) -> Do | None:
        """A majority that has left the term for no other one is word enough: who served it may
        serve it again. Nobody is let in before a first commit, so a vote that comes in between
        harms nothing."""
        if not self.resumable(local) or self._hearing.hears_leader(now, local):
            return None
        if not self._pauses.ready("resume", now):
            return None
        if not local.fit:
            self._trouble.why = "its disk is full"
            return None
        peers, timeout_s = self._hearing.peers, self.config.election_timeout_s
        # Of late, and not as it was before: what happened meanwhile we may have slept through.
        since = max(self._down_since, self._hearing.boot, now - timeout_s)
        here = [n for n in self._hearing.fellows(local) if peers[n].acked_at >= since]
        if len(here) + 1 < self._hearing.majority(local):
            return None
        rivals = [n for n in here if (beat := peers[n].beat) is not None and beat.able]
        # It died before our eyes: who is up already is quicker.
        grace = timeout_s if self._watched and rivals and self.config.auto_failover else 0.0
        if now - self._down_since < grace:
            return None
        self._outage.lasts()
        self._outage.caused("it was down, and serves its term again")
        if local.rest is Rest.PRIMARY and local.server is Server.NONE:
            why = f"{' and '.join(here)} know of no later term"
            return Do("serve", {"term": local.term}, why)
        return Do("promote", {"term": local.term}, "its promotion was cut off")

    def resumed(self, now: float, did: Do, result: Result) -> None:
        """`serve` or `promote` in its own term ended (or a winner's step that came too late)."""
        if did.verb == "promote" and result.code in ("timeline-taken", "not-standby"):
            # Cut off within PostgreSQL's own part: the number is used up, so is the term.
            self._spent = max(self._spent, did.args["term"])
        self._pauses.later("resume", now)


def fence(why: str) -> Do:
    return Do("fence", {"reason": why, "checkpoint_s": 0, "kill_after_s": KILL_AFTER_S}, why)
