"""Commands for the `docker` client; `docker_answers` reads what they print. Nothing runs here.

Where an `inspect` exits with 1 because something asked for is missing, it still prints what is
there: leave `check` off and read the answer. (No engine at all also exits with 1: ask `info`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgha.commands.base import Command, Stdin

# Only what the parsers below read: the whole answer is 6 KB a container.
_CONTAINER_FORMAT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"image":{{json .Image}},'
    '"tag":{{json .Config.Image}},"state":{{json .State}},"labels":{{json .Config.Labels}},'
    '"ports":{{json .NetworkSettings.Ports}},"mounts":{{json .Mounts}},'
    '"networks":{{json .NetworkSettings.Networks}}}'
)
_NETWORK_FORMAT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"driver":{{json .Driver}},'
    '"attachable":{{json .Attachable}},"options":{{json .Options}},'
    '"labels":{{json .Labels}},"ipam":{{json .IPAM.Config}},"containers":{{json .Containers}}}'
)
_IMAGE_FORMAT = (
    '{"id":{{json .Id}},"tags":{{json .RepoTags}},"labels":{{json .Config.Labels}},'
    '"size":{{json .Size}}}'
)


@dataclass(frozen=True)
class Mount:
    """A host directory in a container.

    must_exist: the container is not created where `source` is missing. False: the engine makes
    it, owned by root, which is how `init` makes directories on a host where it is not root.
    """

    source: str
    target: str
    read_only: bool = False
    must_exist: bool = True

    @property
    def words(self) -> tuple[str, str]:
        """The option for `docker create` and `docker run`."""
        if not self.must_exist:
            return "--volume", f"{self.source}:{self.target}" + (":ro" if self.read_only else "")
        fields = ["type=bind", f"source={self.source}", f"target={self.target}"]
        fields += ["readonly"] if self.read_only else []
        # The option is one line of CSV (docker's manual, "Bind mounts"): a comma needs quotes.
        return "--mount", ",".join(map(_csv_field, fields))


@dataclass(frozen=True)
class Attachment:
    """A container on a network: at a fixed address (or one that the engine chooses), by names."""

    network: str
    ip: str | None = None
    aliases: tuple[str, ...] = ()

    def words(self, alias_option: str) -> tuple[str, ...]:
        """The options that say so; `create` and `network connect` name the alias differently."""
        address = ("--ip", self.ip) if self.ip else ()
        return (*address, *_each(alias_option, self.aliases))


@dataclass(frozen=True)
class ContainerSpec:
    """All that a node's container is made of.

    shm_size_mb: /dev/shm, where parallel queries put their segments.
    stop_timeout_s: how long `docker stop` and a stopping engine wait before SIGKILL.
    log_max_mb: the bound of everything that the engine keeps of the container's output.
    """

    name: str
    image: str
    hostname: str
    labels: Mapping[str, str]
    attachment: Attachment
    mounts: tuple[Mount, ...]
    shm_size_mb: int = 256
    stop_timeout_s: int = 60
    log_max_mb: int = 20


def info() -> Command:
    """The engine itself; exits with 1 where none answers (and prints a document without server).

    Where it is a manager of a Swarm without a majority, it may take its time.
    """
    return _docker("info", "--format", "{{json .}}")


def version() -> Command:
    """The engine's version; exits with 1 where none answers. No Swarm is asked for it."""
    return _docker("version", "--format", "{{.Server.Version}}")


def network_create(name: str, subnet: str, labels: Mapping[str, str]) -> Command:
    """A network of this engine alone."""
    return _docker(
        "network", "create", "--driver", "bridge", "--subnet", subnet, *_labels(labels), name
    )


def network_connect(place: Attachment, container: str) -> Command:
    """Put a container on one more network."""
    return _docker("network", "connect", *place.words("--alias"), place.network, container)


def network_remove(*names: str) -> Command:
    """Remove networks that nobody is on."""
    return _docker("network", "rm", *names)


def network_list() -> Command:
    """The names of all networks of this engine, one a line: ask `network_inspect` about them."""
    return _docker("network", "ls", "--no-trunc", "--format", "{{.Name}}")


def network_inspect(*names: str) -> Command:
    """All about these networks, one JSON object a line; exits with 1 where one is missing."""
    return _docker("network", "inspect", "--format", _NETWORK_FORMAT, *names)


def container_create(spec: ContainerSpec) -> Command:
    """A node's container, not started; the image is never looked for in a registry."""
    place = spec.attachment
    return _docker(
        *("container", "create", "--pull", "never"),
        *("--name", spec.name, "--hostname", spec.hostname, *_labels(spec.labels)),
        *("--network", place.network, *place.words("--network-alias")),
        *("--publish", "127.0.0.1::22"),
        # The agent comes before all others on a busy machine (sched(7), "The nice value").
        *("--cap-add", "SYS_NICE"),
        *_mounts(spec.mounts),
        *("--shm-size", f"{spec.shm_size_mb}m", "--stop-timeout", str(spec.stop_timeout_s)),
        # The image brings its own init. Who starts a node is decided by us, not by the engine.
        *("--init=false", "--restart", "no"),
        *_log_rotation(spec.log_max_mb),
        spec.image,
    )


def start(*names: str) -> Command:
    """Start created or exited containers; no harm where they run."""
    return _docker("container", "start", *names)


def stop(*names: str, timeout_s: int) -> Command:
    """SIGTERM, then SIGKILL after `timeout_s`; no harm where they are stopped."""
    return _docker("container", "stop", "-t", str(timeout_s), *names)


def kill(*names: str, signal: str = "KILL") -> Command:
    """Send a signal to the main process; exits with 1 where a container does not run."""
    return _docker("container", "kill", "--signal", signal, *names)


def remove(*names: str, force: bool = False) -> Command:
    """Remove stopped containers (`force`: running ones too). Bind mounts stay as they are."""
    return _docker("container", "rm", *(("--force",) if force else ()), *names)


def inspect(*names: str) -> Command:
    """All about these containers, one JSON object a line; exits with 1 where one is missing."""
    return _docker("container", "inspect", "--format", _CONTAINER_FORMAT, *names)


def ps(labels: Mapping[str, str]) -> Command:
    """Containers with all of these labels, in any state; exits with 0 where there are none."""
    filters = _each("--filter", [f"label={key}={value}" for key, value in labels.items()])
    line = (
        '{"id":{{json .ID}},"name":{{json .Names}},"state":{{json .State}},'
        '"image":{{json .Image}},"ports":{{json .Ports}},"networks":{{json .Networks}},'
        '"cluster":{{json (.Label "io.pgha.cluster")}},"node":{{json (.Label "io.pgha.node")}}}'
    )
    return _docker("container", "ls", "--all", "--no-trunc", *filters, "--format", line)


def image_inspect(*names: str) -> Command:
    """All about these images, one JSON object a line; exits with 1 where one is missing."""
    return _docker("image", "inspect", "--format", _IMAGE_FORMAT, *names)


def image_tag(image: str, tag: str) -> Command:
    """One more name for an image."""
    return _docker("image", "tag", image, tag)


def pull(image: str) -> Command:
    """Fetch an image from its registry."""
    return _docker("image", "pull", image)


def push(image: str) -> Command:
    """Bring an image to the registry that its name begins with."""
    return _docker("image", "push", image)


# What a command begins with whose output is to be compressed. Without `pipefail`, which not every
# shell has, a `save` that fails in the middle would look like a whole archive: so it takes the
# shell with it.
COMPRESSED = ("sh", "-c", '{ "$@" || kill $$; } | gzip -1', "sh")


def save(image: str) -> Command:
    """An image with its name, compressed, on standard output.

    gzip, since every Debian has it and every engine can read it; its fastest level, since lines
    between hosts are fast.
    """
    return Command((*COMPRESSED, "docker", "image", "save", image))


def load() -> Command:
    """Take what `save` said, from standard input."""
    return Command(("docker", "image", "load", "--quiet"), stdin=b"")


def import_image(archive: bytes, tag: str) -> Command:
    """An image of one layer out of a root file system's tar archive."""
    return Command(("docker", "image", "import", "-", tag), stdin=archive)


def build(
    context: bytes, tag: str, *, labels: Mapping[str, str] | None = None, cached: bool = True
) -> Command:
    """Build from a tar archive that has a Dockerfile in it.

    cached: False runs every step again, so that packages are fetched anew. The container of a step
    that fails is removed too (engines without BuildKit keep it otherwise).
    """
    fresh = () if cached else ("--no-cache",)
    words = ("docker", "build", *fresh, *_labels(labels or {}), "--force-rm", "--tag", tag, "-")
    return Command(words, stdin=context)


def run_helper(
    image: str,
    words: Sequence[str],
    *,
    labels: Mapping[str, str],
    name: str | None = None,
    mounts: Sequence[Mount] = (),
    user: str = "root",
    network: str = "none",
    stdin: Stdin = None,
) -> Command:
    """A short-lived container of our image that runs `words` and is gone afterwards.

    name: there is one of it at a time, also where the client of the last one was killed and the
    engine goes on with it; None: several may run, which is right for those that only look.
    """
    return Command(
        (
            *("docker", "run", "--rm", "--interactive", "--pull", "never"),
            *(("--name", name) if name else ()),
            *(*_labels(labels), "--network", network, "--user", user),
            # tini as process 1: a process that is process 1 itself ignores SIGTERM.
            *(*_mounts(mounts), "--init=false", "--entrypoint", "/usr/bin/tini"),
            *(image, "--", *words),
        ),
        stdin=stdin,
    )


def exec_in(container: str, command: Command) -> Command:
    """The same command, inside a running container, as the user that it names (root: none)."""
    words = (
        *("docker", "exec", "--interactive", "--user", command.user or "root"),
        *(container, *command.words),
    )
    return Command(words, stdin=command.stdin)


def _docker(*words: str) -> Command:
    return Command(("docker", *words))


def _each(option: str, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


def _labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    return _each("--label", [f"{key}={value}" for key, value in labels.items()])


def _mounts(mounts: Sequence[Mount]) -> tuple[str, ...]:
    return tuple(word for mount in mounts for word in mount.words)


def _log_rotation(log_max_mb: int) -> tuple[str, ...]:
    """Four files that hold `log_max_mb` together, whatever the engine's own default is."""
    return (
        *("--log-driver", "local"),
        *("--log-opt", f"max-size={log_max_mb * 1024 // 4}k", "--log-opt", "max-file=4"),
    )


def _csv_field(field: str) -> str:
    if not any(sign in field for sign in ',"\n'):
        return field
    return '"' + field.replace('"', '""') + '"'


def container_names() -> Command:
    """The names of all containers of this engine, running or not, one a line."""
    return _docker("container", "ls", "--all", "--format", "{{.Names}}")
