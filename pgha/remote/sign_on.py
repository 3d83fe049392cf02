"""Signing on to an SSH server with the keys that OpenSSH would show it, in the same order."""

from __future__ import annotations

import base64
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH
from paramiko.pkey import UnknownKeyType

from pgha.credentials import Credentials
from pgha.openssh import Hop
from pgha.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody wants to wait longer for an agent that does not say which keys it has.
_AGENT_S = 2.0


class NoKeyFits(paramiko.AuthenticationException):
    """The server accepts none of our keys. hints: what is the matter with those we could not show.

    missing: a file that the configuration has and the disk has not.
    """

    def __init__(self, hints: tuple[str, ...], missing: Path | None) -> None:
        super().__init__("no key is accepted")
        self.hints, self.missing = hints, missing


class SignOn:
    """Paramiko's `auth_strategy` for one hop.

    Paramiko's own way knows one agent only, shows all of its keys or none, and the files first.
    """

    def __init__(
        self, hop: Hop, deadline: Deadline, credentials: Credentials | None = None
    ) -> None:
        self._hop, self._deadline = hop, deadline
        self._credentials = credentials or Credentials()
        self._hints: list[str] = []
        self._missing: Path | None = None

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Show one key after the other until one is accepted. Raises NoKeyFits, SSHException."""
        with _agent(self._hop.agent, self._deadline) as held:
            for key in self._keys(held):
                try:
                    if not transport.auth_publickey(self._hop.user, key):
                        return []
                    self._hints.append(f"{self._hop.address} wants more than a key.")
                    break
                except paramiko.BadAuthenticationType:
                    self._hints.append(f"{self._hop.address} accepts no keys at all.")
                    break
                except paramiko.AuthenticationException:
                    # Too many keys were wrong, or the connection is lost.
                    if not transport.is_active():
                        break
        raise NoKeyFits(tuple(self._hints), self._missing)

    def _keys(self, held: dict[bytes, paramiko.PKey]) -> Iterator[paramiko.PKey]:
        """As OpenSSH orders them: the agent's that are configured, its others, then files."""
        shown = set()
        publics = {file: _public(file) for file in self._hop.keys}
        for public in publics.values():
            if public in held and public not in shown:
                shown.add(public)
                yield held[public]
        if not self._hop.only_keys:
            yield from (key for blob, key in held.items() if blob not in shown)
            shown |= held.keys()
        for file, public in publics.items():
            if public not in shown:
                key = self._read(file)
                if key is not None and key.asbytes() not in shown:
                    yield key

    def _read(self, file: Path) -> paramiko.PKey | None:
        passphrase = self._credentials.of(file).reveal()
        # Annotated as text there; what decodes the file wants bytes.
        secret: Any = passphrase.encode() if passphrase and locked(file) else None
        try:
            return paramiko.PKey.from_path(file, secret)
        except (FileNotFoundError, NotADirectoryError):
            if file not in self._hop.optional and self._missing is None:
                self._missing = file
        except OSError as error:
            self._hints.append(f"{file} cannot be read: {error.strerror}.")
        except (paramiko.PasswordRequiredException, TypeError):
            self._hints.append(f"{file} has a passphrase, and the agent has not got it: ssh-add.")
        except (paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError):
            if passphrase and locked(file):
                self._hints.append(f"The passphrase that was given is not that of {file}.")
            elif file not in self._hop.optional and file.suffix != ".pub":
                self._hints.append(f"{file} is no key that we can use.")
        return None


def locked(file: Path) -> bool:
    """Whether a key's file has a passphrase."""
    try:
        paramiko.PKey.from_path(file)
    except (paramiko.PasswordRequiredException, TypeError):
        return True
    except (OSError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError):
        return False
    return False


def to_unlock(hop: Hop, deadline: Deadline) -> tuple[Path, ...]:
    """The files whose passphrases somebody should be asked for before we sign on.

    Those that are configured and that the agent has not got; of those that OpenSSH looks at by
    itself only where there is no other key at all.
    """
    with _agent(hop.agent, deadline) as held:
        files = [file for file in hop.keys if _public(file) not in held]
        named = tuple(file for file in files if file not in hop.optional and locked(file))
        if named or held or len(files) < len(hop.keys):
            return named
        there = [file for file in files if file.exists()]
        shut = tuple(file for file in there if locked(file))
        return shut[:1] if len(shut) == len(there) else ()


def _public(file: Path) -> bytes | None:
    """The public half of a key, from the file beside it; IdentityFile may also be that one."""
    beside = file if file.suffix == ".pub" else Path(f"{file}.pub")
    try:
        return base64.b64decode(beside.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None


@contextlib.contextmanager
def _agent(path: str, deadline: Deadline) -> Iterator[dict[bytes, paramiko.PKey]]:
    """The keys of the agent behind a socket, by their public halves; none where there is no agent.

    Paramiko's Agent asks the one of SSH_AUTH_SOCK only; IdentityAgent may name another.
    """
    with contextlib.ExitStack() as stack:
        held: dict[bytes, paramiko.PKey] = {}
        if path:
            with contextlib.suppress(OSError, paramiko.SSHException):
                wire = stack.enter_context(socket.socket(socket.AF_UNIX))
                wire.settimeout(max(min(deadline.left_s, _AGENT_S), 0.01))
                wire.connect(path)
                agent = AgentSSH()
                agent._connect(wire)  # type: ignore[attr-defined]
                held = {key.asbytes(): key for key in agent.get_keys()}
                # Somebody may have to touch a device before it signs.
                wire.settimeout(max(deadline.left_s, 0.01))
        yield held
