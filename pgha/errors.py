"""Every error the tool raises: a sentence about what is true now, the next command, an exit code.

Exit codes are the contract of README, "Exit codes": 0 done, 1 failed on the way, 2 wrong usage or
configuration, 3 refused, 6 somebody else holds the lock. (4 and 5 are `status`' answers.)
"""

from __future__ import annotations


class PghaError(Exception):
    """The base of all typed errors: nothing else leaves the package.

    message: what is true now, one sentence.
    next: the command to type, or "" where there is none.
    details: further lines, one fact each (all the mistakes of a file, what was done so far).
    """

    exit_code = 1

    def __init__(self, message: str, *, next: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.next = next
        self.details = details

    @property
    def in_full(self) -> str:
        """What is said of it where there is one line for it."""
        return self.message


class Failed(PghaError):
    """It failed on the way. The details say what was done."""


class Usage(PghaError):
    """Wrong usage or configuration; nothing was contacted."""

    exit_code = 2


class Refused(PghaError):
    """A precondition does not hold; nothing was changed."""

    exit_code = 3


class Locked(PghaError):
    """Somebody else's command is at work on this cluster."""

    exit_code = 6


class Unreachable(Failed):
    """A host or a container did not answer in time, or refused us. Its details say why."""

    @property
    def in_full(self) -> str:
        return " ".join((self.message, *self.details))


class CommandFailed(Failed):
    """A command ended with a status that it should not have."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        stderr: str = "",
        next: str = "",
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, next=next, details=details)
        self.status = status
        self.stderr = stderr
