"""What Paramiko makes of an SSH configuration, where no `ssh` is installed that could be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import paramiko

from pgha import openssh
from pgha.errors import Unreachable
from pgha.openssh import Answer, Jump


def read(file: Path) -> Callable[[Jump, tuple[Jump, ...]], Answer]:
    """What answers as `ssh -G` does, without Match's finer points. Raises Unreachable."""
    try:
        configuration = paramiko.SSHConfig.from_path(str(file))
    except FileNotFoundError:
        configuration = paramiko.SSHConfig()
    except (paramiko.SSHException, OSError, UnicodeDecodeError) as error:
        raise Unreachable(f"{file} cannot be read: {error}.") from None

    def ask(jump: Jump, through: tuple[Jump, ...]) -> Answer:
        found: dict[str, str | list[str]] = {**configuration.lookup(jump.name)}
        found |= {"user": jump.user} if jump.user else {}
        found |= {"port": str(jump.port)} if jump.port else {}
        found |= {"proxyjump": openssh.joined(through)} if through else {}
        return {
            key: tuple(value) if isinstance(value, list) else (value,)
            for key, value in found.items()
            # Paramiko has None for `ProxyCommand none`.
            if value is not None
        }

    return ask
