"""Commands of Docker Swarm: making one, joining, its networks and labels. Nothing runs here.

A join token is a key to the Swarm: it goes from one host's output to another one's standard input,
and stands in a process list only while that host joins, since `docker swarm join` takes it no other
way. `xargs` puts what it reads behind the command's words.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgha.commands.base import Command

MANAGER, WORKER = "manager", "worker"


def init(address: str, pool: str) -> Command:
    """A new Swarm of this host alone, whose own networks come out of `pool`.

    address: the one at which other hosts reach it.
    """
    words = ("--advertise-addr", address, "--default-addr-pool", pool)
    return Command(("docker", "swarm", "init", *words))


def join_token(role: str) -> Command:
    """Print the token with which hosts join as managers or as workers: a secret."""
    return Command(("docker", "swarm", "join-token", "--quiet", role))


def rotate_token(role: str) -> Command:
    """Another token, which is not shown: the one before is of no use any more."""
    # By itself it prints the new one.
    words = ("docker", "swarm", "join-token", "--rotate", "--quiet", role)
    return Command(("sh", "-c", 'exec "$@" > /dev/null', "sh", *words))


def join(address: str, manager: str) -> Command:
    """Join the Swarm of `manager` (host:port); the token is read from standard input.

    address: the one at which other hosts reach this one.
    """
    words = ("docker", "swarm", "join", "--advertise-addr", address, manager, "--token")
    return Command(("xargs", *words))


def own_id() -> Command:
    """Print this engine's id in its Swarm."""
    return Command(("docker", "info", "--format", "{{.Swarm.NodeID}}"))


def label(labels: Mapping[str, str]) -> Command:
    """Label the host whose id is read from standard input; on a manager."""
    added = (word for key, value in labels.items() for word in ("--label-add", f"{key}={value}"))
    return Command(("xargs", "docker", "node", "update", *added))


def nodes() -> Command:
    """All hosts of the Swarm, one JSON object a line; on a manager, while there is a majority."""
    return Command(("docker", "node", "ls", "--format", "{{json .}}"))


def overlay_create(
    name: str, subnet: str, labels: Mapping[str, str], *, encrypted: bool = False, chosen: str = ""
) -> Command:
    """A network over all hosts of the Swarm, which plain containers may join; on a manager.

    chosen: the part of the subnet out of which Docker takes addresses that nobody asked for.
    """
    marks = (word for key, value in labels.items() for word in ("--label", f"{key}={value}"))
    return Command(
        (
            *("docker", "network", "create", "--driver", "overlay", "--attachable"),
            *(("--opt", "encrypted") if encrypted else ()),
            *("--subnet", subnet),
            *(("--ip-range", chosen) if chosen else ()),
            *marks,
            name,
        )
    )
