"""What hosts ask for beside a key: the passphrase of a key's file, and the password of sudo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pgha.commands.base import Secret

# Asks somebody at a terminal for a secret; the text says for which one.
Ask = Callable[[str], Secret]


@dataclass
class Credentials:
    """passphrase: of every key's file that is locked. sudo: on every host. Empty where not known.

    by_file: passphrases that somebody was asked for. refused: the hosts where sudo wanted one.
    """

    passphrase: Secret = field(default_factory=lambda: Secret(""))
    sudo: Secret = field(default_factory=lambda: Secret(""))
    by_file: dict[Path, Secret] = field(default_factory=dict)

    refused: set[str] = field(default_factory=set)

    def of(self, file: Path) -> Secret:
        """The passphrase of this file; empty where none is known."""
        return self.by_file.get(file, self.passphrase)
