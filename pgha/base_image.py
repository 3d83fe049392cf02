"""A Debian base image, made on this machine, for who names none in BASE_IMAGE."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pgha.commands import docker
from pgha.commands.base import Command
from pgha.errors import CommandFailed, Failed, PghaError, Refused
from pgha.relay import Moved, Silence, relay
from pgha.remote import Host
from pgha.waiting import Patience

# Suites whose Release files expire: a mirror's copy may be older than that.
TESTING = {"forky"}

# Packages come over a network that we know nothing of.
BASE_S = 1800.0

Report = Callable[[str], None]


def make_base(
    host: Host,
    name: str,
    suite: str,
    report: Report,
    local: Host,
    silence: Silence,
    moved: Moved,
) -> None:
    """Make Debian's `suite` on the machine we run on, and give it to the host's engine as `name`.

    Raises Refused where no tool for it is installed, Failed on the way.
    """
    tool = next((tool for tool in ("mmdebstrap", "debootstrap") if shutil.which(tool)), None)
    if tool is None:
        raise Refused(
            "Nothing on this machine can make a Debian base: install the package mmdebstrap, or "
            "name an image of Debian 13 or later in BASE_IMAGE.",
            next="apt-get install mmdebstrap",
        )
    report(f"Make {name} with {tool}")
    with tempfile.TemporaryDirectory(prefix="pgha-base-") as place:
        archive = f"{place}/base.tar"
        if tool == "mmdebstrap":
            _mmdebstrap(local, suite, archive, report)
        else:
            what = _failure(suite)
            for command in _debootstrap_commands(suite, f"{place}/root", archive):
                run_watched(local, command, report, what, BASE_S)
        command = docker.import_image(b"", name)
        answers: list[float | PghaError] = []
        relay(
            Path(archive), {host: command}, silence, moved, lambda _, answer: answers.append(answer)
        )
    for answer in answers:
        if isinstance(answer, PghaError):
            raise answer


def _mmdebstrap(local: Host, suite: str, archive: str, report: Report) -> None:
    what = _failure(suite)
    try:
        run_watched(local, mmdebstrap_command(suite, archive), report, what, BASE_S)
    except Failed:
        if suite not in TESTING:
            raise
        # Its status does not tell an expired Release file from other failures. Signatures are
        # still checked; what is given up is the notice that a mirror stands still.
        report("Once more, with a Release file of any age")
        command = mmdebstrap_command(suite, archive, any_age=True)
        run_watched(local, command, report, what, BASE_S)


def _failure(suite: str) -> str:
    return f"A base of Debian {suite} could not be made"


def mmdebstrap_command(suite: str, archive: str, *, any_age: bool = False) -> Command:
    """Without a mirror's name mmdebstrap writes the suite's own, with updates and security."""
    options = [
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    ]
    if any_age:
        # It stays in the base (apt.conf.d), for the apt runs of the build.
        options.append('--aptopt=Acquire::Check-Valid-Until "false"')
    return Command(("mmdebstrap", "--variant=apt", *options, suite, archive))


def _debootstrap_commands(suite: str, root: str, archive: str) -> tuple[Command, Command]:
    return (
        Command(("debootstrap", "--variant=minbase", suite, root)),
        Command(
            ("tar", "--create", "--numeric-owner", "--directory", root, "--file", archive, ".")
        ),
    )


# A step of docker's own builder, and of BuildKit. The rest is shown only when it ends badly.
_STEP = re.compile(r"^(?:Step |#\d+ \[ *)(\d+)/(\d+)")


def run_watched(
    host: Host, command: Command, report: Report, failed: str, timeout_s: float | Patience
) -> None:
    """Run a long command; its steps are reported as it goes.

    failed: the beginning of the sentence that Failed has where it fails, beside its last lines.
    """
    last: deque[str] = deque(maxlen=15)

    def on_line(line: str) -> None:
        last.append(line.rstrip())
        if step := _STEP.match(line):
            report(f"  step {step[1]} of {step[2]}")

    try:
        host.run(command, timeout_s=timeout_s, on_line=on_line)
    except CommandFailed as failure:
        lines = tuple(line for line in last if line)
        details = lines + tuple(line for line in tail(failure.stderr) if line not in lines)
        raise Failed(f"{failed} on {host.name}.", details=details) from failure


def tail(text: str, lines: int = 5) -> tuple[str, ...]:
    """The last lines of a program's errors, as an error's details."""
    return tuple(line.strip() for line in text.strip().splitlines()[-lines:])
