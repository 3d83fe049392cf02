"""A command as a value: words, what it reads on standard input, and who runs it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


class Secret:
    """A text that prints as `***` everywhere; `reveal()` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for standard input and 0600 files, never for a command's words."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)


Stdin = str | bytes | Secret | None


@dataclass(frozen=True)
class Command:
    """Words to run, never a joined string: quoting happens once, in `quoted`.

    words: the program and its arguments; no secret is ever among them.
    stdin: what it reads on standard input (a Secret, where it holds one); None: nothing.
    user: the user who runs it in a container (`postgres`, `root`); None: whoever is connected.
    """

    words: tuple[str, ...]
    stdin: Stdin = None
    user: str | None = None

    @property
    def quoted(self) -> str:
        """One shell line, every word quoted where it must be."""
        return shlex.join(self.words)

    @property
    def shown(self) -> str:
        """How people see it (plans, DEBUG=1): the line, and whether a secret is fed to it."""
        if self.stdin is None:
            return self.quoted
        return f"{self.quoted} < {'***' if isinstance(self.stdin, Secret) else 'stdin'}"

    @property
    def stdin_bytes(self) -> bytes:
        """What standard input gets, as bytes; empty where nothing is fed."""
        if self.stdin is None:
            return b""
        text = self.stdin.reveal() if isinstance(self.stdin, Secret) else self.stdin
        return text if isinstance(text, bytes) else text.encode()
