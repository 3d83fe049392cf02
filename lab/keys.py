"""The lab's keys, on this machine: the user's, and each host's own, by which it is known."""

from __future__ import annotations

from pathlib import Path

from lab.layout import Layout
from pgha.commands.base import Command
from pgha.hosts import Host

_KEYGEN_S = 30.0


def make_keys(here: Host, layout: Layout) -> None:
    """Make those that are not there."""
    files = layout.files
    files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make(here, files.key, f"pgha lab {layout.name}")
    for place in layout.places:
        _make(here, files.host_key(place.name), place.name)


def _make(here: Host, file: Path, comment: str) -> None:
    # The public half comes last: where it is missing, somebody was cut off between them.
    if public(file).exists():
        return
    file.unlink(missing_ok=True)
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file))
    here.run(Command(words), timeout_s=_KEYGEN_S)


def public(file: Path) -> Path:
    """The file of a key's public half."""
    return file.with_name(f"{file.name}.pub")
