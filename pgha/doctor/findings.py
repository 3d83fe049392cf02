"""What a check comes to: fine, a warning, or wrong, with a sentence and the remedy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Level(Enum):
    """WARNING: it works, and will not for ever or not at its best. WRONG: it does not."""

    FINE = "fine"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One line. check: a stable name; where: a host or a node, "" for the whole cluster.

    remedy: a command to type, or a sentence; empty where all is fine.
    """

    level: Level
    check: str
    where: str
    message: str
    remedy: str = ""


def fine(check: str, where: str, message: str) -> Finding:
    return Finding(Level.FINE, check, where, message)


def warning(check: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, check, where, message, remedy)


def wrong(check: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(Level.WRONG, check, where, message, remedy)


@dataclass(frozen=True)
class Checkup:
    """All findings of one look, in the order of the checks."""

    cluster: str
    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        return sum(finding.level is level for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0, or 3 where something is wrong."""
        return 3 if self.count(Level.WRONG) else 0

    @property
    def summary(self) -> str:
        """One sentence."""
        bad, doubtful = self.count(Level.WRONG), self.count(Level.WARNING)
        if not bad and not doubtful:
            return f"{self.cluster}: all {len(self.findings)} checks are fine."
        told = [f"{bad} wrong"] if bad else []
        told += [f"{doubtful} to look at"] if doubtful else []
        return f"{self.cluster}: {' and '.join(told)} of {len(self.findings)} checks."

    def as_dict(self) -> dict[str, Any]:
        """The document of `doctor --json`."""
        return {
            "cluster": self.cluster,
            "wrong": self.count(Level.WRONG),
            "warnings": self.count(Level.WARNING),
            "findings": [
                {
                    "level": f.level.value,
                    "check": f.check,
                    "where": f.where or None,
                    "message": f.message,
                    "remedy": f.remedy or None,
                }
                for f in self.findings
            ],
        }
