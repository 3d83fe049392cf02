"""`units`: a systemd unit for each node's container, so that a host that starts has its nodes.

Docker itself starts nothing (`--restart no`). What is there is read first, and again afterwards;
what is as it should be is left alone, and no container is stopped or started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgha.at_once import at_once
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.commands.docker_answers import parse_ps
from pgha.errors import Failed, PghaError, Refused
from pgha.execute import Listener, Outcome, StepDone
from pgha.hosts import Host
from pgha.limits import DOCKER_S, SURVEY_S
from pgha.operations.provision import CLUSTER_LABEL, Provision
from pgha.plan import Plan, Run, Step
from pgha.remote import Reach
from pgha.state import ClusterState, ContainerStatus, NodeState, anything
from pgha.templating import render
from pgha.topology import LOCAL_HOST, Node, Topology

DIRECTORY = "/etc/systemd/system"
UNIT_S = 60.0
_STALE = ("systemctl", "show", "--property=NeedDaemonReload", "--value")
_RELOAD = Command(("systemctl", "daemon-reload"))


@dataclass(frozen=True)
class Unit:
    """A unit as it is on its host. text: None where there is no file. stale: systemd has not read
    the file as it is now (a call of ours was cut off)."""

    text: str | None = None
    enabled: bool = False
    active: bool = False
    stale: bool = False


@dataclass(frozen=True)
class HostUnits:
    """What one host says. booted: systemd runs it. as_root: the words that make a command root's
    (none where we are root); None: there are none. containers: name → whether it runs."""

    host: str
    booted: bool
    as_root: tuple[str, ...] | None
    docker: str
    containers: tuple[tuple[str, bool], ...]
    units: tuple[tuple[str, Unit], ...]

    def unit(self, name: str) -> Unit:
        return dict(self.units).get(name, Unit())

    def runs(self, container: str) -> bool | None:
        """None: there is no such container."""
        return dict(self.containers).get(container)


def unit_name(node: Node) -> str:
    """`pgha-<cluster>-<node>.service`."""
    return f"pgha-{node.container}.service"


def unit_text(node: Node, cluster: str, docker_path: str, stop_s: int) -> str:
    """The unit, from `templates/node.service.j2`."""
    return render(
        "node.service.j2",
        node=node.name,
        cluster=cluster,
        unit=unit_name(node),
        container=node.container,
        docker=docker_path,
        stop_s=stop_s,
    )


# --- deciding ------------------------------------------------------------------------------------


def plan_units(provision: Provision, seen: Sequence[HostUnits], *, remove: bool = False) -> Plan:
    """What is to be done on which host; an empty Plan where all is as it should be.

    Raises Refused, before anything is changed: a host that systemd does not run, a host where we
    are not root, containers that `init` has not made.
    """
    steps, notes = list[Step](), list[str]()
    for facts in seen:
        for node in (n for n in provision.topology.nodes if n.host == facts.host):
            if remove:
                step = _removal(node, facts)
            else:
                step = _installation(provision, node, facts)
                notes += _notes(node, facts)
            steps += [step] if step else []
    names = {step.node for step in steps}
    for facts in seen:
        if any(provision.topology.node(name).host == facts.host for name in names):
            _require(facts, remove)
    cluster = provision.topology.cluster
    if not steps:
        there = "There are no units" if remove else "Every node has its unit"
        return Plan(f"{there} ({cluster}): nothing to do.", notes=tuple(notes))
    title = f"Take the units of {cluster} away" if remove else f"Install the units of {cluster}"
    return Plan(title, tuple((step,) for step in steps), notes=tuple(notes))


def _require(facts: HostUnits, remove: bool) -> None:
    if not facts.booted and not remove:
        raise Refused(
            f"{facts.host} is not run by systemd: it takes no units, and nothing was changed.",
            details=("Have its own init run `docker start` for the containers at boot.",),
            next="inv status",
        )
    if facts.as_root is not None:
        return
    flag = " --remove" if remove else ""
    if facts.host == LOCAL_HOST:
        raise Refused(
            f"Units are root's, and we are not: {DIRECTORY} was not changed.",
            next=f'sudo env "PATH=$PATH" inv units{flag}',
        )
    raise Refused(
        f"Units are root's, and we are not root on {facts.host}: nothing was changed.",
        details=("Log in as root there (SSH configuration), or allow sudo without a password.",),
        next=f"inv units{flag}",
    )


def _installation(provision: Provision, node: Node, facts: HostUnits) -> Step | None:
    if facts.runs(node.container) is None:
        raise Refused(
            f"{node.name} has no container on {facts.host} that a unit could start.",
            next="inv init",
        )
    name = unit_name(node)
    cluster, stop_s = provision.topology.cluster, provision.settings.stop_timeout
    text = unit_text(node, cluster, facts.docker, stop_s)
    commands = list[Command]()
    unit = facts.unit(name)
    if unit.text != text:
        # A new file beside and renamed by install(1): systemd never reads half of one.
        place = f"{DIRECTORY}/{name}"
        commands.append(Command(("install", "-m", "0644", "/dev/stdin", place), stdin=text))
    if unit.text != text or unit.stale:
        commands.append(_RELOAD)
    if not unit.enabled:
        commands.append(Command(("systemctl", "enable", name)))
    # It follows what runs. What an operator stopped is not started by it.
    if facts.runs(node.container) and not unit.active:
        commands.append(Command(("systemctl", "start", name)))
    return _step(f"Install {name} on {facts.host}", node, commands, facts)


def _removal(node: Node, facts: HostUnits) -> Step | None:
    """The file goes before the unit is stopped: what it has no file for has no ExecStop, and so the
    container goes on."""
    name = unit_name(node)
    unit = facts.unit(name)
    commands = list[Command]()
    if unit.enabled:
        commands.append(Command(("systemctl", "disable", name)))
    if unit.text is not None:
        commands.append(Command(("rm", f"{DIRECTORY}/{name}")))
    if facts.booted and (unit.text is not None or unit.active):
        commands.append(_RELOAD)
    if unit.active:
        commands.append(Command(("systemctl", "stop", name)))
    return _step(f"Remove {name} from {facts.host}", node, commands, facts)


def _step(title: str, node: Node, commands: Sequence[Command], facts: HostUnits) -> Step | None:
    if not commands:
        return None
    words = facts.as_root or ()
    run = Run(tuple(Command((*words, *c.words), c.stdin) for c in commands), UNIT_S)
    return Step(title, node.name, anything(), run, anything())


def _notes(node: Node, facts: HostUnits) -> tuple[str, ...]:
    if facts.runs(node.container) or facts.unit(unit_name(node)).active:
        return ()
    return (
        f"{node.name}'s container does not run: its unit starts it at the next boot. After an inv "
        "start, `inv units` has it followed at once.",
    )


# --- looking and doing ---------------------------------------------------------------------------


def units(
    reach: Reach, provision: Provision, listener: Listener, *, remove: bool, dry_run: bool
) -> Outcome:
    """Install the units, or take them away; read back what came of it.

    Raises Refused (nothing was changed), Failed on the way.
    """
    begun, done = time.monotonic(), list[StepDone]()
    plan = plan_units(provision, _look(reach, provision), remove=remove)
    if not dry_run and plan.stages:
        listener.planned(plan)
        for step in plan.steps:
            listener.started(step)
            done.append(StepDone(step, _run(reach.host(step.node), step)))
            listener.finished(done[-1])
        left = plan_units(provision, _look(reach, provision), remove=remove)
        if left.stages:
            raise Failed(
                f"This was done, and is not so: {', '.join(left.titles)}.",
                next=f"inv units{' --remove' if remove else ''} --dry-run",
                details=tuple(c.shown for step in left.steps for c in step.commands()),
            )
    return Outcome(plan, tuple(done), _unseen(provision.topology), time.monotonic() - begun)


def _run(host: Host, step: Step) -> float:
    assert isinstance(step.action, Run)
    begun = time.monotonic()
    for command in step.action.commands:
        host.run(command, timeout_s=step.action.command_s)
    return time.monotonic() - begun


def _unseen(topology: Topology) -> ClusterState:
    nodes = (NodeState(n.name, n.kind, n.host, ContainerStatus.UNKNOWN) for n in topology.nodes)
    return ClusterState(topology, tuple(nodes))


def _look(reach: Reach, provision: Provision) -> tuple[HostUnits, ...]:
    """Every host. Raises the error of the first one that does not answer."""
    topology = provision.topology
    first = {n.host: n for n in reversed(topology.nodes)}

    def job(host: str) -> Callable[[], HostUnits]:
        return lambda: _look_at(reach.host(first[host].name), topology, host)

    answers = at_once({host: job(host) for host in topology.hosts}, timeout_s=SURVEY_S + DOCKER_S)
    for answer in answers.values():
        if isinstance(answer, PghaError):
            raise answer
    return tuple(a for a in answers.values() if isinstance(a, HostUnits))


def _look_at(host: Host, topology: Topology, name: str) -> HostUnits:
    def ask(*words: str) -> tuple[int, str]:
        answer = host.run(Command(words), timeout_s=UNIT_S, check=False)
        return answer.status, answer.stdout

    def holds(*words: str) -> bool:
        return ask(*words)[0] == 0

    told = host.run(docker.ps({CLUSTER_LABEL: topology.cluster}), timeout_s=DOCKER_S)
    # sd_booted(3): that directory is there where systemd is the init, and nowhere else.
    booted = holds("test", "-d", "/run/systemd/system")
    root = ask("id", "-u")[1].strip() == "0"
    sudo = root or holds("sudo", "-n", "true")
    found = list[tuple[str, Unit]]()
    for unit in (unit_name(n) for n in topology.nodes if n.host == name):
        status, text = ask("cat", f"{DIRECTORY}/{unit}")
        enabled = booted and holds("systemctl", "--quiet", "is-enabled", unit)
        active = booted and holds("systemctl", "--quiet", "is-active", unit)
        stale = booted and ask(*_STALE, unit)[1].strip() == "yes"
        found.append((unit, Unit(text if status == 0 else None, enabled, active, stale)))
    return HostUnits(
        name,
        booted,
        () if root else ("sudo", "-n") if sudo else None,
        ask("sh", "-c", "command -v docker")[1].strip() or "/usr/bin/docker",
        tuple((line.name, line.state == "running") for line in parse_ps(told.stdout)),
        tuple(found),
    )
