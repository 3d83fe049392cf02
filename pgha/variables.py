"""The table of all variables: name, kind, default, explanation; and Settings, their values.

A field of `Settings` is a variable: its name is the variable's, in lower case. The names and
defaults of the first groups are a contract with the files that people already have.
"""

# `variable` and its like make dataclass fields, which the linter cannot see.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

from pgha import kinds
from pgha.commands.base import Secret
from pgha.kinds import Kind
from pgha.variable import MORE_STANDBYS, more_ip, more_node, more_volume, variable, volume


class Mode(Enum):
    """Where the nodes are: all on the local Docker engine, or each on a host of its own."""

    SINGLE = "single"
    HA = "ha"


class SynchronousMode(Enum):
    """Whether a commit waits for a majority; AUTO: where three nodes or more have a vote."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class ImageDistribution(Enum):
    """How a built image comes to the hosts."""

    REGISTRY = "registry"
    SSH = "ssh"


class LocaleProvider(Enum):
    """Who knows how texts are sorted; PostgreSQL 17, "Locale Support"."""

    BUILTIN = "builtin"
    LIBC = "libc"
    ICU = "icu"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All variables, valid each and with one another; `pgha.settings.parse` makes them."""

    mode: Mode = variable(
        kinds.choice(Mode),
        "single",
        "single: all nodes on the local Docker engine. ha: each node on a Docker host of its own,"
        " found by its name in docker-machine's store or in the SSH configuration.",
        opens="The cluster and its nodes",
    )
    compose_project_name: str = variable(
        kinds.PREFIX,
        "postgres-cluster",
        "The cluster's name, with which its containers and networks begin: several clusters can"
        " share hosts.",
    )
    master_node: str = variable(
        kinds.HOST_NAME,
        "node-0",
        "The node where the primary is born, and its home: failback moves it here. In ha mode the"
        " host's name.",
    )
    standby_node: str = variable(
        kinds.HOST_NAME,
        "node-1",
        "The node where the standby is born. In ha mode the host's name. More of them:"
        " STANDBY_2_NODE, below.",
    )
    witness_node: str = variable(
        kinds.MAYBE_HOST_NAME,
        "",
        "The node that keeps the newest WAL and has a vote, but no database. Nothing: no witness.",
    )

    postgres_user: str = variable(
        kinds.ROLE, "postgres", "PostgreSQL's superuser.", opens="Users and passwords"
    )
    postgres_password: Secret = variable(kinds.PASSWORD, "secret", "POSTGRES_USER's password.")
    replication_user: str = variable(
        kinds.ROLE, "replication", "The role with which nodes replicate from one another."
    )
    replication_password: Secret = variable(
        kinds.PASSWORD, "secret", "REPLICATION_USER's password."
    )
    pcp_user: str = variable(kinds.USER, "postgres", "Who steers Pgpool-II (pcp commands).")
    pcp_password: Secret = variable(kinds.PASSWORD, "secret", "PCP_USER's password.")

    pgport: int = variable(
        kinds.SERVICE_PORT,
        "5433",
        "Where PostgreSQL listens, in its container: the direct door.",
        opens="Ports and networks",
    )
    pgpool_port: int = variable(
        kinds.SERVICE_PORT, "5432", "Where Pgpool-II listens, in its container: the usual door."
    )
    pgpool_alias: str = variable(
        kinds.HOST_NAME,
        "db",
        "The name to which applications connect on the frontend network; every node answers to it.",
    )
    postgres_backend_subnet: IPv4Network = variable(
        kinds.SUBNET,
        "10.0.0.0/24",
        "The network between the nodes. A Docker Swarm that was not made by `init` has taken"
        " 10.0.0.0/24 for itself, unless its --default-addr-pool said otherwise: choose another"
        " subnet then.",
    )
    postgres_frontend_subnet: IPv4Network = variable(
        kinds.SUBNET, "10.0.1.0/24", "The network that applications join."
    )
    master_ip: IPv4Address = variable(
        kinds.ADDRESS, "10.0.0.11", "MASTER_NODE's address on the backend network."
    )
    standby_ip: IPv4Address = variable(
        kinds.ADDRESS, "10.0.0.12", "STANDBY_NODE's address on the backend network."
    )
    witness_ip: IPv4Address = variable(
        kinds.ADDRESS, "10.0.0.13", "WITNESS_NODE's address on the backend network."
    )

    backend_encryption: bool = variable(
        kinds.ON_OFF,
        "off",
        "on: what goes over the backend network between hosts is encrypted (IPsec: IP protocol 50"
        " must pass). Not used in single mode.",
    )
    swarm_interface: str = variable(
        kinds.INTERFACE,
        "",
        "Where hosts reach one another: the interface's name on every host, or the subnet. Nothing:"
        " at the one address that a host has. Not used in single mode.",
    )

    synchronous_mode: SynchronousMode = variable(
        kinds.choice(SynchronousMode),
        "auto",
        "on: a commit is done when a majority of the nodes has it on disk. off: when the primary"
        " has it; a lost primary can then lose commits. auto: on with three nodes or"
        " more, else off.",
        opens="Replication and failover",
    )
    auto_failover: bool = variable(
        kinds.ON_OFF, "on", "Whether the nodes choose a new primary themselves when it is gone."
    )
    auto_recovery: bool = variable(
        kinds.ON_OFF,
        "on",
        "Whether a node that was passed over becomes a standby again without an operator; never by"
        " a new copy. off: it stays fenced until `recovery`.",
    )
    election_timeout: float = variable(
        kinds.seconds(1.0, 60),
        "1.5",
        "How long a primary may be silent before the others vote, in seconds.",
    )
    read_balance: bool = variable(
        kinds.ON_OFF,
        "off",
        "on: Pgpool-II sends reads to standbys too, which can show states that never were.",
    )

    postgres_version: int = variable(
        kinds.whole(17, 99, "a major version"),
        "17",
        "PostgreSQL's major version. The image's base, or APT_SOURCE, must have it.",
        opens="PostgreSQL",
    )
    pgdata: str = variable(
        kinds.CONTAINER_DIRECTORY, "/var/lib/postgresql/data", "The data directory, in containers."
    )
    cluster_archive: str = variable(
        kinds.CONTAINER_DIRECTORY,
        "/var/lib/postgresql/archive",
        "Archived WAL, in containers; on the witness the WAL that it keeps.",
    )
    archive_max_mb: int = variable(
        kinds.whole(32, 99_999_999, "a number of megabytes"),
        "1024",
        "How much WAL CLUSTER_ARCHIVE and the witness keep at most, in MB: older WAL is removed.",
    )
    wal_keep_max_mb: int = variable(
        kinds.whole(32, 99_999_999, "a number of megabytes"),
        "4096",
        "How much WAL a node keeps for another one that is away, in MB. Who is away for longer"
        " needs `recovery -f`.",
    )
    postgres_locale_provider: LocaleProvider = variable(
        kinds.choice(LocaleProvider),
        "builtin",
        "Who sorts texts. builtin: PostgreSQL itself, so that no change of the image's libraries"
        " can break an index.",
    )
    postgres_locale: str = variable(
        kinds.LOCALE, "C.UTF-8", "The locale of new databases, as its provider calls it."
    )
    memory_mb: int = variable(
        kinds.whole(128, 99_999_999, "a number of megabytes", or_zero=True),
        "0",
        "The memory to which settings are fitted, in MB, for all nodes with data on a host "
        "together; 0: what the host has.",
    )
    shm_size_mb: int = variable(
        kinds.whole(64, 99_999_999, "a number of megabytes"),
        "256",
        "A container's shared memory, in MB: parallel queries need it.",
    )

    docker_hub_image: bool = variable(
        kinds.TRUE_FALSE,
        "true",
        "true: pull the published image. false: build it here.",
        opens="The image",
    )
    docker_hub_image_name: str = variable(
        kinds.IMAGE_NAME, "pgha/postgres-cluster", "The published image; also the built one's name."
    )
    docker_hub_image_version: str = variable(kinds.IMAGE_TAG, "latest", "The image's tag.")
    image_distribution: ImageDistribution = variable(
        kinds.choice(ImageDistribution),
        "registry",
        "How a built image comes from the host that made it to the others. registry: through the"
        " one below. ssh: over our own connections, without a registry. Not used in single mode.",
    )
    docker_registry_host: str = variable(
        kinds.REGISTRY_HOST, "192.168.56.10", "The registry's host. Not used in single mode."
    )
    docker_registry_port: int = variable(
        kinds.PORT, "5000", "The registry's port. Not used in single mode."
    )
    base_image: str = variable(
        kinds.MAYBE_IMAGE, "", "The Debian image to build on. Nothing: `build` makes one."
    )
    apt_source: str = variable(
        kinds.MAYBE_APT_SOURCE,
        "",
        "One more source of packages, as a line of sources.list: for a PostgreSQL version that the"
        " base does not have.",
    )

    compose_http_timeout: int = variable(
        kinds.whole(1, 86_400, "a number of seconds"),
        "300",
        "How long a Docker command that makes something may take, in seconds; one that builds or"
        " moves an image, how long it may say nothing.",
        opens="Docker and SSH",
    )
    stop_timeout: int = variable(
        kinds.whole(1, 86_400, "a number of seconds"),
        "120",
        "How long Docker waits for a container that ends (`docker stop`, a host that goes down) "
        "before it kills it, in seconds. PostgreSQL is shut down fast within the first 100 of "
        "them, immediately after that; less than 120 may cut it off.",
    )
    log_max_mb: int = variable(
        kinds.whole(1, 99_999_999, "a number of megabytes"),
        "50",
        "How much of a container's log the engine keeps, in MB, in four files together; the oldest "
        "goes first.",
    )
    machine_storage_path: str = variable(
        kinds.MAYBE_FILE,
        "",
        "docker-machine's store, where hosts are looked for first. Nothing: ~/.docker/machine.",
    )
    ssh_config: str = variable(
        kinds.MAYBE_FILE,
        "",
        "The only SSH configuration to read. Nothing: what `ssh` reads by itself (~/.ssh/config and"
        " the whole system's).",
    )
    ssh_known_hosts: str = variable(
        kinds.MAYBE_FILE,
        "",
        "The hosts' known keys. Nothing: as the SSH configuration says, or ~/.ssh/known_hosts.",
    )
    ssh_connect_timeout: float = variable(
        kinds.seconds(0.1, 3600), "5", "How long connecting to a host may take, in seconds."
    )
    ssh_passphrase: Secret = variable(
        kinds.MAYBE_PASSWORD,
        "",
        "The passphrase of the keys that have one and are in no agent; better in the process's"
        " environment than in a file. Nothing: it is asked for, where there is a terminal.",
    )
    sudo_password: Secret = variable(
        kinds.MAYBE_PASSWORD,
        "",
        "sudo's password on the hosts, for a user who is not in Docker's group and whom sudo asks."
        " Nothing: it is asked for, where there is a terminal.",
    )
    debug: bool = variable(
        kinds.ONE_ZERO, "0", "1: show every command that is run, with secrets masked."
    )

    volume_root: str = variable(
        kinds.HOST_DIRECTORY,
        "/data/docker/postgres-cluster",
        "The parent of all directories below, on every host, where they are not given one by one.",
        opens="Directories on the hosts",
    )
    master_volume_etc_pgpool: str = volume(
        "master/etc/pgpool2", "MASTER_NODE: Pgpool-II's configuration, and the node's own."
    )
    master_volume_etc_ssh: str = volume("master/etc/ssh", "MASTER_NODE: its SSH server's keys.")
    master_volume_root_ssh: str = volume("master/root/ssh", "MASTER_NODE: the operator's keys.")
    master_volume_postgres_ssh: str = volume(
        "master/postgresql/ssh", "MASTER_NODE: the keys with which nodes reach one another."
    )
    master_volume_postgres_archive: str = volume(
        "master/postgresql/archive", "MASTER_NODE: CLUSTER_ARCHIVE."
    )
    master_volume_postgres_data: str = volume("master/postgresql/data", "MASTER_NODE: the data.")
    standby_volume_etc_pgpool: str = volume(
        "standby/etc/pgpool2", "STANDBY_NODE: Pgpool-II's configuration, and the node's own."
    )
    standby_volume_etc_ssh: str = volume("standby/etc/ssh", "STANDBY_NODE: its SSH server's keys.")
    standby_volume_root_ssh: str = volume("standby/root/ssh", "STANDBY_NODE: the operator's keys.")
    standby_volume_postgres_ssh: str = volume(
        "standby/postgresql/ssh", "STANDBY_NODE: the keys with which nodes reach one another."
    )
    standby_volume_postgres_archive: str = volume(
        "standby/postgresql/archive", "STANDBY_NODE: CLUSTER_ARCHIVE."
    )
    standby_volume_postgres_data: str = volume("standby/postgresql/data", "STANDBY_NODE: the data.")
    witness_volume_etc_pgpool: str = volume(
        "witness/etc/pgpool2", "WITNESS_NODE: Pgpool-II's configuration, and the node's own."
    )
    witness_volume_etc_ssh: str = volume("witness/etc/ssh", "WITNESS_NODE: its SSH server's keys.")
    witness_volume_root_ssh: str = volume("witness/root/ssh", "WITNESS_NODE: the operator's keys.")
    witness_volume_postgres_ssh: str = volume(
        "witness/postgresql/ssh", "WITNESS_NODE: the keys with which nodes reach one another."
    )
    witness_volume_postgres_archive: str = volume(
        "witness/postgresql/archive", "WITNESS_NODE: the WAL that it keeps."
    )

    standby_2_node: str = more_node(
        "A third node with data, born as a standby. In ha mode the host's name. Nothing: none. Each"
        " of these numbers stands for an address and directories of its own, so any of them may be"
        " left out.",
        opens="More standbys",
    )
    standby_2_ip: IPv4Address = more_ip(2, "STANDBY_2_NODE's address on the backend network.")
    standby_2_volume_etc_pgpool: str = more_volume(
        2, "etc/pgpool2", "STANDBY_2_NODE: its directories, as those of STANDBY_NODE."
    )
    standby_2_volume_etc_ssh: str = more_volume(2, "etc/ssh")
    standby_2_volume_root_ssh: str = more_volume(2, "root/ssh")
    standby_2_volume_postgres_ssh: str = more_volume(2, "postgresql/ssh")
    standby_2_volume_postgres_archive: str = more_volume(2, "postgresql/archive")
    standby_2_volume_postgres_data: str = more_volume(2, "postgresql/data")

    standby_3_node: str = more_node()
    standby_3_ip: IPv4Address = more_ip(3)
    standby_3_volume_etc_pgpool: str = more_volume(3, "etc/pgpool2")
    standby_3_volume_etc_ssh: str = more_volume(3, "etc/ssh")
    standby_3_volume_root_ssh: str = more_volume(3, "root/ssh")
    standby_3_volume_postgres_ssh: str = more_volume(3, "postgresql/ssh")
    standby_3_volume_postgres_archive: str = more_volume(3, "postgresql/archive")
    standby_3_volume_postgres_data: str = more_volume(3, "postgresql/data")

    standby_4_node: str = more_node()
    standby_4_ip: IPv4Address = more_ip(4)
    standby_4_volume_etc_pgpool: str = more_volume(4, "etc/pgpool2")
    standby_4_volume_etc_ssh: str = more_volume(4, "etc/ssh")
    standby_4_volume_root_ssh: str = more_volume(4, "root/ssh")
    standby_4_volume_postgres_ssh: str = more_volume(4, "postgresql/ssh")
    standby_4_volume_postgres_archive: str = more_volume(4, "postgresql/archive")
    standby_4_volume_postgres_data: str = more_volume(4, "postgresql/data")

    standby_5_node: str = more_node()
    standby_5_ip: IPv4Address = more_ip(5)
    standby_5_volume_etc_pgpool: str = more_volume(5, "etc/pgpool2")
    standby_5_volume_etc_ssh: str = more_volume(5, "etc/ssh")
    standby_5_volume_root_ssh: str = more_volume(5, "root/ssh")
    standby_5_volume_postgres_ssh: str = more_volume(5, "postgresql/ssh")
    standby_5_volume_postgres_archive: str = more_volume(5, "postgresql/archive")
    standby_5_volume_postgres_data: str = more_volume(5, "postgresql/data")


@dataclass(frozen=True)
class Variable:
    """A row of the table: see `pgha.variable`."""

    name: str
    kind: Kind[object]
    default: str
    text: str
    opens: str


VARIABLES: tuple[Variable, ...] = tuple(
    Variable(name=each.name.upper(), **each.metadata) for each in fields(Settings)
)
BY_NAME: dict[str, Variable] = {each.name: each for each in VARIABLES}

VOLUMES = ("ETC_PGPOOL", "ETC_SSH", "ROOT_SSH", "POSTGRES_SSH", "POSTGRES_ARCHIVE", "POSTGRES_DATA")

# What the names of a node's variables begin with, in the nodes' order: where it is born.
BIRTHS = ("MASTER", "STANDBY", *(f"STANDBY_{number}" for number in MORE_STANDBYS), "WITNESS")


def births(settings: Settings) -> tuple[str, ...]:
    """Those of BIRTHS of which there is a node."""
    return tuple(each for each in BIRTHS if getattr(settings, f"{each.lower()}_node"))


def used_volumes(settings: Settings) -> dict[str, dict[str, str]]:
    """The volumes of each node that there is, by where it is born and the variable's name."""
    names = {
        birth: [name for end in VOLUMES if (name := f"{birth}_VOLUME_{end}") in BY_NAME]
        for birth in births(settings)
    }
    return {
        birth: {name: str(getattr(settings, name.lower())) for name in found}
        for birth, found in names.items()
    }
