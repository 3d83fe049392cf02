"""Brings a node's image about on a Docker host: built from `image_inputs`, or pulled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pgha.base_image import make_base, mmdebstrap_command, run_watched, tail
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import ImageInfo, parse_images, parse_info
from pgha.errors import CommandFailed, Failed, Refused
from pgha.image_inputs import (
    BASE_LABEL,
    BUILD_LABEL,
    Build,
    ImageSettings,
    base_name,
    base_suite,
    build_inputs,
    image_name,
    node_files,
)
from pgha.remote import Host, LocalHost

__all__ = [
    "BuildResult",
    "ImageSettings",
    "build",
    "build_inputs",
    "ensure_base",
    "foreseen",
    "image_name",
    "image_of",
    "node_files",
]

ENGINE_S = 20.0
INSPECT_S = 20.0
# Packages and images come over a network that we know nothing of.
PULL_S = 3600.0
BUILD_S = 3600.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class BuildResult:
    """image: its name; changed: whether it is another one than before; seconds: all of it."""

    image: str
    image_id: str
    changed: bool
    seconds: float


def foreseen(host: Host, settings: ImageSettings) -> tuple[str, tuple[Command, ...]]:
    """The image's name, and what `build` would run on this host now: nothing where it is there.

    `base.tar` stands for a temporary file. A published image is always asked for: its name may
    mean another image today. Changes nothing; raises Refused where no engine answers.
    """
    _require_engine(host)
    name = image_name(settings)
    if settings.docker_hub_image:
        return name, (docker.pull(name),)
    inputs = build_inputs(settings, node_files())
    base = image_of(host, inputs.base)
    if base is not None and _up_to_date(image_of(host, name), _labels(inputs, base)):
        return name, ()
    labels = _labels(inputs, base) if base is not None else {BUILD_LABEL: inputs.digest}
    first = () if base is not None else _base_commands(settings)
    return name, (*first, docker.build(inputs.context, name, labels=labels))


def _base_commands(settings: ImageSettings) -> tuple[Command, ...]:
    name = base_name(settings)
    if settings.base_image:
        return (docker.pull(name),)
    make = mmdebstrap_command(base_suite(settings), "base.tar")
    return make, docker.import_image(b"", name)


def _labels(inputs: Build, base: ImageInfo) -> dict[str, str]:
    """What an image says of what it was made from."""
    return {BUILD_LABEL: inputs.digest, BASE_LABEL: base.id}


def _up_to_date(image: ImageInfo | None, labels: Mapping[str, str]) -> bool:
    return image is not None and labels.items() <= image.labels.items()


def build(
    host: Host,
    settings: ImageSettings,
    report: Report,
    *,
    local: Host | None = None,
    fresh: bool = False,
) -> BuildResult:
    """See to it that the host's engine has the image; a no-op where it has what would be built.

    local: the machine we run on, where a base is made. fresh: base and packages are fetched anew.
    Raises Refused where no engine answers or nothing can make a base, Failed on the way.
    """
    started = time.monotonic()
    _require_engine(host)
    if settings.docker_hub_image:
        before, after = _pull_published(host, settings, report)
    else:
        before, after = _build_ours(host, settings, report, local or LocalHost(), fresh)
    changed = before is None or before.id != after.id
    return BuildResult(image_name(settings), after.id, changed, time.monotonic() - started)


def _require_engine(host: Host) -> None:
    answer = host.run(docker.info(), timeout_s=ENGINE_S, check=False)
    if answer.status != 0 or parse_info(answer.stdout) is None:
        raise Refused(
            f"No Docker engine answers on {host.name}.",
            next="docker info",
            details=tail(answer.stderr),
        )


def image_of(host: Host, name: str) -> ImageInfo | None:
    """The image of this name; None where the (living) engine has none."""
    answer = host.run(docker.image_inspect(name), timeout_s=INSPECT_S, check=False)
    images = parse_images(answer.stdout)
    return images[0] if images else None


def _existing(host: Host, name: str) -> ImageInfo:
    image = image_of(host, name)
    if image is None:
        raise Failed(f"{host.name} has no image {name}, though making it reported no error.")
    return image


def _pull_published(
    host: Host, settings: ImageSettings, report: Report
) -> tuple[ImageInfo | None, ImageInfo]:
    name = image_name(settings)
    before = image_of(host, name)
    report(f"Pull {name}")
    try:
        host.run(docker.pull(name), timeout_s=PULL_S)
    except CommandFailed as failure:
        raise Failed(
            f"The published image {name} could not be pulled on {host.name}. "
            "Set DOCKER_HUB_IMAGE=false to build it instead.",
            next="DOCKER_HUB_IMAGE=false inv build",
            details=tail(failure.stderr),
        ) from failure
    return before, _existing(host, name)


def _build_ours(
    host: Host, settings: ImageSettings, report: Report, local: Host, fresh: bool
) -> tuple[ImageInfo | None, ImageInfo]:
    inputs = build_inputs(settings, node_files())
    base = ensure_base(host, settings, report, local=local, fresh=fresh)
    before = image_of(host, inputs.tag)
    labels = _labels(inputs, base)
    if before is not None and not fresh and _up_to_date(before, labels):
        report(f"{inputs.tag} is up to date")
        return before, before
    report(f"Build {inputs.tag} from {inputs.base}")
    command = docker.build(inputs.context, inputs.tag, labels=labels, cached=not fresh)
    run_watched(host, command, report, f"{inputs.tag} could not be built", BUILD_S)
    return before, _existing(host, inputs.tag)


def ensure_base(
    host: Host,
    settings: ImageSettings,
    report: Report,
    *,
    local: Host | None = None,
    fresh: bool = False,
) -> ImageInfo:
    """The base is there: pulled where the operator named one, else made on this machine."""
    name = base_name(settings)
    present = image_of(host, name)
    if present is not None and (not fresh or settings.base_image):
        return present
    if settings.base_image:
        report(f"Pull {name}")
        try:
            host.run(docker.pull(name), timeout_s=PULL_S)
        except CommandFailed as failure:
            raise Failed(
                f"BASE_IMAGE={name} is not on {host.name} and could not be pulled. Name another "
                "one, or leave BASE_IMAGE empty to have a base made.",
                details=tail(failure.stderr),
            ) from failure
    else:
        make_base(host, name, base_suite(settings), report, local or LocalHost())
    return _existing(host, name)
