"""Runs what a step does on Docker hosts: tried again where the step says so, passed on unseen.

A container on an overlay network cannot start while its host's Swarm is not heard. Docker says so
by a text and the status 1 that everything has: what kept it is found out by asking for the Swarm.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace

from pgha.commands import docker
from pgha.commands.base import Command, Secret
from pgha.commands.docker_answers import parse_info
from pgha.commands.swarm_answers import SwarmInfo
from pgha.errors import CommandFailed, Failed, Unreachable
from pgha.hosts import Host, judge
from pgha.limits import AGAIN_PAUSE_S, READY_AGAIN_S, SWARM_S
from pgha.operations.swarm import trouble
from pgha.plan import Relay, Run
from pgha.waiting import Deadline

# Docker's words about a container whose network was removed: `inv start` makes that again.
_NO_NETWORK = re.compile(r"network \S+ not found")


def run(host: Host, action: Run) -> None:
    """Every command, in order. Raises what the first one that fails raises."""
    for command in action.commands:
        _run_again(host, command, action)


def relay(source: Host, host: Host, action: Relay) -> None:
    """Feed what `source` says to the other command. Nobody is shown it."""
    said = _hidden(source, action.ask, action.command_s)
    _run_again(host, replace(action.command, stdin=Secret(said.strip())), action)


def _hidden(host: Host, command: Command, limit_s: float) -> str:
    """What a command prints. Observers and errors get nothing of it."""
    host.observer(host.name, command, None)
    result = host.answer(command, Deadline(limit_s))
    shown = replace(result, stdout="")
    host.observer(host.name, command, shown)
    judge(host.name, command, shown)
    return result.stdout


def _run_again(host: Host, command: Command, action: Run | Relay) -> None:
    limit = Deadline(action.again_s)
    # Where its Swarm is in order, a failure has another reason, which seldom goes away.
    ready = Deadline(min(action.again_s, READY_AGAIN_S))
    while True:
        try:
            if isinstance(action, Run) and action.hidden:
                _hidden(host, command, action.command_s)
            else:
                host.run(command, timeout_s=action.command_s)
            return
        except CommandFailed as error:
            if _NO_NETWORK.search(error.stderr):
                error.next = "inv start"
            if not action.again_s:
                raise
            swarm = _swarm(host)
            why = trouble(host.name, swarm) if isinstance(swarm, SwarmInfo) else swarm
            if why:
                ready = Deadline(READY_AGAIN_S)
            if limit.passed or ready.passed:
                raise _explained(error, why, _of_worker(host.name, swarm)) from error
        time.sleep(AGAIN_PAUSE_S)


def _explained(error: CommandFailed, why: str, hint: str) -> Failed:
    if not why:
        error.details = (*error.details, *((hint,) if hint else ()))
        return error
    return Failed(why, next="inv status", details=(error.message, *error.details))


def _of_worker(name: str, swarm: SwarmInfo | str) -> str:
    """A worker does not know whether its managers are well."""
    if isinstance(swarm, str) or swarm.state != "active" or swarm.manager:
        return ""
    managers = " or ".join(sorted(swarm.remotes.values()))
    return f"{name} is a worker: its Swarm starts nothing unless its managers answer ({managers})."


def _swarm(host: Host) -> SwarmInfo | str:
    """What the host's engine says of its Swarm, or in a sentence why it says nothing."""
    try:
        told = host.run(docker.info(), timeout_s=SWARM_S, check=False)
    except Unreachable:
        return (
            f"{host.name}'s Swarm does not answer: it may have lost the majority of its managers."
        )
    engine = parse_info(told.stdout) if told.status == 0 else None
    if engine is None:
        return f"No Docker engine answers on {host.name}."
    return engine.swarm
