"""Tries the ports between hosts before a Swarm needs them: listens at ours, knocks at the others'.

One runs on each host at the same time, in a helper container with the host's own network. It ends
when all its knocks were answered and everybody has knocked, or after a time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ANSWER = b"pgha answers\n"
# One try of a knock; and how long it answers on when all is well, for whose answer was lost.
TRY_S = 0.5
LINGER_S = 0.5


@dataclass(frozen=True)
class Peer:
    """Another host. ports: as `2377/tcp`. listens: one of us does there; else it is enough that a
    TCP port takes connections: sent is nothing then, since a program of somebody's would read it.
    """

    name: str
    address: str
    ports: tuple[str, ...]
    listens: bool

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Peer:
        return cls(
            str(document["name"]),
            str(document["address"]),
            tuple(document["ports"]),
            bool(document["listens"]),
        )


@dataclass
class _Seen:
    """What happened so far; used by all threads under the lock."""

    answered: set[tuple[str, str]] = field(default_factory=set)
    heard: set[tuple[str, str]] = field(default_factory=set)
    change: threading.Condition = field(default_factory=threading.Condition)

    def add(self, to: set[tuple[str, str]], name: str, port: str) -> None:
        with self.change:
            to.add((name, port))
            self.change.notify_all()


def ports(
    name: str, listen: Sequence[str], peers: Sequence[Mapping[str, Any]], limit_s: float
) -> dict[str, Any]:
    """name: who we are, for the others. listen: our ports, at each of which every peer knocks.

    taken: those at which somebody else listens here; answered and heard: pairs of a peer and a
    port, theirs that answered us and ours at which we heard them.
    """
    others = [Peer.of(document) for document in peers]
    seen, over, end = _Seen(), threading.Event(), time.monotonic() + limit_s
    bound, taken = _bind(listen)
    threads = [
        threading.Thread(target=_serve, args=(port, each, seen, over), daemon=True)
        for port, each in bound
    ]
    for peer in others:
        threads += [
            threading.Thread(target=_knock, args=(name, peer, port, seen, over), daemon=True)
            for port in peer.ports
        ]
    for thread in threads:
        thread.start()
    awaited = {(peer.name, port) for peer in others for port in peer.ports}
    visits = {(peer.name, port) for peer in others for port, _ in bound}
    with seen.change:
        done = seen.change.wait_for(
            lambda: awaited <= seen.answered and visits <= seen.heard, end - time.monotonic()
        )
    if done:
        time.sleep(LINGER_S)
    over.set()
    with seen.change:
        return {
            "taken": list(taken),
            "answered": sorted(map(list, seen.answered)),
            "heard": sorted(map(list, seen.heard)),
        }


def _split(port: str) -> tuple[int, bool]:
    number, _, protocol = port.partition("/")
    return int(number), protocol == "tcp"


def _bind(listen: Sequence[str]) -> tuple[list[tuple[str, socket.socket]], list[str]]:
    bound, taken = [], []
    for port in listen:
        number, tcp = _split(port)
        each = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        try:
            if tcp:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("", number))
            if tcp:
                each.listen()
        except OSError:
            each.close()
            taken.append(port)
            continue
        each.settimeout(TRY_S)
        bound.append((port, each))
    return bound, taken


def _serve(port: str, listener: socket.socket, seen: _Seen, over: threading.Event) -> None:
    """Answer whoever knocks, and note the name."""
    for name in _visits(port, listener, over):
        if name:
            seen.add(seen.heard, name, port)
    listener.close()


def _visits(port: str, listener: socket.socket, over: threading.Event) -> Iterator[str]:
    while not over.is_set():
        try:
            if _split(port)[1]:
                link, _ = listener.accept()
                with link:
                    link.settimeout(TRY_S)
                    said = link.recv(128)
                    link.sendall(ANSWER)
            else:
                said, origin = listener.recvfrom(128)
                listener.sendto(ANSWER, origin)
        except OSError:  # Nobody came meanwhile, or who came went again.
            continue
        yield said.decode("utf-8", "replace").strip()


def _knock(name: str, peer: Peer, port: str, seen: _Seen, over: threading.Event) -> None:
    """Try until it is answered."""
    while not over.is_set():
        begun = time.monotonic()
        try:
            answered = _try(name, peer, port)
        except OSError:
            answered = False
        if answered:
            seen.add(seen.answered, peer.name, port)
            return
        # A refusal comes at once: who listens there may not have started yet.
        over.wait(max(0.0, TRY_S / 2 - (time.monotonic() - begun)))


def _try(name: str, peer: Peer, port: str) -> bool:
    number, tcp = _split(port)
    greeting = f"{name}\n".encode()
    if tcp:
        with socket.create_connection((peer.address, number), timeout=TRY_S) as link:
            if not peer.listens:
                return True
            link.sendall(greeting)
            return link.recv(len(ANSWER)) == ANSWER
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocker:
        knocker.settimeout(TRY_S)
        knocker.connect((peer.address, number))
        knocker.send(greeting)
        return knocker.recv(len(ANSWER)) == ANSWER
