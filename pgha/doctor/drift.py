"""Whether a node's files are what the settings make of them, and how old its keys are. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pgha.commands.base import Command, Secret
from pgha.keys import Birth, KeyPair
from pgha.operations.provision import Provision
from pgha.render import ETC, OURS, POSTGRES_HOME_SSH, SSH, files, node_sizing
from pgha.topology import Node

# What follows from the settings alone, and is never written again while the cluster lives.
_FOLLOWING = (
    *(f"{OURS}/{name}" for name in ("node.json", "postgresql.conf", "pg_hba.conf")),
    *(f"{OURS}/{name}" for name in ("clients_hba.conf", "pg_ident.conf", "pgpass")),
    *(f"{ETC}/{name}" for name in ("pgpool.conf", "pool_hba.conf", "pcp.conf", "pcppass")),
    f"{SSH}/sshd_config",
)
# What follows from the memory of all hosts as well.
_SIZED = (f"{OURS}/postgresql.conf", f"{ETC}/pgpool.conf")
KEYS = (
    f"{SSH}/ssh_host_ed25519_key",
    "/root/.ssh/id_ed25519",
    f"{POSTGRES_HOME_SSH}/id_ed25519",
    f"{OURS}/agent.key",
    f"{ETC}/pgpoolkey",
)
_SCRIPT = r"""
for path do
    echo "$(sha256sum < "$path" | cut -d' ' -f1) $(stat -c %Y "$path") $path"
done 2> /dev/null
"""


@dataclass(frozen=True)
class Held:
    """What a node has: path → digest, and path → when it was written (seconds since 1970)."""

    digests: Mapping[str, str]
    written_s: Mapping[str, float]


def ask_held() -> Command:
    """Digests and times of the files above, in a container, as root."""
    return Command(("sh", "-c", _SCRIPT, "doctor", *_FOLLOWING, *KEYS), user="root")


def parse_held(text: str) -> Held:
    """The answer; a file that is not there is not in it."""
    found = [line.split(" ", 2) for line in text.splitlines()]
    whole = [words for words in found if len(words) == 3 and words[1].isdigit()]
    return Held(
        {path: digest for digest, _, path in whole},
        {path: float(written) for _, written, path in whole},
    )


def expected(provision: Provision, node: Node, memory_bytes: Mapping[str, int]) -> dict[str, str]:
    """The digest that each file should have; what depends on the memory of a host that is not known
    is left out. memory_bytes: of each host that is, the node's own among them."""
    topology, names = provision.topology, provision.topology.names
    none = KeyPair(Secret(""), "")
    birth = Birth(
        stamp="",
        operator=none,
        host=dict.fromkeys(names, none),
        node=dict.fromkeys(names, none),
        **dict.fromkeys(("agents", "pgpool", "superuser", "replication"), Secret("")),
    )
    own = memory_bytes[node.host]
    size = node_sizing(provision, node, {**dict.fromkeys(topology.hosts, own), **memory_bytes})
    known = {n.host for n in topology.data_nodes} <= set(memory_bytes)
    whole = provision.settings.memory_mb or known
    compared = [path for path in _FOLLOWING if whole or path not in _SIZED]
    return {
        file.path: hashlib.sha256(file.content.reveal().encode()).hexdigest()
        for file in files(provision, birth, node, size)
        if file.path in compared
    }


def drifted(held: Held, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The files that differ, or are missing."""
    return tuple(path for path, digest in wanted.items() if held.digests.get(path) != digest)
