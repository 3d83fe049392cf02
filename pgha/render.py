"""Settings and keys → every file of a node, with its owner and mode. Pure but for the templates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pgha.commands import pgpool
from pgha.commands.base import Secret
from pgha.commands.postgres import pgpass_line
from pgha.keys import Birth
from pgha.node import paths
from pgha.node.survey import FORCED
from pgha.operations.provision import Provision
from pgha.sizing import Sizing, sizing
from pgha.templating import render
from pgha.topology import Kind, Node

ETC = "/etc/pgpool2"
OURS = f"{ETC}/pgha"
SSH = "/etc/ssh/pgha"
POSTGRES_HOME_SSH = "/var/lib/postgresql/.ssh"
OPERATOR_KEY = "/root/.ssh/id_ed25519"
AUTHORIZED, KNOWN_HOSTS = f"{POSTGRES_HOME_SSH}/authorized_keys", f"{POSTGRES_HOME_SSH}/known_hosts"
POOL_KEY, POOL_PASSWD = f"{ETC}/pgpoolkey", f"{ETC}/pool_passwd"
MEGABYTE = 1024 * 1024
# What an operator's key may do in a container.
OPERATORS = "restrict,pty"
# Kept for followers without a slot: those that come back after a promotion.
WAL_KEEP_MB = 512


@dataclass(frozen=True)
class Directory:
    """A directory of a node's volumes. mode: as `chmod` takes it."""

    path: str
    owner: str
    mode: str


@dataclass(frozen=True)
class File:
    """A file of a node's volumes."""

    path: str
    content: Secret
    owner: str = "postgres"
    mode: str = "0600"


def prepare_document(
    provision: Provision,
    birth: Birth,
    node: Node,
    memory_bytes: Mapping[str, int],
    stamp: str | None,
    *,
    forced: bool = False,
) -> str:
    """What the verb `prepare` reads on standard input: the node's directories and files.

    memory_bytes: of each host. stamp: where what is there goes (`aside/<stamp>`), or None.
    forced: it is for an `init -f`; the mark of the `init` that is under way says so.
    """
    size = node_sizing(provision, node, memory_bytes)
    mark = File(str(paths.INITIALISING), Secret(FORCED))
    made = (*files(provision, birth, node, size), *((mark,) if forced else ()))
    return document(directories(provision, node), made, stamp)


def document(made: Iterable[Directory], written: Iterable[File], stamp: str | None) -> str:
    """As the verb `prepare` reads it."""
    return json.dumps(
        {
            "stamp": stamp,
            "directories": [vars(d) for d in made],
            "files": [
                {"path": f.path, "owner": f.owner, "mode": f.mode, "content": f.content.reveal()}
                for f in written
            ],
        }
    )


def node_sizing(provision: Provision, node: Node, memory_bytes: Mapping[str, int]) -> Sizing:
    """What fits the memory of the node's host, or MEMORY_MB where it says so.

    memory_bytes: of each host. max_connections is one for all nodes, that of the least host with
    data: a standby that has fewer than its primary replays no more (PostgreSQL 17, "Hot Standby",
    "Administrator's Overview"), so a failover would end the other node.
    """
    each = (sizing_beside(provision, n, memory_bytes) for n in provision.topology.data_nodes)
    least = min(size.max_connections for size in each)
    return sizing_beside(provision, node, memory_bytes, least)


def sizing_beside(
    provision: Provision,
    node: Node,
    memory_bytes: Mapping[str, int],
    max_connections: int | None = None,
) -> Sizing:
    """What fits the memory of the node's host, with the nodes that are beside it there.

    memory_bytes: of its host. max_connections: where that is decided; None: what fits."""
    settings, topology = provision.settings, provision.topology
    beside = [n for n in topology.data_nodes if n.host == node.host]
    memory = settings.memory_mb * MEGABYTE or memory_bytes[node.host]
    return sizing(memory, max(1, len(beside)), len(topology.nodes), max_connections)


def directories(provision: Provision, node: Node) -> tuple[Directory, ...]:
    """Owners and modes that PostgreSQL, Pgpool-II and sshd insist on."""
    made = [
        Directory(ETC, "postgres", "0700"),
        Directory(OURS, "postgres", "0700"),
        Directory(SSH, "root", "0755"),
        Directory("/root/.ssh", "root", "0700"),
        Directory(POSTGRES_HOME_SSH, "postgres", "0700"),
        Directory(provision.settings.cluster_archive, "postgres", "0700"),
    ]
    if node.kind is Kind.DATA:
        made.append(Directory("/var/lib/pgha/volume", "postgres", "0700"))
    return tuple(made)


def files(provision: Provision, birth: Birth, node: Node, size: Sizing) -> tuple[File, ...]:
    """Every file that `init` writes on a node."""
    return (
        *_of_node(provision, birth, node),
        *_of_postgres(provision, size),
        *_of_pgpool(provision, birth, size),
        *ssh_files(provision, birth, node),
    )


def _of_node(provision: Provision, birth: Birth, node: Node) -> Iterator[File]:
    settings, topology = provision.settings, provision.topology
    document = {
        "cluster": topology.cluster,
        "node": node.name,
        "kind": node.kind.value,
        "nodes": [
            {"name": n.name, "kind": n.kind.value, "address": n.address, "slot": n.slot}
            for n in topology.nodes
        ],
        "pgport": settings.pgport,
        "pgpool_port": settings.pgpool_port,
        "postgres_user": settings.postgres_user,
        "replication_user": settings.replication_user,
        "pcp_user": settings.pcp_user,
        "quorum_commit": topology.quorum_commit,
        "election_timeout_s": settings.election_timeout,
        "auto_failover": settings.auto_failover,
        "auto_recovery": settings.auto_recovery,
        "read_balance": settings.read_balance,
        "archive_max_bytes": settings.archive_max_mb * MEGABYTE,
        "wal_keep_max_bytes": settings.wal_keep_max_mb * MEGABYTE,
        "locale_provider": settings.postgres_locale_provider.value,
        "locale": settings.postgres_locale,
        "pgdata": settings.pgdata,
        "archive": settings.cluster_archive,
        "image": provision.image,
    }
    yield File(f"{OURS}/node.json", Secret(json.dumps(document, indent=2) + "\n"))
    yield File(f"{OURS}/agent.key", birth.agents)


def _of_postgres(provision: Provision, size: Sizing) -> Iterator[File]:
    settings, topology = provision.settings, provision.topology
    config = render(
        "postgresql.conf.j2",
        cluster=topology.cluster,
        pgport=settings.pgport,
        archive=settings.cluster_archive,
        max_connections=size.max_connections,
        shared_buffers_mb=size.shared_buffers_mb,
        effective_cache_size_mb=size.effective_cache_size_mb,
        maintenance_work_mem_mb=size.maintenance_work_mem_mb,
        work_mem_mb=size.work_mem_mb,
        # Each other node streams, may be copied (two connections), and may be rewound.
        max_wal_senders=4 + 3 * len(topology.nodes),
        wal_keep_mb=min(WAL_KEEP_MB, settings.wal_keep_max_mb),
        max_slot_wal_keep_mb=settings.wal_keep_max_mb,
        max_wal_size_mb=size.max_wal_mb,
        superuser_reserved=size.superuser_reserved,
    )
    hba = render(
        "pg_hba.conf.j2",
        postgres_user=settings.postgres_user,
        replication_user=settings.replication_user,
        backend_subnet=topology.backend_subnet,
    )
    clients = render(
        "clients_hba.conf.j2",
        backend_subnet=topology.backend_subnet,
        frontend_subnet=topology.frontend_subnet,
    )
    ident = render("pg_ident.conf.j2", postgres_user=settings.postgres_user)
    yield File(f"{OURS}/postgresql.conf", Secret(config))
    yield File(f"{OURS}/pg_hba.conf", Secret(hba))
    yield File(f"{OURS}/clients_hba.conf", Secret(clients))
    # Nobody is let in before a first commit that a majority has.
    yield File(f"{OURS}/gate_hba.conf", Secret(""))
    yield File(f"{OURS}/pg_ident.conf", Secret(ident))
    yield File(
        f"{OURS}/pgpass",
        Secret(
            pgpass_line(
                *("*", "*", "*"),
                settings.replication_user,
                settings.replication_password.reveal(),
            )
        ),
    )


def _of_pgpool(provision: Provision, birth: Birth, size: Sizing) -> Iterator[File]:
    settings, topology = provision.settings, provision.topology
    config = pgpool.PgpoolConfig(
        nodes=tuple(
            pgpool.PgpoolNode(index, n.name, n.address)
            for index, n in enumerate(topology.data_nodes)
        ),
        port=settings.pgpool_port,
        backend_port=settings.pgport,
        replication_user=settings.replication_user,
        pcp_user=settings.pcp_user,
        num_init_children=size.num_init_children,
        max_pool=size.max_pool,
        read_balance=settings.read_balance,
    )
    yield File(f"{ETC}/pgpool.conf", Secret(render("pgpool.conf.j2", config=config)))
    yield File(f"{ETC}/pool_hba.conf", Secret(render("pool_hba.conf.j2", config=config)))
    yield File(f"{ETC}/pcp.conf", pgpool.pcp_conf(settings.pcp_user, settings.pcp_password))
    yield File(f"{ETC}/pcppass", pgpool.pcppass(settings.pcp_user, settings.pcp_password))
    yield File(POOL_KEY, birth.pgpool)
    # The roles' entries are encrypted on the node, by Pgpool-II's own program: `door_user_set`.
    yield File(POOL_PASSWD, Secret(""))


def ssh_files(provision: Provision, birth: Birth, node: Node) -> Iterator[File]:
    """The keys of the node, and those that it knows."""
    nodes = provision.topology.nodes
    host, mine = birth.host[node.name], birth.node[node.name]
    yield File(f"{SSH}/sshd_config", Secret(render("sshd_config.j2")), "root", "0644")
    yield File(f"{SSH}/ssh_host_ed25519_key", host.private, "root")
    yield File(f"{SSH}/ssh_host_ed25519_key.pub", Secret(f"{host.public}\n"), "root", "0644")
    operator = f"{OPERATORS} {birth.operator.public} operator\n"
    yield File(OPERATOR_KEY, birth.operator.private, "root")
    yield File("/root/.ssh/authorized_keys", Secret(operator), "root")
    peers = "".join(f"restrict {birth.node[n.name].public} {n.name}\n" for n in nodes)
    yield File(AUTHORIZED, Secret(operator + peers))
    yield File(f"{POSTGRES_HOME_SSH}/id_ed25519", mine.private)
    known = "".join(f"{n.address} {birth.host[n.name].public}\n" for n in nodes)
    yield File(KNOWN_HOSTS, Secret(known), mode="0644")
