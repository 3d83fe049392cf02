"""Looks at a Docker host from a helper container before `init`: directories, disks, routes.

The host's root is mounted read-only, so that looking at a directory does not make it.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any

MARKER = "pgha/initialising"
# What the mark says where it is an `init -f` that is under way.
FORCED = "forced\n"


def survey(root: str, paths: list[str]) -> dict[str, Any]:
    """root: where the host's root is mounted; paths: directories of the host.

    For each: its entries (none where it does not exist), whether an `init` was cut off there and
    was one with -f, and the bytes free and in all of its file system; and the host's IPv4 routes
    but the default one.
    """
    routes = _routes()
    os.chroot(root)  # So that the host's absolute links lead where they lead on the host.
    os.chdir("/")
    return {"volumes": [_volume(path) for path in paths], "routes": routes}


def _volume(path: str) -> dict[str, Any]:
    try:
        entries = sorted(name for name in os.listdir(path) if name not in ("lost+found", "aside"))
        problem = ""
    except FileNotFoundError:
        entries, problem = [], ""
    except OSError as error:
        entries, problem = [], os.strerror(error.errno or 0)
    above = path
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    disk = os.statvfs(above)
    return {
        "path": path,
        "entries": entries,
        "problem": problem,
        "initialising": os.path.exists(os.path.join(path, MARKER)),
        "forced": _says(os.path.join(path, MARKER), FORCED),
        "total_bytes": disk.f_blocks * disk.f_frsize,
        "free_bytes": disk.f_bavail * disk.f_frsize,
    }


def _says(file: str, text: str) -> bool:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read() == text
    except OSError:
        return False


def _routes() -> list[str]:
    """Networks to which this machine has a route (proc(5), /proc/net/route: little-endian hex)."""
    routes = []
    with open("/proc/net/route", encoding="ascii") as table:
        for line in list(table)[1:]:
            fields = line.split()
            destination, mask = (int.from_bytes(bytes.fromhex(fields[i])[::-1]) for i in (1, 7))
            if mask:
                network = ipaddress.ip_network((destination, bin(mask).count("1")), strict=False)
                routes.append(f"{network} {fields[0]}")
    return routes
