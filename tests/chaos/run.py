"""A random schedule of faults for as long as asked: `bin/chaos --minutes 60 --seed 7`.

Prints each fault when it is done and undone, heals after each round, and judges the whole history
in the end. Exit code 0: no rule was broken and the cluster came back by itself every time; else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.checker import LOST, Past, Violation, check, summary
from tests.chaos.faults import Fault
from tests.chaos.history import History, Outage, outages
from tests.chaos.schedule import KINDS, Kind, Round, rounds
from tests.chaos.watch import Watch
from tests.chaos.world import GOES_ON_S, WAKES_S, ChaosCluster, Roles
from tests.lab.cluster import on_four_hosts
from tests.lab.host_faults import HOST_KINDS

DOORS = ("direct", "pool", "direct-long", "pool-long")
OUTAGE_S = 0.2
CHECKED_EVERY = 10  # rounds


@dataclass
class Result:
    """What a run came to. by_kind: the longest outage of each round that had this fault alone."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    terms: int = 0
    stuck: str = ""
    past: list[Past] = field(default_factory=list)
    violations: tuple[Violation, ...] = ()
    history: History = field(default_factory=History)

    @property
    def good(self) -> bool:
        return not self.violations and not self.stuck


class Run:
    """One cluster, watched from the first fault to the last."""

    def __init__(self, cluster: ChaosCluster, watch: Watch, console: Console) -> None:
        self.cluster = cluster
        self.watch = watch
        self.console = console
        self.begun = time.monotonic()
        self.result = Result()

    def say(self, text: str) -> None:
        clock = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
        since = time.monotonic() - self.begun
        self.console.print(f"{clock} {since:8.1f} s  {text}", highlight=False, markup=False)

    def go(self, seed: int, minutes: float, kinds: Sequence[Kind] = KINDS) -> Result:
        """Rounds until the time is over, a rule is broken, or it does not come back."""
        roles = first = self.cluster.heals()
        for each in rounds(seed, kinds):
            if time.monotonic() - self.begun > minutes * 60:
                break
            begun = time.monotonic()
            try:
                self.round(each, roles)
                roles = self.heal()
            except AssertionError as error:
                self.result.stuck = f"round {each.number}: {error}"
                break
            self.account(each, begun)
            if each.number % CHECKED_EVERY == 0 and self.judge():
                break
        self.result.terms = roles.term - first.term
        return self.result

    def round(self, each: Round, roles: Roles) -> None:
        """Do and undo its faults, each at its time. All are undone, whatever happens."""
        what = "majority" if each.majority else "minority"
        self.say(f"round {each.number} ({what}; primary {roles.primary}, term {roles.term})")
        # (when, order, fault, whether it begins)
        agenda: list[tuple[float, int, Fault, bool]] = []
        made = [(planned, planned.fault(self.cluster, roles)) for planned in each.faults]
        for order, (planned, fault) in enumerate(made):
            heapq.heappush(agenda, (planned.begins_s, 2 * order, fault, True))
            if not planned.kind.instant:
                ends = planned.begins_s + planned.lasts_s
                heapq.heappush(agenda, (ends, 2 * order + 1, fault, False))
        begun = time.monotonic()
        while agenda:
            at, order, fault, begins = heapq.heappop(agenda)
            # The schedule's own time, not a wait for something to become true.
            time.sleep(max(0.0, begun + at - time.monotonic()))
            turned = time.monotonic()
            self.turn(fault, begins)
            if each.faults[order // 2].kind.stalls and not begins:
                self.shows_the_past(fault.nodes[0], turned)
        for role in each.unattended:
            self.shows_the_past(str(getattr(roles, role)), begun)

    def shows_the_past(self, node: str, since: float) -> None:
        """Until a moment from now, by what docs/safety.md promises."""
        self.result.past.append(Past(node, since, time.monotonic() + WAKES_S))

    def turn(self, fault: Fault, begins: bool) -> None:
        """Begin or end a fault; one that finds its node broken already is left out, and said so."""
        try:
            if begins:
                fault.begin()
                self.result.faults[fault.kind] += 1
            elif fault.going_on:
                fault.end()
        except AssertionError as error:
            why = str(error).strip().splitlines()[-1][:120]
            self.say(f"    {'not done' if begins else 'not undone'}: {fault} ({why})")
        else:
            self.say(f"    {'done' if begins else 'undone'}: {fault}")

    def heal(self) -> Roles:
        """Every container runs again (a fault's end may have found it in another fault's hands);
        the rest comes by itself. Raises AssertionError."""
        begun = time.monotonic()
        self.cluster.containers_run()
        roles = self.cluster.heals()
        for door in ("direct", "pool"):
            self.watch.writes_go_on(door, timeout_s=GOES_ON_S)
        self.say(
            f"    healthy after {time.monotonic() - begun:.1f} s,"
            f" primary {roles.primary}, term {roles.term}"
        )
        return roles

    def account(self, each: Round, begun: float) -> None:
        self.result.rounds += 1
        single = each.single
        if single is None:
            return
        name = f"{self.watch.run}/direct"
        found = [o.length_s for o in outages(self.watch.history(), name, 0.0) if o.begun >= begun]
        self.result.by_kind[f"{single.kind.name}, {single.role}"].append(max(found, default=0.0))

    def judge(self) -> tuple[Violation, ...]:
        """Check what was recorded until now, while clients go on."""
        counted = time.monotonic()
        rows = self.watch.rows()
        history = self.watch.history()
        # Rows that were written while these were counted may be missing, or not recorded yet.
        known = {(w.client, w.number) for w in history.writes}
        writes = tuple(
            w for w in history.writes if w.ended < counted or (w.client, w.number) in rows
        )
        there = {row: times for row, times in rows.items() if row in known}
        found = check(replace(history, writes=writes), there, self.result.past)
        if found:
            self.say(summary(found))
        return found


def show(console: Console, title: str, result: Result, run: str) -> None:
    """The summary, as it goes into docs/."""
    history = result.history
    lost = sum(violation.rule == LOST for violation in result.violations)
    total = Table(box=None, title=title, title_justify="left", show_header=False)
    for row in (
        ("rounds", str(result.rounds)),
        ("faults", str(sum(result.faults.values()))),
        ("terms used", str(result.terms)),
        ("acknowledged writes", f"{len(history.acknowledged):,}"),
        ("reads", f"{len(history.reads):,}"),
        ("acknowledged writes lost", str(lost)),
        ("violations", str(len(result.violations))),
        *((f"outages, {d}", _figures(outages(history, f"{run}/{d}", OUTAGE_S))) for d in DOORS),
    ):
        total.add_row(*row)
    kinds = Table("fault", "times", box=None)
    for kind, times in sorted(result.faults.items()):
        kinds.add_row(kind, str(times))
    alone = Table("a fault alone", "rounds", "longest outage: median, s", "max, s", box=None)
    for kind, lengths in sorted(result.by_kind.items()):
        figures = (f"{statistics.median(lengths):.2f}", f"{max(lengths):.2f}")
        alone.add_row(kind, str(len(lengths)), *figures)
    for table in (total, kinds, alone):
        console.print(table)
    if result.violations:
        console.print(summary(result.violations), markup=False)
    if result.stuck:
        console.print(f"It did not come back: {result.stuck}", markup=False)


def _figures(found: Sequence[Outage]) -> str:
    """How many were longer than OUTAGE_S, their median and maximum in seconds."""
    if not found:
        return f"none over {OUTAGE_S} s"
    lengths = [outage.length_s for outage in found]
    median, most = statistics.median(lengths), max(lengths)
    return f"{len(lengths)} over {OUTAGE_S} s: median {median:.2f} s, max {most:.2f} s"


def chaos(words: argparse.Namespace, console: Console) -> Result:
    """Make a cluster, run, judge, take the cluster away (`--keep`: after a failure it stays)."""
    directory = Path(words.directory).absolute() / f"seed-{words.seed}-{int(time.time())}"
    directory.mkdir(parents=True)
    console.print(f"seed {words.seed}, {words.minutes:g} minutes, records in {directory}")
    if words.hosts:
        with on_four_hosts("run", directory) as on_hosts:
            result = judged(on_hosts, HOST_KINDS, words, directory, console)
    else:
        cluster, result = ChaosCluster("run", directory), Result()
        try:
            cluster.inv("init")
            cluster.client.start()
            result = judged(cluster, KINDS, words, directory, console)
        finally:
            if result.good or not words.keep:
                cluster.tear_down()
    title = f"seed {words.seed}, {words.minutes:g} minutes{', on hosts' if words.hosts else ''}"
    show(console, title, result, f"seed-{words.seed}")
    return result


def judged(
    cluster: ChaosCluster,
    kinds: Sequence[Kind],
    words: argparse.Namespace,
    directory: Path,
    console: Console,
) -> Result:
    """Run on a healthy cluster, and judge what clients were told; what is wrong leaves evidence."""
    watch = Watch(cluster.client, f"seed-{words.seed}", directory / "history", cluster.engine)
    with contextlib.closing(watch):
        watch.start()
        result = Run(cluster, watch, console).go(words.seed, words.minutes, kinds)
    result.history = watch.history()
    # A cluster that is stuck serves no rows: what was seen by clients is judged all the same.
    rows = {} if result.stuck else watch.rows()
    found = check(result.history, rows, result.past)
    result.violations = tuple(v for v in found if rows or v.rule != LOST)
    if not result.good:
        why = result.stuck or summary(result.violations)
        cluster.keep_evidence(watch.directory, why)
        console.print(f"Logs of all nodes and the history: {watch.directory}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, help="the schedule's; without it a new one is printed")
    parser.add_argument("--directory", default="build/chaos", help="where records go (build/chaos)")
    parser.add_argument("--hosts", action="store_true", help="on a lab's hosts, which break whole")
    parser.add_argument("--keep", action="store_true", help="leave a cluster that failed running")
    words = parser.parse_args()
    if words.seed is None:
        words.seed = random.SystemRandom().randrange(1_000_000)
    # No width of a terminal's where it is none: tables go into documents.
    console = Console(width=None if sys.stdout.isatty() else 110)
    return 0 if chaos(words, console).good else 1


if __name__ == "__main__":
    sys.exit(main())
