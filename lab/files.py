"""The texts of a lab's files, on this machine and on its hosts. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence

from lab.archive import Packed
from lab.layout import BACKEND, FRONTEND, REGISTRY_PORT, USER, Layout, Place
from pgha.envfile import written
from pgha.variable import MORE_STANDBYS

_USER_ID = 1000
# The lab's own env files are known by their first line: no other is ever overwritten or removed.
MARK = "# Made by bin/lab."

# The last is a data node again: with three hosts or more, the third one is the witness.
_PREFIXES = ("MASTER", "STANDBY", "WITNESS", *(f"STANDBY_{n}" for n in MORE_STANDBYS))


def env_text(layout: Layout) -> str:
    """The env file for `-e NAME`."""
    values = {
        "MODE": "ha",
        "COMPOSE_PROJECT_NAME": layout.name,
        **_nodes(layout),
        "POSTGRES_BACKEND_SUBNET": str(BACKEND),
        "POSTGRES_FRONTEND_SUBNET": str(FRONTEND),
        # What several nodes on one machine can have each.
        "MEMORY_MB": "512",
        "DOCKER_HUB_IMAGE": "false",
        "DOCKER_REGISTRY_HOST": str(layout.registry_address),
        "DOCKER_REGISTRY_PORT": str(REGISTRY_PORT),
        "MACHINE_STORAGE_PATH": str(layout.files.store),
        "SSH_KNOWN_HOSTS": str(layout.files.known_hosts),
    }
    heading = (
        f"{MARK} The cluster on the lab «{layout.name}»; `bin/lab down` removes this file.",
        "# To change it, copy it to another name: `bin/lab up` may write it anew.",
    )
    lines = (*heading, "", *(f"{name}={written(value)}" for name, value in values.items()))
    return "\n".join(lines) + "\n"


def _nodes(layout: Layout) -> dict[str, str]:
    """Each node's host and address; no witness on two hosts."""
    values = {}
    for place, prefix in zip(layout.places, _PREFIXES, strict=False):
        values[f"{prefix}_NODE"] = place.name
        values[f"{prefix}_IP"] = str(BACKEND[11 + place.number])
    return values


def machine_config(layout: Layout, place: Place) -> str:
    """What docker-machine keeps of a host; as its generic driver writes it: it can use it too."""
    driver = {
        "IPAddress": str(place.address),
        "MachineName": place.name,
        "SSHUser": USER,
        "SSHPort": 22,
        "SSHKeyPath": str(layout.files.key),
        "StorePath": str(layout.files.store),
        "EnginePort": 2376,
        "SSHKey": "",
    }
    document = {
        "ConfigVersion": 3,
        "Driver": driver,
        "DriverName": "generic",
        "HostOptions": {"EngineOptions": {}, "SwarmOptions": {}, "AuthOptions": {}},
        "Name": place.name,
    }
    return json.dumps(document, indent=4) + "\n"


def known_hosts(layout: Layout, public_keys: Mapping[str, str]) -> str:
    """A line a host. public_keys: host → its public key's line."""
    return "".join(
        f"{place.address} {' '.join(public_keys[place.name].split()[:2])}\n"
        for place in layout.places
    )


def daemon_json(layout: Layout, place: Place, nameservers: Sequence[str]) -> str:
    """The engine's configuration on a host."""
    document: dict[str, object] = {
        "bip": place.bridge,
        "default-address-pools": [{"base": str(place.pool), "size": 24}],
        # The lab's registry speaks HTTP.
        "insecure-registries": [layout.registry],
    }
    if nameservers:
        # Within a host the only name server is Docker's own, at an address that containers of the
        # host cannot reach; the engine would give them one of the Internet instead.
        document["dns"] = list(nameservers)
    return json.dumps(document, indent=4) + "\n"


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The name servers of resolv.conf(5) that others than this machine can ask too."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _elsewhere(words[1]):
            found.append(words[1])
    return tuple(found)


def _elsewhere(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # With a zone (fe80::1%eth0): of use on this machine alone.
        return False
    return address.version == 4 and not address.is_loopback


def host_files(configuration: str, host_key: str, user_key: str) -> tuple[Packed, ...]:
    """What makes one host another than the next. host_key: private; user_key: the public line."""
    return (
        Packed("etc/docker/daemon.json", configuration.encode()),
        Packed("etc/ssh/ssh_host_ed25519_key", host_key.encode(), 0o600),
        Packed("home/ops/.ssh/authorized_keys", user_key.encode(), 0o600, _USER_ID),
    )
