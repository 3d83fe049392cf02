"""Whether a running primary takes connections: asked over its socket, once a second.

postmaster.pid says `ready` through a crash recovery in place, and a process that was stopped is in
the process list as well: only an answer proves life.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from pgha.node import paths, postgres, process
from pgha.node.postgres import SqlFailed
from pgha.node.state import Node

EVERY_S = 1.0
ANSWER_S = 1.0
# Silent for longer than this: it does not serve (or is busy; others wait for long before they act).
SILENT_S = 2.5
# PostgreSQL 17, "PostgreSQL Error Codes": cannot_connect_now.
_NOT_NOW = b"C57P03\0"


class Pulse:
    """Asks while there is somebody to ask. streaming: who follows, where READ_BALANCE needs it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pid: int | None = None
        self._last = time.monotonic()
        self._down = False
        self.streaming: tuple[str, ...] = ()
        self._wanted = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def begin(self, pid: int | None) -> None:
        """From now on this postmaster is asked; None: nobody."""
        if pid != self._pid:
            self._pid, self._last, self._down = pid, time.monotonic(), False
            self.streaming = ()
        if pid is not None:
            self._wanted.set()
        else:
            self._wanted.clear()

    def asks(self, pid: int) -> bool:
        """Whether it is this postmaster that is asked."""
        return self._pid == pid

    def alive(self) -> bool:
        """Whether it took connections when it was last asked."""
        return not self._down and time.monotonic() - self._last < SILENT_S

    def _run(self) -> None:
        process.be_calm()
        while True:
            self._wanted.wait()
            pid = self._pid
            says = ask(f"{paths.SOCKETS}/.s.PGSQL.{self._node.pgport}", self._node.postgres_user)
            if says is not None and pid == self._pid:
                self._last, self._down = time.monotonic(), not says
            if says and self._node.read_balance:
                self.streaming = self._ask_streaming()
            # While it recovers, its end is waited for.
            time.sleep(EVERY_S if says else 0.1)

    def _ask_streaming(self) -> tuple[str, ...]:
        text = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming';"
        try:
            names = postgres.sql(self._node, text, timeout_s=2.0)
        except SqlFailed:
            return self.streaming
        return tuple(m.name for m in self._node.nodes if m.kind == "data" and m.name in names)


def ask(path: str, user: str) -> bool | None:
    """Whether the server at a socket takes connections; None: it does not answer.

    The first packet of a session, and the kind of the answer (PostgreSQL 17, "Message Flow"). Any
    answer but `cannot_connect_now` is one of a server that works.
    """
    words = b"user\0" + user.encode() + b"\0database\0postgres\0application_name\0pgha\0\0"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as session:
            session.settimeout(ANSWER_S)
            session.connect(path)
            session.sendall(struct.pack("!II", 8 + len(words), 196608) + words)
            answer = session.recv(4096)
            if answer[:1] == b"R":
                # Said goodbye to, so that its log has no line about a client that went away.
                session.sendall(b"X\0\0\0\4")
    except OSError:
        return None
    if not answer:
        return None
    return not (answer[:1] == b"E" and _NOT_NOW in answer)
