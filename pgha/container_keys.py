"""The keys with which a container is reached: ours, and the one by which it is known.

They are read out of the container by way of its host, and kept in the user's cache directory, so
that it is done once and not for each command.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pgha.account import home
from pgha.commands.base import Command, Secret

_END = "-----END OPENSSH PRIVATE KEY-----\n"

# One command for both: `docker exec` costs 55 ms. The private key comes first, and is armoured.
READ = Command(
    ("cat", "/root/.ssh/id_ed25519", "/etc/ssh/pgha/ssh_host_ed25519_key.pub"), user="root"
)


@dataclass(frozen=True)
class ContainerKeys:
    """private: OpenSSH's armoured text. host_key: `ssh-ed25519 AAAA…`."""

    private: Secret
    host_key: str


def parse_keys(text: str) -> ContainerKeys | None:
    """What READ prints; None where it is something else."""
    private, end, rest = text.partition(_END)
    words = rest.split()
    if not end or len(words) < 2 or words[0] != "ssh-ed25519":
        return None
    return ContainerKeys(Secret(private + end), " ".join(words[:2]))


def cache_directory() -> Path:
    """$XDG_CACHE_HOME/pgha; ~/.cache/pgha where that is not set (XDG Base Directory)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "pgha"


@dataclass(frozen=True)
class KeyCache:
    """The keys of one container in a file that only its owner reads."""

    directory: Path
    host: str
    container: str

    @property
    def path(self) -> Path:
        """A name that other clusters' containers and hosts do not have."""
        return self.directory / re.sub(r"[^\w.@-]", "_", f"{self.container}@{self.host}.keys")

    def load(self) -> ContainerKeys | None:
        """An earlier command's keys; None where the file could have been written by others."""
        try:
            with self.path.open(encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                    return None
                return parse_keys(file.read())
        except (OSError, UnicodeDecodeError):
            return None

    def store(self, keys: ContainerKeys) -> None:
        """Keep them. Where that is not possible they are read again next time: no error."""
        with contextlib.suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Beside it and renamed, so that another command never reads half a key. 0600 by itself.
            descriptor, beside = tempfile.mkstemp(dir=self.directory)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(f"{keys.private.reveal()}{keys.host_key}\n")
                os.replace(beside, self.path)
            except OSError:
                os.unlink(beside)
                raise
