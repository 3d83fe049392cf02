"""How a variable is declared as a field of `pgha.variables.Settings`: a row of the table."""

from __future__ import annotations

from dataclasses import field
from ipaddress import IPv4Address
from typing import TypeVar, cast

from pgha import kinds
from pgha.kinds import Kind

T = TypeVar("T")

# The numbers of the standbys beyond the first: their variables begin with `STANDBY_2_` and so on.
MORE_STANDBYS = (2, 3, 4, 5)


def variable(kind: Kind[T], default: str, text: str, *, opens: str = "") -> T:
    """A field of Settings.

    default: as it would stand in a file; `${VOLUME_ROOT}` in it is replaced.
    text: the explanation, for env/*.env and the manual; nothing: the one above says it all.
    opens: the title of the group that begins here.
    """
    about = {"kind": kind, "default": default, "text": text, "opens": opens}
    return cast(T, field(metadata=about))


def volume(path: str, text: str, *, opens: str = "") -> str:
    """A directory on a host, mounted into a node's container."""
    return variable(kinds.HOST_DIRECTORY, f"${{VOLUME_ROOT}}/{path}", text, opens=opens)


# --- standbys beyond the first -------------------------------------------------------------------


def more_node(text: str = "", *, opens: str = "") -> str:
    """STANDBY_n_NODE."""
    text = text or "Another one: all is as for STANDBY_2_NODE."
    return variable(kinds.MAYBE_HOST_NAME, "", text, opens=opens)


def more_ip(number: int, text: str = "") -> IPv4Address:
    """STANDBY_n_IP; the defaults go on behind WITNESS_IP's."""
    return variable(kinds.ADDRESS, f"10.0.0.{12 + number}", text)


def more_volume(number: int, path: str, text: str = "") -> str:
    """STANDBY_n_VOLUME_…"""
    return volume(f"standby-{number}/{path}", text)
