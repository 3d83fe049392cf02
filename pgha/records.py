"""Reads the nodes' journals, all at once; those of stopped nodes at rest, from their volumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pgha.at_once import at_once
from pgha.commands.base import Command
from pgha.errors import PghaError, Refused, Unreachable
from pgha.history import Record
from pgha.hosts import Result
from pgha.limits import AT_REST_S, RECORD_S
from pgha.operations.provision import Provision
from pgha.remote import Reach
from pgha.topology import Node

_VERB = ("pgha-node", "journal")


def read_records(reach: Reach, provision: Provision) -> tuple[Record, ...]:
    """Each node's record, in the topology's order; one that cannot be read says why.

    Raises Refused where none can.
    """
    nodes = provision.topology.nodes

    def job(node: Node) -> Callable[[], Record]:
        return lambda: _read(reach, provision, node)

    answers = at_once({n.name: job(n) for n in nodes}, timeout_s=RECORD_S + AT_REST_S + 1)
    records = tuple(
        Record(name, error=answer.message) if isinstance(answer, PghaError) else answer
        for name, answer in answers.items()
    )
    if all(record.error for record in records):
        raise Refused(
            f"No node of {provision.topology.cluster} has a record that can be read.",
            next="inv status",
            details=tuple(f"{r.node}: {r.error}" for r in records),
        )
    return records


def _read(reach: Reach, provision: Provision, node: Node) -> Record:
    command = Command(_VERB, user="postgres")
    asked_at = time.time()
    try:
        result = reach.container(node.name).run(command, timeout_s=RECORD_S, check=False)
    except Unreachable as away:
        # Stopped, missing, paused or hanging: its files are there all the same, if its host is.
        command = provision.helper(node, _VERB, reads=True)
        asked_at = time.time()
        try:
            result = reach.host(node.name).run(command, timeout_s=AT_REST_S)
        except PghaError as error:
            raise Unreachable(f"{away.message} {_why(error)}") from error
    return _record(node.name, result, asked_at)


def _why(error: PghaError) -> str:
    said = f": {error.details[-1]}" if error.details else ""
    return f"Its volumes cannot be read either{said}."


def _record(node: str, result: Result, asked_at: float) -> Record:
    """asked_at: our clock, in seconds since the epoch, when the command was begun."""
    head, _, rest = result.stdout.partition("\n")
    try:
        told: dict[str, Any] = json.loads(head)
        if not told.get("ok"):
            raise Unreachable(str(told.get("error") or "It refused without a reason."))
        now = datetime.fromisoformat(told["now"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"«{' '.join(_VERB)}» told nothing of a journal.") from error
    record = Record(node, tuple(filter(None, rest.split("\n"))), cut=bool(told.get("cut")))
    # What the question and the answer took on their way is no clock's fault: the nearest that it
    # can have been.
    early, late = asked_at, asked_at + result.seconds
    theirs = now.replace(tzinfo=now.tzinfo or UTC).timestamp()
    ahead_s = theirs - late if theirs > late else theirs - early if theirs < early else 0.0
    return replace(record, ahead_s=round(ahead_s, 3))
