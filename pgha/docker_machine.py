"""A machine in docker-machine's store → how its driver is reached over SSH.

Sources: docker/machine, libmachine/drivers/base.go and drivers/{generic,virtualbox}.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pgha.openssh import DEFAULT_KEYS, GLOBAL_KNOWN_HOSTS, USER_KNOWN_HOSTS, Here, Hop

# Whom these drivers sign on as where config.json does not say; the others: root.
_USERS = {"virtualbox": "docker", "amazonec2": "ubuntu"}


@dataclass(frozen=True)
class Stored:
    """What a driver's config.json says. key: None: the user's own keys, and the agent's."""

    address: str
    port: int
    user: str
    key: Path | None


def config_of(store: Path, name: str) -> Path:
    """Where a store has what it knows of a machine."""
    return store / "machines" / name / "config.json"


def parse(text: str, file: Path) -> Stored:
    """What config.json says; `file` is where it stands. Raises ValueError with what is wrong."""
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    driver = whole.get("Driver") if isinstance(whole, dict) else None
    if not isinstance(driver, dict):
        raise ValueError("it has no Driver")
    kind = whole.get("DriverName")
    # VirtualBox forwards the port on our loopback address; IPAddress is the machine's own.
    address = "127.0.0.1" if kind == "virtualbox" else _text(driver, "IPAddress")
    if not address:
        raise ValueError("its Driver has no IPAddress")
    port = driver.get("SSHPort") or 22
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ValueError("its SSHPort is no port")
    key = _text(driver, "SSHKeyPath")
    if not key:
        # The generic driver leaves it empty where it was given no key.
        key = _text(driver, "SSHKey") if kind == "generic" else str(file.parent / "id_rsa")
    return Stored(
        address,
        port,
        _text(driver, "SSHUser") or _USERS.get(str(kind), "root"),
        Path(key) if key else None,
    )


def _text(driver: dict[str, object], name: str) -> str:
    value = driver.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"its {name} is no text")
    return value


def read(store: Path, name: str) -> Stored | None:
    """What the store knows of a machine; None where it does not have it.

    Raises OSError, and ValueError with what is wrong.
    """
    file = config_of(store, name)
    try:
        stored = parse(file.read_text(), file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A store that came from elsewhere names paths of there; its keys came along.
    if (
        stored.key
        and not stored.key.exists()
        and (beside := file.parent / stored.key.name).exists()
    ):
        return replace(stored, key=beside)
    return stored


def hop_of(stored: Stored, here: Here, known_hosts: Path | None) -> Hop:
    """The hop to a store's machine: straight, whatever the SSH configuration says."""

    def at_home(files: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(here.home / file.removeprefix("~/") for file in files)

    address, port = stored.address, stored.port
    own = (known_hosts,) if known_hosts else at_home(USER_KNOWN_HOSTS)
    defaults = at_home(DEFAULT_KEYS)
    return Hop(
        address=address,
        port=port,
        user=stored.user,
        known_as=address if port == 22 else f"[{address}]:{port}",
        known_hosts=(*own, *map(Path, GLOBAL_KNOWN_HOSTS)),
        keys=(stored.key,) if stored.key else defaults,
        optional=() if stored.key else defaults,
        only_keys=stored.key is not None,
        agent=here.environ.get("SSH_AUTH_SOCK", ""),
    )


def ssh(stored: Stored, known_hosts: tuple[str, ...]) -> tuple[str, ...]:
    """With this people get there themselves. known_hosts: ssh's words for the file."""
    key = ("-o", "IdentitiesOnly=yes", "-i", str(stored.key)) if stored.key else ()
    place = ("-p", str(stored.port), f"{stored.user}@{stored.address}")
    return ("ssh", "-F", "none", *known_hosts, *key, *place)
