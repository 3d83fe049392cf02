"""Step and Plan: what will be done, in words and in commands. Values; nothing runs here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pgha.commands.base import Command, Secret
from pgha.commands.lsn import show_lsn
from pgha.errors import Failed
from pgha.limits import COMPOSE_HTTP_TIMEOUT_S
from pgha.state import ClusterState, Condition


@dataclass(frozen=True)
class PositionOf:
    """A verb's argument that is known only when the step runs: the end of the WAL that these nodes
    have, the furthest of them that tells. A witness that has kept no WAL yet has no position."""

    nodes: tuple[str, ...]

    def resolve(self, state: ClusterState) -> str | None:
        positions = [state.node(name).position for name in self.nodes]
        known = [p for p in positions if p is not None]
        return show_lsn(max(known)) if known else None

    @property
    def words(self) -> str:
        return f"<the last LSN of {' and '.join(self.nodes)}>"


Argument = str | int | PositionOf


@dataclass(frozen=True)
class Verb:
    """A verb of `pgha.node.verbs`, called in the container of the step's node.

    secrets: further arguments that travel on standard input.
    timeout_s: how long it may take; the node ends by itself before that.
    """

    name: str
    args: tuple[tuple[str, Argument], ...] = ()
    secrets: Mapping[str, Secret] | None = None
    timeout_s: float = 60.0

    def command(self, state: ClusterState | None = None) -> Command:
        """The command line, with the arguments that this state makes known."""
        words = tuple(f"{key}={value}" for key, value in self.known_args(state))
        stdin = None
        if self.secrets:
            stdin = Secret(json.dumps({k: v.reveal() for k, v in self.secrets.items()}))
        return Command(("pgha-node", self.name, *words), stdin, "postgres")

    def known_args(self, state: ClusterState | None) -> tuple[tuple[str, str], ...]:
        """The arguments as the node gets them. Without a state, what is not known yet is in words.

        Raises Failed where the state does not tell what the step needs: nothing is guessed.
        """
        return tuple((key, _known(value, state)) for key, value in self.args)


def verb(
    name: str,
    /,
    *,
    timeout_s: float = 60.0,
    secrets: Mapping[str, Secret] | None = None,
    **args: Argument | None,
) -> Verb:
    """A Verb from keyword arguments; those that are None are left out."""
    given = tuple((key, value) for key, value in args.items() if value is not None)
    return Verb(name, given, secrets, timeout_s)


def _known(value: Argument, state: ClusterState | None) -> str:
    if not isinstance(value, PositionOf):
        return str(value)
    if state is None:
        return value.words
    resolved = value.resolve(state)
    if resolved is None:
        raise Failed(f"{value.words[1:-1].capitalize()} is not known.", next="inv status")
    return resolved


@dataclass(frozen=True)
class Run:
    """Commands on the Docker host of the step's node, one after the other.

    each_s: how long each may take; None: what an operator allows a Docker command
    (COMPOSE_HTTP_TIMEOUT, which `Plan.within` puts here).
    again_s: so long one that fails is tried again; it can be run twice.
    hidden: what they print is secret, and nobody is shown it.
    """

    commands: tuple[Command, ...]
    each_s: float | None = None
    again_s: float = 0.0
    hidden: bool = False

    @property
    def command_s(self) -> float:
        return COMPOSE_HTTP_TIMEOUT_S if self.each_s is None else self.each_s

    @property
    def timeout_s(self) -> float:
        """How long all of them may take."""
        return len(self.commands) * self.command_s + self.again_s


@dataclass(frozen=True)
class Relay:
    """A command on the Docker host of the step's node, which reads what another one says.

    source: the node on whose host `ask` is run; its output is kept secret. The rest is as in Run.
    """

    source: str
    ask: Command
    command: Command
    each_s: float
    again_s: float = 0.0

    @property
    def command_s(self) -> float:
        return self.each_s

    @property
    def timeout_s(self) -> float:
        """How long both may take."""
        return 2 * self.each_s + self.again_s


Action = Verb | Run | Relay


@dataclass(frozen=True)
class Step:
    """One thing to do: what it needs to be true, what it does, what is true afterwards.

    timeout_s: how long `ensures` may take to become true once the action is done.
    if_needed: it is passed over where that is true already when its turn comes.
    may_fail: where it fails, nothing more is done for its node that may fail, and all else goes on;
    it is told at the end.
    """

    title: str
    node: str
    needs: Condition
    action: Action
    ensures: Condition
    timeout_s: float = 30.0
    if_needed: bool = False
    may_fail: bool = False

    def commands(self, state: ClusterState | None = None) -> tuple[Command, ...]:
        return tuple(command for _, command in self.placed(state))

    def placed(self, state: ClusterState | None = None) -> tuple[tuple[str, Command], ...]:
        """Each command and the node in whose container, or on whose host, it is run."""
        action = self.action
        if isinstance(action, Verb):
            return ((self.node, action.command(state)),)
        if isinstance(action, Relay):
            fed = replace(action.command, stdin=Secret(""))
            return (action.source, action.ask), (self.node, fed)
        return tuple((self.node, command) for command in action.commands)


Stage = tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """Stages of steps; the steps of one stage run at once, stage after stage.

    title: what it all does, or, without steps, why there is nothing to do.
    loses: what may be lost; where it says something, an operator is asked first.
    notes: what people should know before or afterwards, one sentence each.
    """

    title: str
    stages: tuple[Stage, ...] = ()
    loses: str = ""
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> Iterator[Step]:
        return (step for stage in self.stages for step in stage)

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(step.title for step in self.steps)

    def within(self, docker_s: float) -> Plan:
        """The same, with this limit for every Docker command that has none of its own."""

        def limited(step: Step) -> Step:
            if not isinstance(step.action, Run) or step.action.each_s is not None:
                return step
            return replace(step, action=replace(step.action, each_s=docker_s))

        return replace(self, stages=tuple(tuple(map(limited, stage)) for stage in self.stages))


def stages(*items: Step | Stage | None) -> tuple[Stage, ...]:
    """Steps alone and steps together, in order; None and empty stages are left out."""
    made = tuple((item,) if isinstance(item, Step) else item for item in items if item is not None)
    return tuple(stage for stage in made if stage)
