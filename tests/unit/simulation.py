"""Commands against the model, as `pgha.cluster` runs them: observe, plan, ask, act, verify."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from pgha.errors import PghaError, Refused, Usage
from pgha.execute import Listener, StepDone, execute
from pgha.operations.failover import failback, failover
from pgha.operations.recovery import recovery
from pgha.operations.startstop import MAKE_ONLY, start, stop
from pgha.plan import Plan, Verb
from pgha.state import ClusterState, ContainerStatus
from pgha.verdict import Verdict, judge
from tests.unit.builders import provision
from tests.unit.model import Broken, Cut, Model

DONE, REFUSED, FAILED, CUT = "done", "refused", "failed", "cut"


@dataclass(frozen=True)
class Command:
    """One command line of an operator."""

    name: str
    node: str | None = None
    force: bool = False

    def plan(self, state: ClusterState) -> Plan:
        if self.name == "failover":
            return failover(state, self.node, force=self.force)
        if self.name == "failback":
            return failback(state, force=self.force)
        if self.name == "recovery":
            return recovery(state, self.node, force=self.force)
        if self.name == "start":
            return start(state, provision(state.topology))
        return stop(state)


@dataclass(frozen=True)
class Result:
    """How a command ended; next: the command that it names."""

    ending: str
    plan: Plan | None = None
    message: str = ""
    next: str = ""


class Recorder(Listener):
    """The titles of the steps that were done: a dry run names the same."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def finished(self, done: StepDone) -> None:
        self.titles.append(done.step.title)


def run(model: Model, command: Command) -> Result:
    """Run it to its end, or to the cut that the model was told. Raises Broken."""
    with model.held():
        result = _run(model, command)
    model.tick()
    return result


def _run(model: Model, command: Command) -> Result:
    try:
        state = model.whole(rest=command.name != "stop")
        plan = command.plan(state)
    except (Refused, Usage) as error:  # Usage: a node that there is not
        return Result(REFUSED, None, error.message, error.next)
    if plan.loses:
        accept_losses(model)
    recorder = Recorder()
    try:
        execute(plan, state, model, recorder)
    except Cut:
        return Result(CUT, plan)
    except PghaError as error:
        return Result(FAILED, plan, error.message, error.next)
    if tuple(recorder.titles) != plan.titles:
        raise Broken(f"{plan.titles} were planned, {recorder.titles} were done")
    return Result(DONE, plan)


def accept_losses(model: Model) -> None:
    """An operator said that whoever does not answer is gone, with what only it had."""
    for node in model.nodes.values():
        if not node.reachable:
            model.kill(node.name)
    model.acknowledged.clear()


def parse(line: str) -> Command | None:
    """A `next` or a remedy → the command; None where it names none that changes anything."""
    words = line.replace(",", " ").split()
    if len(words) < 2 or words[0] != "inv" or words[1] not in NAMES:
        return None
    node = None
    for flag in ("--to", "--node"):
        if flag in words:
            node = words[words.index(flag) + 1]
    return Command(words[1], node, "--force" in words)


NAMES = ("failover", "failback", "recovery", "start", "stop")


def settle(model: Model) -> None:
    """Until nobody lags: what streaming does by itself."""
    chance, model.random.random = model.random.random, lambda: 0.0  # type: ignore[method-assign]
    model.tick()
    model.tick()
    model.random.random = chance  # type: ignore[method-assign]


def follow_the_advice(model: Model, command: Command | None = None, *, rounds: int = 16) -> None:
    """Do what errors and `status` say, beginning with `command`, until the cluster is healthy."""
    told: list[str] = []
    for _ in range(rounds):
        if command is not None:
            result = run(model, command)
            told.append(f"{command}: {result.ending} {result.message} → {result.next}")
            command = parse(result.next) if result.ending in (REFUSED, FAILED) else None
            if command is not None:
                continue
        settle(model)
        verdict, problems = judge(model.whole(rest=False))
        if verdict is Verdict.HEALTHY:
            return
        if problems[0].code == "not-initialised":
            command = Command("start")
            continue
        remedies = [r for r in (parse(p.remedy) for p in problems) if r is not None]
        told.append(f"{verdict.value}: {[(p.code, p.node, p.remedy) for p in problems]}")
        if not remedies:
            break
        command = remedies[0]
    raise Broken("the advice leads nowhere:\n" + "\n".join(told) + "\n" + describe(model))


def reached(model: Model, command: Command, plan: Plan) -> str:
    """What is wrong with the state that `command` should have brought about; empty: nothing."""
    if not plan.stages:
        return ""
    state = model.whole(rest=False)
    if command.name == "stop":
        left = [n.name for n in state.nodes if n.container is ContainerStatus.RUNNING]
        return f"{left} still run" if left else ""
    if plan.title == MAKE_ONLY:
        missing = [n.name for n in state.nodes if n.container is ContainerStatus.MISSING]
        return f"{missing} have no container" if missing else ""
    primary = state.primary
    if primary is None:
        return "there is no primary"
    wanted = {"failback": state.topology.home, "failover": command.node}.get(command.name)
    if wanted and wanted != primary.name:
        return f"{primary.name} is the primary"
    enough = len(state.answering) >= state.topology.majority
    enough = enough and command.name != "start" and not plan.notes and not _only_doors(plan)
    if command.name == "recovery" and command.node:
        # One node was asked for: where a commit waits for two, the other one may be away still.
        following = [name for name in state.topology.names if state.streams(name)]
        enough = enough and len(following) >= state.topology.acknowledgements
    if enough and model.nodes[primary.name] not in model.writers():
        return f"nothing can be written on {primary.name}"
    if enough and not model.nodes[primary.name].gate:
        return f"nobody is let in on {primary.name}"
    for node in state.answering:
        door = node.report.door if node.report else None
        if door is None or not door.running or door.primary != primary.name:
            return f"Pgpool-II on {node.name} leads elsewhere"
    if command.name == "recovery":
        names = [command.node] if command.node else [n.name for n in state.answering]
        away = [n for n in names if n != primary.name and not state.streams(n)]
        return f"{away} do not stream" if away else ""
    return ""


def _only_doors(plan: Plan) -> bool:
    """A plan that puts Pgpool-II right promises no followers."""
    return all(isinstance(s.action, Verb) and s.action.name == "steer" for s in plan.steps)


def is_settled(model: Model, command: Command) -> bool:
    """Whether the same command once more has nothing to do (moves without a goal do go on)."""
    if command.name == "failover" and command.node is None:
        return True
    if command.name == "recovery" and command.force:
        return True
    try:
        plan = command.plan(model.whole(rest=command.name != "stop"))
    except Refused:
        return True  # those that are left cannot be reached
    return not plan.stages


def describe(model: Model) -> str:
    lines = []
    for n in model.nodes.values():
        a = n.assignment
        runs = "primary" if n.is_primary else "standby" if n.runs else "-"
        lines.append(
            f"{n.name} {n.container.value} reachable={n.reachable} runs={runs} term={a.term} "
            f"told={a.role.value} of {a.upstream} stopped={a.stopped} voters={a.voters} "
            f"conf={n.conf_upstream} from={n.upstream} log={n.log[-1:]}x{len(n.log)} "
            f"gate={n.gate} data={n.has_data} rewinding={n.rewinding} signal={n.standby_signal} "
            f"door={n.door}"
        )
    return "\n".join(lines)


def clone(model: Model) -> Model:
    return copy.deepcopy(model)


Fault = Callable[[Model, str], None]


def lose_touch(model: Model, name: str) -> None:
    """The operator cannot reach it; it lives on."""
    model.nodes[name].reachable = False


def come_back(model: Model, name: str) -> None:
    model.nodes[name].reachable = True
    model.start_container(name)


def lag(model: Model, name: str) -> None:
    """Clients write and this one gets nothing of it for a while."""
    node = model.nodes[name]
    held, node.conf_upstream, receives = node.conf_upstream, None, node.receives
    node.receives = False
    for _ in range(3):
        model.write()
    node.conf_upstream, node.receives = held, receives


FAULTS: dict[str, Fault] = {
    "kill": Model.kill,
    "kill_postgres": Model.kill_postgres,
    "remove": Model.remove,
    "come_back": come_back,
    "lose_touch": lose_touch,
    "lag": lag,
}
