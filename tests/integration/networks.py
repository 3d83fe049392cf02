"""Which networks a test's cluster gets: 10.N.x.x, which nobody on this machine has."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import tempfile
from pathlib import Path
from typing import IO

from tests.client.client import docker

# Below are those that people and products take by themselves; the last are the tests' own examples.
_NUMBERS = range(100, 250)
_taken: dict[int, IO[str]] = {}


def take() -> int:
    """An N of which 10.N.0.0/16 is free, and stays this process's as long as it lives."""
    folder = Path(tempfile.gettempdir(), "pgha-test-networks")
    folder.mkdir(exist_ok=True)
    others = _of_docker()
    for number in _NUMBERS:
        wanted = ipaddress.ip_network(f"10.{number}.0.0/16")
        if number in _taken or any(wanted.overlaps(other) for other in others):
            continue
        file = (folder / str(number)).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _taken[number] = file
        return number
    raise RuntimeError(f"No network 10.N.0.0/16 is free, N from {_NUMBERS[0]} to {_NUMBERS[-1]}.")


def give_back(number: int) -> None:
    """Others may take it."""
    _taken.pop(number).close()


def _of_docker() -> list[ipaddress.IPv4Network]:
    names = docker("network", "ls", "-q").split()
    shown = docker("network", "inspect", "--format", "{{json .IPAM.Config}}", *names, check=False)
    subnets = [
        each["Subnet"] for line in shown.splitlines() for each in json.loads(line) or () if each
    ]
    return [ipaddress.IPv4Network(subnet) for subnet in subnets if ":" not in subnet]
