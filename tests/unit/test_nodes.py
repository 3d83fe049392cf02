"""The sessions with the nodes' verbs, where one of them never answers again."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest

from pgha import nodes
from pgha.errors import Unreachable
from pgha.nodes import Nodes, VerbError
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


class Ended:
    """A session whose container was started again meanwhile."""

    def ask(self, line: str, *, timeout_s: float) -> str:
        raise Unreachable("The connection is lost.")

    def tell(self, line: str) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


class Answers(Ended):
    """One that answers that a verb was refused."""

    def ask(self, line: str, *, timeout_s: float) -> str:
        return '{"ok": false, "code": "asked", "exit": 3}'


class There:
    """A Reach whose containers have a new session for whoever asks."""

    def container(self, node: str) -> There:
        return self

    def session(self, words: tuple[str, ...]) -> Answers:
        return Answers()


def test_a_look_through_a_session_that_has_ended_is_had_by_a_new_one() -> None:
    verbs = Nodes(cast(Reach, There()))
    verbs._sessions["node-0"] = Ended()
    with pytest.raises(VerbError) as answer:
        verbs.ask("node-0", "probe", {}, timeout_s=30.0)
    assert answer.value.code == "asked"


def test_what_may_have_been_done_is_not_asked_for_again() -> None:
    verbs = Nodes(cast(Reach, There()))
    verbs._sessions["node-0"] = Ended()
    with pytest.raises(Unreachable):
        verbs.ask("node-0", "promote", {"term": "2"}, timeout_s=30.0)
