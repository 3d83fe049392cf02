"""A random schedule of faults: seeded, so that it can be had again. Pure but for making Faults.

A round is a few faults that overlap, then everything is undone and the cluster must heal. Faults
are planned for roles: who has a role is seen when the round begins. Most rounds break one node
only; some break a majority, and then nothing may be acknowledged, lost or forked all the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tests.chaos import faults, net
from tests.chaos.faults import Fault, OfNode
from tests.chaos.net import Way
from tests.chaos.world import ChaosCluster, Roles

ROLES = ("primary", "standby", "witness")
MAJORITY_ROUNDS = 0.15
MOST_FAULTS = 3
# Seconds: shorter and longer than ELECTION_TIMEOUT, and than the limits of main and of libpq.
SHORTEST_S, LONGEST_S = 0.2, 12.0


@dataclass(frozen=True)
class Kind:
    """A fault that a schedule may choose. roles: where it makes sense; weight: how often it comes.

    instant: it is done when it has begun (a process was killed). stalls: its node is asleep, and
    wakes up. takes: whom it keeps from ending the node's PostgreSQL (`main` or `agent`)."""

    name: str
    make: OfNode
    roles: tuple[str, ...] = ROLES
    weight: float = 1.0
    instant: bool = False
    stalls: bool = False
    takes: str = ""


def _pair(peer_offset: int, way: Way) -> Callable[[ChaosCluster, str], Fault]:
    """The link to the next node, or to the one after it."""

    def make(cluster: ChaosCluster, node: str) -> Fault:
        names = cluster.names
        peer = names[(names.index(node) + peer_offset) % len(names)]
        return net.cut_pair(cluster, node, peer, way=way)

    return make


DATA = ("primary", "standby")
KINDS = (
    Kind("kill container", faults.kill, weight=3),
    Kind("stop container", faults.stop),
    Kind("restart container", faults.restart, weight=2, instant=True),
    Kind("pause container", faults.pause, weight=3, stalls=True),
    Kind("kill PostgreSQL", faults.kill_postgres, DATA, 3, instant=True),
    Kind("kill a backend", faults.kill_backend, ("primary",), instant=True),
    Kind("kill the agent", faults.kill_agent, weight=2, instant=True, takes="agent"),
    Kind("stop the agent", faults.freeze_agent, weight=2, takes="agent"),
    Kind("stop main", faults.freeze_main, takes="main"),
    Kind("stop the postmaster", faults.freeze_postmaster, DATA),
    Kind("stop PostgreSQL", faults.freeze_postgres, DATA),
    Kind("kill Pgpool-II", faults.kill_pgpool, instant=True),
    Kind("kill pg_receivewal", faults.kill_receiver, ("witness",), instant=True),
    *(Kind(f"isolate ({way})", partial(net.isolate, way=way)) for way in Way),
    *(Kind(f"cut off backend ({way})", partial(net.cut_backend, way=way)) for way in Way),
    *(Kind(f"cut off from nodes ({way})", partial(net.cut_from_nodes, way=way)) for way in Way),
    *(Kind(f"cut a pair ({way})", _pair(offset, way)) for way in Way for offset in (1, 2)),
    Kind("disconnect backend", net.disconnect),
    Kind("busy CPUs", faults.busy, weight=0.5),
)


@dataclass(frozen=True)
class Planned:
    """A fault of a round: when it begins, in seconds from the round's begin, and how long it is."""

    kind: Kind
    role: str
    begins_s: float
    lasts_s: float

    def fault(self, cluster: ChaosCluster, roles: Roles) -> Fault:
        return self.kind.make(cluster, str(getattr(roles, self.role)))

    def __str__(self) -> str:
        lasting = "" if self.kind.instant else f" for {self.lasts_s:.1f} s"
        return f"at {self.begins_s:.1f} s {self.kind.name} of the {self.role}{lasting}"


@dataclass(frozen=True)
class Round:
    """Faults that overlap. majority: more nodes may be broken at once than the cluster can bear."""

    number: int
    majority: bool
    faults: tuple[Planned, ...]

    @property
    def single(self) -> Planned | None:
        """Its fault, where it has only one: then what clients saw is that fault's doing."""
        return self.faults[0] if len(self.faults) == 1 else None

    @property
    def unattended(self) -> tuple[str, ...]:
        """The roles on whose nodes neither main nor the agent can end PostgreSQL: two faults at
        once, and readers may be shown what is past meanwhile (docs/safety.md, rule 4)."""
        taken = {(planned.role, planned.kind.takes) for planned in self.faults}
        return tuple(r for r in ROLES if {(r, "main"), (r, "agent")} <= taken)


def rounds(seed: int, kinds: Sequence[Kind] = KINDS) -> Iterator[Round]:
    """Without end; the same for the same seed."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        majority = chance.random() < MAJORITY_ROUNDS
        wanted = (
            chance.randint(2, MOST_FAULTS) if majority else chance.choice((1, 1, 2, MOST_FAULTS))
        )
        roles = ROLES if majority else (chance.choice(("primary", "primary", *ROLES)),)
        yield Round(number, majority, tuple(_planned(chance, roles, kinds) for _ in range(wanted)))


def _planned(chance: random.Random, roles: tuple[str, ...], kinds: Sequence[Kind]) -> Planned:
    role = chance.choice(roles)
    fit = [kind for kind in kinds if role in kind.roles]
    (kind,) = chance.choices(fit, [kind.weight for kind in fit])
    # Short ones are as likely as long ones: what is half done is where the faults are.
    lasts_s = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** chance.random()
    return Planned(kind, role, round(chance.uniform(0, 4), 2), round(lasts_s, 2))
