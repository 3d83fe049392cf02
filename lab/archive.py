"""Files → a tar archive, for `docker build` and `docker cp`. Pure: equal files, equal bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Packed:
    """A file of an archive; owner: user and group, by number."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: int = 0


def pack(files: Iterable[Packed]) -> bytes:
    """The archive; no time is in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), file.mode
            entry.uid = entry.gid = file.owner
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
