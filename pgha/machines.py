"""A host's name → how to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgha.commands.base import Command
from pgha.settings import Mode, Settings
from pgha.topology import LOCAL_HOST


@dataclass(frozen=True)
class Machine:
    """How to reach one host.

    name: as the settings have it; the alias under which the SSH configuration is asked for
    HostName, User, Port, IdentityFile and ProxyJump.
    local: no SSH, programs run here.
    known_hosts: the only keys that are accepted (with those of the whole system).
    connect_timeout_s: connecting, signing on included, takes no longer.
    """

    name: str
    local: bool
    ssh_config: Path
    known_hosts: Path
    connect_timeout_s: float

    @property
    def look(self) -> Command:
        """With this people see for themselves; it asks them whether to accept an unknown key."""
        configuration = ("-F", str(self.ssh_config)) if self.ssh_config.exists() else ()
        known = ("-o", f"UserKnownHostsFile={self.known_hosts}")
        return Command(("ssh", *configuration, *known, self.name, "true"))


def machine_of(settings: Settings, host: str) -> Machine:
    """The machine that the settings mean by `host`; in single mode this one, whatever the name."""
    home = Path.home() / ".ssh"
    single = settings.mode is Mode.SINGLE
    return Machine(
        name=LOCAL_HOST if single else host,
        local=single,
        ssh_config=Path(settings.ssh_config or home / "config").expanduser(),
        known_hosts=Path(settings.ssh_known_hosts or home / "known_hosts").expanduser(),
        connect_timeout_s=settings.ssh_connect_timeout,
    )
