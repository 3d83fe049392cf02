"""The real World: observes real nodes, and carries actions out on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from pgha import hosting
from pgha.at_once import at_once
from pgha.errors import PghaError
from pgha.hosts import Observer, unobserved
from pgha.limits import AT_REST_S, PATIENT_S, VERIFY_PAUSE_S
from pgha.nodes import Nodes
from pgha.observe import at_rest, observe
from pgha.operations.provision import Provision
from pgha.plan import Relay, Run, Step
from pgha.remote import Reach
from pgha.state import ClusterState, ContainerStatus, NodeState


class RealWorld:
    """Hosts and containers, reached through `reach`.

    observer: told about each verb. by: who asks, and by which command, for the nodes' journals.
    """

    def __init__(self, reach: Reach, provision: Provision, observer: Observer = unobserved) -> None:
        self._reach = reach
        self._provision = provision
        self.by = ""
        self.nodes = Nodes(reach, observer)

    def observe(self, names: tuple[str, ...] | None = None) -> tuple[NodeState, ...]:
        return observe(self._reach, self.nodes, self._provision.topology, names)

    def whole(self, *, rest: bool = False, patient: bool = False) -> ClusterState:
        """All nodes; with `rest`, those whose container is stopped are read from their volumes.

        patient: nodes whose container runs and that were late are asked once more, with more time.
        """
        seen = self.observe()
        late = tuple(n.name for n in seen if n.is_late)
        if patient and late:
            reach, topology = self._reach, self._provision.topology
            again = observe(reach, self.nodes, topology, late, timeout_s=PATIENT_S)
            told = {n.name: n for n in again}
            seen = tuple(told.get(n.name, n) for n in seen)
        if rest:
            jobs = {n.name: (lambda n=n: at_rest(self._reach, self._provision, n)) for n in seen}
            read = at_once(jobs, timeout_s=AT_REST_S + 1)
            answers = ((n, read[n.name]) for n in seen)
            seen = tuple(
                replace(n, error=a.message) if isinstance(a, PghaError) else a for n, a in answers
            )
        return ClusterState(self._provision.topology, seen)

    def act(self, step: Step, state: ClusterState) -> NodeState | None:
        action = step.action
        if isinstance(action, Run):
            hosting.run(self._reach.host(step.node), action)
            return None
        if isinstance(action, Relay):
            hosting.relay(self._reach.host(action.source), self._reach.host(step.node), action)
            return None
        answer = self.nodes.ask(
            step.node,
            action.name,
            {**dict(action.known_args(state)), "by": self.by},
            timeout_s=action.timeout_s,
            secrets=action.secrets,
        )
        return replace(
            state.node(step.node),
            container=ContainerStatus.RUNNING,
            report=answer.report,
            error="",
            at_rest=False,
            seen_at=time.monotonic(),
        )

    def now(self) -> float:
        return time.monotonic()

    def at_once(
        self, jobs: Mapping[str, Callable[[], NodeState | None]], *, timeout_s: float
    ) -> dict[str, NodeState | PghaError | None]:
        return at_once(jobs, timeout_s=timeout_s)

    def pause(self) -> None:
        time.sleep(VERIFY_PAUSE_S)
