"""Pgpool-II: its configuration as a value, its commands, and the lines of its password files.

Pure: nothing here runs, reads or writes anything. What was tried and measured is in docs/pgpool.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pgha.commands.base import Command, Secret
from pgha.commands.scram import prepared
from pgha.node.report import Backend

CONFIG_DIR = PurePosixPath("/etc/pgpool2")
RUN_DIR = PurePosixPath("/var/run/postgresql")
CONFIG_FILE = CONFIG_DIR / "pgpool.conf"
HBA_FILE = CONFIG_DIR / "pool_hba.conf"
PCP_FILE = CONFIG_DIR / "pcp.conf"
PASSWD_FILE = CONFIG_DIR / "pool_passwd"
KEY_FILE = CONFIG_DIR / "pgpoolkey"
PCPPASS_FILE = CONFIG_DIR / "pcppass"
PID_FILE = RUN_DIR / "pgpool.pid"
STATUS_FILE = RUN_DIR / "pgpool_status"

PCP_PORT = 9898

# PostgreSQL 17, "Identifiers and Key Words": NAMEDATALEN - 1. Pgpool-II takes more.
MAX_USER_BYTES = 63
# Pgpool-II reads 128 characters of an entry: "AES" and the base64 of at most 80 bytes, of which
# AES-256-CBC's padding is at least one. Logins with 79 bytes work, with 80 they do not.
MAX_PASSWORD_BYTES = 79


@dataclass(frozen=True)
class PgpoolNode:
    """A node that carries data, as Pgpool-II knows it.

    index: the number in backend_hostnameN, the same on every node's Pgpool-II.
    address: an address and never a name (Pgpool-II looks a name up again for each connection).
    """

    index: int
    name: str
    address: str
    weight: int = 1


@dataclass(frozen=True)
class PgpoolConfig:
    """What templates/pgpool.conf.j2 needs, as `config`.

    port: where clients connect; backend_port: PostgreSQL's, on every node.
    pcp_user: who may steer it; read_balance: whether reads may go to standbys.
    """

    nodes: tuple[PgpoolNode, ...]
    port: int
    backend_port: int
    replication_user: str
    pcp_user: str
    num_init_children: int
    max_pool: int = 1
    read_balance: bool = False
    pcp_port: int = PCP_PORT

    @property
    def run_dir(self) -> str:
        return str(RUN_DIR)

    @property
    def passwd_file(self) -> str:
        return str(PASSWD_FILE)


def start() -> Command:
    """Pgpool-II in the foreground, with the status file's idea of who is up; logs to stderr."""
    return Command(
        (
            *("pgpool", "-n", "-f", str(CONFIG_FILE), "-F", str(PCP_FILE)),
            *("-a", str(HBA_FILE), "-k", str(KEY_FILE)),
        ),
        user="postgres",
    )


def node_info(user: str, port: int = PCP_PORT) -> Command:
    """What Pgpool-II believes of all backends (it asks none); read it with `parse_node_info`."""
    return _pcp("pcp_node_info", user, port, "-a")


def attach_node(index: int, user: str, port: int = PCP_PORT) -> Command:
    """Let new sessions use the backend. Returns when that is queued, not when it is done."""
    return _pcp("pcp_attach_node", user, port, "-n", str(index))


def encrypt(password: Secret) -> Command:
    """pg_enc on a password; read its output with `parse_encrypted`.

    pg_enc reads "name:password" lines from a file, here its standard input. (It has a prompt too,
    which loses what is beyond 127 bytes without a word.) Clients and PostgreSQL hash a password as
    SASLprep makes it, Pgpool-II 4.6 and 4.7 as they find it: so it must be prepared here.
    """
    line = b"x:" + prepared(password.reveal()) + b"\n"
    return Command(
        ("pg_enc", "-k", str(KEY_FILE), "-i", "/dev/stdin"),
        stdin=Secret(line.decode()),
        user="postgres",
    )


def _pcp(program: str, user: str, port: int, *words: str) -> Command:
    # -w: never ask. The password comes from the file that PCPPASSFILE names.
    return Command(
        (program, "-h", str(RUN_DIR), "-p", str(port), "-U", user, "-w", *words), user="postgres"
    )


def parse_node_info(output: str, names: Mapping[int, str]) -> tuple[Backend, ...]:
    """The backends in `pcp_node_info -a`'s lines; raises ValueError where a line is none.

    A line: address, port, status (1 or 2: attached, 3: detached), weight, status in words,
    PostgreSQL's status, role (Pgpool-II 4.6, "pcp_node_info"). names: by index.
    """
    status = {"1": "up", "2": "up", "3": "down"}
    backends = []
    for index, line in enumerate(output.splitlines()):
        fields = line.split()
        if len(fields) < 8:
            raise ValueError(f"not a line of pcp_node_info: {line!r}")
        name = names.get(index, fields[0])
        backends.append(Backend(name, status.get(fields[2], "unused"), fields[6]))
    return tuple(backends)


def parse_encrypted(output: str) -> str:
    """The entry ("AES" and base64) in pg_enc's output; raises ValueError where there is none."""
    for line in output.splitlines():
        if line.startswith("pool_passwd string: AES"):
            return line.removeprefix("pool_passwd string: ")
    raise ValueError("pg_enc printed no pool_passwd string")


def parse_config(text: str) -> dict[str, str]:
    """pgpool.conf's settings as we render them: `name = value` or `name = 'value'`, one a line."""
    settings = {}
    for line in text.splitlines():
        name, found, value = line.partition("=")
        if found and not name.lstrip().startswith("#"):
            settings[name.strip()] = value.strip().strip("'")
    return settings


def names_in(settings: Mapping[str, str]) -> dict[int, str]:
    """The nodes' names by index, from a configuration that `parse_config` read."""
    prefix = "backend_application_name"
    return {
        int(key.removeprefix(prefix)): value
        for key, value in settings.items()
        if key.startswith(prefix)
    }


def status_file(attached: int, count: int) -> str:
    """pgpool_status with one backend of `count` attached, which Pgpool-II reads when it starts."""
    return "".join("up\n" if index == attached else "down\n" for index in range(count))


def pcp_conf(user: str, password: Secret) -> Secret:
    """pcp.conf: who may steer Pgpool-II. (It knows no better hash than MD5: "pcp.conf".)"""
    digest = hashlib.md5(password.reveal().encode()).hexdigest()
    return Secret(f"{user}:{digest}\n")


def pcppass(user: str, password: Secret) -> Secret:
    """The file for PCPPASSFILE, in the form of libpq's .pgpass."""
    return Secret(f"*:*:{_escaped(user)}:{_escaped(password.reveal())}\n")


def passwd_line(name: str, entry: str) -> str:
    """One line of pool_passwd: a role and its encrypted password."""
    return f"{_escaped(name)}:{entry}\n"


def with_user(passwd: str, name: str, entry: str) -> str:
    """pool_passwd with the role's entry set: in its old place, or at the end."""
    line, start = passwd_line(name, entry), f"{_escaped(name)}:"
    lines = _lines(passwd)
    if any(old.startswith(start) for old in lines):
        return "".join(line if old.startswith(start) else old for old in lines)
    return "".join(lines) + line


def without_user(passwd: str, name: str) -> str:
    """pool_passwd without the role."""
    start = f"{_escaped(name)}:"
    return "".join(line for line in _lines(passwd) if not line.startswith(start))


def name_problem(name: str) -> str:
    """Why the door cannot know a role by this name, as a sentence; empty: it can."""
    size = len(name.encode())
    if not name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "A role's name must not be empty, nor have control characters."
    if size > MAX_USER_BYTES:
        return f"The role's name has {size} bytes; PostgreSQL takes {MAX_USER_BYTES}."
    return ""


def password_problem(password: Secret) -> str:
    """Why a password would not work through Pgpool-II, as a sentence; empty: it does."""
    text = password.reveal()
    if not text or "\0" in text or "\n" in text or "\r" in text:
        return "A password must not be empty, nor have line breaks or zero bytes."
    size = len(prepared(text))
    if size > MAX_PASSWORD_BYTES:
        return f"The password has {size} bytes in UTF-8; Pgpool-II takes {MAX_PASSWORD_BYTES}."
    return ""


def _lines(text: str) -> list[str]:
    """As Pgpool-II splits it: at line feeds only, where str.splitlines knows ten more."""
    return [line + "\n" for line in text.split("\n") if line]


def _escaped(text: str) -> str:
    """A field of pool_passwd or .pgpass: both take a backslash before a colon or a backslash."""
    return text.replace("\\", "\\\\").replace(":", "\\:")
