"""Faults of whole hosts, as the scenarios of chaos have faults: each with what undoes it."""

from __future__ import annotations

from collections.abc import Callable

from lab import Lab
from tests.chaos.faults import Fault

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
        lambda: lab.cut(host, other, one_way=one_way),
        lambda: lab.heal(host, wait=False),
    )


def reboot(lab: Lab, host: str) -> Fault:
    """The host reboots in order, and is there again."""
    return Fault("reboot host", (host,), lambda: lab.restart(host, wait=False))


def _healed(kind: str, lab: Lab, host: str, do: Callable[[str], None]) -> Fault:
    return Fault(kind, (host,), lambda: do(host), lambda: lab.heal(host, wait=False))
