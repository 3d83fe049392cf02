"""What one variable may hold: a Kind reads its text into a typed value, or says what it expects.

Everything here is pure. What two variables must be to one another is in `pgha.consistency`.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

from pgha.commands.base import Secret

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class Unfit(ValueError):
    """A text that is not of the kind; its words, if any, say more closely what was expected."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of value.

    expected: what is expected, as a noun ("a port from 1 to 65535").
    read: the value of a text; raises Unfit, with a noun of its own or without.
    hidden: the text may hold something secret: it is never shown, not in errors either.
    """

    expected: str
    read: Callable[[str], T]
    hidden: bool = False


def _whole(text: str) -> int:
    # int() takes "5_433", " 5433" and digits of other scripts as well: those are slips of the pen.
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Unfit
    return int(text)


def whole(low: int, high: int, unit: str, *, or_zero: bool = False) -> Kind[int]:
    """A whole number from `low` to `high`; 0 as well where it has a meaning of its own."""

    def read(text: str) -> int:
        number = _whole(text)
        if not low <= number <= high and not (or_zero and number == 0):
            raise Unfit
        return number

    zero = ", or 0" if or_zero else ""
    return Kind(f"{unit} from {low} to {high}{zero}", read)


def seconds(low: float, high: float) -> Kind[float]:
    """A time in seconds, fractions allowed."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?|\.[0-9]{1,9}", text):
            raise Unfit
        number = float(text)
        if not math.isfinite(number) or not low <= number <= high:
            raise Unfit
        return number

    return Kind(f"a number of seconds from {low:g} to {high:g}", read)


def choice(members: type[E]) -> Kind[E]:
    """One of an enum's values, as it is written there."""
    words = [str(member.value) for member in members]

    def read(text: str) -> E:
        if text not in words:
            raise Unfit
        return members(text)

    return Kind(" or ".join((", ".join(words[:-1]), words[-1])), read)


_YES = frozenset({"on", "true", "yes", "1"})
_NO = frozenset({"off", "false", "no", "0"})


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in _YES | _NO:
        raise Unfit
    return word in _YES


# Each is read the same way; they differ in how the variable is usually written.
ON_OFF = Kind("on or off", _flag)
TRUE_FALSE = Kind("true or false", _flag)
ONE_ZERO = Kind("1 or 0", _flag)

PORT = whole(1, 65535, "a port")

# What else listens in every container.
_TAKEN_PORTS = {22: "the container's SSH server", 9898: "Pgpool-II's pcp commands"}


def _service_port(text: str) -> int:
    port = PORT.read(text)
    if port in _TAKEN_PORTS:
        raise Unfit(f"a port other than that of {_TAKEN_PORTS[port]}")
    return port


SERVICE_PORT = Kind(PORT.expected, _service_port)


def _address(text: str) -> IPv4Address:
    address = IPv4Address(text)
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        raise Unfit("an address that a container can have")
    return address


def _subnet(text: str) -> IPv4Network:
    if not re.fullmatch(r"[0-9.]{7,15}/[0-9]{1,2}", text):
        raise Unfit
    subnet = IPv4Network(text, strict=False)
    if str(subnet) != text:
        raise Unfit(f"the subnet's first address ({subnet})")
    if not 8 <= subnet.prefixlen <= 29:
        raise Unfit("a subnet from /8 to /29")
    if subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_unspecified:
        raise Unfit("a subnet that containers can have")
    return subnet


def _interface(text: str) -> str:
    if not text:
        return text
    if "/" in text:
        return str(_subnet(text))
    # dev_valid_name() of the kernel: 15 bytes at most.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,14}", text):
        raise Unfit
    return text


INTERFACE = Kind(
    "an interface such as eth1, a subnet such as 192.168.56.0/24, or nothing", _interface
)
ADDRESS = Kind("an IPv4 address such as 10.0.0.11", _address)
SUBNET = Kind("an IPv4 subnet such as 10.0.0.0/24", _subnet)


def _host_name(text: str) -> str:
    # It becomes a part of a container's name, its host name, a network alias, and a word of ssh
    # and docker: what all of them take. A label of DNS has 63 bytes at most.
    if len(text) > 63:
        raise Unfit("a name of 63 characters at most")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", text) or ".." in text:
        raise Unfit
    # By the name pgha nodes connect to one another for what is to count for no quorum.
    if text.casefold() == "pgha":
        raise Unfit("a name other than pgha")
    if text.casefold() == "localhost" or re.fullmatch(r"([0-9]+|.*\.[0-9]+)", text):
        raise Unfit("a name that is neither localhost nor looks like an address")
    return text


def _maybe(read: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: read(text) if text else text


HOST_NAME = Kind("a host's name (letters, digits and inner '-', '_', '.'; 63 at most)", _host_name)
MAYBE_HOST_NAME = Kind(f"{HOST_NAME.expected}, or nothing", _maybe(_host_name))


def pattern(regex: str, expected: str) -> Kind[str]:
    """A text that matches as a whole."""
    compiled = re.compile(regex, re.ASCII)

    def read(text: str) -> str:
        if not compiled.fullmatch(text):
            raise Unfit
        return text

    return Kind(expected, read)


# The rules of Docker for the names of containers and networks, of which it is the beginning.
PREFIX = pattern(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
    "a name (a letter or digit, then letters, digits, '-', '_', '.'; 63 at most)",
)
REGISTRY_HOST = pattern(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", "a host's name or IPv4 address"
)
IMAGE_TAG = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "an image's tag such as latest")
_IMAGE_PATH = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_IMAGE_NAME = rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?/)?{_IMAGE_PATH}"
IMAGE_NAME = pattern(_IMAGE_NAME, "an image's name without a tag, such as pgha/postgres-cluster")
MAYBE_IMAGE = pattern(
    rf"(?:{_IMAGE_NAME}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?)?",
    "an image such as debian:trixie-slim, or nothing",
)
LOCALE = pattern(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}", "a locale's name such as C.UTF-8")


def _printable(text: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f]", text)


def _directory(text: str) -> str:
    if not text.startswith("/"):
        raise Unfit("an absolute path")
    if ".." in text.split("/"):
        raise Unfit("a path without '..'")
    # normpath keeps two leading slashes, which POSIX leaves to the system.
    return "/" + posixpath.normpath(text).lstrip("/")


# Directories that are the system's own: a volume there would be chowned and moved aside by us.
_SYSTEM = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/etc/ssh", "/home", "/lib", "/lib64", "/media"),
        *("/mnt", "/opt", "/proc", "/root", "/root/.ssh", "/run", "/sbin", "/srv", "/sys", "/tmp"),
        *("/usr", "/usr/local", "/var", "/var/lib", "/var/lib/docker", "/var/run"),
    )
)


def _host_directory(text: str) -> str:
    # `docker run -v` and `--mount` split at these, and have no way to quote them.
    if any(mark in text for mark in ":,") or not _printable(text):
        raise Unfit("a path without ':', ',' and control characters")
    path = _directory(text)
    if path in _SYSTEM:
        raise Unfit("a directory of its own, none of the system's")
    return path


# What `init` mounts into every container beside PGDATA and CLUSTER_ARCHIVE (docs/architecture.md).
RESERVED_DIRECTORIES = (
    "/etc/pgpool2",
    "/etc/ssh",
    "/root/.ssh",
    "/var/lib/postgresql/.ssh",
    "/var/lib/pgha",
    *("/bin", "/dev", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr"),
)


def nested(one: str, other: str) -> bool:
    """Whether one of two normal absolute paths is the other, or lies inside it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _container_directory(text: str) -> str:
    # It stands in postgresql.conf, where archive_command gives '%' and quotes a meaning.
    if not re.fullmatch(r"[A-Za-z0-9_./+@-]+", text):
        raise Unfit("a path of letters, digits and '_', '.', '/', '+', '@', '-'")
    path = _directory(text)
    if path == "/":
        raise Unfit("a directory of its own")
    for reserved in RESERVED_DIRECTORIES:
        if nested(path, reserved):
            raise Unfit(f"a directory apart from {reserved} (which the container needs)")
    return path


HOST_DIRECTORY = Kind("an absolute path on the host", _host_directory)
CONTAINER_DIRECTORY = Kind("an absolute path in the container", _container_directory)


def _maybe_file(text: str) -> str:
    if not _printable(text):
        raise Unfit
    return text


MAYBE_FILE = Kind("a file's path, or nothing", _maybe_file)


def _user(text: str) -> str:
    if not text:
        raise Unfit("a user's name")
    # PostgreSQL cuts longer names off silently (NAMEDATALEN).
    if len(text.encode()) > 63:
        raise Unfit("a user's name of 63 bytes at most")
    if text.startswith(("-", "pg_")):
        raise Unfit("a user's name that does not begin with '-' or 'pg_'")
    # Pgpool-II's pool_passwd and pcp.conf are lines of `name:password`, '#' begins a comment.
    if ":" in text or text.startswith("#") or not _printable(text) or text != text.strip():
        raise Unfit("a user's name without ':', a leading '#', outer spaces and control characters")
    return text


def _role(text: str) -> str:
    # PostgreSQL 17, "CREATE ROLE": neither can be a role's name.
    if text in ("public", "none"):
        raise Unfit("a user's name that PostgreSQL does not reserve")
    # They stand in configuration files of PostgreSQL and Pgpool-II, which quote differently.
    if any(mark in text for mark in "'\"\\"):
        raise Unfit("a user's name without quotes and backslashes")
    return _user(text)


def _password(text: str) -> Secret:
    if not text:
        raise Unfit("a password that is not empty")
    if any(mark in text for mark in "\n\r\0"):
        raise Unfit("a password on one line, without NUL")
    return Secret(text)


def _maybe_password(text: str) -> Secret:
    return _password(text) if text else Secret("")


USER = Kind("a user's name", _user)
ROLE = Kind("a user's name", _role)
PASSWORD = Kind("a password, not empty, on one line", _password, hidden=True)
MAYBE_PASSWORD = Kind("a password on one line, or nothing", _maybe_password, hidden=True)


def _maybe_apt_source(text: str) -> str:
    if text and (not _printable(text) or not re.match(r"deb\s", text)):
        raise Unfit
    return text


# Hidden, since the address of a private repository may hold a password.
MAYBE_APT_SOURCE = Kind(
    "a line of apt's sources.list that begins with 'deb ', or nothing", _maybe_apt_source, True
)
