"""What test runs leave behind where they are killed, found by name. As a module: with a prefix.

Every container, network and lab of a run begins with its prefix, which ends in its process's
number: as long as that process lives nobody touches them. Without an argument: all that belong to
dead runs.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lab.lab import ROOT
from lab.layout import Files
from tests.client.client import docker

_RUN = re.compile(r"pgha-(?:test|chaos)-(?P<process>[0-9]+)(?:-|$)")


def of_a_dead_run(name: str, lives: Callable[[int], bool]) -> bool:
    """Whether a container's or a network's name is that of a run whose process is gone."""
    run = _RUN.match(name)
    return run is not None and not lives(int(run["process"]))


def _of_a_dead_run(name: str) -> bool:
    return of_a_dead_run(name, _lives)


def _lives(process: int) -> bool:
    return Path("/proc", str(process)).exists()


def remove(unwanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Remove the containers and networks whose names are unwanted, and tell which."""
    containers = list(filter(unwanted, docker("ps", "-a", "--format", "{{.Names}}").split()))
    if containers:
        docker("rm", "-f", "-v", *containers, check=False)
    networks = list(filter(unwanted, docker("network", "ls", "--format", "{{.Name}}").split()))
    if networks:
        docker("network", "rm", *networks, check=False)
    return (*containers, *networks)


def remove_files(unwanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Remove the files of labs whose names are unwanted, and tell which."""
    labs = [Files(ROOT, folder.name) for folder in ROOT.glob("build/lab/*")]
    gone = [files for files in labs if unwanted(files.name)]
    for files in gone:
        files.env.unlink(missing_ok=True)
        shutil.rmtree(files.folder)
    return tuple(f"build/lab/{files.name}" for files in gone)


def main(words: list[str]) -> int:
    if shutil.which("docker") is None:
        return 0
    if words:
        for each in (remove, remove_files):
            each(lambda name: name.startswith(f"{words[0]}-"))
        return 0
    gone = [each for by in (remove, remove_files) for each in by(_of_a_dead_run)]
    if gone:
        print(f"Left by a test run that was killed, removed: {', '.join(gone)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
