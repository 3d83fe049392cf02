"""Looks at a Docker host from a helper container before `init`: directories, disks, addresses.

The host's root is mounted read-only, so that looking at a directory does not make it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import ipaddress
import os
import socket
import struct
from typing import Any

MARKER = "pgha/initialising"
# What the mark says where it is an `init -f` that is under way.
FORCED = "forced\n"
# netdevice(7).
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8


def survey(root: str, paths: list[str]) -> dict[str, Any]:
    """root: where the host's root is mounted; paths: directories of the host.

    For each: its entries (none where it does not exist), whether an `init` was cut off there and
    was one with -f, and the bytes free and in all of its file system; and the host's IPv4 routes
    but the default one, its addresses, and whether its kernel has ESP (null: it does not tell).
    """
    routes, addresses = _routes(), _addresses()
    os.chroot(root)  # So that the host's absolute links lead where they lead on the host.
    os.chdir("/")
    volumes = [_volume(path) for path in paths]
    return {"volumes": volumes, "routes": routes, "addresses": addresses, "esp": _esp()}


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


def _esp() -> bool | None:
    """Whether the kernel's configuration has what encrypts an overlay network; after chroot."""
    told = ""
    try:
        with gzip.open("/proc/config.gz", "rt") as packed:
            told = packed.read()
    except OSError:
        with contextlib.suppress(OSError), open(f"/boot/config-{os.uname().release}") as plain:
            told = plain.read()
    lines = told.splitlines()
    return bool({"CONFIG_INET_ESP=y", "CONFIG_INET_ESP=m"} & set(lines)) if lines else None


def _addresses() -> list[str]:
    """`eth0 192.168.56.11/24` for each interface that is up, but the loopback one; its first
    address where it has several."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():

            def ask(what: int, name: str = name) -> bytes:
                return fcntl.ioctl(asked, what, struct.pack("256s", name.encode()))

            try:
                (flags,) = struct.unpack_from("H", ask(_SIOCGIFFLAGS), 16)
                if flags & _IFF_LOOPBACK or not flags & _IFF_UP:
                    continue
                address, mask = (
                    socket.inet_ntoa(ask(what)[20:24]) for what in (_SIOCGIFADDR, _SIOCGIFNETMASK)
                )
            except OSError:  # It has no IPv4 address.
                continue
            found.append(f"{name} {ipaddress.ip_interface(f'{address}/{mask}')}")
    return found
