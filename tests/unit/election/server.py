"""PostgreSQL's replication, and pg_receivewal: what is on disk, who streams, who acknowledges.

A primary counts followers by their flush position alone, whatever log it is a position in
(PostgreSQL 17, "Synchronous Replication"), and a standby's receiver is believed here to connect
with any log: pessimistic, since the manual does not promise that it fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha.node.election_types import Rest, Server
from tests.unit.election.rules import Entry

if TYPE_CHECKING:
    from tests.unit.election.node import Node

STREAM_S = (0.02, 0.1)
CLOSE_S = 0.5


@dataclass
class Connection:
    """A follower at its primary; run: of the primary's server; flush: as the primary was told."""

    follower: str
    run: int
    flush: int
    alive: bool = True


@dataclass
class Pending:
    """A client that waits: its entry's end, when it began, its session's server."""

    upto: int
    began_at: float


def timeline_of(log: list[Entry]) -> int:
    return log[-1][0] if log else 0


def history_of(log: list[Entry]) -> tuple[tuple[int, int], ...]:
    """(timeline, where it was left), oldest first: what history files say."""
    found: list[tuple[int, int]] = []
    for index in range(1, len(log)):
        if log[index][0] != log[index - 1][0]:
            found.append((log[index - 1][0], index))
    return tuple(found)


def sync(node: Node) -> None:
    """All that was written is durable."""
    if node.synced < len(node.log):
        node.cluster.rules.on_disk(node, node.synced, len(node.log))
        node.synced = len(node.log)


def lose(node: Node) -> None:
    """A power cut: of what was not synced, a beginning may have come to the disk."""
    keep = node.cluster.world.random.randint(node.synced, len(node.log))
    del node.log[keep:]
    sync(node)


# --- a follower ----------------------------------------------------------------------------------


def end_receiver(node: Node) -> None:
    """It ends in order: what it received it makes durable. The primary notices a little later."""
    connection, node.connection = node.connection, None
    sync(node)
    if connection is not None:
        cluster = node.cluster

        def notice() -> None:
            connection.alive = False

        cluster.world.after(cluster.world.random.uniform(0, CLOSE_S), notice)


def drop_receiver(node: Node) -> None:
    """It is gone at once, with its process."""
    if node.connection is not None:
        node.connection.alive = False
        node.connection = None


def follow_upstream(node: Node) -> None:
    """What a receiver does all the time: connect, receive, write, flush, reply."""
    random = node.cluster.world.random
    following = node.server in (Server.STANDBY, Server.RECEIVING)
    source = node.cluster.nodes.get(node.source or "") if following else None
    if source is not None:
        connection = node.connection
        if connection is not None and (not connection.alive or connection.run != source.pg_run):
            drop_receiver(node)
            if node.server is Server.RECEIVING:
                node.server = Server.NONE
        elif connection is None:
            _connect(node, source)
        else:
            _receive(node, source, connection)
    node.later(random.uniform(*STREAM_S), lambda: follow_upstream(node))


def _connect(node: Node, source: Node) -> None:
    network = node.cluster.network
    reached = network.joined(node.name, source.name) and source.works
    if reached and source.server is Server.PRIMARY:
        count = len(node.log)
        # pg_receivewal asks for a segment of its own timeline, and is refused where that is left.
        if node.data or node.log == source.log[:count]:
            node.connection = Connection(node.name, source.pg_run, node.synced)
            source.connections[node.name] = node.connection
            return
    if node.server is Server.RECEIVING:
        node.server = Server.NONE


def _receive(node: Node, source: Node, connection: Connection) -> None:
    cluster, random = node.cluster, node.cluster.world.random
    behind = source.synced - len(node.log)
    if behind > 0 and source.works and cluster.network.passes(source.name, node.name):
        first = len(node.log)
        node.log += source.log[first : first + random.randint(1, behind)]
    if node.synced < len(node.log) and random.random() < 0.7:
        sync(node)
    flush = node.synced
    if flush > connection.flush and cluster.network.passes(node.name, source.name):
        cluster.world.after(
            cluster.network.latency_s(), lambda: _replied(source, connection, flush)
        )


def _replied(source: Node, connection: Connection, flush: int) -> None:
    """May come after the receiver has ended: it was under way."""
    if source.works and connection.run == source.pg_run:
        connection.flush = max(connection.flush, flush)
        acknowledge(source)


# --- a primary -----------------------------------------------------------------------------------


def quorum_position(node: Node) -> int:
    """Up to where `ANY (M-1)` of the voters' flush positions reach."""
    names = node.word.voters or tuple(node.cluster.nodes)
    needed = 0 if node.cluster.asynchronous else len(names) // 2
    if needed == 0:
        return node.synced
    flushed = sorted(
        (c.flush for c in node.connections.values() if c.alive and c.follower in names),
        reverse=True,
    )
    return min(node.synced, flushed[needed - 1]) if len(flushed) >= needed else 0


def acknowledge(node: Node) -> None:
    """Tell the clients whose commits the quorum has."""
    if node.server is not Server.PRIMARY or not node.pending:
        return
    position = quorum_position(node)
    while node.pending and node.pending[0].upto <= position:
        done = node.pending.pop(0)
        node.cluster.rules.acked(node, node.word.term, done.upto, done.began_at)


def write(node: Node) -> None:
    """A client writes, if it is let in."""
    if node.server is not Server.PRIMARY or not node.gate or not node.works:
        return
    append(node)
    node.pending.append(Pending(len(node.log), node.cluster.world.now))
    run = node.pg_run

    def flushed() -> None:
        if node.pg_run == run:
            sync(node)
            acknowledge(node)

    node.later(node.cluster.world.random.uniform(0, 0.03), flushed)


def append(node: Node, timeline: int | None = None) -> None:
    cluster = node.cluster
    cluster.writes += 1
    node.log.append((timeline_of(node.log) if timeline is None else timeline, cluster.writes))


def stop(node: Node) -> None:
    """The server is gone; its sessions learn nothing."""
    drop_receiver(node)
    node.server = Server.NONE
    node.pg_run += 1
    node.pending.clear()
    for connection in node.connections.values():
        connection.alive = False
    node.connections = {}


def start(node: Node, as_primary: bool) -> None:
    """A start replays what the files have, and makes it durable."""
    sync(node)
    node.pg_run += 1
    node.server = Server.PRIMARY if as_primary else Server.STANDBY
    node.rest = Rest.PRIMARY if as_primary else Rest.STANDBY
