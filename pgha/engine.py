"""A host's Docker engine: what it says of itself, or in a sentence why it says nothing."""

from __future__ import annotations

from pgha.commands import docker
from pgha.commands.docker_answers import EngineInfo, parse_info
from pgha.errors import Unreachable
from pgha.hosts import NOT_FOUND, Host


def ask_engine(host: Host, *, timeout_s: float) -> EngineInfo:
    """Raises Unreachable: the host, its `docker` program or its engine is not there."""
    told = host.run(docker.info(), timeout_s=timeout_s, check=False)
    if told.status == NOT_FOUND:
        raise Unreachable("There is no docker program.", next="Install Docker there.")
    engine = parse_info(told.stdout) if told.status == 0 else None
    if engine is None:
        why = " ".join(told.stderr.split())
        raise Unreachable(
            f"No Docker engine answers{f': {why}' if why else '.'}", next="docker info"
        )
    return engine
