"""Since when nobody could write, and how that ends: the journal's account of a primary. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Outage:
    """The last primary that was known to serve, and what is to be told of this node's own start as
    the next one."""

    def __init__(self) -> None:
        self._served_at: float | None = None
        self._served_by: str | None = None
        self._out_since: float | None = None
        self._told: Mapping[str, Any] = {}

    def served(self, now: float, by: str) -> None:
        self._served_at, self._served_by = now, by

    def caused(self, cause: str) -> None:
        """Why this node comes to be the primary."""
        self._told = {"from": self._served_by, "cause": cause}

    def won(self, **fields: Any) -> Mapping[str, Any]:
        """The vote is won; all that there is to tell."""
        self.lasts()
        self._told = {**self._told, **fields}
        return self._told

    def lasts(self) -> None:
        """From the last moment at which somebody served until `opened`."""
        self._out_since = self._served_at

    def opened(self, now: float) -> Mapping[str, Any]:
        """It is over; how it came about, and for how long clients were out, where that is known."""
        fields, self._told = dict(self._told), {}
        if self._out_since is not None:
            fields["out_s"] = round(max(0.0, now - self._out_since), 3)
        self._out_since = None
        return fields
