"""What the assignment wants to run and does not: `tend` starts it again. Never a primary."""

from __future__ import annotations

import contextlib

from pgha.node import postgres, witness
from pgha.node.errors import VerbError
from pgha.node.report import Assignment, Role
from pgha.node.state import Node, read_assignment


def wants_standby(node: Node, assignment: Assignment) -> bool:
    """Whether PostgreSQL should run here as a standby and does not. What is no standby by its own
    files is left alone: only `serve` starts a primary."""
    return (
        node.kind != "witness"
        and assignment.role is Role.STANDBY
        and not assignment.stopped
        and postgres.has_data()
        and postgres.in_recovery_by_file()
        and postgres.pid() is None
    )


def wants_receiver(node: Node, assignment: Assignment) -> bool:
    """Whether pg_receivewal should run here and does not."""
    return (
        node.kind == "witness"
        and assignment.role is Role.WITNESS
        and assignment.upstream is not None
        and not assignment.stopped
        and witness.receiver() is None
    )


def tend(node: Node) -> str:
    """Start what is missing."""
    assignment = read_assignment()
    did: list[str] = []
    if wants_standby(node, assignment):
        postgres.launch()
        did.append("started the standby")
    if wants_receiver(node, assignment) and assignment.upstream is not None:
        witness.start(node, assignment.upstream)
        did.append("started pg_receivewal")
    return ", ".join(did) or "nothing is missing"


def shutdown(node: Node, fast_s: float) -> str:
    """The container ends: Pgpool-II, then PostgreSQL or the receiver; the assignment stays."""
    from pgha.node import pgpool

    # A Pgpool-II that makes trouble must not keep PostgreSQL from its clean shutdown.
    with contextlib.suppress(VerbError):
        pgpool.stop()
    if node.kind == "witness":
        witness.stop()
        return "ended"
    return f"PostgreSQL: {postgres.stop(fast_s)}"
