"""One thing that is wrong with a cluster, as `status` tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a stable code, the node (None: all), a sentence, a command."""

    code: str
    node: str | None
    message: str
    remedy: str
