"""Asks for what hosts will want, before the time of a command begins to run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pgha.at_once import at_once
from pgha.credentials import Ask, Credentials
from pgha.docker_rights import MAY_USE_DOCKER
from pgha.errors import Unreachable
from pgha.machines import machine_of, way_to
from pgha.settings import Mode, Settings
from pgha.topology import Topology
from pgha.waiting import Deadline

if TYPE_CHECKING:
    from pgha.remote import Reach


def unlock(settings: Settings, topology: Topology, credentials: Credentials, ask: Ask) -> None:
    """Ask for the passphrase of each key that is locked and that no agent has; once for each."""
    if settings.mode is Mode.SINGLE or credentials.passphrase:
        return
    for file in dict.fromkeys(_locked(settings, topology)):
        if file not in credentials.by_file:
            credentials.by_file[file] = ask(f"Passphrase of {file}: ")


def _locked(settings: Settings, topology: Topology) -> Iterator[Path]:
    from pgha.remote.sign_on import to_unlock

    for host in topology.hosts:
        machine = machine_of(settings, host)
        # What is wrong with the configuration is said when the host is needed.
        with contextlib.suppress(Unreachable):
            limit = Deadline(machine.connect_timeout_s)
            for hop in way_to(machine, limit).hops:
                yield from to_unlock(hop, limit)


def try_docker(reach: Reach, settings: Settings) -> None:
    """Find out where Docker cannot be used without a password; `Credentials.refused` has it."""
    limit_s = settings.ssh_connect_timeout
    jobs = {
        h.name: partial(h.run, MAY_USE_DOCKER, timeout_s=limit_s, check=False)
        for h in reach.hosts()
    }
    at_once(jobs, timeout_s=limit_s + 1)
