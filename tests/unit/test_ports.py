"""The helper that listens and knocks, on real sockets of this machine."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from pgha.node.ports import ports

SHORT_S = 1.0
LONG_S = 10.0


def free(kind: socket.SocketKind) -> str:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        protocol = "tcp" if kind is socket.SOCK_STREAM else "udp"
        return f"{probe.getsockname()[1]}/{protocol}"


def both() -> tuple[str, str]:
    return free(socket.SOCK_STREAM), free(socket.SOCK_DGRAM)


def peer(name: str, its: tuple[str, ...], *, listens: bool = True) -> dict[str, Any]:
    return {"name": name, "address": "127.0.0.1", "ports": its, "listens": listens}


def test_two_that_reach_one_another_are_done_long_before_their_time() -> None:
    here, there = both(), both()
    answers: dict[str, dict[str, Any]] = {}

    def other() -> None:
        answers["b"] = ports("b", there, [peer("a", here)], LONG_S)

    thread = threading.Thread(target=other)
    begun = time.monotonic()
    thread.start()
    answers["a"] = ports("a", here, [peer("b", there)], LONG_S)
    thread.join()
    assert time.monotonic() - begun < LONG_S / 2
    for name, mine, its, them in (("a", here, there, "b"), ("b", there, here, "a")):
        assert answers[name] == {
            "taken": [],
            "answered": sorted([them, port] for port in its),
            "heard": sorted([them, port] for port in mine),
        }


def test_nobody_there_is_said_after_a_time() -> None:
    answer = ports("a", both(), [peer("b", both())], SHORT_S)
    assert answer == {"taken": [], "answered": [], "heard": []}


def test_a_port_that_is_in_use_is_taken_and_a_program_that_listens_there_is_not_spoken_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        port = f"{theirs.getsockname()[1]}/tcp"
        answer = ports("a", (port,), [peer("b", (port,), listens=False)], LONG_S)
        link, _ = theirs.accept()
        link.settimeout(SHORT_S)
        assert link.recv(1) == b""
        link.close()
    assert answer == {"taken": [port], "answered": [["b", port]], "heard": []}
