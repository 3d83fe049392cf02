"""How a host's user may use Docker: by himself, or by sudo where he is not in its group. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from pgha.commands.base import Command, Secret
from pgha.commands.docker import COMPRESSED
from pgha.commands.swarm import FED

# The shell's status for a program that may not be run (POSIX, "Exit Status for Commands").
FORBIDDEN = 126
# Who has another engine than the host's own (rootless, a context) has arranged it himself.
_AS_HIMSELF = (
    's=/var/run/docker.sock; if [ -w "$s" ] || [ ! -e "$s" ] || [ -n "$DOCKER_HOST$DOCKER_CONTEXT"'
    ' ] || [ -d "$HOME/.docker/contexts" ]; then'
)
# He may be allowed Docker alone, or everything.
_BY_SUDO = (
    "if sudo -n true 2>/dev/null || sudo -n -l 2>/dev/null"
    " | grep -Eq 'NOPASSWD:[^:]*/docker( [*])?(,|$)'; then"
)
_MAY_NOT = (
    'echo "user $(id -un) may not use Docker: he is not in its group, and sudo wants a password'
    f' (SUDO_PASSWORD)" >&2; exit {FORBIDDEN}'
)
_WRONG = (
    'echo "user $(id -un) may not use Docker: he is not in its group, and sudo does not take the'
    f' password (SUDO_PASSWORD)" >&2; exit {FORBIDDEN}'
)
_WITHOUT = f'{_AS_HIMSELF} exec "$@"; fi; {_BY_SUDO} exec sudo -n "$@"; fi; {_MAY_NOT}'
# The shell's own `read` and `printf`: the password is in no process list, and `read` takes no more
# than its line. `-k`: sudo asks although it may have been told a moment ago.
_WITH = (
    f'IFS= read -r p; {_AS_HIMSELF} exec "$@"; fi; {_BY_SUDO} exec sudo -n "$@"; fi;'
    ' printf "%s\\n" "$p" | sudo -k -S -p "" true 2>/dev/null || { '
    f"{_WRONG}; }}; "
    '{ printf "%s\\n" "$p"; cat; } | sudo -k -S -p "" "$@"'
)


@dataclass(frozen=True)
class Permitted(Command):
    """The same command as whoever may run it. It is shown as what it is without that.

    before: words of a shell that runs it, as its user.
    """

    password: Secret = field(default_factory=lambda: Secret(""))
    before: tuple[str, ...] = ()

    @property
    def when_late(self) -> str:
        """What to think of where it does not end in time: PAM lets whoever is wrong wait for some
        seconds (pam_unix(8), `nodelay`)."""
        late = "sudo takes long over a password that is wrong (SUDO_PASSWORD)."
        return late if self.password else ""

    @property
    def quoted(self) -> str:
        script = _WITH if self.password else _WITHOUT
        return shlex.join((*self.before, "sh", "-c", script, "docker", *self.words))

    @property
    def shown(self) -> str:
        return Command((*self.before, *self.words), self.stdin, self.user).shown

    @property
    def stdin_bytes(self) -> bytes:
        given = super().stdin_bytes
        return self.password.reveal().encode() + b"\n" + given if self.password else given


# Ends with FORBIDDEN where Docker cannot be used for want of sudo's password, else with 0.
MAY_USE_DOCKER = Permitted(("true",))


def permitted(command: Command, password: Secret) -> Command:
    """`command`, by sudo if the host's user may not use Docker; others are as they were.

    password: sudo's; empty: none is known.
    """
    before = COMPRESSED if command.words[: len(COMPRESSED)] == COMPRESSED else ()
    words = command.words[len(before) :]
    if words[0] != "docker" and words[: len(FED)] != FED:
        return command
    return Permitted(words, command.stdin, command.user, password, before)
