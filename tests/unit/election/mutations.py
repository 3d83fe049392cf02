"""Faults of our own: each must be found. Some are in the verbs (`mutated`), some in the core."""

from __future__ import annotations

from dataclasses import replace

from pgha.node.election import Action, Config, Do, Election, Local
from tests.unit.election.cluster import Maker


class _WithoutFetch(Election):
    """What others have beyond our own log is not brought."""

    def _win(self, local: Local, out: list[Action]) -> None:
        super()._win(local, out)
        kept = [step for step in self._steps if step.verb != "fetch"]
        self._steps = [
            Do("promote", {**step.args, "lsn": None}, step.why) if step.verb == "promote" else step
            for step in kept
        ]


class _MajorityOfOne(Election):
    def _stand(self, now: float, local: Local, out: list[Action]) -> None:
        config, self.config = self.config, _alone(self.config)
        try:
            super()._stand(now, local, out)
        finally:
            self.config = config

    def _majority(self, local: Local) -> int:
        return 1


def _alone(config: Config) -> Config:
    return replace(config, voters=tuple(v for v in config.voters if v.name == config.me))


class _NeverStepsDown(Election):
    def _must_fence(self, now: float, local: Local) -> str:
        why = super()._must_fence(now, local)
        return "" if why == "no majority heard" else why


class _NoPreVote(Election):
    """It stands at once, whatever the others hear."""

    def _stand(self, now: float, local: Local, out: list[Action]) -> None:
        super()._stand(now, local, out)
        if self._phase.value == "asking":
            self._yes |= set(self.config.names)
            super()._stand(now, local, out)


class _ResumesAlone(Election):
    """It serves its term again without anybody's word."""

    def _due_to_resume(self, now: float, local: Local) -> Do | None:
        for peer in self._peers.values():
            peer.acked_at = now
        return super()._due_to_resume(now, local)


# What breaks, by the words of `rules`.
IN_VERBS = {
    "vote before the receiver ends": "which was acknowledged in term",
    "a vote that is not synced": "",
    "a timeline that is not the term": "both write timeline",
    "a diverged follower is let in": "",
    "the gate opens before the first commit": "opens what only",
}
IN_CORE: dict[str, Maker] = {
    "no fetch from the witness": _WithoutFetch,
    "a majority of one": _MajorityOfOne,
    "resume without a majority": _ResumesAlone,
}
NEVER_STEPS_DOWN: Maker = _NeverStepsDown
WITHOUT_PREVOTE: Maker = _NoPreVote
