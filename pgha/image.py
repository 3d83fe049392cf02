"""Brings a node's image about on a Docker host: built from `image_inputs`, or pulled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pgha.base_image import make_base, mmdebstrap_command, run_watched
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import EngineInfo, ImageInfo, parse_images
from pgha.engine import NoEngine, ask_engine
from pgha.errors import Failed, Refused, Unreachable
from pgha.image_inputs import (
    BASE_LABEL,
    BUILD_LABEL,
    Build,
    base_name,
    base_suite,
    build_inputs,
    image_name,
    node_files,
)
from pgha.limits import IMAGE_S, STALLED_S
from pgha.relay import Moved, Silence, unmoved
from pgha.remote import Host, LocalHost
from pgha.settings import Settings
from pgha.waiting import Patience

__all__ = [
    "BuildResult",
    "build",
    "build_commands",
    "build_inputs",
    "engine_of",
    "ensure_base",
    "image_name",
    "image_of",
    "node_files",
    "patience",
    "silence",
    "told",
    "unpublished",
]

ENGINE_S = 20.0
INSPECT_S = 20.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class BuildResult:
    """image: its name; changed: whether it is another one than before; seconds: all of it."""

    image: str
    image_id: str
    changed: bool
    seconds: float


def patience(settings: Settings, over: threading.Event | None = None) -> Patience:
    """For a Docker command that moves or makes an image; `over` ends it early."""
    return Patience(settings.compose_http_timeout, IMAGE_S, over or threading.Event())


def silence(settings: Settings) -> Silence:
    """The same for an image that goes over our own connections."""
    docker_s = float(settings.compose_http_timeout)
    return Silence(min(STALLED_S, docker_s), docker_s)


def build_commands(settings: Settings, base: ImageInfo | None) -> tuple[Command, ...]:
    """What `build` would run where it builds. base: the one that the host has.

    `base.tar` stands for a temporary file.
    """
    inputs = build_inputs(settings, node_files())
    labels = _labels(inputs, base) if base is not None else {BUILD_LABEL: inputs.digest}
    first = () if base is not None else _base_commands(settings)
    return (*first, docker.build(inputs.context, inputs.tag, labels=labels))


def _base_commands(settings: Settings) -> tuple[Command, ...]:
    name = base_name(settings)
    if settings.base_image:
        return (docker.pull(name),)
    make = mmdebstrap_command(base_suite(settings), "base.tar")
    return make, docker.import_image(b"", name)


def _labels(inputs: Build, base: ImageInfo) -> dict[str, str]:
    """What an image says of what it was made from."""
    return {BUILD_LABEL: inputs.digest, BASE_LABEL: base.id}


def build(
    host: Host,
    settings: Settings,
    report: Report,
    *,
    local: Host | None = None,
    fresh: bool = False,
    moved: Moved = unmoved,
) -> BuildResult:
    """See to it that the host's engine has the image; a no-op where it has what would be built.

    local: the machine we run on, where a base is made. fresh: base and packages are fetched anew.
    moved: told how far a base is on its way. Raises Refused where no engine answers or nothing can
    make a base, Failed on the way.
    """
    started = time.monotonic()
    engine_of(host)
    if settings.docker_hub_image:
        before, after = _pull_published(host, settings, report)
    else:
        before, after = _build_ours(host, settings, report, local or LocalHost(), fresh, moved)
    changed = before is None or before.id != after.id
    return BuildResult(image_name(settings), after.id, changed, time.monotonic() - started)


def engine_of(host: Host) -> EngineInfo:
    """The host's engine. Raises Refused where none answers."""
    try:
        return ask_engine(host, timeout_s=ENGINE_S)
    except NoEngine as error:
        raise Refused(
            f"No Docker engine answers on {host.name}.",
            next=error.next,
            details=(error.message,),
        ) from error


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
    host: Host, settings: Settings, report: Report
) -> tuple[ImageInfo | None, ImageInfo]:
    name = image_name(settings)
    before = image_of(host, name)
    report(f"Pull {name}")
    failed = f"{name} could not be pulled"
    try:
        run_watched(host, docker.pull(name), report, failed, patience(settings))
    except Failed as failure:
        raise unpublished(host.name, name, failure) from failure
    return before, _existing(host, name)


def unpublished(host: str, name: str, failure: Failed) -> Failed:
    """The error where the published image cannot be pulled."""
    return Failed(
        f"The published image {name} could not be pulled on {host}. "
        "Set DOCKER_HUB_IMAGE=false to build it instead.",
        next="DOCKER_HUB_IMAGE=false inv build",
        details=told(failure),
    )


def told(failure: Failed) -> tuple[str, ...]:
    """What a program said last; where it never came to an end, also that."""
    if isinstance(failure, Unreachable):
        return (failure.message, *failure.details)
    return failure.details


def _build_ours(
    host: Host, settings: Settings, report: Report, local: Host, fresh: bool, moved: Moved
) -> tuple[ImageInfo | None, ImageInfo]:
    """The image before, and after."""
    inputs = build_inputs(settings, node_files())
    base = ensure_base(host, settings, report, local=local, fresh=fresh, moved=moved)
    before = image_of(host, inputs.tag)
    labels = _labels(inputs, base)
    current = before is not None and labels.items() <= before.labels.items()
    if before is not None and current and not fresh:
        report(f"{inputs.tag} is up to date")
        return before, before
    report(f"Build {inputs.tag} from {inputs.base}")
    command = docker.build(inputs.context, inputs.tag, labels=labels, cached=not fresh)
    failed = f"{inputs.tag} could not be built"
    run_watched(host, command, report, failed, patience(settings))
    return before, _existing(host, inputs.tag)


def ensure_base(
    host: Host,
    settings: Settings,
    report: Report,
    *,
    local: Host | None = None,
    fresh: bool = False,
    moved: Moved = unmoved,
) -> ImageInfo:
    """The base is there: pulled where the operator named one, else made on this machine."""
    name = base_name(settings)
    present = image_of(host, name)
    if present is not None and (not fresh or settings.base_image):
        return present
    if settings.base_image:
        report(f"Pull {name}")
        failed = f"{name} could not be pulled"
        try:
            run_watched(host, docker.pull(name), report, failed, patience(settings))
        except Failed as failure:
            raise Failed(
                f"BASE_IMAGE={name} is not on {host.name} and could not be pulled. Name another "
                "one, or leave BASE_IMAGE empty to have a base made.",
                details=told(failure),
            ) from failure
    else:
        suite, limits = base_suite(settings), silence(settings)
        make_base(host, name, suite, report, local or LocalHost(), limits, moved)
    return _existing(host, name)
