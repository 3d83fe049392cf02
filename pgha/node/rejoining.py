"""A follower's way to its primary, and back to it: following, rewinding, starting again. Pure."""

from __future__ import annotations

from pgha.node.election_types import (
    DRY_S,
    FOLLOW_S,
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
from pgha.node.pauses import Pauses
from pgha.node.report import Role
from pgha.node.tenure import fence
from pgha.node.trouble import Trouble

# A rewind that fails may be the network's fault, or the source's; it costs both sides something.
REWIND_S, REWIND_MAX_S = 2.0, 60.0
# After so many people are told what helps for certain.
REWINDS = 3
ENDS = "what is started here ends at once; the container's log says why"


class Rejoining:
    """Whom this node has tried to follow. A target is a primary and its term; from what is known of
    the last ones: whose WAL ours is apart from, to whose it was rewound, whom it cannot follow."""

    def __init__(self, config: Config, hearing: Hearing, pauses: Pauses, trouble: Trouble) -> None:
        self.config, self._hearing, self._pauses = config, hearing, pauses
        self._trouble = trouble
        self._rewind_from: tuple[str, int] | None = None
        self._rewound_to: tuple[str, int] | None = None
        self._stuck: tuple[str, int] | None = None
        self._dry_since: float | None = None
        self._failed_rewinds = 0

    def start_over(self) -> None:
        """Things are different now: what failed may go well."""
        self._pauses.clear()
        self._rewind_from = self._stuck = None
        self._failed_rewinds = 0
        self._trouble.over()

    def notice(self, now: float) -> None:
        if self._trouble.why == ENDS and self._pauses.lasted("tend", now):
            self._trouble.over()

    # --- what is to be done ----------------------------------------------------------------------

    def due(self, now: float, local: Local, out: list[Action]) -> Do | None:
        """Follow whoever leads; start again what died. (Not asked while this node wins.)"""
        leader = self._hearing.leader
        if leader is None or not self._hearing.hears_leader(now, local):
            return self._due_to_tend(now, local)
        astray = self._astray(local)
        if astray and self._pauses.in_vain("tend"):
            self._trouble.why = ENDS
        if local.follows(leader.name, leader.term) and not astray:
            dry = leader.beat.serving and self._is_dry(now, local)
            if not dry or not self._pauses.ready("follow", now):
                return self._due_to_tend(now, local)
            self._dry_since = None
        if not leader.beat.serving:
            return None
        target = (leader.name, leader.term)
        passed_over = local.role in (Role.PRIMARY, Role.FENCED)
        if local.role is Role.PRIMARY:
            text = f"{leader.name} took over in term {leader.term} while this node did not serve"
            out.append(Say("passed-over", text, {"term": leader.term, "leader": leader.name}))
            return fence(f"passed over by {leader.name}")
        if leader.beat.voters and self.config.me not in leader.beat.voters:
            self._trouble.why = f"{leader.name} was made the primary without it"
            return None
        if passed_over and self.config.data and not self.config.auto_recovery:
            self._trouble.why = f"passed over by {leader.name}, and AUTO_RECOVERY is off"
            return None
        if self._stuck == target or not self._pauses.ready("follow", now):
            return None
        if self._rewind_from == target:
            if not self._pauses.ready("rewind", now):
                return None
            return Do("rewind", {"upstream": leader.name}, f"its WAL is apart from {leader.name}'s")
        args = {"upstream": leader.name, "term": leader.term, "timeout_s": FOLLOW_S}
        return Do("follow", args, f"{leader.name} is the primary of term {leader.term}")

    def _astray(self, local: Local) -> bool:
        """Whether it was told to follow, and a plain start does not bring it there: something was
        cut off between word and deed. To be told again helps: `follow` looks at log and files."""
        if local.server is not Server.NONE:
            return False
        signal_gone = local.role is Role.STANDBY and local.rest is Rest.PRIMARY
        return signal_gone or self._pauses.in_vain("tend")

    def _is_dry(self, now: float, local: Local) -> bool:
        """Whether it runs as a follower and gets no WAL: its log may be apart from the primary's
        in a way that was not seen, and `follow` looks again."""
        if local.server is Server.NONE or local.streams:
            self._dry_since = None
            return False
        self._dry_since = now if self._dry_since is None else self._dry_since
        return now - self._dry_since > DRY_S

    def _due_to_tend(self, now: float, local: Local) -> Do | None:
        if local.server is not Server.NONE or not self._pauses.ready("tend", now):
            return None
        standby = local.role is Role.STANDBY and local.rest is Rest.STANDBY
        if standby or (local.role is Role.WITNESS and local.upstream is not None):
            return Do("tend", {}, "what should run does not")
        return None

    # --- what became of it -----------------------------------------------------------------------

    def followed(self, now: float, did: Do, result: Result, out: list[Action]) -> None:
        target = (did.args["upstream"], did.args["term"])
        if result.ok or result.code == "not-streaming":
            # Its word is durable: PostgreSQL goes on by itself.
            self._pauses.forget("follow")
            how = "rewound" if self._rewound_to == target else "followed"
            self._rewound_to = None
            self._trouble.over()
            text = f"{self.config.me} follows {target[0]} in term {target[1]}"
            out.append(Say("rejoined", text, {"how": how, "upstream": target[0]}))
        elif result.code in ("diverged", "rewinding") and self.config.data:
            if self.config.auto_recovery:
                if self._rewound_to == target:
                    self._pauses.later("follow", now)
                self._rewind_from = target
            else:
                self._stuck = target
                self._trouble.why = result.said
                out.append(Say("stuck", self._trouble.why, {"upstream": target[0]}))
        elif result.code in ("other-cluster", "no-data", "wal-gone"):
            self._get_stuck(target, result, out)
        else:
            self._pauses.later("follow", now)

    def rewound(self, now: float, did: Do, result: Result, out: list[Action]) -> None:
        target = self._rewind_from
        if result.ok or target is None:
            self._rewound_to, self._rewind_from = target, None
            self._failed_rewinds = 0
            self._pauses.forget("follow")
            self._pauses.forget("rewind")
        elif result.code in ("cannot-rewind", "other-cluster", "no-data"):
            self._rewind_from = None
            self._get_stuck(target, result, out)
        else:
            self._failed_rewinds += 1
            pause_s = min(REWIND_MAX_S, REWIND_S * 2 ** (self._failed_rewinds - 1))
            self._pauses.later("rewind", now, pause_s, pause_s)
            self._trouble.why = result.said
            # It goes on trying all the same.
            self._trouble.needs_copy = self._failed_rewinds >= REWINDS
            if self._failed_rewinds == REWINDS:
                out.append(Say("stuck", self._trouble.why, {"upstream": target[0]}))

    def _get_stuck(self, target: tuple[str, int], result: Result, out: list[Action]) -> None:
        self._stuck = target
        self._trouble.why, self._trouble.needs_copy = result.said, True
        out.append(Say("stuck", self._trouble.why, {"upstream": target[0]}))
