"""An env file and a process environment become Settings, or a list of every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.commands.base import Secret
from pgha.envfile import example
from pgha.errors import Usage
from pgha.mistakes import looks_ours, one_slip
from pgha.settings import (
    VARIABLES,
    ImageDistribution,
    LocaleProvider,
    Mode,
    Settings,
    SynchronousMode,
    find,
    load,
    parse,
)

ENV = Path(__file__).parents[2] / "env"
FILES = [ENV / "default.env", ENV / "ha.env"]
SECRET = "Geheim-4711"
PASSWORDS = "".join(f"{name}_PASSWORD={SECRET}\n" for name in ("POSTGRES", "REPLICATION", "PCP"))

# DESIGN, "Variables", first table: names and defaults that people have in their files.
CONTRACT = {
    "POSTGRES_USER": "postgres",
    "POSTGRES_PASSWORD": "secret",
    "PGPORT": "5433",
    "PGPOOL_PORT": "5432",
    "PGPOOL_ALIAS": "db",
    "REPLICATION_USER": "replication",
    "REPLICATION_PASSWORD": "secret",
    "PGDATA": "/var/lib/postgresql/data",
    "CLUSTER_ARCHIVE": "/var/lib/postgresql/archive",
    "PCP_USER": "postgres",
    "PCP_PASSWORD": "secret",
    "MASTER_NODE": "node-0",
    "STANDBY_NODE": "node-1",
    "MASTER_IP": "10.0.0.11",
    "STANDBY_IP": "10.0.0.12",
    "POSTGRES_BACKEND_SUBNET": "10.0.0.0/24",
    "POSTGRES_FRONTEND_SUBNET": "10.0.1.0/24",
    "COMPOSE_PROJECT_NAME": "postgres-cluster",
    "COMPOSE_HTTP_TIMEOUT": "300",
    "DOCKER_HUB_IMAGE": "true",
    "DOCKER_HUB_IMAGE_VERSION": "latest",
    "DOCKER_REGISTRY_HOST": "192.168.56.10",
    "DOCKER_REGISTRY_PORT": "5000",
    "DEBUG": "0",
    **{
        f"{prefix}_VOLUME_{end}": f"/data/docker/postgres-cluster/{prefix.lower()}/{path}"
        for prefix in ("MASTER", "STANDBY")
        for end, path in {
            "ETC_PGPOOL": "etc/pgpool2",
            "ETC_SSH": "etc/ssh",
            "ROOT_SSH": "root/ssh",
            "POSTGRES_SSH": "postgresql/ssh",
            "POSTGRES_ARCHIVE": "postgresql/archive",
            "POSTGRES_DATA": "postgresql/data",
        }.items()
    },
}


def settings(text: str = "", **environ: str) -> Settings:
    return parse(text, source="env/t.env", environ=environ)


def refusal(text: str, **environ: str) -> Usage:
    with pytest.raises(Usage) as caught:
        settings(text, **environ)
    return caught.value


# ---- Good input


def test_without_a_file_the_defaults_are_the_contract() -> None:
    found = settings()
    for name, default in CONTRACT.items():
        value = getattr(found, name.lower())
        shown = value.reveal() if isinstance(value, Secret) else str(value)
        assert {"True": "true", "False": "0"}.get(shown, shown) == default, name


def test_the_added_variables_have_their_defaults() -> None:
    found = settings()
    assert found.mode is Mode.SINGLE
    assert found.synchronous_mode is SynchronousMode.AUTO
    assert found.image_distribution is ImageDistribution.REGISTRY
    assert (found.postgres_locale_provider, found.postgres_locale) == (
        LocaleProvider.BUILTIN,
        "C.UTF-8",
    )
    assert (found.witness_node, found.witness_ip) == ("", IPv4Address("10.0.0.13"))
    assert found.witness_volume_postgres_archive == (
        "/data/docker/postgres-cluster/witness/postgresql/archive"
    )
    assert (found.election_timeout, found.postgres_version) == (1.5, 17)
    assert (found.auto_failover, found.auto_recovery, found.read_balance) == (True, True, False)
    assert (found.archive_max_mb, found.wal_keep_max_mb) == (1024, 4096)
    assert (found.memory_mb, found.shm_size_mb, found.log_max_mb) == (0, 256, 50)
    assert (found.ssh_config, found.ssh_known_hosts, found.ssh_connect_timeout) == ("", "", 5.0)
    assert (found.docker_hub_image_name, found.stop_timeout) == ("pgha/postgres-cluster", 120)
    assert (found.base_image, found.apt_source) == ("", "")
    assert found.volume_root == "/data/docker/postgres-cluster"


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_standby_beyond_the_first_has_an_address_and_directories_of_its_own(number: int) -> None:
    found = settings()
    standby = f"standby_{number}"
    root = f"/data/docker/postgres-cluster/standby-{number}"
    assert getattr(found, f"{standby}_node") == ""
    assert getattr(found, f"{standby}_ip") == IPv4Address(f"10.0.0.{12 + number}")
    for end in ("etc_ssh", "root_ssh"):
        assert getattr(found, f"{standby}_volume_{end}") == f"{root}/{end.replace('_', '/')}"
    for end in ("ssh", "archive", "data"):
        assert getattr(found, f"{standby}_volume_postgres_{end}") == f"{root}/postgresql/{end}"
    assert getattr(found, f"{standby}_volume_etc_pgpool") == f"{root}/etc/pgpool2"


def test_every_row_of_the_table_is_an_attribute_with_an_explanation() -> None:
    assert [each.name.lower() for each in VARIABLES] == [each.name for each in fields(Settings)]
    for each in VARIABLES:
        # What is said of one of a numbered standby's variables is said of those below it.
        assert each.text.endswith(".") or re.match(r"STANDBY_\d_(IP|VOLUME_)", each.name)
        assert each.kind.expected, each.name


def test_a_plain_file_of_every_variable_of_the_contract_parses() -> None:
    assert settings("".join(f"{name}={value}\n" for name, value in CONTRACT.items())) == settings()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_that_come_with_us_are_right_and_explain_every_variable(file: Path) -> None:
    text = file.read_text()
    found = parse(text, source=str(file), environ={})
    assert found.witness_node == "node-2"
    assert not found.docker_hub_image
    assert found.mode.value == {"default": "single", "ha": "ha"}[file.stem]
    # The heading and the values that are set are the file's own; all else is the table's.
    heading = re.sub(r"^# ?", "", text.split("\n\n\n", 1)[0], flags=re.M)
    values = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, flags=re.M))
    assert example(heading, values, VARIABLES) == text
    # Every default is shown as it is: setting all of them changes nothing.
    everything = re.sub(r"^# ([A-Z0-9_]+=)", r"\1", text, flags=re.M)
    root = "VOLUME_ROOT=/data/docker/postgres-cluster\n"
    assert parse(root + everything, source="all", environ={}) == found


def test_the_process_environment_wins_over_the_file() -> None:
    found = settings("PGPORT=7000\nPGPOOL_PORT=7001\n", PGPORT="8000", PGUSER="me", PGHOST="x")
    assert (found.pgport, found.pgpool_port) == (8000, 7001)


def test_a_wrong_value_that_the_process_environment_replaces_does_not_matter() -> None:
    assert settings("PGPORT=abc\n", PGPORT="8000").pgport == 8000


def test_an_empty_process_variable_is_a_value() -> None:
    assert settings("WITNESS_NODE=node-2\n", WITNESS_NODE="").witness_node == ""


def test_the_last_of_two_lines_counts() -> None:
    assert settings("PGPORT=abc\nPGPORT=6000\n").pgport == 6000


def test_the_syntax_is_dotenvs() -> None:
    text = (
        "\ufeff# a comment\r\n\r\nexport PGPORT = 6000 # why\r\n"
        "POSTGRES_PASSWORD='a # \\'b\\' $c'\r\n"
        'PCP_PASSWORD="tab\\there"\r\n'
        "POSTGRES_USER=döner\r\n"
        "REPLICATION_PASSWORD=a#b=c"
    )
    found = settings(text)
    assert (found.pgport, found.postgres_user) == (6000, "döner")
    assert found.postgres_password.reveal() == "a # 'b' $c"
    assert found.pcp_password.reveal() == "tab\there"
    assert found.replication_password.reveal() == "a#b=c"


def test_a_value_may_name_others() -> None:
    text = (
        "VOLUME_ROOT=${HOME}/db\n"
        "PGPOOL_ALIAS=${COMPOSE_PROJECT_NAME}-db\n"
        "MASTER_VOLUME_ETC_SSH=${VOLUME_ROOT}/keys\n"
        "STANDBY_NODE=${NOBODY:-spare}\n"
    )
    found = settings(text, HOME="/home/me")
    assert found.master_volume_etc_ssh == "/home/me/db/keys"
    assert found.standby_volume_postgres_data == "/home/me/db/standby/postgresql/data"
    assert (found.pgpool_alias, found.standby_node) == ("postgres-cluster-db", "spare")


def test_the_root_of_the_directories_may_come_from_the_process_environment() -> None:
    found = settings("MASTER_VOLUME_ETC_SSH=${VOLUME_ROOT}/x\n", VOLUME_ROOT="/srv//db/")
    assert found.master_volume_etc_ssh == "/srv/db/x"
    assert found.master_volume_root_ssh == "/srv/db/master/root/ssh"


@pytest.mark.parametrize(
    "text",
    [
        "DEBUG=1",
        "DEBUG=true",
        "AUTO_FAILOVER=OFF",
        "DOCKER_HUB_IMAGE=False",
        "ELECTION_TIMEOUT=1.5",
        "MODE=ha\nMASTER_NODE=db1.example.org\nSTANDBY_NODE=db_2",
        f"MODE=ha\nCOMPOSE_PROJECT_NAME={'x' * 54}",
        "COMPOSE_PROJECT_NAME=my.db",
        "POSTGRES_VERSION=18\nPOSTGRES_LOCALE=PG_UNICODE_FAST",
        "POSTGRES_LOCALE_PROVIDER=icu\nPOSTGRES_LOCALE=de-AT",
        "POSTGRES_LOCALE_PROVIDER=libc\nPOSTGRES_LOCALE=de_AT.UTF-8",
        "BASE_IMAGE=registry.example.org:5000/debian/base:13@sha256:" + "0" * 64,
        "APT_SOURCE=deb [trusted=yes] https://apt.example.org/pg trixie main",
        "DOCKER_REGISTRY_HOST=registry.example.org",
        "DOCKER_HUB_IMAGE_NAME=example.org:5000/a/b_c",
        # No witness: what stands for it does not matter.
        "POSTGRES_BACKEND_SUBNET=10.9.0.0/29\nMASTER_IP=10.9.0.2\nSTANDBY_IP=10.9.0.6",
        "STANDBY_2_NODE=node-2\nWITNESS_NODE=node-3",
        # A number is left out: it is a name, no count.
        "STANDBY_4_NODE=node-2",
        # Each node has its host: the same directory on both is no clash.
        "MODE=ha\nMASTER_VOLUME_POSTGRES_DATA=/pg\nSTANDBY_VOLUME_POSTGRES_DATA=/pg",
        "POSTGRES_USER=Zoë O Neill-%x\nPCP_USER=pcp",
        "SSH_CONFIG=~/.ssh/other config",
        "MEMORY_MB=0",
    ],
)
def test_this_is_right(text: str) -> None:
    settings(text)


def test_secrets_do_not_show() -> None:
    assert SECRET not in repr(settings(PASSWORDS))


# ---- Bad input: each makes exactly one line

PORT = "a port from 1 to 65535"
NODE = "a host's name (letters, digits and inner '-', '_', '.'; 63 at most)"
APART = "two different directories, neither inside the other, were expected"
NO_COLON = "a path without ':', ',' and control characters"
NO_END = "a user's name without ':', a leading '#', outer spaces and control characters"
NUL = "a password on one line, without NUL"
NOTHING = "names nothing that is set above it or in the environment"


def wrong(text: str, expected: str) -> tuple[str, str]:
    """A line that is shown whole, and what is expected instead."""
    return text, f"{text}: {expected} was expected"


BAD = [
    # Numbers and ports.
    wrong("PGPORT=abc", PORT),
    wrong("PGPORT=", PORT),
    wrong("PGPORT=0", PORT),
    wrong("PGPORT=65536", PORT),
    wrong("PGPORT=-5", PORT),
    wrong("PGPORT=5_433", PORT),
    wrong("PGPORT=+5433", PORT),
    wrong("PGPORT=5433.0", PORT),
    wrong("PGPORT=٥٤٣٣", PORT),
    ("PGPORT=" + "9" * 5000, "PGPORT=" + "9" * 80 + f"…: {PORT} was expected"),
    wrong("PGPORT=22", "a port other than that of the container's SSH server"),
    wrong("PGPOOL_PORT=9898", "a port other than that of Pgpool-II's pcp commands"),
    (
        "PGPORT=5432",
        "PGPORT=5432 and PGPOOL_PORT=5432 (default): two different ports were expected",
    ),
    wrong("DOCKER_REGISTRY_PORT=http", PORT),
    wrong("ELECTION_TIMEOUT=0", "a number of seconds from 1 to 60"),
    wrong("ELECTION_TIMEOUT=nan", "a number of seconds from 1 to 60"),
    wrong("ELECTION_TIMEOUT=1,5", "a number of seconds from 1 to 60"),
    wrong("STOP_TIMEOUT=-1", "a number of seconds from 1 to 86400"),
    wrong("COMPOSE_HTTP_TIMEOUT=0", "a number of seconds from 1 to 86400"),
    wrong("SSH_CONNECT_TIMEOUT=5s", "a number of seconds from 0.1 to 3600"),
    wrong("ARCHIVE_MAX_MB=1GB", "a number of megabytes from 32 to 99999999"),
    wrong("WAL_KEEP_MAX_MB=0", "a number of megabytes from 32 to 99999999"),
    wrong("MEMORY_MB=1", "a number of megabytes from 128 to 99999999, or 0"),
    wrong("SHM_SIZE_MB=1", "a number of megabytes from 64 to 99999999"),
    wrong("LOG_MAX_MB=0", "a number of megabytes from 1 to 99999999"),
    wrong("POSTGRES_VERSION=16", "a major version from 17 to 99"),
    wrong("POSTGRES_VERSION=17.5", "a major version from 17 to 99"),
    # Choices.
    wrong("MODE=cluster", "single or ha"),
    wrong("MODE=HA", "single or ha"),
    wrong("SYNCHRONOUS_MODE=yes", "auto, on or off"),
    wrong("AUTO_FAILOVER=maybe", "on or off"),
    wrong("AUTO_RECOVERY=", "on or off"),
    wrong("READ_BALANCE=2", "on or off"),
    wrong("DOCKER_HUB_IMAGE=y", "true or false"),
    wrong("DEBUG=2", "1 or 0"),
    wrong("IMAGE_DISTRIBUTION=scp", "registry or ssh"),
    wrong("POSTGRES_LOCALE_PROVIDER=glibc", "builtin, libc or icu"),
    (
        "POSTGRES_LOCALE=de_AT.UTF-8",
        "POSTGRES_LOCALE=de_AT.UTF-8 and POSTGRES_LOCALE_PROVIDER=builtin (default): "
        "C, C.UTF-8 or PG_UNICODE_FAST was expected, or the provider libc or icu",
    ),
    (
        "POSTGRES_LOCALE=PG_UNICODE_FAST",
        "POSTGRES_LOCALE=PG_UNICODE_FAST and POSTGRES_VERSION=17 (default): "
        "PostgreSQL 18 or newer was expected",
    ),
    wrong("POSTGRES_LOCALE=C UTF-8", "a locale's name such as C.UTF-8"),
    # Networks.
    wrong("MASTER_IP=10.0.0.256", "an IPv4 address such as 10.0.0.11"),
    wrong("MASTER_IP=10.0.0.011", "an IPv4 address such as 10.0.0.11"),
    wrong("MASTER_IP=fe80::1", "an IPv4 address such as 10.0.0.11"),
    wrong("STANDBY_IP=127.0.0.1", "an address that a container can have"),
    *(
        (
            f"MASTER_IP=10.0.0.{last}",
            f"MASTER_IP=10.0.0.{last} and POSTGRES_BACKEND_SUBNET=10.0.0.0/24 (default): "
            "an address other than the subnet's first two and its last was expected",
        )
        for last in (0, 1, 255)
    ),
    (
        "STANDBY_IP=10.0.2.1",
        "STANDBY_IP=10.0.2.1 and POSTGRES_BACKEND_SUBNET=10.0.0.0/24 (default): "
        "an address inside the subnet was expected",
    ),
    (
        "STANDBY_IP=10.0.0.11",
        "MASTER_IP=10.0.0.11 (default) and STANDBY_IP=10.0.0.11: "
        "two different addresses were expected",
    ),
    (
        "WITNESS_NODE=w\nWITNESS_IP=10.0.0.12",
        "STANDBY_IP=10.0.0.12 (default) and WITNESS_IP=10.0.0.12: "
        "two different addresses were expected",
    ),
    wrong("STANDBY_2_IP=10.0.0", "an IPv4 address such as 10.0.0.11"),
    (
        "STANDBY_2_NODE=node-2\nSTANDBY_2_IP=10.0.0.12",
        "STANDBY_IP=10.0.0.12 (default) and STANDBY_2_IP=10.0.0.12: "
        "two different addresses were expected",
    ),
    (
        "POSTGRES_FRONTEND_SUBNET=10.0.0.0/16",
        "POSTGRES_BACKEND_SUBNET=10.0.0.0/24 (default) and POSTGRES_FRONTEND_SUBNET=10.0.0.0/16: "
        "two subnets that do not overlap were expected",
    ),
    wrong("POSTGRES_FRONTEND_SUBNET=10.0.1.5/24", "the subnet's first address (10.0.1.0/24)"),
    *(
        (
            f"POSTGRES_FRONTEND_SUBNET={text}",
            f"POSTGRES_FRONTEND_SUBNET={text}: an IPv4 subnet such as 10.0.0.0/24 was expected",
        )
        for text in ("10.0.1.0", "10.0.1.0/33", "10.0.1.0/255.255.255.0", "fd00::/64", "any", "")
    ),
    wrong("POSTGRES_FRONTEND_SUBNET=10.0.1.0/30", "a subnet from /8 to /29"),
    wrong("POSTGRES_FRONTEND_SUBNET=127.0.0.0/8", "a subnet that containers can have"),
    # Names.
    *(
        (f"STANDBY_NODE={name}", f"STANDBY_NODE={name}: {NODE} was expected")
        for name in ("-rf", "node-", "a b", "a;b", "a/b", "nöde", "a..b", "")
    ),
    (
        "STANDBY_NODE=" + "n" * 64,
        "STANDBY_NODE=" + "n" * 64 + ": a name of 63 characters at most was expected",
    ),
    ("WITNESS_NODE=-w", f"WITNESS_NODE=-w: {NODE}, or nothing was expected"),
    *(
        (
            f"STANDBY_NODE={name}",
            f"STANDBY_NODE={name}: a name that is neither localhost nor looks like an address "
            "was expected",
        )
        for name in ("localhost", "LocalHost", "10.0.0.3", "7", "a.7")
    ),
    (
        "STANDBY_NODE=Node-0",
        "MASTER_NODE=node-0 (default) and STANDBY_NODE=Node-0: two different names were expected",
    ),
    (
        "WITNESS_NODE=node-1",
        "STANDBY_NODE=node-1 (default) and WITNESS_NODE=node-1: two different names were expected",
    ),
    ("STANDBY_2_NODE=a b", f"STANDBY_2_NODE=a b: {NODE}, or nothing was expected"),
    (
        "STANDBY_2_NODE=node-1",
        "STANDBY_NODE=node-1 (default) and STANDBY_2_NODE=node-1: "
        "two different names were expected",
    ),
    (
        "STANDBY_2_NODE=node-2\nSTANDBY_3_NODE=node-2",
        "STANDBY_2_NODE=node-2 and STANDBY_3_NODE=node-2: two different names were expected",
    ),
    (
        "PGPOOL_ALIAS=node-0",
        "MASTER_NODE=node-0 (default) and PGPOOL_ALIAS=node-0: two different names were expected",
    ),
    ("PGPOOL_ALIAS=the db", f"PGPOOL_ALIAS=the db: {NODE} was expected"),
    *(
        (
            f"COMPOSE_PROJECT_NAME={name}",
            f"COMPOSE_PROJECT_NAME={name}: a name (a letter or digit, then letters, digits, '-', "
            "'_', '.'; 63 at most) was expected",
        )
        for name in ("-x", "a b", "../x", "")
    ),
    wrong("DOCKER_REGISTRY_HOST=a b", "a host's name or IPv4 address"),
    wrong("DOCKER_REGISTRY_HOST=http://r", "a host's name or IPv4 address"),
    (
        "DOCKER_HUB_IMAGE_NAME=pgha/cluster:1",
        "DOCKER_HUB_IMAGE_NAME=pgha/cluster:1: an image's name without a tag, such as "
        "pgha/postgres-cluster was expected",
    ),
    wrong("DOCKER_HUB_IMAGE_VERSION=-1", "an image's tag such as latest"),
    wrong("BASE_IMAGE=--privileged", "an image such as debian:trixie-slim, or nothing"),
    (
        "APT_SOURCE=http://user:pw@apt.example.org",
        "APT_SOURCE: a line of apt's sources.list that begins with 'deb ', or nothing was expected",
    ),
    ('SSH_CONFIG="a\\nb"', "SSH_CONFIG=a…: a file's path, or nothing was expected"),
    # Directories.
    wrong("VOLUME_ROOT=data", "an absolute path"),
    wrong("VOLUME_ROOT=", "an absolute path"),
    wrong("VOLUME_ROOT=~/data", "an absolute path"),
    wrong("VOLUME_ROOT=/data/../etc", "a path without '..'"),
    wrong("VOLUME_ROOT=/a:/b", NO_COLON),
    wrong("VOLUME_ROOT=/a,b", NO_COLON),
    ('VOLUME_ROOT="/a\\nb"', f"VOLUME_ROOT=/a…: {NO_COLON} was expected"),
    *(
        wrong(f"MASTER_VOLUME_ETC_SSH={path}", "a directory of its own, none of the system's")
        for path in ("/", "//", "/etc/ssh", "/etc/./ssh/", "/var")
    ),
    (
        "MASTER_VOLUME_ETC_SSH=/d/x\nMASTER_VOLUME_ROOT_SSH=/d/x/",
        f"MASTER_VOLUME_ETC_SSH=/d/x and MASTER_VOLUME_ROOT_SSH=/d/x/: {APART}",
    ),
    (
        "MODE=ha\nMASTER_VOLUME_ETC_SSH=/d/x\nMASTER_VOLUME_ROOT_SSH=/d/x/y",
        f"MASTER_VOLUME_ETC_SSH=/d/x and MASTER_VOLUME_ROOT_SSH=/d/x/y: {APART}",
    ),
    (
        "MASTER_VOLUME_POSTGRES_DATA=/pg\nSTANDBY_VOLUME_POSTGRES_DATA=/pg",
        f"MASTER_VOLUME_POSTGRES_DATA=/pg and STANDBY_VOLUME_POSTGRES_DATA=/pg: {APART}",
    ),
    (
        "STANDBY_2_NODE=c\nSTANDBY_VOLUME_POSTGRES_DATA=/pg\nSTANDBY_2_VOLUME_POSTGRES_DATA=/pg/2",
        "STANDBY_VOLUME_POSTGRES_DATA=/pg and STANDBY_2_VOLUME_POSTGRES_DATA=/pg/2: " + APART,
    ),
    *(
        (
            f"MODE=ha\nCOMPOSE_PROJECT_NAME={name}",
            f"MODE=ha and COMPOSE_PROJECT_NAME={name}: a Swarm's name (without '.', 54 characters "
            "at most) was expected",
        )
        for name in ("my.db", "x" * 55)
    ),
    wrong("STANDBY_5_VOLUME_ETC_SSH=etc", "an absolute path"),
    wrong("PGDATA=data", "an absolute path"),
    wrong("PGDATA=/", "a directory of its own"),
    (
        "CLUSTER_ARCHIVE=/arch%p",
        "CLUSTER_ARCHIVE=/arch%p: a path of letters, digits and '_', '.', '/', '+', '@', '-' "
        "was expected",
    ),
    wrong(
        "PGDATA=/var/lib/pgha/data",
        "a directory apart from /var/lib/pgha (which the container needs)",
    ),
    (
        "PGDATA=/var/lib/postgresql",
        "PGDATA=/var/lib/postgresql: a directory apart from /var/lib/postgresql/.ssh (which the "
        "container needs) was expected",
    ),
    (
        "CLUSTER_ARCHIVE=/var/lib/postgresql/data/wal",
        "PGDATA=/var/lib/postgresql/data (default) and "
        f"CLUSTER_ARCHIVE=/var/lib/postgresql/data/wal: {APART}",
    ),
    # Users and passwords.
    wrong("POSTGRES_USER=", "a user's name"),
    (
        "POSTGRES_USER=" + "ü" * 32,
        "POSTGRES_USER=" + "ü" * 32 + ": a user's name of 63 bytes at most was expected",
    ),
    wrong("POSTGRES_USER=-x", "a user's name that does not begin with '-' or 'pg_'"),
    wrong("PCP_USER=pg_x", "a user's name that does not begin with '-' or 'pg_'"),
    wrong("POSTGRES_USER=a:b", NO_END),
    wrong("POSTGRES_USER=#a", NO_END),
    ("PCP_USER=' a'", f"PCP_USER= a: {NO_END} was expected"),
    wrong("POSTGRES_USER=public", "a user's name that PostgreSQL does not reserve"),
    wrong("REPLICATION_USER=o'brien", "a user's name without quotes and backslashes"),
    (
        f"REPLICATION_PASSWORD={'x' * 80}",
        "REPLICATION_PASSWORD: a password of 79 bytes at most was expected",
    ),
    wrong("STANDBY_NODE=Pgha", "a name other than pgha"),
    (
        "REPLICATION_USER=postgres",
        "POSTGRES_USER=postgres (default) and REPLICATION_USER=postgres: "
        "two different users were expected",
    ),
    ("POSTGRES_PASSWORD=", "POSTGRES_PASSWORD: a password that is not empty was expected"),
    ("PCP_PASSWORD=''", "PCP_PASSWORD: a password that is not empty was expected"),
    (f'POSTGRES_PASSWORD="{SECRET}\\nx"', f"POSTGRES_PASSWORD: {NUL} was expected"),
    (f'POSTGRES_PASSWORD="{SECRET}\rx"', f"POSTGRES_PASSWORD: {NUL} was expected"),
    (f"REPLICATION_PASSWORD={SECRET}\0", f"REPLICATION_PASSWORD: {NUL} was expected"),
    (f"POSTGRES_PASSWORD=${{{SECRET}}}", f"POSTGRES_PASSWORD: a ${{…}} in it {NOTHING}"),
    # A password in the wrong place.
    (f"PGPORT={SECRET}", f"PGPORT=***: {PORT} was expected"),
    (f"PGPORT=5433 PCP_PASSWORD={SECRET}x", f"PGPORT=***: {PORT} was expected"),
    ("PGPORT=${PCP_PASSWORD}", f"PGPORT=***: {PORT} was expected"),
    (f'PGPORT="5433\nPCP_PASSWORD={SECRET}"', f"PGPORT=***: {PORT} was expected"),
    # Lines.
    wrong("PGPORT", "PGPORT=value"),
    (f"{SECRET}", "a line NAME=value was expected"),
    (f"{SECRET}=x", "a line NAME=value was expected"),
    (f"PCP_PASSWORD='{SECRET}", "a line NAME=value was expected"),
    (f"PCP_PASSWORD='{SECRET}'x", "a line NAME=value was expected"),
    (f"={SECRET}", "a line NAME=value was expected"),
    ("STANDBY_NODE=${NOPE}", f"STANDBY_NODE=${{NOPE}}: ${{NOPE}} {NOTHING}"),
    # Names that nobody knows.
    ("PGPORTS=1", "PGPORTS is no variable of ours; did you mean PGPORT?"),
    ("pgport=1", "pgport is no variable of ours; did you mean PGPORT?"),
    (
        "MASTER_VOLUME_DATA=/x",
        "MASTER_VOLUME_DATA is no variable of ours; did you mean MASTER_VOLUME_POSTGRES_DATA?",
    ),
    (
        f"POSTGRES_PASWORD={SECRET}",
        "POSTGRES_PASWORD is no variable of ours; did you mean POSTGRES_PASSWORD?",
    ),
    ("STANDBY_1_NODE=x", "STANDBY_1_NODE is no variable of ours; did you mean STANDBY_NODE?"),
    (
        "STANDBY_6_NODE=x",
        "STANDBY_6_NODE is no variable of ours; did you mean one of STANDBY_2_NODE to "
        "STANDBY_5_NODE?",
    ),
    (
        "STANDBY_2_VOLUME_DATA=/x",
        "STANDBY_2_VOLUME_DATA is no variable of ours; did you mean "
        "STANDBY_2_VOLUME_POSTGRES_DATA?",
    ),
    ("standby_2_ip=x", "standby_2_ip is no variable of ours; did you mean STANDBY_2_IP?"),
    (f"FROBNICATE={SECRET}", "FROBNICATE is no variable of ours"),
]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_one_mistake_is_one_line(text: str, expected: str) -> None:
    error = refusal(f"{PASSWORDS}\n{text}\n")
    # The text begins on line 5, and its last line is the wrong one, unless a quote spans two.
    line = 5 if '"' in text else 5 + text.count("\n")
    assert error.details == (f"env/t.env:{line}: {expected}",)
    assert error.message == "One mistake in env/t.env; nothing was contacted."
    assert error.exit_code == 2
    assert SECRET not in error.message + "".join(error.details)


def test_a_mistake_of_the_process_environment_says_so() -> None:
    error = refusal("\n\nPGPOOL_PORT=7000\n", PGPORT="abc", STANDBY_NODE="node-0")
    assert error.details == (
        f"environment: PGPORT=abc: {PORT} was expected",
        "environment: MASTER_NODE=node-0 (default) and STANDBY_NODE=node-0: "
        "two different names were expected",
    )
    assert error.message == "2 mistakes in the environment; nothing was contacted."


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file() -> None:
    text = "\n# one\nMODE=many\n\n\nPGPORTS=1\n  PGPORT=x\nSTANDBY_IP=10.0.0.11\nhello\n"
    error = refusal(text, DEBUG="*", POSTGRES_USERS="x")
    assert error.details == (
        "env/t.env:3: MODE=many: single or ha was expected",
        "env/t.env:6: PGPORTS is no variable of ours; did you mean PGPORT?",
        f"env/t.env:7: PGPORT=x: {PORT} was expected",
        "env/t.env:8: MASTER_IP=10.0.0.11 (default) and STANDBY_IP=10.0.0.11: "
        "two different addresses were expected",
        "env/t.env:9: a line NAME=value was expected",
        "environment: POSTGRES_USERS is no variable of ours; did you mean POSTGRES_USER?",
        "environment: DEBUG=*: 1 or 0 was expected",
    )
    assert error.message == "7 mistakes in env/t.env and in the environment; nothing was contacted."


def test_a_wrong_subnet_is_said_once_for_each_address_that_is_not_in_it() -> None:
    error = refusal("POSTGRES_BACKEND_SUBNET=10.5.0.0/24\n")
    assert [each.split(" ")[1] for each in error.details] == [
        "MASTER_IP=10.0.0.11",
        "STANDBY_IP=10.0.0.12",
    ]
    assert all(each.startswith("env/t.env:1: ") for each in error.details)


def test_a_name_that_is_set_below_is_said_to_be_below() -> None:
    error = refusal("PGPOOL_ALIAS=${MASTER_NODE}-x\nMASTER_NODE=a\n")
    assert error.details == (
        f"env/t.env:1: PGPOOL_ALIAS=${{MASTER_NODE}}-x: ${{MASTER_NODE}} {NOTHING}"
        " (line 2 is below it)",
    )


def test_bytes_that_are_no_text_are_refused_and_can_be_printed() -> None:
    error = refusal("", POSTGRES_USER="a\udcff", PCP_PASSWORD="b\udcff")
    assert error.details == (
        "environment: POSTGRES_USER=a\\udcff: text in UTF-8 was expected",
        "environment: PCP_PASSWORD: text in UTF-8 was expected",
    )


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("POSTGRES_PASWORD", True),
        ("POSTGRES_USRE", True),
        ("STANDBY_NODES", True),
        ("WITNESS_VOLUME_DATA", True),
        ("STANDBY_2_VOLUME_DATA", True),
        ("STANDBY_12_NODE", True),
        ("STANDBY_2_PORT", False),
        ("MASTERNODE", True),
        ("POSTGRES_DB", False),
        ("POSTGRES_HOST", False),
        ("POSTGRES_PASSWORD_FILE", False),
        ("PGUSER", False),
        ("PGHOST", False),
        ("PGPASSWORD", False),
        ("MODES", False),
        ("COMPOSE_FILE", False),
        ("DOCKER_HOST", False),
        ("SSH_AUTH_SOCK", False),
        ("HOSTNAME", False),
        ("PGHA_ENV", False),
    ],
)
def test_of_the_process_environment_only_sure_slips_are_ours(name: str, ours: bool) -> None:
    assert looks_ours(name) is ours


@given(st.text("AB_", max_size=6), st.text("AB_", max_size=6))
def test_one_slip_is_symmetric_and_is_an_edit_distance_of_one(one: str, other: str) -> None:
    deletions = {one[:i] + one[i + 1 :] for i in range(len(one))}
    insertions = {one[:i] + c + one[i:] for i in range(len(one) + 1) for c in "AB_"}
    wrong = {one[:i] + c + one[i + 1 :] for i in range(len(one)) for c in "AB_"}
    swaps = {one[:i] + one[i + 1] + one[i] + one[i + 2 :] for i in range(len(one) - 1)}
    assert one_slip(one, other) == (
        one != other and other in deletions | insertions | wrong | swaps
    )


lines = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}={}".format,
        st.sampled_from([each.name for each in VARIABLES if "PASSWORD" not in each.name]),
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(["${PGPORT}", "'", '"', SECRET, "${PCP_PASSWORD}", "10.0.0.0/8", "/"]),
        ),
    ),
    st.sampled_from(
        [f"PCP_PASSWORD={SECRET}", f'POSTGRES_PASSWORD="{SECRET}', f"POSTGRES_PASWORD='{SECRET}'"]
    ),
)


@given(st.lists(lines, max_size=8), st.dictionaries(st.sampled_from(["PGPORT", "MODE"]), st.text()))
def test_whatever_a_file_holds_it_is_settings_or_usage_and_shows_no_password(
    text: list[str], environ: dict[str, str]
) -> None:
    details = details_of("\n".join([PASSWORDS, *text]), environ)
    for each in details:
        assert re.fullmatch(r"(f(:\d+)?|environment): [^\n\r\0]+", each), each
        assert SECRET not in each


def details_of(text: str, environ: dict[str, str]) -> tuple[str, ...]:
    try:
        parse(text, source="f", environ=environ)
    except Usage as error:
        return error.details
    return ()


# ---- Which file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "prod.env").write_text("PGPORT=7001\n")
    (tmp_path / "env" / "default.env").write_text("PGPORT=7002\n")
    (tmp_path / "own.env").write_text("PGPORT=7003\n")
    return tmp_path


@pytest.mark.parametrize(
    ("env", "environ", "port", "shown"),
    [
        ("prod", {}, 7001, "env/prod.env"),
        ("prod.env", {}, 7001, "env/prod.env"),
        ("env/prod.env", {}, 7001, "env/prod.env"),
        ("own.env", {}, 7003, "own.env"),
        ("./own.env", {}, 7003, "./own.env"),
        (None, {}, 7002, "env/default.env"),
        (None, {"PGHA_ENV": ""}, 7002, "env/default.env"),
        (None, {"PGHA_ENV": "prod"}, 7001, "env/prod.env"),
        ("default", {"PGHA_ENV": "prod"}, 7002, "env/default.env"),
    ],
)
def test_the_file_is_found(
    place: Path, env: str | None, environ: dict[str, str], port: int, shown: str
) -> None:
    assert load(env, environ=environ, cwd=place).pgport == port
    assert find(env, environ=environ, cwd=place)[1] == shown


def test_where_there_is_no_default_the_packages_own_is_read(tmp_path: Path) -> None:
    assert load(None, environ={}, cwd=tmp_path).witness_node == "node-2"
    assert load("default", environ={}, cwd=tmp_path).docker_hub_image is False


def test_an_absolute_path_is_read_and_named_in_mistakes(place: Path) -> None:
    file = place / "x.conf"
    file.write_text("PGPORT=a\n")
    with pytest.raises(Usage) as caught:
        load(str(file), environ={}, cwd=Path("/"))
    assert caught.value.details == (f"{file}:1: PGPORT=a: {PORT} was expected",)


@pytest.mark.parametrize(
    ("env", "environ", "message"),
    [
        ("prdo", {}, "There is no file env/prdo.env."),
        ("-f", {}, "There is no file env/-f.env."),
        ("", {}, "There is no env file without a name."),
        ("env/none.env", {}, "There is no file env/none.env."),
        ("own.env/x", {}, "There is no file own.env/x."),
        (None, {"PGHA_ENV": "prdo"}, "There is no file env/prdo.env (PGHA_ENV)."),
        ("./env", {}, "./env cannot be read: Is a directory."),
        ("x" * 300, {}, f"env/{'x' * 300}.env cannot be read: File name too long."),
        ("/dev/zero", {}, "/dev/zero is too large for an env file."),
    ],
)
def test_a_file_that_cannot_be_had_is_a_usage_error_that_names_those_there_are(
    place: Path, env: str | None, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(Usage) as caught:
        load(env, environ=environ, cwd=place)
    assert caught.value.message == message
    assert caught.value.exit_code == 2
    assert caught.value.details == (
        "env files there are: default, prod",
        "choose one by -e NAME (env/NAME.env), by -e path/to/file, or by PGHA_ENV",
    )


def test_a_file_that_is_no_text_is_refused_with_its_line(place: Path) -> None:
    (place / "bad.env").write_bytes(b"PGPORT=7000\nPOSTGRES_USER=d\xf6ner\n")
    with pytest.raises(Usage) as caught:
        load("bad.env", environ={}, cwd=place)
    assert caught.value.details == ("bad.env:2: text in UTF-8 was expected",)


def test_importing_it_pays_for_nothing_that_help_does_not_need() -> None:
    code = "import sys, pgha.settings; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"fabric", "invoke", "paramiko", "jinja2", "dotenv", "logging", "rich", "difflib"}
    assert not heavy & set(out.stdout.split())


def test_values_have_their_types() -> None:
    found = settings()
    assert found.master_ip == IPv4Address("10.0.0.11")
    assert found.postgres_backend_subnet == IPv4Network("10.0.0.0/24")
    assert isinstance(found.pcp_password, Secret)
