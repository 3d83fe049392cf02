"""What OpenSSH makes of a name: the answer of `ssh -G`, and the hop that it describes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pgha.commands.base import Command

Answer = Mapping[str, tuple[str, ...]]

# OpenSSH 9.2 tries these where no IdentityFile is configured (ssh_config(5)), as far as they exist.
DEFAULT_KEYS = tuple(
    f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "dsa")
)
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


@dataclass(frozen=True)
class Jump:
    """A name to go to, with what stands beside it in ProxyJump ("", None: nothing does)."""

    name: str
    user: str = ""
    port: int | None = None


@dataclass(frozen=True)
class Here:
    """The machine that we are on, as far as an SSH configuration can mean it."""

    home: Path
    user: str
    uid: int
    hostname: str
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Hop:
    """One SSH server on the way to a machine.

    keys: files to sign on with, in this order; those of `optional` need not be there.
    only_keys: no other keys of the agent's.
    agent: the agent's socket; "" where none is to be asked.
    known_as: what the server is called in known_hosts, its port included.
    known_hosts: the files whose keys are accepted; the user's own come first.
    proxy: the shell line whose input and output lead to the server; "": a connection does.
    jumps: the hosts on the way there, the nearest to us first.
    """

    address: str
    port: int
    user: str
    known_as: str
    known_hosts: tuple[Path, ...]
    keys: tuple[Path, ...] = ()
    optional: tuple[Path, ...] = ()
    only_keys: bool = False
    agent: str = ""
    proxy: str = ""
    jumps: tuple[Jump, ...] = ()


def question(jump: Jump, config: Path | None, through: tuple[Jump, ...] = ()) -> Command:
    """Ask what OpenSSH makes of a name; it connects to nobody.

    through: go there by way of these, whatever the configuration says.
    """
    words = ["ssh", "-T", "-G"]
    words += ["-F", str(config)] if config else []
    words += ["-l", jump.user] if jump.user else []
    words += ["-p", str(jump.port)] if jump.port else []
    words += ["-o", f"ProxyJump={joined(through)}"] if through else []
    return Command((*words, "--", jump.name))


def joined(jumps: tuple[Jump, ...]) -> str:
    """ProxyJump's value for these."""
    return ",".join(map(_spec, jumps))


def _spec(jump: Jump) -> str:
    name = f"[{jump.name}]" if ":" in jump.name else jump.name
    return (f"{jump.user}@" if jump.user else "") + name + (f":{jump.port}" if jump.port else "")


def parse_answer(text: str) -> dict[str, tuple[str, ...]]:
    """The lines of `ssh -G`: each keyword, in small letters, with the rest of each of its lines."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword:
            found[keyword.lower()] = (*found.get(keyword.lower(), ()), rest.strip())
    return found


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """ProxyJump's value: `[user@]host[:port]` or `ssh://…`, with commas; `none` is nobody.

    Raises ValueError with the part that cannot be read.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    return tuple(_jump(part.strip()) for part in text.split(","))


def _jump(text: str) -> Jump:
    plain = text.removeprefix("ssh://").rstrip("/")
    user, _, place = plain.rpartition("@")
    parts = re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?", place)
    if parts is None:
        # An address of IPv6 without brackets has no port.
        if not re.fullmatch(r"[0-9A-Fa-f:.]+(%\w+)?", place):
            raise ValueError(text)
        return Jump(place, user)
    port = parts[2] or parts[4]
    return Jump(parts[1] or parts[3], user, int(port) if port else None)


def hop_of(name: str, answer: Answer, here: Here, known_hosts: Path | None) -> Hop:
    """The hop that an answer about `name` describes.

    known_hosts: takes the place of the user's own files. What the answer leaves open has OpenSSH's
    defaults. Raises ValueError with what cannot be read.
    """

    def one(keyword: str, default: str = "") -> str:
        return answer.get(keyword, (default,))[0]

    address, port, user = one("hostname", name), int(one("port", "22")), one("user", here.user)
    alias = one("hostkeyalias")
    entry = alias or (address if port == 22 else f"[{address}]:{port}")
    tokens = {
        "h": address,
        "n": name,
        "p": str(port),
        "r": user,
        "k": alias or address,
        "d": str(here.home),
        "u": here.user,
        "i": str(here.uid),
        "l": here.hostname,
        "L": here.hostname.partition(".")[0],
        "j": one("proxyjump"),
    }

    def path(text: str) -> Path:
        return Path(expand(text, tokens, here))

    keys = [each for each in answer.get("identityfile", DEFAULT_KEYS) if each != "none"]
    jumps = parse_jumps(one("proxyjump"))
    proxy = one("proxycommand", "none")
    own = paths(one("userknownhostsfile", " ".join(USER_KNOWN_HOSTS)))
    everyones = paths(one("globalknownhostsfile", " ".join(GLOBAL_KNOWN_HOSTS)))
    return Hop(
        address=address,
        port=port,
        user=user,
        known_as=entry,
        known_hosts=(*((known_hosts,) if known_hosts else map(path, own)), *map(path, everyones)),
        keys=tuple(map(path, keys)),
        optional=tuple(path(key) for key in keys if key.startswith("~/.ssh/id_")),
        only_keys=one("identitiesonly") == "yes",
        agent=_agent(one("identityagent", "SSH_AUTH_SOCK"), tokens, here),
        proxy="" if jumps or proxy.lower() == "none" else _percent(proxy, tokens),
        jumps=jumps,
    )


def _agent(text: str, tokens: Mapping[str, str], here: Here) -> str:
    if text.lower() == "none":
        return ""
    if text == "SSH_AUTH_SOCK":
        return here.environ.get("SSH_AUTH_SOCK", "")
    if re.fullmatch(r"\$\w+", text):
        return here.environ.get(text[1:], "")
    return expand(text, tokens, here)


def paths(text: str) -> tuple[str, ...]:
    """The files of a line on which `ssh -G` joins them with spaces, though it quotes none.

    What does not begin as a path does goes on with the one before it.
    """
    found: list[str] = []
    for word in text.split(" "):
        if found and not word.startswith(("/", "~", "%", "${")):
            found[-1] += f" {word}"
        elif word:
            found.append(word)
    return tuple(each for each in found if each != "none")


def expand(text: str, tokens: Mapping[str, str], here: Here) -> str:
    """A file's path with `~`, `%h` and `${VARIABLE}` replaced.

    Raises ValueError for what nobody knows. Source: ssh_config(5), "TOKENS".
    """
    whole = _percent(re.sub(r"^~(?=/|$)", lambda _: str(here.home), text), tokens)
    return re.sub(r"\$\{(\w+)\}", lambda found: _known(found[1], here.environ), whole)


def _percent(text: str, tokens: Mapping[str, str]) -> str:
    known = {**tokens, "%": "%"}
    return re.sub(r"%(.?)", lambda found: _known(found[1], known), text)


def _known(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise ValueError(f"{name!r} stands for nothing")
    return values[name]
