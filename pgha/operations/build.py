"""`build`: one image on every host. Who makes it, who gets it from there, and how. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import EngineInfo, ImageInfo
from pgha.errors import PghaError, Refused
from pgha.image_inputs import BASE_LABEL, BUILD_LABEL, image_name
from pgha.plan import Plan, Run, Stage, Step, stages
from pgha.state import anything
from pgha.topology import LOCAL_HOST
from pgha.variables import ImageDistribution, Settings


@dataclass(frozen=True)
class HostImages:
    """What a host's engine has. node: one of the nodes there. error: why nothing is known.

    base: the image that ours would be built on.
    """

    host: str
    node: str
    engine: EngineInfo | None = None
    image: ImageInfo | None = None
    base: ImageInfo | None = None
    error: PghaError | None = None


@dataclass(frozen=True)
class Delivery:
    """The host that has the image, or makes it first, and those that get it from there.

    unnamed: those that have it, but not by its name.
    """

    source: HostImages
    make: bool
    targets: tuple[HostImages, ...]
    unnamed: tuple[HostImages, ...] = ()


def living(seen: tuple[HostImages, ...]) -> tuple[HostImages, ...]:
    """The hosts that can be worked with. Raises Refused where none answers, or they differ in what
    no image can be the same for."""
    found = tuple(each for each in seen if each.error is None)
    if not found:
        first, *others = (each.error for each in seen if each.error is not None)
        more = tuple(error.message for error in others)
        raise Refused(first.message, next=first.next, details=(*first.details, *more))
    kinds = {each.engine.architecture: each.host for each in found if each.engine}
    if len(kinds) > 1:
        told = " and ".join(f"{host} is {kind}" for kind, host in kinds.items())
        # PostgreSQL 17, "Log-Shipping Standby Servers", "Planning".
        raise Refused(f"{told}: nodes that replicate from one another must be of one architecture.")
    return found


def delivery(seen: tuple[HostImages, ...], digest: str) -> Delivery:
    """Who is to give the image to whom. digest: that of what it would be built from.

    The first host that has it as it would be built gives it. Where none does it is made once: on
    the first host that has the base, so that no base is sent for nothing. Raises Refused.
    """
    found = living(seen)
    bases = {each.base.id for each in found if each.base}
    having = [each for each in found if each.image and _current(each.image, digest, bases)]
    with_base = [each for each in found if each.base]
    source = next(iter((*having, *with_base, *found)))
    targets = (each for each in found if each is not source)
    if not having:
        return Delivery(source, True, tuple(targets))
    return Delivery(source, False, tuple(t for t in targets if not _same(t.image, source.image)))


def _current(image: ImageInfo, digest: str, bases: set[str]) -> bool:
    """Whether it was built from that; where a host has the base, also on that one."""
    if image.labels.get(BUILD_LABEL) != digest:
        return False
    return not bases or image.labels.get(BASE_LABEL) in bases


def _same(one: ImageInfo | None, other: ImageInfo | None) -> bool:
    return one is not None and other is not None and one.id == other.id


def with_unnamed(given: Delivery, hosts: set[str]) -> Delivery:
    """The same, where these hosts were found to have the image by another name, or by none."""
    return replace(
        given,
        targets=tuple(t for t in given.targets if t.host not in hosts),
        unnamed=tuple(t for t in given.targets if t.host in hosts),
    )


def build_plan(given: Delivery, making: tuple[Command, ...], settings: Settings) -> Plan:
    """What is done for a delivery. making: the commands that make the image on its source."""
    name, source, targets = image_name(settings), given.source, given.targets
    if not given.make and not targets and not given.unnamed:
        return Plan(f"The image {name} is up to date.")
    make = _step(f"Make the image {name} on {source.host}", source, *making)
    title = f"Make the image {name}" if given.make else f"Bring the image {name} to every host"
    # The first command alone is not Docker's where it is to be run here.
    sends_base = given.make and making[0].words[0] != "docker" and source.host != LOCAL_HOST
    return Plan(
        title,
        stages(
            make if given.make else None,
            tuple(_naming(h, source, name) for h in given.unnamed),
            *(_ways(name, source, targets, settings) if targets else ()),
        ),
        notes=(f"A base is made on this machine, for {source.host}.",) if sends_base else (),
    )


def _naming(host: HostImages, source: HostImages, name: str) -> Step:
    assert source.image is not None
    return _step(f"Name it on {host.host}", host, docker.image_tag(source.image.id, name))


def _ways(
    name: str, source: HostImages, targets: tuple[HostImages, ...], settings: Settings
) -> tuple[Stage, ...]:
    if settings.image_distribution is ImageDistribution.SSH:
        read = _step(f"Read it on {source.host}", source, docker.save(name))
        loads = (_step(f"Load it on {t.host}", t, docker.load()) for t in targets)
        return ((read, *loads),)
    there = in_registry(settings)
    push = _step(
        f"Push it from {source.host} to {registry(settings)}",
        source,
        docker.image_tag(name, there),
        docker.push(there),
    )
    pulls = (
        _step(f"Pull it on {t.host}", t, docker.pull(there), docker.image_tag(there, name))
        for t in targets
    )
    return ((push,), tuple(pulls))


def pull_plan(seen: tuple[HostImages, ...], settings: Settings) -> Plan:
    """The published image on every host: always asked for, since its name may mean another image
    today. Raises Refused."""
    name = image_name(settings)
    pulls = (_step(f"Pull {name} on {h.host}", h, docker.pull(name)) for h in living(seen))
    return Plan(f"Pull the image {name}", (tuple(pulls),))


def _step(title: str, host: HostImages, *commands: Command) -> Step:
    return Step(title, host.node, anything(), Run(commands), anything())


def registry(settings: Settings) -> str:
    """The registry as an image's name begins with it."""
    return f"{settings.docker_registry_host}:{settings.docker_registry_port}"


def in_registry(settings: Settings) -> str:
    """Our image's name there; another registry's name, which it may begin with, is left out."""
    name = image_name(settings)
    first, _, rest = name.partition("/")
    # How Docker itself tells a registry from a path.
    foreign = bool(rest) and (first == "localhost" or "." in first or ":" in first)
    return f"{registry(settings)}/{rest if foreign else name}"


def consents(engine: EngineInfo, settings: Settings) -> bool:
    """Whether this engine is told to speak plain HTTP with the registry, as far as it says so: a
    name may stand for an address in one of its networks."""
    if registry(settings) in engine.insecure:
        return True
    try:
        address = ipaddress.ip_address(settings.docker_registry_host)
    except ValueError:
        return False
    networks = (text for text in engine.insecure if "/" in text)
    return any(address in ipaddress.ip_network(text, strict=False) for text in networks)


def about_registry(host: HostImages, settings: Settings) -> tuple[str, ...]:
    """What to look at where an engine could not push to the registry, or pull from it.

    Docker's status does not say why. Whether HTTP was allowed the engine itself tells.
    """
    where = registry(settings)
    if host.engine is not None and consents(host.engine, settings):
        why = f"{host.host}'s engine may speak plain HTTP with it: curl http://{where}/v2/"
    else:
        why = (
            f"{host.host}'s engine speaks only HTTPS with it. If the registry speaks plain HTTP, "
            f'each host needs {{"insecure-registries": ["{where}"]}} in /etc/docker/daemon.json, '
            "and then: systemctl reload docker"
        )
    return why, "IMAGE_DISTRIBUTION=ssh needs no registry."


def differing(ids: dict[str, str]) -> tuple[str, ...]:
    """A line for each image that hosts have where they do not all have one; else nothing."""
    if len(set(ids.values())) < 2:
        return ()
    found: dict[str, list[str]] = {}
    for host, image_id in ids.items():
        found.setdefault(image_id, []).append(host)
    return tuple(f"{image_id[:19]} on {named(hosts)}" for image_id, hosts in found.items())


def named(names: list[str] | tuple[str, ...]) -> str:
    """Names in a sentence."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
