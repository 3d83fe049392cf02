"""The sessions with the nodes' verbs, where one of them never answers again."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest

from pgha import nodes
from pgha.nodes import Nodes
from pgha.remote import Reach


class Stuck:
    """As a channel of Paramiko's whose lock a signal has left taken."""

    def ask(self, line: str, *, timeout_s: float) -> str:
        threading.Event().wait()
        raise AssertionError

    def tell(self, line: str) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_a_session_that_is_stuck_does_not_keep_a_command_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "HOLD_S", 0.1)
    verbs = Nodes(cast(Reach, None))
    began = time.monotonic()
    with verbs.held("a test"):
        verbs._sessions["node-0"] = Stuck()
    # For ever, without its limit; the limit is a second and a tenth.
    assert time.monotonic() - began < 30.0
