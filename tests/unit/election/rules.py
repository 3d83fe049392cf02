"""What must hold in every state (DESIGN, "Rules that are never broken"), and what is known of the
whole cluster to check it. No node sees any of this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.unit.election.world import Broken

if TYPE_CHECKING:
    from tests.unit.election.node import Node

# (timeline, number of the write): every write of a run has its own number.
Entry = tuple[int, int]


class Rules:
    """Told of all that happens; raises Broken."""

    def __init__(self, nodes: Mapping[str, Node], broken: Callable[[str], Broken]) -> None:
        self.nodes, self._broken = nodes, broken
        self.majority = len(nodes) // 2 + 1
        # The log that a client may rely on, and the lowest term in which each entry was promised.
        self.committed: list[Entry] = []
        self.committed_in: list[int] = []
        self.leaders: dict[int, tuple[str, list[Entry]]] = {}
        self.confirmed_at: dict[int, float] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._terms: dict[str, int] = {}
        self._writers: dict[int, str] = {}
        self._entries: dict[tuple[int, int], tuple[Entry, Entry | None]] = {}
        self.acknowledged = 0

    # --- durable state ---------------------------------------------------------------------------

    def term_is(self, node: str, term: int) -> None:
        if term < self._terms.get(node, 0):
            raise self._broken(f"the term of {node} went down from {self._terms[node]} to {term}")
        self._terms[node] = term

    def voted(self, node: str, term: int, candidate: str) -> None:
        """A voter's word is out."""
        before = self._votes.setdefault((node, term), candidate)
        if before != candidate:
            raise self._broken(f"{node} voted for {before} and {candidate} in term {term}")

    def on_disk(self, node: Node, start: int, end: int) -> None:
        """Entries became durable: what stands at a place of a timeline is the same everywhere, and
        so is all before it."""
        log = node.log
        for index in range(start, end):
            entry, before = log[index], log[index - 1] if index else None
            known = self._entries.setdefault((entry[0], index), (entry, before))
            if known != (entry, before):
                raise self._broken(
                    f"two logs: at {index} {node.name} has {before}, {entry},"
                    f" and there is {known[1]}, {known[0]}"
                )

    # --- leading ---------------------------------------------------------------------------------

    def promoted(self, node: Node, term: int, timeline: int) -> None:
        writer = self._writers.setdefault(timeline, node.name)
        if writer != node.name:
            raise self._broken(f"{writer} and {node.name} both write timeline {timeline}")
        if term in self.leaders:
            raise self._broken(f"term {term} has {self.leaders[term][0]} and {node.name}")
        log = list(node.log)
        self.leaders[term] = (node.name, log)
        for index, (entry, since) in enumerate(zip(self.committed, self.committed_in, strict=True)):
            if since < term and (index >= len(log) or log[index] != entry):
                raise self._broken(
                    f"{node.name} leads term {term} without {entry} at {index},"
                    f" which was acknowledged in term {since}"
                )

    def opened(self, node: Node, term: int, upto: int, began_at: float) -> None:
        """The gate opens after a first commit at `upto`: all before it may be read."""
        self._promise(node, term, upto, began_at, "opens")
        self.confirmed_at.setdefault(term, self.now)

    def acked(self, node: Node, term: int, upto: int, began_at: float) -> None:
        """A client is told that its write, begun at a time, is done."""
        self._promise(node, term, upto, began_at, "acknowledges")
        self.acknowledged += 1

    now: float = 0.0

    def _promise(self, node: Node, term: int, upto: int, began_at: float, what: str) -> None:
        log = node.log[:upto]
        for later, at in self.confirmed_at.items():
            if later > term and began_at > at:
                raise self._broken(
                    f"{node.name} {what} in term {term} what began after {later} was confirmed"
                )
        have = [
            n.name
            for n in self.nodes.values()
            if n.synced >= upto and (upto == 0 or n.log[upto - 1] == log[-1])
        ]
        if len(have) < self.majority and not node.cluster.asynchronous:
            raise self._broken(f"{node.name} {what} what only {have} have (term {term})")
        common = min(upto, len(self.committed))
        if log[:common] != self.committed[:common]:
            raise self._broken(f"{node.name} {what} another log than what was acknowledged")
        if upto > len(self.committed):
            for later, (leader, theirs) in self.leaders.items():
                if later > term and theirs[:upto] != log:
                    raise self._broken(
                        f"{node.name} {what} {log[-1]} in term {term}, which {leader} of"
                        f" term {later} does not have"
                    )
            self.committed_in += [term] * (upto - len(self.committed))
            self.committed = log
