"""A host's Docker engine: what it says of itself, or in a sentence why it says nothing."""

from __future__ import annotations

from pgha.commands import docker
from pgha.commands.docker_answers import EngineInfo, parse_info
from pgha.errors import Unreachable
from pgha.hosts import NOT_FOUND, Host


class NoEngine(Unreachable):
    """The host answers, and has no engine that does."""


def ask_engine(host: Host, *, timeout_s: float) -> EngineInfo:
    """Raises NoEngine where its `docker` program or its engine is not there, else Unreachable."""
    told = host.run(docker.info(), timeout_s=timeout_s, check=False)
    if told.status == NOT_FOUND:
        raise NoEngine("There is no docker program.", next="Install Docker there.")
    engine = parse_info(told.stdout) if told.status == 0 else None
    if engine is None:
        why = " ".join(told.stderr.split())
        raise NoEngine(f"No Docker engine answers{f': {why}' if why else '.'}", next="docker info")
    return engine
