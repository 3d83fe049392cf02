"""Directories and files of a node's volumes, written by root in a helper container for `init`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgha.node import aside, paths
from pgha.node.errors import Failed
from pgha.node.state import write_durably


def prepare(document: Mapping[str, Any]) -> str:
    """document: {"directories": [{path, mode, owner}], "files": [{path, mode, owner, content}],
    "stamp": a time or null}; mode: octal text or a number.

    stamp: what the directories hold goes to aside/<stamp> first. Then the same call again gives the
    same result. Raises Failed("prepare").
    """
    try:
        moved = _aside(document)
        for entry in _list(document, "directories"):
            path = Path(entry["path"])
            path.mkdir(parents=True, exist_ok=True)
            _own(path, entry)
            # Root makes it when it moves things there; whose volume it is goes on with it.
            if (path / aside.NAME).is_dir():
                _own(path / aside.NAME, {**entry, "mode": "0700"})
            if path == paths.CONFIG:
                # From now on until `complete`, what stands here is nobody's cluster yet.
                paths.INITIALISING.touch()
        for entry in _list(document, "files"):
            path = Path(entry["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, str(entry["content"]).encode(), _mode(entry))
            _own(path, entry)
    except OSError as error:
        raise Failed("prepare", f"{error.filename}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise Failed("prepare", f"The document does not fit: {error}") from error
    return "prepared" + (f"; what was there is in {', '.join(moved)}" if moved else "")


def _aside(document: Mapping[str, Any]) -> list[str]:
    """Move aside what the volumes hold: the directories that are no part of another one."""
    stamp = document.get("stamp")
    if not stamp:
        return []
    places = [Path(entry["path"]) for entry in _list(document, "directories")]
    volumes = [p for p in places if not any(other in p.parents for other in places)]
    moved = (aside.move_all(volume, str(stamp)) for volume in volumes)
    return [place for place in moved if place]


def _list(document: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = document.get(key, [])
    assert isinstance(found, list)
    return found


def _mode(entry: Mapping[str, Any]) -> int:
    mode = entry["mode"]
    return int(mode, 8) if isinstance(mode, str) else int(mode)


def _own(path: Path, entry: Mapping[str, Any]) -> None:
    owner = pwd.getpwnam(str(entry["owner"]))
    os.chown(path, owner.pw_uid, owner.pw_gid)
    os.chmod(path, _mode(entry))


def complete() -> str:
    """Take the mark of an `init` that is under way from this node's configuration."""
    paths.INITIALISING.unlink(missing_ok=True)
    return "the node is complete"
