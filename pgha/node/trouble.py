"""What keeps this node from its place, for whoever looks at it. Pure."""

from __future__ import annotations


class Trouble:
    """why: a sentence; empty: nothing. needs_copy: only a new copy helps."""

    def __init__(self) -> None:
        self.why, self.needs_copy = "", False

    def over(self) -> None:
        self.why, self.needs_copy = "", False
