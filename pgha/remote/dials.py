"""Which keys of an SSH server are believed, and what it means when connecting to it fails."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgha.errors import Unreachable
from pgha.known_hosts import Known, keys_of, parse
from pgha.openssh import Hop
from pgha.waiting import Deadline

if TYPE_CHECKING:
    import paramiko

# Paramiko is imported where it is used: 0.1 s.


@dataclass(frozen=True)
class Dial:
    """One try to connect to a server; a container's server is no hop."""

    client: paramiko.SSHClient
    host: str
    port: int
    user: str
    hop: Hop | None = None

    @property
    def entry(self) -> str:
        """What Paramiko calls it in known_hosts."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def signed_on(self) -> bool:
        transport = self.client.get_transport()
        return transport is not None and transport.is_authenticated()


class WrongKey(Exception):
    """A server's key is none of the known ones; changed: another of this kind is known."""

    def __init__(self, dial: Dial, fingerprint: str, *, changed: bool = False) -> None:
        super().__init__(dial.entry)
        self.dial, self.fingerprint, self.changed = dial, fingerprint, changed


def known_keys(hop: Hop) -> tuple[Known, ...]:
    """The keys that the user, or the whole system, knows a server by. Raises Unreachable."""
    lines = tuple(line for file in hop.known_hosts for line in _lines(file))
    return keys_of(lines, hop.known_as)


def belief(dial: Dial, known: tuple[Known, ...]) -> paramiko.MissingHostKeyPolicy:
    """Paramiko's policy for keys that it does not know itself: the known ones are accepted.

    Of several keys of one kind Paramiko itself knows one only; Fabric's policy accepts all keys.
    """
    import paramiko

    class Belief(paramiko.MissingHostKeyPolicy):
        def missing_host_key(
            self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
        ) -> None:
            if key.asbytes() not in {each.key for each in known}:
                changed = key.get_name() in {each.kind for each in known}
                raise WrongKey(dial, key.fingerprint, changed=changed)

    return Belief()


def prefer_known(transport: paramiko.Transport, known: tuple[Known, ...]) -> None:
    """Have the server show a key of a kind that is known, where it has one."""
    kinds = {each.kind for each in known}
    security = transport.get_security_options()

    def unknown(name: str) -> bool:
        return ("ssh-rsa" if name.startswith("rsa-sha2-") else name) not in kinds

    security.key_types = tuple(sorted(security.key_types, key=unknown))


def _lines(file: Path) -> tuple[Known, ...]:
    try:
        return tuple(parse(file.read_text("utf-8", "replace")))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise Unreachable(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise Unreachable(f"{file} cannot be read: {error}.") from None


def explained(
    error: Exception, name: str, dials: list[Dial], limit: Deadline, look: str
) -> Unreachable:
    """What a failure to connect means, and the command to look at it."""
    import paramiko

    if isinstance(error, WrongKey):
        return _changed(error, name) if error.changed else _unknown(error, name, look)
    if isinstance(error, paramiko.BadHostKeyException):
        # A container's: its engine has told us the key.
        return Unreachable(f"The host key of {name} is not the one that its engine says.")
    if isinstance(error, TimeoutError) or limit.passed:
        return Unreachable(f"{name} did not answer within {limit}.", next=look)
    if isinstance(error, paramiko.AuthenticationException):
        return _shut(error, name, dials, look)
    if isinstance(error, OSError):
        return Unreachable(f"{name} cannot be reached: {_reason(error)}.", next=look)
    # Paramiko has no words for an end that it notices while it writes.
    ended = isinstance(error, EOFError)
    answer = "it ended the connection" if ended else str(error)
    # OpenSSH 9.8 and later (sshd_config(5), PerSourcePenalties).
    turned_away = (
        " After failed sign-ons OpenSSH turns whoever made them away for a while."
        if ended or "banner" in answer
        else ""
    )
    message = f"{name} does not answer as an SSH server: {answer}.{turned_away}"
    return Unreachable(message, next=look)


def _unknown(error: WrongKey, name: str, look: str) -> Unreachable:
    hop, entry = error.dial.hop, error.dial.entry
    file = hop.known_hosts[0] if hop and hop.known_hosts else "what its engine says"
    return Unreachable(
        f"The host key of {name} ({hop.known_as if hop else entry}) is not in {file}.",
        next=look,
        details=(f"It shows {error.fingerprint}.", "Compare it before you accept it."),
    )


def _changed(error: WrongKey, name: str) -> Unreachable:
    hop = error.dial.hop
    assert hop is not None
    entry = hop.known_as
    file = next(each for each in hop.known_hosts if keys_of(_lines(each), entry))
    return Unreachable(
        f"The host key of {name} ({entry}) is not the one in {file}.",
        next=f"ssh-keygen -l -F '{entry}' -f {shlex.quote(str(file))}",
        details=(f"It shows {error.fingerprint}.",),
    )


def _shut(error: Exception, name: str, dials: list[Dial], look: str) -> Unreachable:
    """A server that does not let us in; the nearest one that we are not signed on to."""
    from pgha.remote.sign_on import NoKeyFits

    dial = next((each for each in reversed(dials) if not each.signed_on), dials[0])
    via = "" if dial is dials[0] else f", at {dial.entry} on the way"
    hints = error.hints if isinstance(error, NoKeyFits) else ()
    if isinstance(error, NoKeyFits) and error.missing:
        message = f"{name} cannot be reached: No such file or directory: {error.missing}."
        return Unreachable(message, next=look, details=hints)
    message = f"{name} refuses our keys for user {dial.user}{via}."
    return Unreachable(message, next=look, details=hints)


def _reason(error: OSError) -> str:
    # Paramiko's collection of what each address answered has no text of its own.
    several = getattr(error, "errors", None)
    first: OSError = next(iter(several.values())) if several else error
    return (first.strerror or str(first)) + (f": {first.filename}" if first.filename else "")
