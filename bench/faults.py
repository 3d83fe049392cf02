"""What each fault costs a client that writes: `python -m bench.faults [--runs 5] [--only WORD]`.

With `--hosts` whole hosts break: those of a lab of its own (docs/lab.md), its client on a fourth.

DESIGN's table of faults (README, "What it guarantees"), as measured: a cluster of its own on this
machine, a client that writes without pause through the alias, one fault a run, and the longest time
between two acknowledged writes. Needs root, `nft` and `nsenter`, like the tests of chaos.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from tests.chaos import faults, net
from tests.chaos.world import ChaosCluster, Roles
from tests.lab import host_faults
from tests.lab.cluster import LabChaosCluster, on_four_hosts

Break = Callable[[ChaosCluster, Roles], AbstractContextManager[object]]

# The writer is at work for so long after a fault; every gap is over by then.
AFTER_S = 6.0


@dataclass(frozen=True)
class Run:
    """One fault under a writing client. moved: another node was the primary afterwards. own: the
    client's session went through the Pgpool-II of the node that was the primary."""

    gap_s: float
    lost: int
    moved: bool
    own: bool


@contextlib.contextmanager
def _failover(cluster: ChaosCluster, roles: Roles) -> Iterator[None]:
    cluster.inv("failover")
    yield


def _rejoin(cluster: ChaosCluster, roles: Roles) -> AbstractContextManager[object]:
    """The standby is there again while the client writes; it went before."""
    engine = cluster.engine(roles.standby)
    return contextlib.nullcontext(engine("start", cluster.container(roles.standby)))


FAULTS: Mapping[str, Break] = {
    "failover by an operator": _failover,
    "all PostgreSQL processes of the primary killed": lambda c, r: faults.kill_postgres(
        c, r.primary
    ),
    "one backend killed": lambda c, r: faults.kill_backend(c, r.primary),
    "the primary's container killed": lambda c, r: faults.kill(c, r.primary),
    "the primary cut off, silently": lambda c, r: net.isolate(c, r.primary),
    "the primary stalled (docker pause)": lambda c, r: faults.pause(c, r.primary),
    "the link between primary and standby cut": lambda c, r: net.cut_pair(c, r.primary, r.standby),
    "the standby's container killed": lambda c, r: faults.kill(c, r.standby),
    "the witness's container killed": lambda c, r: faults.kill(c, r.witness),
    "the standby joins again": _rejoin,
    "the primary's Pgpool-II killed": lambda c, r: faults.kill_pgpool(c, r.primary),
}


HOST_FAULTS: Mapping[str, Callable[[LabChaosCluster, Roles], AbstractContextManager[object]]] = {
    "failover by an operator": _failover,
    "the primary's host dies": lambda c, r: host_faults.kill(c.lab, r.primary),
    "the primary's host loses its link": lambda c, r: host_faults.isolate(c.lab, r.primary),
    "the primary's host cut off, silently": lambda c, r: host_faults.silence(c.lab, r.primary),
    "the primary's host stalled": lambda c, r: host_faults.pause(c.lab, r.primary),
    "primary's and standby's hosts cut apart": lambda c, r: host_faults.cut(
        c.lab, r.primary, r.standby
    ),
    "the standby's host dies": lambda c, r: host_faults.kill(c.lab, r.standby),
    "the witness's host dies": lambda c, r: host_faults.kill(c.lab, r.witness),
}

C = TypeVar("C", bound=ChaosCluster)


def measure(
    cluster: C, fault: Callable[[C, Roles], AbstractContextManager[object]], *, absent: bool
) -> Run:
    """One run. absent: the standby is away before it begins. Raises AssertionError where the
    cluster does not come back by itself."""
    roles = cluster.heals()
    before = doors(cluster)
    if absent:
        cluster.engine(roles.standby)("stop", cluster.container(roles.standby))
    with cluster.client.writing() as writing:
        time.sleep(1.0)
        with fault(cluster, roles):
            time.sleep(AFTER_S)
    written = writing.written
    assert written is not None
    after = cluster.heals()
    lost = len(cluster.client.lost(written))
    own = written.gap_door == before[roles.primary]
    return Run(written.gap_s, lost, after.primary != roles.primary, own)


def doors(cluster: ChaosCluster) -> dict[str, str]:
    """Each node's address on the frontend network."""
    network = f"{cluster.name}-frontend"
    wanted = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return {
        node: cluster.engine(node)("inspect", "-f", wanted, cluster.container(node)).strip()
        for node in cluster.names
    }


def row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    gaps = [run.gap_s for run in runs]
    figures = (statistics.median(gaps), min(gaps), max(gaps))
    moved = sum(run.moved for run in runs)
    return (
        name,
        *(f"{figure:.2f}" for figure in figures),
        f"{moved} of {len(runs)}",
        str(sum(run.lost for run in runs)),
        " ".join(f"{run.gap_s:.2f}{'*' if run.own else ''}" for run in runs),
    )


@contextlib.contextmanager
def _here(place: Path) -> Iterator[ChaosCluster]:
    cluster = ChaosCluster("bench-faults", place)
    try:
        cluster.inv("init")
        cluster.client.start()
        yield cluster
    finally:
        cluster.tear_down()


def _all(
    cluster: C,
    chosen: Mapping[str, Callable[[C, Roles], AbstractContextManager[object]]],
    words: argparse.Namespace,
    table: Table,
    console: Console,
) -> int:
    """Each fault as often as asked; how many runs did not end as they should."""
    failed = 0
    for name, fault in chosen.items():
        runs = list[Run]()
        for _ in range(words.runs if words.only in name else 0):
            try:
                runs.append(measure(cluster, fault, absent=fault is _rejoin))
            except AssertionError as error:
                failed += 1
                console.print(f"{name}: {error}", markup=False)
                cluster.put_right()
        if runs:
            table.add_row(*row(name, runs))
            console.print(*row(name, runs), sep="  ")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--hosts", action="store_true", help="whole hosts break, of a lab")
    words = parser.parse_args()
    console = Console()
    heads = ("fault", "gap: median, s", "min", "max", "another primary", "lost", "each run")
    table = Table(*heads, box=None)
    with tempfile.TemporaryDirectory() as place:
        if words.hosts:
            with on_four_hosts("bench", Path(place)) as on_hosts:
                failed = _all(on_hosts, HOST_FAULTS, words, table, console)
        else:
            with _here(Path(place)) as cluster:
                failed = _all(cluster, FAULTS, words, table, console)
    console.print(table)
    console.print("*: the client's own Pgpool-II was the one beside the primary.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
