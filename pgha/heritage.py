"""What the nodes of a cluster share, read from one of them for a node that is made anew."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgha.commands import docker
from pgha.commands.base import Command, Secret
from pgha.errors import Failed
from pgha.keys import Birth, KeyPair
from pgha.limits import DOCKER_S
from pgha.node import paths
from pgha.remote import Reach
from pgha.render import AUTHORIZED, KNOWN_HOSTS, OPERATOR_KEY, OPERATORS, POOL_KEY, POOL_PASSWD
from pgha.topology import Topology
from pgha.waiting import Deadline

NODE, AGENT_KEY, POSTGRESQL_CONF = map(str, (paths.NODE, paths.AGENT_KEY, paths.POSTGRESQL_CONF))
_FILES = (
    *(OPERATOR_KEY, AUTHORIZED, KNOWN_HOSTS, POOL_KEY, POOL_PASSWD),
    *(NODE, AGENT_KEY, POSTGRESQL_CONF),
)
_READ = "import json, sys; print(json.dumps({p: open(p).read() for p in sys.argv[1:]}))"
_MAX_CONNECTIONS = re.compile(r"^max_connections *= *([0-9]+)$", re.MULTILINE)
_NOTHING = Secret("")


@dataclass(frozen=True)
class Heritage:
    """birth: the keys that this node knows; of others' it knows the public part only.
    pool_passwd: the roles that Pgpool-II knows. node: node.json. max_connections: PostgreSQL's."""

    birth: Birth
    pool_passwd: Secret
    node: Mapping[str, object]
    max_connections: int


def read_heritage(reach: Reach, topology: Topology, name: str) -> Heritage:
    """From the node `name`, whose container runs. What is read is shown to no observer.

    Raises Unreachable, or Failed where a file is not as `init` made it.
    """
    command = Command(("python3", "-IS", "-c", _READ, *_FILES), user="root")
    words = docker.exec_in(topology.node(name).container, command)
    answer = reach.host(name).answer(words, Deadline(DOCKER_S))
    try:
        return heritage_of(json.loads(answer.stdout), topology)
    except ValueError as error:
        why = str(error) if answer.status == 0 else answer.stderr.strip().rpartition("\n")[2]
        raise Failed(
            f"{name} does not tell what a node that is made anew has to know: {why}.",
            next="inv doctor",
        ) from error


def heritage_of(files: Mapping[str, str], topology: Topology) -> Heritage:
    """files: by their paths. Raises ValueError."""
    operator, nodes = "", dict[str, KeyPair]()
    for line in files[AUTHORIZED].splitlines():
        options, _, key = line.partition(" ")
        public, _, owner = key.rpartition(" ")
        if options == OPERATORS:
            operator = public
        else:
            nodes[owner] = KeyPair(_NOTHING, public)
    names = {n.address: n.name for n in topology.nodes}
    hosts = dict[str, KeyPair]()
    for line in files[KNOWN_HOSTS].splitlines():
        address, _, public = line.partition(" ")
        if address in names:
            hosts[names[address]] = KeyPair(_NOTHING, public)
    connections = _MAX_CONNECTIONS.search(files[POSTGRESQL_CONF])
    node = json.loads(files[NODE])
    lacking = sorted({*topology.names} - ({*nodes} & {*hosts}))
    if lacking:
        raise ValueError(f"it has no keys of {' and '.join(lacking)}")
    if not operator or connections is None or not isinstance(node, dict):
        raise ValueError("its files are not as `init` made them")
    return Heritage(
        Birth(
            stamp="",
            operator=KeyPair(Secret(files[OPERATOR_KEY]), operator),
            host=hosts,
            node=nodes,
            agents=Secret(files[AGENT_KEY]),
            pgpool=Secret(files[POOL_KEY]),
            superuser=_NOTHING,
            replication=_NOTHING,
        ),
        Secret(files[POOL_PASSWD]),
        node,
        int(connections[1]),
    )
