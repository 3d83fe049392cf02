"""A host's name → how to reach it: docker-machine's store, else what OpenSSH makes of the name."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgha import docker_machine, openssh
from pgha.account import expanded, home, user_name
from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.openssh import Answer, Here, Hop, Jump
from pgha.processes import Overdue, run_here
from pgha.settings import Mode, Settings
from pgha.topology import LOCAL_HOST
from pgha.waiting import Deadline

# More than anybody has: where jump hosts lead to one another for ever.
_MOST_HOPS = 16

Ask = Callable[[Jump, tuple[Jump, ...]], Answer]


@dataclass(frozen=True)
class Machine:
    """Which host is meant, and where it is looked for.

    name: as the settings have it; a machine of the store, or what OpenSSH is asked about.
    local: no SSH, programs run here.
    ssh_config: the only configuration that counts; None: the user's and the whole system's.
    known_hosts: instead of the user's own files of known keys; None: as the configuration says.
    connect_timeout_s: connecting, signing on included, takes no longer.
    store: docker-machine's; None: there is none.
    """

    name: str
    local: bool
    ssh_config: Path | None
    known_hosts: Path | None
    connect_timeout_s: float
    store: Path | None = None


@dataclass(frozen=True)
class Way:
    """How a machine is reached: the hop to it first, then the one that leads there, and so on.

    look: with this people see for themselves; it asks them whether to accept an unknown key.
    """

    hops: tuple[Hop, ...]
    look: Command


def machine_of(settings: Settings, host: str) -> Machine:
    """The machine that the settings mean by `host`; in single mode this one, whatever the name."""
    single = settings.mode is Mode.SINGLE
    store = settings.machine_storage_path or "~/.docker/machine"
    return Machine(
        name=LOCAL_HOST if single else host,
        local=single,
        ssh_config=_file(settings.ssh_config),
        known_hosts=_file(settings.ssh_known_hosts),
        connect_timeout_s=settings.ssh_connect_timeout,
        store=expanded(store),
    )


def _file(text: str) -> Path | None:
    return expanded(text) if text else None


def way_to(machine: Machine, deadline: Deadline) -> Way:
    """Find out how a machine is reached. Nobody is contacted yet.

    Raises Unreachable with the file, or the words of ssh, that say nothing of use.
    """
    stored = _stored(machine)
    look = Command((*_shell(machine, stored), "true"))
    if stored is not None:
        return Way((docker_machine.hop_of(stored, here(), machine.known_hosts),), look)

    def ask_ssh(jump: Jump, through: tuple[Jump, ...]) -> Answer:
        return _ask(machine, openssh.question(jump, machine.ssh_config, through), deadline)

    # Where there is no ssh, Paramiko reads the configuration: without Match's finer points.
    ask = ask_ssh if shutil.which("ssh") else _paramikos(machine)
    try:
        return Way(hops(machine.name, ask, here(), machine.known_hosts), look)
    except ValueError as error:
        raise Unreachable(
            f"The SSH configuration of {machine.name} cannot be read: {error}.", next=look.quoted
        ) from None


def shell_of(machine: Machine) -> str:
    """What people type in front of a command to have it run there; "" where they are there."""
    if machine.local:
        return ""
    try:
        return Command(_shell(machine, _stored(machine))).quoted
    except Unreachable:
        return Command(_shell(machine, None)).quoted


def _shell(machine: Machine, stored: docker_machine.Stored | None) -> tuple[str, ...]:
    known = _known_words(machine)
    if stored is not None:
        return docker_machine.ssh(stored, known)
    configuration = ("-F", str(machine.ssh_config)) if machine.ssh_config else ()
    return ("ssh", *configuration, *known, machine.name)


def hops(name: str, ask: Ask, here: Here, known_hosts: Path | None) -> tuple[Hop, ...]:
    """The hops to what `ask` says is meant by a name; see `Way`.

    As OpenSSH does it: the last of ProxyJump's hosts leads to the name, and the ones before it
    lead to that one, instead of what its own configuration says. Raises ValueError.
    """
    found: list[Hop] = []
    jump, through = Jump(name), tuple[Jump, ...]()
    while len(found) < _MOST_HOPS:
        hop = openssh.hop_of(jump.name, ask(jump, through), here, known_hosts)
        found.append(hop)
        if not hop.jumps:
            return tuple(found)
        *before, jump = hop.jumps
        through = tuple(before)
    raise ValueError(f"ProxyJump leads from host to host without end, by way of {jump.name}")


def here() -> Here:
    """This machine and this user. OpenSSH takes the home from the user database, not from HOME."""
    try:
        user = pwd.getpwuid(os.getuid())
        directory, name = user.pw_dir, user.pw_name
    except KeyError:
        # As in a container that was given a user's number alone.
        directory, name = str(home()), user_name()
    return Here(Path(directory), name, os.getuid(), socket.gethostname(), os.environ)


def _stored(machine: Machine) -> docker_machine.Stored | None:
    if machine.store is None:
        return None
    file = docker_machine.config_of(machine.store, machine.name)
    look = f"docker-machine inspect {machine.name}"
    try:
        return docker_machine.read(machine.store, machine.name)
    except OSError as error:
        raise Unreachable(f"{file} cannot be read: {error.strerror}.", next=look) from None
    except ValueError as error:
        raise Unreachable(f"{file} cannot be used: {error}.", next=look) from None


def _known_words(machine: Machine) -> tuple[str, ...]:
    if machine.known_hosts is None:
        return ()
    # OpenSSH takes several files there, with spaces between them.
    file = str(machine.known_hosts)
    return ("-o", f'UserKnownHostsFile="{file}"' if " " in file else f"UserKnownHostsFile={file}")


def _ask(machine: Machine, question: Command, deadline: Deadline) -> Answer:
    try:
        status, stdout, stderr = run_here(question.words, b"", deadline, None)
    except Overdue:
        # A `Match exec` that does not end, say.
        message = f"ssh did not say within {deadline} what {machine.name} is."
        raise Unreachable(message, next=question.quoted) from None
    except OSError as error:
        raise Unreachable(f"ssh cannot be started: {error.strerror}.") from None
    if status != 0:
        said = stderr.strip().splitlines() or [f"status {status}"]
        raise Unreachable(
            f"ssh cannot say what {machine.name} is: {said[0].rstrip('.')}.",
            next=question.quoted,
            details=tuple(said[1:]),
        )
    return openssh.parse_answer(stdout)


def _paramikos(machine: Machine) -> Ask:
    from pgha.remote.ssh_config import read

    return read(machine.ssh_config or here().home / ".ssh" / "config")
