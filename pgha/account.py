"""Whoever runs this, as far as the machine knows him: in a container perhaps by a number alone."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

# What Debian's user database has for accounts without one.
_NO_HOME = "/nonexistent"


def user_name() -> str:
    """His name; his number where he has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on.
        return str(os.getuid())


def home() -> Path:
    """His home; a directory that is nowhere where he has none."""
    found = os.path.expanduser("~")
    return Path(_NO_HOME if found == "~" else found)


def expanded(path: str) -> Path:
    """A path with `~` for his home."""
    return home() / path[2:] if path.startswith("~/") else Path(os.path.expanduser(path))
