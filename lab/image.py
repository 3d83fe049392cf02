"""The image of the lab's hosts, made where it is missing or was made from something else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from lab.archive import Packed, pack
from pgha.base_image import Report, run_watched
from pgha.commands import docker
from pgha.hosts import Host
from pgha.image import ensure_base, image_of
from pgha.image_inputs import BASE_LABEL, BUILD_LABEL, base_name
from pgha.settings import parse

IMAGE = "pgha-lab-host:trixie"
BUILD_S = 1800.0
_SOURCE = Path(__file__).parent / "host"


def ensure_image(engine: Host, report: Report) -> None:
    """See to it that the engine has IMAGE, and its base, as `inv build` makes it.

    BASE_IMAGE of the environment names another base: Debian 13. Raises Refused, Failed.
    """
    given = {name: os.environ[name] for name in ("BASE_IMAGE",) if name in os.environ}
    settings = parse("DOCKER_HUB_IMAGE=false", source="-", environ=given)
    base = ensure_base(engine, settings, report)
    files = context(base_name(settings), _sources())
    labels = {BUILD_LABEL: hashlib.sha256(pack(files)).hexdigest(), BASE_LABEL: base.id}
    there = image_of(engine, IMAGE)
    if there is not None and labels.items() <= there.labels.items():
        return
    report(f"Make {IMAGE}, the hosts' image")
    command = docker.build(pack(files), IMAGE, labels=labels)
    run_watched(engine, command, report, f"{IMAGE} could not be made", BUILD_S)


def context(base: str, sources: Mapping[str, tuple[bytes, int]]) -> tuple[Packed, ...]:
    """What the image is built from. sources: path → content and mode."""
    files = dict(sources)
    dockerfile = f"FROM {base}\n".encode() + files.pop("Dockerfile")[0]
    rest = (Packed(path, *files[path]) for path in sorted(files))
    return (Packed("Dockerfile", dockerfile), *rest)


def _sources() -> dict[str, tuple[bytes, int]]:
    paths = (path for path in _SOURCE.rglob("*") if path.is_file())
    return {
        path.relative_to(_SOURCE).as_posix(): (
            path.read_bytes(),
            # Of a file's mode git keeps no more.
            0o755 if os.access(path, os.X_OK) else 0o644,
        )
        for path in paths
    }
