"""Faults of our own: each must be found. Some are in the verbs (`mutated`), some in the core."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pgha.node.ballot import Ballot
from pgha.node.election import Election
from pgha.node.election_types import Action, Config, Do, Local
from pgha.node.hearing import Hearing
from pgha.node.tenure import Tenure
from tests.unit.election.cluster import Maker


class _WithoutFetch(Ballot):
    """What others have beyond our own log is not brought."""

    def _win(self, local: Local, out: list[Action]) -> None:
        super()._win(local, out)
        kept = [step for step in self._steps if step.verb != "fetch"]
        self._steps = [
            Do("promote", {**step.args, "lsn": None}, step.why) if step.verb == "promote" else step
            for step in kept
        ]


class _WinsAlone(Ballot):
    def stand(self, now: float, local: Local, resumable: bool, out: list[Action]) -> None:
        config, self.config = self.config, _alone(self.config)
        try:
            super().stand(now, local, resumable, out)
        finally:
            self.config = config


class _MajorityOfOne(Hearing):
    def majority(self, local: Local) -> int:
        return 1


def _alone(config: Config) -> Config:
    return replace(config, voters=tuple(v for v in config.voters if v.name == config.me))


class _NeverStepsDown(Tenure):
    def _must_fence(self, now: float, local: Local) -> str:
        why = super()._must_fence(now, local)
        return "" if why == "no majority heard" else why


class _NoPreVote(Ballot):
    """It stands at once, whatever the others hear."""

    def stand(self, now: float, local: Local, resumable: bool, out: list[Action]) -> None:
        super().stand(now, local, resumable, out)
        if self._phase.value == "asking":
            self._yes |= set(self.config.names)
            super().stand(now, local, resumable, out)


class _ResumesAlone(Tenure):
    """It serves its term again without anybody's word."""

    def due_to_resume(self, now: float, local: Local) -> Do | None:
        for peer in self._hearing.peers.values():
            peer.acked_at = now
        return super().due_to_resume(now, local)


# What breaks, by the words of `rules`.
IN_VERBS = {
    "vote before the receiver ends": "which was acknowledged in term",
    "a vote that is not synced": "",
    "a timeline that is not the term": "both write timeline",
    "a diverged follower is let in": "",
    "the gate opens before the first commit": "opens what only",
    "the gate stays open through a restart in place": "opens what only",
}
IN_CORE: dict[str, Maker] = {
    "no fetch from the witness": partial(Election, ballot=_WithoutFetch),
    "a majority of one": partial(Election, ballot=_WinsAlone, hearing=_MajorityOfOne),
    "resume without a majority": partial(Election, tenure=_ResumesAlone),
}
NEVER_STEPS_DOWN: Maker = partial(Election, tenure=_NeverStepsDown)
WITHOUT_PREVOTE: Maker = partial(Election, ballot=_NoPreVote)
