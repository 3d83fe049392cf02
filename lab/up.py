"""Brings a lab about: what is there stays, what is missing is made, what stopped is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from lab import engine, files
from lab.archive import pack
from lab.engine import ANSWER_S, WORK_S, Found
from lab.image import IMAGE, ensure_image
from lab.keys import make_keys, public
from lab.layout import REGISTRY, Files, Layout, Place, free_subnet
from pgha.at_once import at_once
from pgha.base_image import Report
from pgha.commands import docker
from pgha.commands.docker_answers import parse_info
from pgha.errors import CommandFailed, Failed, PghaError, Refused, Unreachable
from pgha.hosts import Host
from pgha.machines import Machine
from pgha.remote import host_of
from pgha.waiting import wait_until

# From a start to an engine that answers over SSH, on a busy machine.
UP_S = 120.0
_ASK_S = 5.0
# Somebody else's network may be made between our look and our own.
_NETWORK_TRIES = 3
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def obstacle(
    found: Found, where: Files, size: int, *, key: bool, env: str | None
) -> Refused | None:
    """Why a lab cannot be brought up here; None where it can. Pure.

    key: whether the user's key is there; env: the first line of the env file, None: there is none.
    """
    down = _down(where)
    if env is not None and not env.startswith(files.MARK):
        return Refused(
            f"{where.env} is not the lab's, and is left alone: give the lab another name.",
            next="bin/lab up --name NAME",
        )
    if found.size > size:
        return Refused(f"The lab «{where.name}» has {found.size} hosts, not {size}.", next=down)
    broken = [s.host for s in found.hosts if s.state == "paused" or not s.linked]
    if broken:
        return Refused(
            f"A fault is on {', '.join(broken)}: nobody can sign on.",
            next=f"bin/lab fault heal --name {where.name}",
        )
    if found.hosts and not key:
        return Refused(
            f"The lab «{where.name}» has hosts, but {where.key} is gone: nobody can sign on.",
            next=down,
        )
    return None


def require_ours(found: Found, where: Files) -> None:
    """Raises Refused where the lab belongs to another checkout: its files are there."""
    others = sorted({seen.root for seen in found.containers} - {str(where.root)})
    if others:
        raise Refused(
            f"The lab «{where.name}» belongs to the checkout in {others[0]}.",
            next=f"cd {others[0]} && {_down(where)}",
        )


def _down(where: Files) -> str:
    return f"bin/lab down --name {where.name}"


def bring_up(here: Host, where: Files, size: int, report: Report) -> bool:
    """Bring the lab up; whether there was anything to do.

    Raises Refused where something is in the way, Failed on the way.
    """
    engine.require(here)
    found = engine.find(here, where.name)
    require_ours(found, where)
    refused = obstacle(found, where, size, key=where.key.exists(), env=_first_line(where.env))
    if refused:
        raise refused
    ensure_image(here, report)
    layout = _network(here, where, size, found.subnet)
    make_keys(here, layout)
    new = _create(here, layout, found, report)
    started = _start(here, layout, found)
    if started:
        report(f"Wait for {', '.join(started)}")
    await_hosts(layout, layout.places)
    if new or not where.env.exists():
        where.env.parent.mkdir(exist_ok=True)
        where.env.write_text(files.env_text(layout))
    return bool(new or started)


def _first_line(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return None


def _network(here: Host, where: Files, size: int, subnet: IPv4Network | None) -> Layout:
    """The network is there, and so it is known where everybody is."""
    if subnet is not None:
        return Layout(where.name, where.root, subnet, size)
    refused: list[IPv4Network] = []
    while True:
        subnet = free_subnet((*engine.taken(here), *refused))
        layout = Layout(where.name, where.root, subnet, size)
        try:
            here.run(engine.create_network(layout), timeout_s=WORK_S)
        except CommandFailed:
            refused.append(subnet)
            if len(refused) == _NETWORK_TRIES:
                raise
        else:
            return layout


def _create(here: Host, layout: Layout, found: Found, report: Report) -> tuple[str, ...]:
    """Containers that are missing, and the files about all of them; returns who is new."""
    missing = [place for place in layout.places if found.of(place.name) is None]
    _write_files(layout)
    jobs: dict[str, Callable[[], object]] = {
        place.name: partial(_create_host, here, layout, place) for place in missing
    }
    if found.of(REGISTRY) is None:
        jobs[REGISTRY] = partial(here.run, engine.create_registry(layout), timeout_s=WORK_S)
    if jobs:
        report(f"Make {', '.join(jobs)} of {IMAGE}")
        together(jobs, timeout_s=WORK_S)
    return tuple(jobs)


def _write_files(layout: Layout) -> None:
    where = layout.files
    keys = {p.name: public(where.host_key(p.name)).read_text() for p in layout.places}
    where.known_hosts.write_text(files.known_hosts(layout, keys))
    for place in layout.places:
        config = where.config(place.name)
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(files.machine_config(layout, place))


def _create_host(here: Host, layout: Layout, place: Place) -> None:
    where = layout.files
    configuration = files.daemon_json(layout, place, _nameservers())
    private = where.host_key(place.name).read_text()
    content = files.host_files(configuration, private, public(where.key).read_text())
    here.run(engine.create_host(layout, place), timeout_s=WORK_S)
    try:
        here.run(engine.put_files(place.container, pack(content)), timeout_s=ANSWER_S)
    except BaseException:
        # A host without its files would pass for one that is whole.
        here.run(docker.remove(place.container, force=True), timeout_s=WORK_S, check=False)
        raise


def _nameservers() -> tuple[str, ...]:
    """This machine's, as others can ask them; behind a resolver of its own are the real ones."""
    for file in _RESOLVERS:
        found = files.nameservers(file.read_text()) if file.exists() else ()
        if found:
            return found
    return ()


def _start(here: Host, layout: Layout, found: Found) -> tuple[str, ...]:
    """Start whoever does not run; returns their names."""
    resting = [REGISTRY, *(place.name for place in layout.places)]
    running = {seen.host for seen in found.containers if seen.state in ("running", "paused")}
    names = tuple(name for name in resting if name not in running)
    if names:
        # The engine starts them one after the other, which is quick; they boot at once.
        containers = (f"{layout.name}-{name}" for name in names)
        here.run(docker.start(*containers), timeout_s=WORK_S)
    return names


def await_hosts(layout: Layout, places: tuple[Place, ...]) -> None:
    """Wait until these hosts' engines answer over SSH, as the tool will ask them. Raises Failed."""
    jobs = {place.name: partial(await_host, layout, place) for place in places}
    together(jobs, timeout_s=UP_S + ANSWER_S)


def await_host(layout: Layout, place: Place) -> None:
    """Wait for one host. Raises Failed with what was seen last."""
    host = reach(layout.files, place.name)

    def answers() -> bool:
        said = host.run(docker.info(), timeout_s=_ASK_S, check=False)
        if said.status != 0 or parse_info(said.stdout) is None:
            raise Unreachable(said.stderr.strip() or "its engine does not answer")
        return True

    try:
        wait_until(answers, timeout_s=UP_S, what=f"{place.name}'s engine answers over SSH")
    except Failed as failure:
        journal = f"docker exec {place.container} journalctl --no-pager --lines 40"
        failure.details = (*failure.details, f"Its journal: {journal}")
        failure.next = f"bin/lab status --name {layout.name}"
        raise
    finally:
        host.close()


def reach(where: Files, name: str) -> Host:
    """A host of the lab as the tool reaches it: by the lab's own store and known keys."""
    return host_of(Machine(name, False, None, where.known_hosts, _ASK_S, where.store))


def together(jobs: Mapping[str, Callable[[], object]], *, timeout_s: float) -> None:
    """Do all at once. Raises the first error, with the others in its details."""
    answers = at_once(jobs, timeout_s=timeout_s)
    errors = [answer for answer in answers.values() if isinstance(answer, PghaError)]
    if errors:
        first, *rest = errors
        first.details = (*first.details, *(error.message for error in rest))
        raise first
