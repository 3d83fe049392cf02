"""Puts a file that holds secrets in its place: whole or not at all, for its owner's eyes alone."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgha.errors import Refused


class Occupied(Refused):
    """Another file is there, and nobody said that it may be moved."""


@dataclass(frozen=True)
class Placed:
    """changed: False where it was there already. aside: where the file went that was there."""

    changed: bool
    aside: Path | None = None


def place(target: Path, text: str, *, stamp: str, force: bool, dry_run: bool) -> Placed:
    """Have `target` hold `text`, with mode 0600.

    stamp: when, for the name under which another file of that name is kept.
    Raises Occupied where there is another file and not `force`; Refused where it cannot be written.
    """
    with _refusing(target):
        there = os.path.lexists(target)
        if there and _holds(target, text):
            if not dry_run and stat.S_IMODE(target.stat().st_mode) != 0o600:
                target.chmod(0o600)
            return Placed(changed=False)
        if there and not force:
            raise Occupied(f"{target} is there already, and is another file; nothing was changed.")
        aside = target.with_name(f"{target.name}.{stamp}") if there else None
        if not dry_run:
            _write(target, text, aside)
        return Placed(changed=True, aside=aside)


@contextlib.contextmanager
def _refusing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Refused(f"{target} cannot be written: {why}.") from None


def _holds(target: Path, text: str) -> bool:
    if not target.is_file():
        return False
    expected = text.encode()
    with target.open("rb") as file:
        return file.read(len(expected) + 1) == expected


def _write(target: Path, text: str, aside: Path | None) -> None:
    target.parent.mkdir(exist_ok=True)
    # Made with mode 0600: at no time can anybody else read it.
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if aside is not None:
            os.rename(target, aside)
        os.rename(name, target)
    except BaseException:
        if aside is not None and not os.path.lexists(target):
            os.rename(aside, target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
