"""WAL from one node's disk to another's, through their agents: an election waits for it.

Who asks proves that it knows the cluster's key, by an HMAC over a number that the other one has
just made up; the stream ends with an HMAC over all of it and a number of the asker's. An SSH
session does the same in ten times the time, and is the way where the other agent does not run.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from pgha.node import fetch, paths, process
from pgha.node.errors import Failed, VerbError
from pgha.node.state import Node

PORT = 5439
NONCE_BYTES = MAC_BYTES = 32
CONNECT_S = 1.0
# The other side looks for the end of its WAL first.
ANSWER_S = 10.0
MOST_AT_ONCE = 4
REQUEST_BYTES = 4096


def key() -> bytes:
    """The cluster's key, which `init` made."""
    return paths.AGENT_KEY.read_bytes().strip()


def _mac(secret: bytes, *parts: bytes) -> bytes:
    return hmac.new(secret, b"\0".join(parts), hashlib.sha256).digest()


class _Signing:
    """A stream that keeps an HMAC of what goes through it."""

    def __init__(self, stream: IO[bytes], secret: bytes, nonce: bytes) -> None:
        self._stream = stream
        self._hash = hmac.new(secret, nonce, hashlib.sha256)

    def write(self, part: bytes | memoryview) -> int:
        self._hash.update(part)
        return self._stream.write(part)

    def read(self, size: int) -> bytes:
        part = self._stream.read(size)
        self._hash.update(part)
        return part

    def readline(self) -> bytes:
        line = self._stream.readline(REQUEST_BYTES)
        self._hash.update(line)
        return line

    def flush(self) -> None:
        self._stream.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


class Server:
    """Hands out this node's WAL to those who know the key, a few at a time."""

    def __init__(self, node: Node, secret: bytes) -> None:
        self._node, self._key = node, secret
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._socket = socket.create_server((node.me.address, PORT), backlog=8)

    def start(self) -> None:
        threading.Thread(target=self._accept, name="courier", daemon=True).start()

    def _accept(self) -> None:
        process.be_calm()
        while True:
            try:
                session, _ = self._socket.accept()
            except OSError:
                continue
            if not self._places.acquire(blocking=False):
                session.close()
                continue
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session: socket.socket) -> None:
        try:
            # Who goes away in the middle is no fault of this node's.
            with session, contextlib.suppress(OSError, ValueError, KeyError, VerbError):
                session.settimeout(ANSWER_S)
                nonce = secrets.token_bytes(NONCE_BYTES)
                session.sendall(nonce)
                with session.makefile("rwb") as stream:
                    request = json.loads(stream.readline(REQUEST_BYTES))
                    words = _words(request)
                    proof = bytes.fromhex(request["mac"])
                    if hmac.compare_digest(proof, _mac(self._key, nonce, words)):
                        self._hand_out(cast(IO[bytes], stream), request)
        finally:
            self._places.release()

    def _hand_out(self, stream: IO[bytes], request: dict[str, Any]) -> None:
        signing = _Signing(stream, self._key, bytes.fromhex(request["nonce"]))
        fetch.hand_out(
            self._node, int(request["timeline"]), int(request["lsn"]), cast(IO[bytes], signing)
        )
        stream.write(signing.digest())
        stream.flush()


def _words(request: dict[str, Any]) -> bytes:
    names = ("cluster", "to", "timeline", "lsn", "nonce")
    return json.dumps([request[name] for name in names]).encode()


@dataclass(frozen=True)
class Coming:
    """A stream of `hand_out` as it comes; `verify` once all of it has been read.

    verify raises Failed("source") where it is not the other node's.
    """

    stream: IO[bytes]
    verify: Callable[[], None]


@contextlib.contextmanager
def ask(node: Node, source: str, timeline: int, lsn: int) -> Iterator[Coming]:
    """What another node has beyond (timeline, lsn), from its agent.

    Raises Failed("no-courier") where the agent does not answer; nothing was read then.
    """
    secret, nonce = key(), secrets.token_bytes(NONCE_BYTES)
    request = {
        "cluster": node.cluster,
        "to": source,
        "timeline": timeline,
        "lsn": lsn,
        "nonce": nonce.hex(),
    }
    try:
        session = socket.create_connection((node.member(source).address, PORT), CONNECT_S)
        session.settimeout(ANSWER_S)
        stream = session.makefile("rwb")
        challenge = stream.read(NONCE_BYTES)
        proof = _mac(secret, challenge, _words(request)).hex()
        stream.write(json.dumps({**request, "mac": proof}).encode() + b"\n")
        stream.flush()
    except OSError as error:
        raise Failed("no-courier", f"The agent of {source} does not answer: {error}.") from error
    signing = _Signing(cast(IO[bytes], stream), secret, nonce)

    def verify() -> None:
        if not hmac.compare_digest(stream.read(MAC_BYTES), signing.digest()):
            raise Failed("source", f"What came is not the WAL of {source}.")

    with session, stream:
        try:
            yield Coming(cast(IO[bytes], signing), verify)
        except OSError as error:
            raise Failed("source", f"{source} stopped handing out its WAL: {error}.") from error
