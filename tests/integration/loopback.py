"""A real SSH server on the loopback address, with keys and a client configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pgha.errors import Unreachable
from pgha.machines import Machine
from pgha.waiting import wait_until

ALIAS = "box"


def keygen(path: Path) -> str:
    """Make a key pair; the public key's two words."""
    path.unlink(missing_ok=True)
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    subprocess.run(command, check=True, input=b"y\n")
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Loopback:
    """The server. Everything that belongs to it is in `folder`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def machine(self, name: str = ALIAS, *, connect_timeout_s: float = 5.0) -> Machine:
        """How the product reaches it."""
        return Machine(name, False, self.folder / "config", self.known_hosts, connect_timeout_s)

    def sessions(self) -> list[int]:
        """The processes that serve open connections."""
        children = subprocess.run(
            ("pgrep", "-P", str(self.process.pid)), capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in children.stdout.split()]

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to them: killed, they are a lost connection; stopped, a stalled host."""
        for pid in self.sessions():
            below = subprocess.run(
                ("pgrep", "-P", str(pid), "sshd"), capture_output=True, text=True, check=False
            )
            for each in (*map(int, below.stdout.split()), pid):
                # A session may end by itself meanwhile.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)

    def stop(self) -> None:
        """End it, and every connection."""
        self.signal_sessions(signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def start(folder: Path) -> Loopback:
    """Start a server that lets the current user in by a key that its host key's file knows."""
    port, user = free_port(), getpass.getuser()
    host_key, our_key = keygen(folder / "host_key"), keygen(folder / "our_key")
    (folder / "authorized_keys").write_text(f"{our_key}\n")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "config").write_text(
        f"Host {ALIAS} behind\n HostName 127.0.0.1\n Port {port}\n User {user}\n"
        f" IdentityFile {folder}/our_key\n IdentitiesOnly yes\n"
        f"Host behind\n HostName localhost\n ProxyJump {ALIAS}\n"
    )
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    assert program, "openssh-server is not installed"
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            (program, "-D", "-e", "-f", str(folder / "sshd_config")), stderr=log
        )

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            raise Unreachable(str(error)) from None
        return True

    wait_until(listens, timeout_s=10, what="the SSH server listens", pause_s=0.02)
    return Loopback(folder, port, process)
