"""What a host says of itself: clock, memory, kernel, disks. The command, and its answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgha.commands.base import Command

# One round trip. `date` comes first: what follows must not count as a difference of clocks. A
# directory that is not there yet is on the file system of the nearest one above it.
_SCRIPT = r"""
echo "now $(date +%s.%N)"
echo "user $(id -un)"
echo "synchronised $(timedatectl show --property=NTPSynchronized --value 2>/dev/null)"
echo "systemd $(test -d /run/systemd/system && echo yes)"
echo "overcommit $(cat /proc/sys/vm/overcommit_memory)"
echo "swappiness $(cat /proc/sys/vm/swappiness)"
sed -n 's/^\(MemTotal\|MemAvailable\|SwapTotal\): *\([0-9]*\) kB$/\1 \2/p' /proc/meminfo
for path do
    above=$path
    while [ ! -e "$above" ]; do above=$(dirname "$above"); done
    echo "disk $(stat -f -c '%S|%a|%b|%T' "$above")|$path"
done
"""


@dataclass(frozen=True)
class Disk:
    """The file system on which a directory is, or will be. kind: as stat(1) names it."""

    path: str
    kind: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Vitals:
    """now_s: the host's clock, seconds since 1970. synchronised: None: nothing there tells."""

    now_s: float
    user: str
    synchronised: bool | None
    systemd: bool
    overcommit: int
    swappiness: int
    memory_bytes: int
    available_bytes: int
    swap_bytes: int
    disks: tuple[Disk, ...]


def ask_vitals(paths: Sequence[str]) -> Command:
    """Needs no image and no rights; changes nothing. paths: the node's directories."""
    return Command(("sh", "-c", _SCRIPT, "doctor", *paths))


def parse_vitals(text: str) -> Vitals:
    """The answer. Raises ValueError where it is another one than was expected."""
    lines = [line.partition(" ") for line in text.splitlines()]
    said = {key: value.strip() for key, _, value in lines if key != "disk"}
    try:
        return Vitals(
            now_s=float(said["now"]),
            user=said["user"],
            synchronised={"yes": True, "no": False}.get(said["synchronised"]),
            systemd=said["systemd"] == "yes",
            overcommit=int(said["overcommit"]),
            swappiness=int(said["swappiness"]),
            memory_bytes=int(said["MemTotal"]) * 1024,
            available_bytes=int(said["MemAvailable"]) * 1024,
            swap_bytes=int(said["SwapTotal"]) * 1024,
            disks=tuple(_disks(value for key, _, value in lines if key == "disk")),
        )
    except KeyError as error:
        raise ValueError(f"nothing is said of {error}") from error


def _disks(values: Iterator[str]) -> Iterator[Disk]:
    for value in values:
        size, free, blocks, kind, path = value.split("|", 4)
        yield Disk(path, kind, int(free) * int(size), int(blocks) * int(size))
