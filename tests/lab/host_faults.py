"""Faults of whole hosts, as the scenarios of chaos have faults: each with what undoes it."""

from __future__ import annotations

from collections.abc import Callable

from lab import Lab
from pgha.errors import PghaError
from tests.chaos import faults
from tests.chaos.faults import Fault
from tests.chaos.schedule import Kind
from tests.chaos.world import ChaosCluster
from tests.lab.cluster import OnLab

OfHost = Callable[[Lab, str], Fault]


def kill(lab: Lab, host: str) -> Fault:
    """The host dies at once, as without power; it boots at the end."""
    return _healed("kill host", lab, host, lab.kill)


def pause(lab: Lab, host: str) -> Fault:
    """The host is stalled, with everything that it runs."""
    return _healed("stall host", lab, host, lab.pause)


def isolate(lab: Lab, host: str) -> Fault:
    """The host has no link."""
    return _healed("isolate host", lab, host, lab.isolate)


def silence(lab: Lab, host: str) -> Fault:
    """The host has its link, and its packets vanish."""
    return _healed("silence host", lab, host, lab.silence)


def cut(lab: Lab, host: str, other: str, *, one_way: bool = False) -> Fault:
    """Packets between two hosts vanish; one_way: those from the first to the second."""
    return Fault(
        "cut one way" if one_way else "cut",
        (host, other),
        _told(lambda: lab.cut(host, other, one_way=one_way)),
        _told(lambda: lab.heal(host, wait=False)),
    )


def reboot(lab: Lab, host: str) -> Fault:
    """The host reboots in order, and is there again."""
    return Fault("reboot host", (host,), _told(lambda: lab.restart(host, wait=False)))


def _healed(kind: str, lab: Lab, host: str, do: Callable[[str], None]) -> Fault:
    return Fault(kind, (host,), _told(lambda: do(host)), _told(lambda: lab.heal(host, wait=False)))


def _told(action: Callable[[], None]) -> Callable[[], None]:
    """A host that is broken already in another way is no mistake of a schedule's."""

    def do() -> None:
        try:
            action()
        except PghaError as error:
            raise AssertionError(error.message) from error

    return do


# For random schedules


def _of(how: OfHost) -> Callable[[ChaosCluster, str], Fault]:
    return lambda cluster, node: how(_lab(cluster), node)


def _cut_from(offset: int, *, one_way: bool) -> Callable[[ChaosCluster, str], Fault]:
    """From the next node's host, or from the one after it."""

    def make(cluster: ChaosCluster, node: str) -> Fault:
        names = cluster.names
        other = names[(names.index(node) + offset) % len(names)]
        return cut(_lab(cluster), node, other, one_way=one_way)

    return make


def _lab(cluster: ChaosCluster) -> Lab:
    assert isinstance(cluster, OnLab)
    return cluster.lab


HOST_KINDS = (
    Kind("kill host", _of(kill), weight=3),
    Kind("stall host", _of(pause), weight=2, stalls=True),
    Kind("isolate host", _of(isolate), weight=2),
    Kind("silence host", _of(silence), weight=2),
    Kind("reboot host", _of(reboot), instant=True),
    *(Kind("cut hosts", _cut_from(n, one_way=False)) for n in (1, 2)),
    *(Kind("cut hosts one way", _cut_from(n, one_way=True)) for n in (1, 2)),
    Kind("kill container", faults.kill, weight=2),
    Kind("stop container", faults.stop),
    Kind("pause container", faults.pause, weight=2, stalls=True),
    Kind("restart container", faults.restart, instant=True),
)
