"""The lobby: where clients wait while no primary is known, at the port that Pgpool-II left.

A client goes through the addresses of a name in order. Were each living door shut for the moment of
an election, it would come to the address of the host that died, and wait there for the whole of its
own `connect_timeout` (2 s at least), long after the doors are open again. So the agent listens in
the meantime, and hands on who waits as soon as a primary is open: socat(1) carries that session to
Pgpool-II until it ends. Where no primary appears, or other nodes still hear the old one, the
connection is ended, and the client goes on to the next address: this node is the one that is cut
off.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import threading
import time
from pathlib import Path

from pgha.node import process

# Seconds: for how long it is open, and for how long one client waits (its own limit is 2 at least).
OPEN_S, WAIT_S = 4.0, 1.8
LOOK_S, STARTS_S = 0.02, 5.0
# Each is a process afterwards.
MOST = 100
SOCAT = Path("/usr/bin/socat")


class Lobby:
    """Open from `open` to `leave`. Who waits is handed on by `admit`, or let go after WAIT_S."""

    def __init__(self, port: int, door: str, socat: Path = SOCAT) -> None:
        """port: where clients come. door: Pgpool-II's Unix socket."""
        self.port, self._door, self._socat = port, door, socat
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._closes_at = 0.0
        self._waiting: dict[socket.socket, float] = {}
        self._select = selectors.DefaultSelector()
        self._awake, self._admitted = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="lobby", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def open(self) -> None:
        """Listen, if the port is free; clients are refused as before if it is not."""
        with self._lock:
            self._closes_at = time.monotonic() + OPEN_S
            self._admitted.clear()
            if self._listener is not None or not self._socat.exists():
                return
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", self.port))
                listener.listen(MOST)
            except OSError:
                listener.close()
                return
            listener.setblocking(False)
            self._listener = listener
            self._select.register(listener, selectors.EVENT_READ)
            self._awake.set()

    def leave(self) -> None:
        """The port is free when this returns; who came in waits on."""
        with self._lock:
            self._leave()

    def dismiss(self) -> None:
        """No primary will appear here: everybody goes on to the next address."""
        with self._lock:
            self._leave()
            for client in self._waiting:
                client.close()
            self._waiting.clear()

    def admit(self) -> None:
        """Pgpool-II is there, and the primary is open: who waits is handed on (by the thread)."""
        self._admitted.set()

    def _leave(self) -> None:
        if self._listener is None:
            return
        self._accept(self._listener)  # who is in the queue would be reset
        self._select.unregister(self._listener)
        self._listener.close()
        self._listener = None

    def _run(self) -> None:
        process.be_calm()
        while True:
            self._awake.wait()
            self._select.select(LOOK_S)  # with nobody to listen for, it is a pause
            with self._lock:
                entering = self._turn(time.monotonic())
            # Without the lock: it starts processes, and the agent's loop comes by here.
            for client in entering:
                self._carry(client)
                client.close()

    def _turn(self, now: float) -> list[socket.socket]:
        """Who enters now; those who have waited too long are let go."""
        entering: list[socket.socket] = []
        if self._listener is not None:
            self._accept(self._listener)
            if now > self._closes_at:
                self._leave()
        for client, since in list(self._waiting.items()):
            if self._admitted.is_set():
                entering.append(self._waiting_no_more(client))
            elif now - since > WAIT_S:
                self._waiting_no_more(client).close()
        if self._listener is None and not self._waiting:
            self._awake.clear()
        return entering

    def _waiting_no_more(self, client: socket.socket) -> socket.socket:
        del self._waiting[client]
        return client

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if len(self._waiting) >= MOST:
                    client.close()
                    continue
                # As Pgpool-II does it: a client's host may die.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._waiting[client] = time.monotonic()

    def _carry(self, client: socket.socket) -> None:
        number = client.fileno()
        # Nobody's child: it outlives the agent.
        words = ("/usr/bin/setsid", "--fork", str(self._socat))
        ends = (f"FD:{number}", f"UNIX-CONNECT:{self._door}")
        # One that does not start costs this client its session, which it opens again.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.spawn((*words, *ends), handles=[number]).wait(timeout=STARTS_S)
