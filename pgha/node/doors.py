"""Where Pgpool-II leads, and where it should. Pure."""

from __future__ import annotations

from pgha.node.election_types import LEAVE, Config, Do, Door, Local, Result
from pgha.node.hearing import Hearing
from pgha.node.pauses import Pauses


class Doors:
    """This node's Pgpool-II."""

    def __init__(self, config: Config, hearing: Hearing, pauses: Pauses) -> None:
        self.config, self._hearing, self._pauses = config, hearing, pauses
        self._work: Do | None = None
        self._leads_to: Door | None = None

    def forget(self) -> None:
        """Where it leads is to be said again."""
        self._leads_to = None

    def wish(self, now: float, local: Local) -> Door | None:
        """Where Pgpool-II should lead; None: it should not run, so that a client's libpq goes on to
        the next address; LEAVE: as it is. It may start before the primary is open: PostgreSQL
        itself lets nobody in."""
        if local.idle or local.held or local.stopped or not local.doors:
            return LEAVE
        leader = self._hearing.leader
        if local.leads:
            hearing = self._hearing
            unheard = [
                n for n in hearing.fellows(local) if hearing.peers[n].acked_at < hearing.boot
            ]
            # It recovers in place, and sessions wait; or the agent has just started, and others may
            # have elected another one.
            if not local.serving or len(unheard) >= hearing.majority(local):
                return LEAVE
            return Door(self.config.me, self.up(local))
        if self._hearing.hears_leader(now, local):
            assert leader is not None
            if self._hearing.unanswered_s(now) > self.config.election_timeout_s:
                return None  # it is heard and does not hear: sessions through this door hang
            if not leader.beat.serving:
                return LEAVE
            return Door(leader.name, leader.beat.up or (leader.name,))
        return LEAVE if self._hearing.just_started(now) else None

    def may_enter(self, now: float, local: Local) -> bool:
        """Whether Pgpool-II runs and leads to a primary that lets clients in."""
        if not local.door or self._work is not None or self._leads_to is None:
            return False
        if local.leads:
            return local.serving and local.opened
        leader = self._hearing.leader if self._hearing.hears_leader(now, local) else None
        return leader is not None and leader.beat.serving and leader.beat.opened

    def due(self, now: float, local: Local) -> Do | None:
        """The verb that is to be called now: none while another one is under way."""
        if self._work is not None:
            return None
        self._work = self._next(now, local)
        return self._work

    def _next(self, now: float, local: Local) -> Do | None:
        if not self._pauses.ready("door", now):
            return None
        wish = self.wish(now, local)
        if wish is None:
            if not local.door:
                return None
            return Do("close", {}, "no primary is heard, or it does not answer", door=True)
        if wish is LEAVE or (local.door and self._leads_to == wish):
            return None
        args = {"primary": wish.primary, "up": ",".join(wish.up)}
        return Do("steer", args, f"{wish.primary} is the primary", door=True)

    def up(self, local: Local) -> tuple[str, ...]:
        """Whom each should have attached while this node leads: its own name first."""
        return (self.config.me, *(n for n in local.up if n != self.config.me))

    def done(self, now: float, did: Do, result: Result) -> None:
        self._work = None
        if not result.ok:
            self._pauses.later("door", now)
            return
        self._pauses.forget("door")
        if did.verb == "steer":
            self._leads_to = Door(did.args["primary"], tuple(str(did.args["up"]).split(",")))
        else:
            self._leads_to = None
