"""Small file systems of the test's own, below a node's volumes, and filling them up."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.chaos.faults import Fault
from tests.chaos.world import ChaosCluster

PIECE = bytes(1 << 16)


class SmallDisk:
    """A tmpfs at a directory: mounted before `init`, so that Docker binds what is below it.

    It survives the containers, which is what counts here; nothing of these tests cuts the power.
    """

    def __init__(self, directory: Path, size_mb: int) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        options = f"size={size_mb}m,mode=755"
        _run("mount", "-t", "tmpfs", "-o", options, "pgha-chaos", str(directory))

    def free_bytes(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def remove(self) -> None:
        """Raises AssertionError while somebody uses it."""
        _run("umount", str(self.directory))


class HangingDisk(SmallDisk):
    """A file system that can be told to let nobody write: who tries waits in the kernel, as with
    storage over a network that is gone, and no signal ends him."""

    def __init__(self, directory: Path, size_mb: int, file: Path) -> None:
        """file: what it is made in."""
        self.directory, self._file = directory, file
        directory.mkdir(parents=True)
        with file.open("xb") as made:
            made.truncate(size_mb << 20)
        _run("mke2fs", "-q", "-t", "ext4", str(file))
        _run("mount", "-o", "loop", str(file), str(directory))
        (directory / "lost+found").rmdir()

    def hang(self, node: str) -> Fault:
        def way(option: str) -> Callable[[], None]:
            return lambda: _run("fsfreeze", option, str(self.directory))

        return Fault("hanging disk", (node,), way("--freeze"), way("--unfreeze"))

    def remove(self) -> None:
        super().remove()
        self._file.unlink()


def fill(node: str, disk: SmallDisk, what: str) -> Fault:
    """Somebody else's file takes every byte; it is removed at the end."""
    file = disk.directory / "chaos-fill"

    def do() -> None:
        with file.open("wb", buffering=0) as out:
            try:
                while True:
                    out.write(PIECE)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    return Fault(f"full {what} volume", (node,), do, lambda: file.unlink(missing_ok=True))


def volume(cluster: ChaosCluster, node: str, variable: str) -> Path:
    """The host's directory of a node's volume, e.g. `postgres_data`."""
    return Path(getattr(cluster.topology.node(node).volumes, variable))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30.0)
    assert done.returncode == 0, f"{words}: {done.stderr}"
