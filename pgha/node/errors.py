"""How a verb says that it did not do what it was asked."""

from __future__ import annotations


class VerbError(Exception):
    """code: a word for the caller (`diverged`, `busy`, …); message: what is true, a sentence."""

    exit_code = 1

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Refused(VerbError):
    """A precondition does not hold; nothing was changed."""

    exit_code = 3


class Failed(VerbError):
    """It failed on the way; the report says what is true now."""
