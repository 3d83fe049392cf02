"""`build`: one image on every host, made once; an Outcome like every other command's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pgha import image
from pgha.at_once import at_once
from pgha.base_image import run_watched
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import EngineInfo, ImageInfo
from pgha.errors import Failed, PghaError, Refused
from pgha.execute import Listener, Outcome, StepDone
from pgha.hosts import Host
from pgha.image import build_commands, build_inputs, engine_of, image_name, image_of, node_files
from pgha.image_inputs import base_name
from pgha.limits import IMAGE_S, LOOK_AT_IMAGES_S
from pgha.operations.build import (
    Delivery,
    HostImages,
    about_registry,
    build_plan,
    delivery,
    differing,
    named,
    pull_plan,
    registry,
    with_unnamed,
)
from pgha.plan import Plan, Stage, Step
from pgha.relay import relay
from pgha.settings import Settings
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Topology


class Hosts(Protocol):
    """Where nodes are; `pgha.remote.Reach`."""

    def host(self, node: str) -> Host: ...


def build(
    reach: Hosts, settings: Settings, topology: Topology, listener: Listener, dry_run: bool
) -> Outcome:
    """See to it that every host has the same image; nothing is sent to those that have it.

    Raises Refused where nothing can be done, Failed where a host is without it in the end.
    """
    begun = time.monotonic()
    seen = _look(reach, settings, topology)
    plan, given = _planned(reach, seen, settings)
    work = _Work(reach, settings, listener, seen)
    if plan.stages and not dry_run:
        listener.planned(plan)
        work.do(plan, given)
    elif not dry_run:
        # Nothing had to be done; but who does not answer may be without it.
        work.require_all(Refused)
    unseen = tuple(
        NodeState(n.name, n.kind, n.host, ContainerStatus.UNKNOWN) for n in topology.nodes
    )
    state = ClusterState(topology, unseen)
    return Outcome(plan, tuple(work.done), state, time.monotonic() - begun)


def _planned(
    reach: Hosts, seen: tuple[HostImages, ...], settings: Settings
) -> tuple[Plan, Delivery | None]:
    if settings.docker_hub_image:
        return pull_plan(seen, settings), None
    given = delivery(seen, build_inputs(settings, node_files()).digest)
    if given.source.image is not None and not given.make:
        given = with_unnamed(given, _having(reach, given.targets, given.source.image.id))
    making = build_commands(settings, given.source.base) if given.make else ()
    return build_plan(given, making, settings), given


def _having(reach: Hosts, hosts: tuple[HostImages, ...], image_id: str) -> set[str]:
    """The hosts that have an image of this id, whatever they call it."""

    def job(each: HostImages) -> Callable[[], bool]:
        return lambda: image_of(reach.host(each.node), image_id) is not None

    jobs = {each.host: job(each) for each in hosts}
    answers = at_once(jobs, timeout_s=LOOK_AT_IMAGES_S)
    return {host for host, answer in answers.items() if answer is True}


def _look(reach: Hosts, settings: Settings, topology: Topology) -> tuple[HostImages, ...]:
    """What every host has; all questions to all of them at once."""
    first = {n.host: n.name for n in reversed(topology.nodes)}
    names = {"image": image_name(settings)}
    if not settings.docker_hub_image:
        names["base"] = base_name(settings)

    def image_job(host: Host, name: str) -> Callable[[], ImageInfo | None]:
        return lambda: image_of(host, name)

    def engine_job(host: Host) -> Callable[[], EngineInfo]:
        return lambda: engine_of(host)

    jobs: dict[tuple[str, str], Callable[[], EngineInfo | ImageInfo | None]] = {}
    for each in topology.hosts:
        host = reach.host(first[each])
        jobs["engine", each] = engine_job(host)
        jobs |= {(what, each): image_job(host, name) for what, name in names.items()}
    answers = at_once(jobs, timeout_s=LOOK_AT_IMAGES_S)
    return tuple(
        _seen(each, first[each], *(answers.get((w, each)) for w in ("engine", "image", "base")))
        for each in topology.hosts
    )


def _seen(host: str, node: str, *answers: EngineInfo | ImageInfo | PghaError | None) -> HostImages:
    """Put together what a host said of its engine, the image and the base."""
    for answer in answers:
        if isinstance(answer, PghaError):
            return HostImages(host, node, error=answer)
    engine, *images = answers
    assert isinstance(engine, EngineInfo)
    ours, base = (each if isinstance(each, ImageInfo) else None for each in images)
    return HostImages(host, node, engine, ours, base)


@dataclass
class _Work:
    """The steps that were done, and the hosts that are without the image, with the reason."""

    reach: Hosts
    settings: Settings
    listener: Listener
    seen: tuple[HostImages, ...]
    done: list[StepDone] = field(default_factory=list)
    failed: dict[str, PghaError] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.failed = {each.host: each.error for each in self.seen if each.error}

    @property
    def _having(self) -> tuple[HostImages, ...]:
        return tuple(each for each in self.seen if each.host not in self.failed)

    def do(self, plan: Plan, given: Delivery | None) -> None:
        """Raises Failed where a host is without the image in the end; the others have it then."""
        for number, stage in enumerate(plan.stages):
            words = stage[0].commands()[-1].words
            if given is not None and given.make and number == 0:
                self._make(stage[0])
            elif words[: len(docker.COMPRESSED)] == docker.COMPRESSED:
                self._send(stage)
            else:
                self._run(stage, pushes="push" in words)
        ids = self._ids()
        self._require_one(ids)
        self.require_all(Failed)

    def require_all(self, kind: type[PghaError]) -> None:
        """Raise this kind of error where a host is without the image, or does not tell."""
        if not self.failed:
            return
        name = image_name(self.settings)
        # In the hosts' order: they fail in any.
        without = [each.host for each in self.seen if each.host in self.failed]
        first, *others = (self.failed[host] for host in without)
        message, details = first.message, first.details
        if others:
            message = f"The image {name} did not come to {named(without)}."
            lines = [line for e in (first, *others) for line in (e.message, *e.details)]
            details = tuple(dict.fromkeys(lines))
        there = named([each.host for each in self._having])
        has = f"The image {name} is on {there}." if there else "No host has the image."
        raise kind(message, next=first.next or "inv build", details=(*details, has))

    def _make(self, step: Step) -> None:
        self.listener.started(step)
        host, moved = self.reach.host(step.node), self.listener.moved
        result = image.build(host, self.settings, self.listener.said, moved=moved)
        self._answered(step, result.seconds)

    def _run(self, stage: Stage, *, pushes: bool) -> None:
        """The commands of all steps at once. pushes: what comes after needs them all."""

        def job(step: Step) -> Callable[[], None]:
            return lambda: self._commands(step)

        for step in stage:
            self.listener.started(step)
        jobs = {step.title: job(step) for step in stage}
        answers = at_once(jobs, timeout_s=IMAGE_S, stop=self.over.set)
        for step in stage:
            answer = answers[step.title]
            if isinstance(answer, PghaError):
                if pushes:
                    raise answer
                self._answered(step, answer)

    def _commands(self, step: Step) -> None:
        begun, host = time.monotonic(), self.reach.host(step.node)
        for command in step.commands():
            try:
                limit = image.patience(self.settings, self.over)
                run_watched(host, command, self.listener.said, "It could not be done", limit)
            except Failed as failure:
                raise self._explained(step, command, failure) from failure
        self._answered(step, time.monotonic() - begun)

    def _explained(self, step: Step, command: Command, failure: Failed) -> Failed:
        """Docker's words, and what to look at."""
        host = self._host(step)
        if self.settings.docker_hub_image:
            return image.unpublished(host.host, image_name(self.settings), failure)
        push = "push" in command.words
        where = registry(self.settings)
        return Failed(
            f"{host.host} could not {f'push to {where}' if push else f'pull from {where}'}.",
            next="IMAGE_DISTRIBUTION=ssh inv build",
            details=(*image.told(failure), *about_registry(host, self.settings)),
        )

    def _send(self, stage: Stage) -> None:
        """The first step's program feeds those of the others."""
        read, *loads = stage
        for step in stage:
            self.listener.started(step)
        hosts = {self.reach.host(step.node): step for step in loads}
        source = (self.reach.host(read.node), read.commands()[0])
        targets = {host: step.commands()[0] for host, step in hosts.items()}

        def ended(host: Host, answer: float | PghaError) -> None:
            self._answered(hosts.get(host, read), answer)

        relay(source, targets, image.silence(self.settings), self.listener.moved, ended)

    def _answered(self, step: Step, answer: float | PghaError) -> None:
        if isinstance(answer, PghaError):
            self.failed[self._host(step).host] = answer
        else:
            self.done.append(StepDone(step, answer))
            self.listener.finished(self.done[-1])

    def _ids(self) -> dict[str, str]:
        """What every host has now, by its own word (rule 6)."""
        name = image_name(self.settings)

        def job(each: HostImages) -> Callable[[], str]:
            def ask() -> str:
                found = image_of(self.reach.host(each.node), name)
                if found is None:
                    raise Failed(f"{each.host} has no image {name}, though it reported no error.")
                return found.id

            return ask

        jobs = {each.host: job(each) for each in self._having}
        answers = at_once(jobs, timeout_s=LOOK_AT_IMAGES_S)
        self.failed |= {h: a for h, a in answers.items() if isinstance(a, PghaError)}
        return {h: a for h, a in answers.items() if not isinstance(a, PghaError)}

    def _require_one(self, ids: dict[str, str]) -> None:
        """Raise Failed where not all have the same."""
        lines, name = differing(ids), image_name(self.settings)
        if not lines:
            return
        why = (
            "Engines that keep images in different ways (`docker info`, Storage Driver) call the "
            "same image by different ids."
        )
        if self.settings.docker_hub_image:
            why = "Its tag was moved meanwhile: DOCKER_HUB_IMAGE_VERSION can name one that is not."
        raise Failed(
            f"The hosts have different images {name}.", next="inv build", details=(*lines, why)
        )

    def _host(self, step: Step) -> HostImages:
        return next(each for each in self.seen if each.node == step.node)
