"""Clients that wait for Pgpool-II, on loopback: a program of the test's own stands for socat."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.node import lobby
from pgha.node.lobby import Lobby

SOON_S = 10.0
# Hands the one message of the client's to the door, and the answer back.
CARRIER = """#!/usr/bin/python3
import socket, sys
client = socket.socket(fileno=int(sys.argv[1].removeprefix("FD:")))
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[2].removeprefix("UNIX-CONNECT:"))
door.sendall(client.recv(100))
client.sendall(door.recv(100))
"""


class Pgpool:
    """A door that greets whoever comes by its Unix socket."""

    def __init__(self, place: Path) -> None:
        self.path = str(place / "door")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for number in itertools.count(1):
            session, _ = self._listener.accept()
            session.sendall(b"%d: %s" % (number, session.recv(100)))
            session.close()


@pytest.fixture
def pgpool(tmp_path: Path) -> Pgpool:
    return Pgpool(tmp_path)


@pytest.fixture
def waiting_room(
    tmp_path: Path, pgpool: Pgpool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lobby]:
    # What a server is started with is for the container: its log, its environment.
    monkeypatch.setattr("pgha.node.process.environment", lambda: {"PATH": "/usr/bin:/bin"})
    monkeypatch.setattr("pgha.node.process.os.geteuid", lambda: 1)
    carrier = tmp_path / "carrier"
    carrier.write_text(CARRIER)
    carrier.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    room = Lobby(port, pgpool.path, carrier)
    yield room
    room.leave()


def knock(room: Lobby) -> socket.socket:
    """A client that has said its first word."""
    client = socket.create_connection(("127.0.0.1", room.port), timeout=SOON_S)
    client.sendall(b"startup")
    return client


def answer(client: socket.socket) -> bytes:
    """What a client is told; empty where its connection was ended."""
    try:
        return client.recv(100)
    except ConnectionResetError:
        return b""


def test_who_waits_is_handed_on(waiting_room: Lobby) -> None:
    waiting_room.open()
    clients = [knock(waiting_room) for _ in range(3)]
    waiting_room.leave()
    with pytest.raises(ConnectionRefusedError):
        knock(waiting_room)
    waiting_room.admit()
    answers = sorted(client.recv(100) for client in clients)
    assert answers == [b"1: startup", b"2: startup", b"3: startup"]
    assert waiting_room.waiting == 0


def test_its_port_is_free_at_once_for_the_next_pgpool(waiting_room: Lobby) -> None:
    waiting_room.open()
    waits = knock(waiting_room)
    waiting_room.leave()
    with socket.socket() as next_one:
        next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        next_one.bind(("", waiting_room.port))
        next_one.listen()
        waiting_room.open()  # taken: nothing happens
        with knock(waiting_room), next_one.accept()[0] as met:
            assert met.recv(100) == b"startup"
    waits.close()


def test_where_no_primary_appears_nobody_is_kept(
    waiting_room: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "WAIT_S", 0.2)
    waiting_room.open()
    # The connection is ended: libpq goes on to the next address.
    with knock(waiting_room) as client:
        assert answer(client) == b""
    assert waiting_room.waiting == 0


def test_who_waits_is_dismissed_at_once_where_no_primary_will_appear(waiting_room: Lobby) -> None:
    waiting_room.open()
    with knock(waiting_room) as client:
        while not waiting_room.waiting:
            pass
        waiting_room.dismiss()
        assert answer(client) == b""
    with pytest.raises(ConnectionRefusedError):
        knock(waiting_room)


def test_it_closes_by_itself(waiting_room: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "OPEN_S", 0.1)
    waiting_room.open()
    knock(waiting_room).close()
    deadline = threading.Event()
    for _ in range(200):
        try:
            knock(waiting_room).close()
        except ConnectionRefusedError:
            return
        deadline.wait(0.05)
    raise AssertionError("it is still open")


def test_no_more_than_it_has_room_for(waiting_room: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "MOST", 2)
    waiting_room.open()
    clients = [knock(waiting_room) for _ in range(4)]
    waiting_room.leave()
    assert waiting_room.waiting == 2
    waiting_room.admit()
    answers = [answer(client) for client in clients]
    assert sorted(answers) == [b"", b"", b"1: startup", b"2: startup"]
