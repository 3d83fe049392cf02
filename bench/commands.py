"""How long the commands take, as whole processes: `python -m bench.commands -e NAME [--runs 5]`.

`status`, `build` of what is there, `failover`, `failback` and, where nobody takes over by himself
(AUTO_FAILOVER=off, AUTO_RECOVERY=off), `failover` after the primary's container was killed, and
`recovery`. With `--init` also `stop` and `init -f`: a new cluster, the old data moved aside. With
`--silence NODE`, on a lab (docs/lab.md), also `status` while that host hears and says nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from lab import Lab
from pgha import Cluster
from pgha.commands import docker
from pgha.limits import DOCKER_S
from pgha.remote import Reach


def timed(env: str | None, *words: str, may_fail: bool = False) -> float:
    """The seconds that a command takes as a process. Raises CalledProcessError."""
    begun = time.monotonic()
    chosen = ("-e", env) if env else ()
    program = (sys.executable, "-m", "invoke")
    done = subprocess.run((*program, *words, *chosen), capture_output=True, text=True)
    if done.returncode != 0 and not may_fail:
        raise SystemExit(f"inv {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return time.monotonic() - begun


def one_round(env: str | None, with_init: bool, silent: str) -> dict[str, float]:
    """Each command once, from a healthy cluster to a healthy cluster."""
    times = {"status": timed(env, "status"), "build, nothing to do": timed(env, "build")}
    if silent:
        times["status, a host silent"] = _with_a_silent_host(env, silent)
    if with_init:
        times["stop"] = timed(env, "stop")
        times["init -f"] = timed(env, "init", "-f", "--yes")
    times["failover"] = timed(env, "failover")
    times["failback"] = timed(env, "failback")
    with Cluster.load(env) as cluster:
        if cluster.settings.auto_failover or cluster.settings.auto_recovery:
            return times
        _kill_the_primary(cluster)
    times["failover, the primary's container killed"] = timed(env, "failover")
    times["recovery"] = timed(env, "recovery")
    timed(env, "failback")
    return times


def _with_a_silent_host(env: str | None, node: str) -> float:
    lab = Lab(env or "lab")
    lab.silence(node)
    try:
        return timed(env, "status", may_fail=True)
    finally:
        lab.heal(node)
        timed(env, "recovery")


def _kill_the_primary(cluster: Cluster) -> None:
    primary = cluster.status().state.primary
    assert primary is not None
    container = cluster.topology.node(primary.name).container
    with Reach(cluster.settings, cluster.topology) as reach:
        reach.host(primary.name).run(docker.kill(container), timeout_s=DOCKER_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-e", "--env", help="the cluster's environment")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--init", action="store_true", help="measure `stop` and `init -f` too")
    parser.add_argument("--silence", metavar="NODE", default="", help="a host of a lab")
    words = parser.parse_args()
    rounds = [one_round(words.env, words.init, words.silence) for _ in range(words.runs)]
    table = Table("command", "median, s", "min", "max", box=None)
    for name in rounds[0]:
        figures = [times[name] for times in rounds]
        table.add_row(name, *(f"{f(figures):.2f}" for f in (statistics.median, min, max)))
    Console().print(table)


if __name__ == "__main__":
    main()
