"""How long a client cannot write: `python -m bench.outage -e NAME [--runs 5] [--direct]`.

A client writes without pause through the alias (or by the direct door) while the primary is moved
away and home again. The gap is the longest time between two acknowledged writes. It moves the
primary of the cluster that it is given, and drops and makes the table `written` there.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pgha import Cluster
from pgha.execute import Outcome
from tests.client.client import Client


@dataclass(frozen=True)
class Run:
    """One move of the primary under a writing client. gap_s: what the client saw."""

    gap_s: float
    lost: int
    acknowledged: int
    outcome: Outcome


def measure(cluster: Cluster, client: Client, move: Callable[[], Outcome], door: bool) -> Run:
    """Move the primary once, with a writer running. Raises AssertionError where it cannot write."""
    with client.writing(door=door) as writing:
        outcome = move()
    written = writing.written
    assert written is not None
    lost = len(client.lost(written, door=door))
    return Run(written.gap_s, lost, len(written.acknowledged), outcome)


def summary(runs: Sequence[Run]) -> tuple[str, ...]:
    """Median, minimum and maximum of the gaps in seconds, and what was lost."""
    gaps = [run.gap_s for run in runs]
    figures = (statistics.median(gaps), min(gaps), max(gaps))
    return (*(f"{figure:.3f}" for figure in figures), str(sum(run.lost for run in runs)))


def print_steps(console: Console, name: str, runs: Sequence[Run]) -> None:
    """Where the time goes: each step's median, in seconds from the beginning of its stage."""
    table = Table(
        "step", "median, s", title=f"{name}, step by step", box=None, title_justify="left"
    )
    for index, done in enumerate(runs[0].outcome.done):
        figures = [run.outcome.done[index].seconds for run in runs if index < len(run.outcome.done)]
        table.add_row(done.step.title, f"{statistics.median(figures):.3f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-e", "--env", help="the cluster's environment")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--direct", action="store_true", help="by the direct door, not by Pgpool-II"
    )
    words = parser.parse_args()
    console, results = Console(), dict[str, list[Run]]()
    with Cluster.load(words.env) as cluster:
        client = Client(cluster.settings, f"{cluster.topology.cluster}-bench-client")
        client.start()
        try:
            cluster.failback()
            moves = {"failover": cluster.failover, "failback": cluster.failback}
            for _ in range(words.runs):
                for name, move in moves.items():
                    run = measure(cluster, client, move, not words.direct)
                    results.setdefault(name, []).append(run)
                    console.print(
                        f"{name}: gap {run.gap_s:.3f} s, command {run.outcome.seconds:.2f} s"
                    )
        finally:
            client.remove()
    table = Table("move", "gap: median, s", "min", "max", "rows lost", box=None)
    for name, runs in results.items():
        table.add_row(name, *summary(runs))
    console.print(table)
    for name, runs in results.items():
        print_steps(console, name, runs)


if __name__ == "__main__":
    main()
