"""What a node's image is made of: a Dockerfile, files, a name. Reads templates, runs nothing."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pgha.errors import Refused
from pgha.templating import render

BASE_NAME = "pgha-base"
BUILD_LABEL = "io.pgha.build"
BASE_LABEL = "io.pgha.base"

# The Debian suite that carries a major version of PostgreSQL.
SUITES = {17: "trixie", 18: "forky"}

# postgres' uid and gid in the image, and so the owner of what is on the hosts.
POSTGRES_UID = 999

# `-I -S`: neither the environment nor site-packages take part, which also halves the start.
_NODE_SCRIPT = b"""#!/usr/bin/python3 -IS
import sys
sys.path.append("/usr/lib/pgha")
from pgha.node.cli import main
sys.exit(main())
"""
_MAIN_SCRIPT = b"""#!/usr/bin/python3 -IS
import runpy
import sys
sys.path.append("/usr/lib/pgha")
runpy.run_module("pgha.node.main", run_name="__main__", alter_sys=True)
"""


class ImageSettings(Protocol):
    """The variables of the same names that an image depends on."""

    @property
    def postgres_version(self) -> int: ...
    @property
    def base_image(self) -> str: ...
    @property
    def apt_source(self) -> str: ...
    @property
    def docker_hub_image(self) -> bool: ...
    @property
    def docker_hub_image_name(self) -> str: ...
    @property
    def docker_hub_image_version(self) -> str: ...


@dataclass(frozen=True)
class File:
    """A file of the build's context; path within it, permission bits."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Build:
    """All that an image is built from. Equal inputs give equal bytes, and so the same digest."""

    tag: str
    base: str
    dockerfile: str
    files: tuple[File, ...]
    context: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """What the image's label `io.pgha.build` says."""
        return hashlib.sha256(self.context).hexdigest()


def image_name(settings: ImageSettings) -> str:
    """The image that nodes are made of: the published one, or the one that `build` makes.

    The latter has a tag of its own: what was published is never taken for it.
    """
    if settings.docker_hub_image:
        return f"{settings.docker_hub_image_name}:{settings.docker_hub_image_version}"
    source = settings.base_image + "\n" + settings.apt_source.strip()
    # Clusters on one host may be built from different sources: each keeps its own image.
    variant = "-" + hashlib.sha256(source.encode()).hexdigest()[:8] if source.strip() else ""
    return f"{settings.docker_hub_image_name}:built-{settings.postgres_version}{variant}"


def base_name(settings: ImageSettings) -> str:
    """The image that the node's image starts from.

    Raises Refused where none is named and no Debian suite is known for POSTGRES_VERSION.
    """
    return settings.base_image or f"{BASE_NAME}:{base_suite(settings)}"


def base_suite(settings: ImageSettings) -> str:
    """The Debian suite of a base that we make ourselves; raises Refused where none is known."""
    version = settings.postgres_version
    if version not in SUITES:
        raise Refused(
            f"No Debian suite is known to have PostgreSQL {version}: name an image that has it in "
            f"BASE_IMAGE, or set POSTGRES_VERSION to {' or '.join(map(str, SUITES))}."
        )
    return SUITES[version]


def build_inputs(settings: ImageSettings, node_files: Mapping[str, bytes]) -> Build:
    """What the image is built from. node_files: path below the package `pgha` → content."""
    base, apt_file = base_name(settings), _apt_file(settings.apt_source)
    dockerfile = render(
        "Dockerfile.j2",
        base=base,
        version=settings.postgres_version,
        apt_source=apt_file is not None,
        uid=POSTGRES_UID,
    )
    package = {"__init__.py": b"", **node_files}
    files = (
        File("Dockerfile", dockerfile.encode()),
        *((apt_file,) if apt_file else ()),
        File("rootfs/usr/bin/pgha-main", _MAIN_SCRIPT, 0o755),
        File("rootfs/usr/bin/pgha-node", _NODE_SCRIPT, 0o755),
        *(File(f"rootfs/usr/lib/pgha/pgha/{path}", package[path]) for path in sorted(package)),
    )
    return Build(image_name(settings), base, dockerfile, files, _tar(files))


def node_files() -> dict[str, bytes]:
    """The package's part that runs in a container: `node/` and `commands/`."""
    package = Path(__file__).parent
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for part in ("node", "commands")
        for path in sorted((package / part).rglob("*.py"))
    }


def _apt_file(source: str) -> File | None:
    """Where apt reads it; for root's eyes only, since a private source may name a password."""
    line = source.strip()
    return File("apt/pgha.list", f"{line}\n".encode(), 0o600) if line else None


def _tar(files: tuple[File, ...]) -> bytes:
    """A tar archive that depends on nothing but the files: no owner, no time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), file.mode
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
