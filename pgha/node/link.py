"""Messages between agents: genuine, new, and answered to.

A datagram is an HMAC-SHA256 and a JSON document. Each process has an incarnation, a number that
nobody can foresee; a message is taken only if it repeats ours, so it was made after we began, and
if its own number is higher than the last one's: a recorded datagram proves nothing. What a message
repeats also tells which of ours its sender had: whoever was answered was heard.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgha.node.messages import Message, from_document, to_document

MAC_BYTES = 32
# So many of our last messages' times are kept for their answers.
KEPT = 512


@dataclass(frozen=True)
class Received:
    """A genuine, new message. answers: when (our clock) we sent what its sender had had."""

    sender: str
    message: Message
    answers: float


@dataclass
class _Peer:
    number: int = 0
    sent_at: dict[int, float] = field(default_factory=dict)
    incarnation: str = ""
    heard: int = 0
    # The latest of ours that its present incarnation has answered to.
    answered: int = 0
    # One that has not proved yet that it is not recorded.
    unproved: tuple[str, int] | None = None


class Link:
    """One node's end. Pure but for the incarnation: bytes in, bytes out."""

    def __init__(
        self, cluster: str, me: str, others: tuple[str, ...], key: bytes, incarnation: str = ""
    ) -> None:
        self._cluster, self._me, self._key = cluster, me, key
        self._incarnation = incarnation or secrets.token_hex(16)
        self._peers = {name: _Peer() for name in others}

    def pack(self, to: str, message: Message | None, now: float) -> bytes:
        """A datagram for `to`. message None: only who we are, so that it can answer."""
        peer = self._peers[to]
        peer.number += 1
        peer.sent_at[peer.number] = now
        peer.sent_at.pop(peer.number - KEPT, None)
        proved = (peer.incarnation, peer.heard) if peer.incarnation else None
        # A message answers who is known; only an empty one tries whether somebody new is real.
        answers = peer.unproved or proved if message is None else proved or peer.unproved
        document = {
            "cluster": self._cluster,
            "from": self._me,
            "to": to,
            "me": self._incarnation,
            "number": peer.number,
            "answers": answers,
            "message": to_document(message) if message is not None else None,
        }
        body = json.dumps(document, separators=(",", ":")).encode()
        return self._mac(body) + body

    def unpack(self, datagram: bytes) -> tuple[Received | None, str | None]:
        """(the message, None), or (None, a node to send an empty one to: it is new to us), or
        (None, None) for what is not genuine, not for us, or not new."""
        document = self._genuine(datagram)
        if document is None:
            return None, None
        sender, incarnation = str(document.get("from")), str(document.get("me"))
        number, answers = document.get("number"), document.get("answers")
        peer = self._peers.get(sender)
        if peer is None or not isinstance(number, int):
            return None, None
        to_us = isinstance(answers, list) and len(answers) == 2
        if not to_us or not isinstance(answers, list) or answers[0] != self._incarnation:
            # Perhaps recorded. If not, it answers what we send now, and is believed then.
            if incarnation == peer.incarnation and number <= peer.heard:
                return None, None
            known = peer.unproved
            if known is not None and known[0] == incarnation and number <= known[1]:
                return None, None
            if incarnation != peer.incarnation:
                peer.unproved = (incarnation, number)
            # Never an empty one for an empty one: two of them would go to and fro for ever.
            return None, sender if document.get("message") is not None else None
        answered = answers[1] if isinstance(answers[1], int) else 0
        if incarnation == peer.incarnation:
            if number <= peer.heard:
                return None, None
        elif answered < peer.answered:
            return None, None  # of an earlier process, and late
        peer.incarnation, peer.unproved = incarnation, None
        peer.heard, peer.answered = number, max(peer.answered, answered)
        return self._message(sender, peer, document, answers[1])

    def _message(
        self, sender: str, peer: _Peer, document: Mapping[str, object], answered: object
    ) -> tuple[Received | None, str | None]:
        content = document.get("message")
        sent_at = peer.sent_at.get(answered) if isinstance(answered, int) else None
        if not isinstance(content, dict) or sent_at is None:
            return None, None
        try:
            return Received(sender, from_document(content), sent_at), None
        except ValueError:
            return None, None

    def _genuine(self, datagram: bytes) -> dict[str, object] | None:
        mac, body = datagram[:MAC_BYTES], datagram[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        try:
            document = json.loads(body)
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        ours = document.get("cluster") == self._cluster and document.get("to") == self._me
        return document if ours else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()
