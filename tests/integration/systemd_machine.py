"""A machine that systemd runs, with a Docker engine of its own: a container, as hosts in a lab are.

Debian 12: its systemd still runs on either version of control groups.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.hosts import Result
from pgha.image_inputs import base_name
from pgha.local_host import LocalHost
from pgha.processes import OnLine
from pgha.settings import parse
from pgha.waiting import Deadline, wait_until
from tests.client.client import docker
from tests.integration.image import PREFIX

IMAGE = "pgha-test-systemd:12"
INCLUDED = "systemd,systemd-sysv,docker.io,iptables"
# What a container may need to run systemd and dockerd, short of --privileged.
POWERS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined"),
    *("--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined"),
    *("--device-cgroup-rule", "a *:* rwm", "--cgroupns", "host"),
    *("-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "-v", "/var/lib/docker"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),
    *("-e", "container=docker", "--stop-signal", "SIGRTMIN+3"),
)
UP_S = 60.0
# The base of the node's image: what a container in the machine runs.
BASE = base_name(parse("DOCKER_HUB_IMAGE=false", source="-", environ={}))


class Machine(LocalHost):
    """The machine as a host of ours: commands run in it, as root."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.container = f"{PREFIX}-{name}"

    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        words = ("docker", "exec", "-i", self.container, *command.words)
        return super().answer(Command(words, command.stdin), deadline, on_line)

    def run_here(self, *words: str, check: bool = True) -> str:
        """A command's output."""
        return self.run(Command(words), timeout_s=UP_S, check=check).stdout

    def signal(self, name: str, pid: str) -> None:
        # The shell's own kill: the program is in a package of its own, which is not there.
        self.run_here("sh", "-c", 'kill -s "$0" "$1"', name, pid)

    def boot(self) -> None:
        """From nothing, with the base image in its engine."""
        docker("run", "-d", "--name", self.container, *POWERS, IMAGE, "/lib/systemd/systemd")
        self.is_up()
        save = subprocess.Popen(("docker", "save", BASE), stdout=subprocess.PIPE)
        load = ("docker", "exec", "-i", self.container, "docker", "load", "-q")
        subprocess.run(load, stdin=save.stdout, check=True, capture_output=True, timeout=120)
        assert save.wait(timeout=UP_S) == 0

    def reboot(self) -> None:
        """In order: systemd ends what it runs, and starts again."""
        docker("stop", "-t", "60", self.container)
        docker("start", self.container)
        self.is_up()

    def power_cut(self) -> None:
        docker("kill", self.container)
        docker("start", self.container)
        self.is_up()

    def is_up(self) -> None:
        def asked() -> bool:
            state = self.run_here("systemctl", "is-system-running", check=False).strip()
            if state not in ("running", "degraded"):
                raise Unreachable(f"systemd says {state!r}")
            return True

        wait_until(asked, timeout_s=UP_S, what="The machine is up")

    def remove(self) -> None:
        docker("rm", "-f", "-v", self.container, check=False)


def make_image() -> str:
    """Make IMAGE where it is not there; why it cannot be made, "" where it is there."""
    if docker("image", "ls", "-q", IMAGE).strip():
        return ""
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed"
    with tempfile.TemporaryDirectory(prefix="pgha-systemd-") as place:
        archive = Path(place) / "base.tar"
        words = ("mmdebstrap", "--variant=apt", f"--include={INCLUDED}", "bookworm", str(archive))
        made = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
        assert made.returncode == 0, made.stderr
        docker("import", str(archive), IMAGE, timeout_s=300.0)
    return ""
