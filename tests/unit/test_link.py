"""Messages between agents: only what is genuine, new, and of a process that lives is taken."""

from __future__ import annotations

from pgha.node.link import Link, Received
from pgha.node.messages import Ask, Message

KEY = b"a key that only the cluster's nodes have"


def link(me: str, other: str, key: bytes = KEY, cluster: str = "prod") -> Link:
    return Link(cluster, me, (other,), key)


def exchange(a: Link, b: Link, now: float = 1.0) -> None:
    """What agents do when they first hear of one another: each knows the other's process then."""
    _, new = b.unpack(a.pack("node-b", Ask(1), now))
    assert new == "node-a"
    a.unpack(b.pack("node-a", None, now))
    b.unpack(a.pack("node-b", Ask(1), now))


def taken(receiver: Link, datagram: bytes) -> Message | None:
    received, _ = receiver.unpack(datagram)
    return received.message if received is not None else None


def pair() -> tuple[Link, Link]:
    a, b = link("node-a", "node-b"), link("node-b", "node-a")
    exchange(a, b)
    return a, b


def test_a_message_tells_what_its_sender_had_of_ours_and_when_we_sent_that() -> None:
    a, b = pair()
    b.unpack(a.pack("node-b", Ask(2), 7.5))
    received, _ = a.unpack(b.pack("node-a", Ask(3), 9.0))
    assert received == Received("node-b", Ask(3), 7.5)


def test_a_stranger_is_asked_to_prove_that_it_is_not_recorded_and_believed_only_then() -> None:
    a, b = link("node-a", "node-b"), link("node-b", "node-a")
    received, new = b.unpack(a.pack("node-b", Ask(1), 1.0))
    assert (received, new) == (None, "node-a")


def test_what_was_taken_once_is_not_taken_again() -> None:
    a, b = pair()
    datagram = a.pack("node-b", Ask(2), 2.0)
    assert taken(b, datagram) == Ask(2)
    assert taken(b, datagram) is None


def test_what_is_older_than_the_last_is_not_taken() -> None:
    a, b = pair()
    first, second = a.pack("node-b", Ask(2), 2.0), a.pack("node-b", Ask(3), 2.1)
    assert taken(b, second) == Ask(3)
    assert taken(b, first) is None


def test_another_key_another_cluster_or_another_node_proves_nothing() -> None:
    a, b = pair()
    assert b.unpack(link("node-a", "node-b", key=b"guessed").pack("node-b", Ask(9), 3.0)) == (
        None,
        None,
    )
    stranger = link("node-a", "node-b", cluster="test")
    assert b.unpack(stranger.pack("node-b", Ask(9), 3.0)) == (None, None)
    assert a.unpack(a.pack("node-b", Ask(9), 3.0)) == (None, None)


def test_a_changed_byte_anywhere_is_found() -> None:
    a, b = pair()
    datagram = a.pack("node-b", Ask(2), 2.0)
    for at in range(0, len(datagram), 7):
        changed = bytearray(datagram)
        changed[at] ^= 1
        assert b.unpack(bytes(changed)) == (None, None)
    assert taken(b, datagram) == Ask(2)


def test_what_is_no_datagram_of_ours_is_left_alone() -> None:
    _, b = pair()
    for junk in (b"", b"short", b"x" * 31, b"y" * 4000):
        assert b.unpack(junk) == (None, None)


def test_a_process_that_was_started_again_is_known_after_one_exchange() -> None:
    a, b = pair()
    again = link("node-a", "node-b")
    exchange(again, b, 5.0)
    assert taken(b, again.pack("node-b", Ask(4), 5.1)) == Ask(4)
    assert taken(b, a.pack("node-b", Ask(5), 5.2)) is None


def test_a_recorded_message_of_an_earlier_process_does_not_put_the_living_one_out() -> None:
    a, b = pair()
    recorded = a.pack("node-b", Ask(2), 2.0)
    again = link("node-a", "node-b")
    exchange(again, b, 5.0)
    b.unpack(recorded)
    assert taken(b, again.pack("node-b", Ask(4), 5.1)) == Ask(4)


def test_two_recorded_ones_make_neither_a_storm_nor_deaf() -> None:
    old_a, old_b = pair()
    to_b, to_a = old_a.pack("node-b", Ask(2), 2.0), old_b.pack("node-a", Ask(2), 2.0)
    a, b = pair()
    b.unpack(to_b)
    a.unpack(to_a)
    _, new = a.unpack(b.pack("node-a", None, 6.0))
    assert new is None
    assert taken(b, a.pack("node-b", Ask(4), 6.1)) == Ask(4)
    assert taken(a, b.pack("node-a", Ask(4), 6.2)) == Ask(4)
