"""Docker engines as a model: what they keep, how their client answers, how they fail."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from pgha.commands.base import Command
from pgha.errors import Unreachable
from pgha.hosts import Host, Result, unobserved
from pgha.locking import Note
from pgha.processes import OnLine
from pgha.waiting import Deadline

# What a `save` of any image is, in pieces.
ARCHIVE = [b"a" * 1000] * 5


@dataclass(frozen=True)
class Image:
    """An image: its id is its whole content."""

    id: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass
class Registry:
    """Images by name. http: only engines that are told so can use it."""

    images: dict[str, Image] = field(default_factory=dict)
    http: bool = True


class Engine(Host):
    """A host with an engine.

    insecure: the registries that it uses without TLS. silent: nothing answers. broken: words of
    which a command that has them fails. stalls_after: how many bytes a `load` takes, and then
    nothing happens any more. ran: the command lines that changed something.
    """

    def __init__(self, name: str, registry: Registry, **images: Image) -> None:
        self.name, self.observer = name, unobserved
        self.registry = registry
        self.images = {tag.replace("__", ":"): image for tag, image in images.items()}
        self.insecure = ["registry:5000"]
        self.architecture = "x86_64"
        self.silent = False
        self.broken: set[str] = set()
        self.stalls_after: int | None = None
        self.ran: list[str] = []
        self.arrived: Image | None = None

    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        if self.silent:
            raise Unreachable(f"{self.name} did not answer within {deadline}.")
        status, said = self._answer(command.words)
        return Result(status, said, "" if status == 0 else "no luck", 0.0)

    def _answer(self, words: tuple[str, ...]) -> tuple[int, str]:
        match words:
            case ("docker", "info", *_):
                return 0, json.dumps(self._info())
            case ("docker", "image", "inspect", *_, name):
                by_id = (i for i in self.images.values() if i.id == name)
                image = self.images.get(name) or next(by_id, None)
                return (1, "") if image is None else (0, json.dumps(_inspected(name, image)))
        self.ran.append(" ".join(words))
        if self.broken & set(words):
            return 1, ""
        match words:
            case ("docker", "image", "tag", name, other):
                by_id = (i for i in self.images.values() if i.id == name)
                self.images[other] = self.images.get(name) or next(by_id)
            case ("docker", "image", "push", name):
                if self._refused(name):
                    return 1, ""
                self.registry.images[name] = self.images[name]
            case ("docker", "image", "pull", name):
                if self._refused(name) or name not in self.registry.images:
                    return 1, ""
                self.images[name] = self.registry.images[name]
            case ("docker", "build", *options, "--tag", name, "-"):
                labels = dict(option.split("=", 1) for option in options if "=" in option)
                self.images[name] = Image(f"sha256:made-on-{self.name}", labels)
        return 0, ""

    def _refused(self, name: str) -> bool:
        where = name.partition("/")[0]
        return self.registry.http and ":" in where and where not in self.insecure

    def _info(self) -> dict[str, object]:
        return {
            "Name": self.name,
            "ServerVersion": "26.1.5",
            "OperatingSystem": "Debian",
            "Architecture": self.architecture,
            "NCPU": 2,
            "MemTotal": 1 << 32,
            "Driver": "overlay2",
            "DockerRootDir": "/var/lib/docker",
            "RegistryConfig": {
                "InsecureRegistryCIDRs": ["127.0.0.0/8"],
                "IndexConfigs": {name: {"Secure": False} for name in self.insecure},
            },
        }

    def stream(self, command: Command, deadline: Deadline) -> ModelStream:
        if self.silent:
            raise Unreachable(f"{self.name} did not answer within {deadline}.")
        self.ran.append(" ".join(command.words))
        return ModelStream(self, command)

    @contextlib.contextmanager
    def lock(self, cluster: str, note: Note) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass


def _inspected(name: str, image: Image) -> dict[str, object]:
    return {"id": image.id, "tags": [name], "labels": image.labels, "size": 5000}


class ModelStream:
    """`save` says what the image is called, and some bytes; `load` believes it."""

    def __init__(self, engine: Engine, command: Command) -> None:
        self._engine = engine
        self._over = threading.Event()
        self._got = b""
        self._name = ""
        self._left: list[bytes] = []
        if command.words[0] == "sh":
            self._name = command.words[-1]
            image = engine.images[self._name]
            head = json.dumps([self._name, image.id, image.labels]).encode() + b"\n"
            self._left = [head, *ARCHIVE]

    def read(self) -> bytes:
        if self._name and len(self._left) < 3 and "save" in self._engine.broken:
            self._left.clear()
        return self._left.pop(0) if self._left else b""

    def write(self, data: bytes) -> None:
        self._got += data
        limit = self._engine.stalls_after
        if limit is not None and len(self._got) > limit:
            self._over.wait()
            raise Unreachable(f"{self._engine.name}'s program has ended.")

    def eof(self) -> None:
        pass

    def end(self) -> Result:
        if self._name:
            return Result(-15 if "save" in self._engine.broken else 0, "", "", 0.1)
        head, _, rest = self._got.partition(b"\n")
        name, image_id, labels = json.loads(head)
        if rest != b"".join(ARCHIVE) or "load" in self._engine.broken:
            return Result(1, "", "unexpected EOF", 0.1)
        self._engine.images[name] = Image(image_id, labels)
        return Result(0, "", "", 0.1)

    def close(self) -> None:
        self._over.set()
