"""Links that are cut: packets vanish, in a container's own network namespace, seen by nobody.

`nft` runs on the host, in the namespace of the container's processes (`nsenter`): the image needs
neither the program nor a capability. The loopback device is left alone, and with it Docker's DNS.
A container that dies takes its namespace with it, and the cut too.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.world import ChaosCluster
from tests.client.client import docker

NUMBERS = itertools.count(1)


class Way(StrEnum):
    """Which packets vanish, as the node sees them."""

    BOTH = "both"
    IN = "in"
    OUT = "out"


def isolate(cluster: ChaosCluster, node: str, *, way: Way = Way.BOTH) -> Fault:
    """A host is cut off from everybody: other nodes and clients."""
    return _cut(f"isolate ({way})", cluster, node, _subnets(cluster), way)


def cut_backend(cluster: ChaosCluster, node: str, *, way: Way = Way.BOTH) -> Fault:
    """From all nodes by the backend network; clients on the frontend network still reach it."""
    return _cut(f"cut off backend ({way})", cluster, node, _subnets(cluster)[:1], way)


def cut_from_nodes(cluster: ChaosCluster, node: str, *, way: Way = Way.BOTH) -> Fault:
    """From all nodes by both networks; clients still reach it."""
    others = [n for n in cluster.names if n != node]
    addresses = [a for other in others for a in _addresses(cluster, other)]
    return _cut(f"cut off from nodes ({way})", cluster, node, addresses, way)


def cut_pair(cluster: ChaosCluster, node: str, peer: str, *, way: Way = Way.BOTH) -> Fault:
    """The link of two nodes; a one-way cut is as `node` sees it."""
    fault = _cut(f"cut a pair ({way})", cluster, node, _addresses(cluster, peer), way)
    fault.nodes = (node, peer)
    return fault


def cut_streams(cluster: ChaosCluster, node: str) -> Fault:
    """No WAL leaves the node, nor any other TCP for the nodes; the agents' datagrams arrive."""
    others = [a for n in cluster.names if n != node for a in _addresses(cluster, n)]
    return _cut("cut off TCP", cluster, node, others, Way.BOTH, only="meta l4proto tcp")


def disconnect(cluster: ChaosCluster, node: str, network: str = "backend") -> Fault:
    """`docker network disconnect`: the device itself is gone, and its addresses."""
    container, name = cluster.container(node), f"{cluster.name}-{network}"
    words: list[str] = []

    def do() -> None:
        place = _networks(container)[name]
        address = (place["IPAMConfig"] or {}).get("IPv4Address")
        words.extend(("--ip", address) if address else ())
        for alias in place["Aliases"]:
            words.extend(("--alias", alias))
        docker("network", "disconnect", name, container)

    def undo() -> None:
        docker("network", "connect", *words, name, container)
        words.clear()

    return Fault(f"disconnect {network}", (node,), do, undo)


_HEAR = """
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind((sys.argv[1], 0))
heard.settimeout(1.0)
print(heard.getsockname()[1], flush=True)
try:
    print(heard.recv(9).decode())
except TimeoutError:
    pass
"""
_SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"heard", (sys.argv[1], int(sys.argv[2])))
"""


def arrives(cluster: ChaosCluster, sender: str, receiver: str) -> bool:
    """Whether a datagram of one node's host comes to another's, by the backend network; nothing
    has to come back for that, as it has for a TCP connection."""
    address = str(cluster.topology.node(receiver).address)
    there = _inside(cluster, receiver, _HEAR, address)
    assert there.stdout is not None
    port = there.stdout.readline().strip()
    assert _inside(cluster, sender, _SAY, address, port).wait(timeout=10.0) in (0, 1)
    return "heard" in there.communicate(timeout=10.0)[0]


def _inside(cluster: ChaosCluster, node: str, script: str, *words: str) -> subprocess.Popen[str]:
    """Run a script of Python's in a node's network."""
    place = ("nsenter", "-t", str(_pid(cluster.container(node))), "-n")
    python = (sys.executable, "-c", script)
    # A packet that a filter drops on its way out is an error of the sender's.
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        (*place, *python, *words), stdout=subprocess.PIPE, stderr=quiet, text=True
    )


def _cut(
    kind: str,
    cluster: ChaosCluster,
    node: str,
    addresses: Sequence[str],
    way: Way,
    *,
    only: str = "",
) -> Fault:
    container, table = cluster.container(node), f"chaos{next(NUMBERS)}"
    others = "{ " + ", ".join(addresses) + " }"
    chains = {
        Way.IN: ("input", f'iif != "lo" ip saddr {others} {only} drop'),
        Way.OUT: ("output", f'oif != "lo" ip daddr {others} {only} drop'),
    }
    wanted = chains.values() if way is Way.BOTH else (chains[way],)
    inside = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}\n" for hook, rule in wanted
    )
    namespace: list[int] = []

    def do() -> None:
        namespace.append(_pid(container))
        _nft(namespace[0], f"table inet {table} {{\n{inside}}}\n")

    def undo() -> None:
        pid = namespace.pop()
        if _pid(container) == pid:
            _nft(pid, f"delete table inet {table}")

    return Fault(kind, (node,), do, undo)


def _nft(pid: int, rules: str) -> None:
    words = ("nsenter", "-t", str(pid), "-n", "nft", "-f", "-")
    done = subprocess.run(words, input=rules, capture_output=True, text=True, timeout=30.0)
    assert done.returncode == 0, f"{rules}: {done.stderr}"


def _pid(container: str) -> int:
    """The container's first process on the host; 0 where it does not run."""
    return int(docker("inspect", "-f", "{{.State.Pid}}", container))


def _subnets(cluster: ChaosCluster) -> list[str]:
    settings = cluster.settings
    return [str(settings.postgres_backend_subnet), str(settings.postgres_frontend_subnet)]


def _networks(container: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container)
    )
    return found


def _addresses(cluster: ChaosCluster, node: str) -> list[str]:
    """A node's addresses on both networks. Raises AssertionError where it has none just now."""
    places = _networks(cluster.container(node)).values()
    found = [str(place["IPAddress"]) for place in places if place["IPAddress"]]
    assert found, f"{node} has no address"
    return found
