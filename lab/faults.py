"""Faults of the network between hosts: packets that vanish. Pure: scripts for `nft`, its answers.

The rules are in the hosts' own network namespaces, at the very device, so that they hold for all
that a host sends and takes: its own packets, its containers', and Swarm's VXLAN. Who sends notices
nothing, as with packets that are lost on the way. A host that restarts has lost its rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from pgha.commands.base import Command

_SILENT = "lab_silent"
_FROM = "lab_from_"
_TABLE = re.compile(rf"^table netdev ({_SILENT}|{_FROM}(\d+))$", re.MULTILINE)

# The device is found by its address: Docker numbers it anew where a link was gone.
_SCRIPT = (
    'dev=$(ip -o -4 address show to "$0" | while read -r _ dev _; do echo "$dev"; done);'
    ' [ -n "$dev" ] || exit 3; sed "s/@device@/$dev/" | nft -f -'
)
# Its status where the host has no such device.
NO_DEVICE = 3


@dataclass(frozen=True)
class Cuts:
    """What vanishes at a host. silent: everything; unheard: what hosts of these numbers send."""

    silent: bool
    unheard: tuple[int, ...]


def silence(address: IPv4Address) -> Command:
    """Everything that a host sends or is sent vanishes."""
    chains = _chain("ingress", "meta protocol { ip, ip6 } drop") + _chain(
        "egress", "meta protocol { ip, ip6 } drop"
    )
    return _apply(address, _table(_SILENT, chains))


def unhear(address: IPv4Address, number: int, other: IPv4Address) -> Command:
    """What the host of this number and address sends does not arrive at the one at `address`."""
    return _apply(address, _table(f"{_FROM}{number}", _chain("ingress", f"ip saddr {other} drop")))


def look() -> Command:
    """Which rules of ours a host has; for `parse`."""
    return Command(("nft", "list", "tables", "netdev"))


def parse(text: str) -> Cuts:
    """The answer to `look`."""
    found = list(_TABLE.finditer(text))
    unheard = sorted(int(table[2]) for table in found if table[2])
    return Cuts(any(table[1] == _SILENT for table in found), tuple(unheard))


def mend(cuts: Cuts) -> Command | None:
    """Take these rules away; None where there are none."""
    tables = (*((_SILENT,) if cuts.silent else ()), *(f"{_FROM}{n}" for n in cuts.unheard))
    if not tables:
        return None
    return Command(("nft", "-f", "-"), stdin="".join(f"delete table netdev {t}\n" for t in tables))


def _table(name: str, chains: str) -> str:
    # Added first, so that there is one to delete: then it is made from nothing.
    table = f"table netdev {name}"
    return f"add {table}\ndelete {table}\n{table} {{\n{chains}}}\n"


def _chain(hook: str, rule: str) -> str:
    device = 'device "@device@"'
    return f"chain {hook}_ {{ type filter hook {hook} {device} priority -500; {rule}; }}\n"


def _apply(address: IPv4Address, script: str) -> Command:
    return Command(("sh", "-c", _SCRIPT, str(address)), stdin=script)


def said(cuts: Cuts, names: Iterable[str]) -> str:
    """For people: what does not arrive at this host. names: of all hosts, in their order."""
    words = ["silent"] if cuts.silent else []
    hosts = tuple(names)
    words += [f"hears nothing of {hosts[n]}" for n in cuts.unheard if n < len(hosts)]
    return ", ".join(words)
