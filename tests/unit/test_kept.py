"""One connection a host: another one is opened where it is found dead, or is only too slow."""

from __future__ import annotations

import pytest

from pgha.errors import Unreachable
from pgha.hosts import Channel, Kept, LostWire
from pgha.waiting import Deadline


class ModelWire:
    def __init__(self) -> None:
        self.answers, self.closed = True, False

    def channel(self, deadline: Deadline) -> Channel:
        raise NotImplementedError

    def tunnel(self, port: int, deadline: Deadline) -> object:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def ask(self) -> ModelWire:
        """Which connection it was that answered."""
        if not self.answers:
            raise LostWire("The connection is lost.")
        return self


class Dialled:
    """A host and the connections to it."""

    def __init__(self) -> None:
        self.wires: list[ModelWire] = []
        self.kept = Kept("node-0", self._connect)

    def _connect(self, deadline: Deadline) -> ModelWire:
        self.wires.append(ModelWire())
        return self.wires[-1]

    def ask(self) -> ModelWire:
        def action(wire: object, limit: Deadline) -> ModelWire:
            assert isinstance(wire, ModelWire)
            return wire.ask()

        return self.kept.use(Deadline(5), action)


def test_a_connection_is_opened_once_and_kept() -> None:
    host = Dialled()
    assert host.ask() is host.ask()
    assert len(host.wires) == 1


def test_a_connection_that_does_not_answer_is_left_to_whoever_still_uses_it() -> None:
    """It may be a busy host: the lock is a program that runs over that very connection."""
    host = Dialled()
    first = host.ask()
    first.answers = False
    second = host.ask()
    assert second is not first
    assert not first.closed
    host.kept.close()
    assert (first.closed, second.closed) == (True, True)


def test_a_new_connection_that_is_lost_at_once_is_an_error() -> None:
    host = Dialled()

    def action(wire: object, limit: Deadline) -> None:
        raise LostWire("The connection is lost.")

    with pytest.raises(Unreachable):
        host.kept.use(Deadline(5), action)
    assert len(host.wires) == 1
