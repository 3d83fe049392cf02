"""Operators' commands beside agents that decide by themselves."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.chaos import faults
from tests.chaos.world import ChaosCluster, at_night
from tests.integration.real_cluster import ROOT, environment

CLUSTER = "commands"


def test_a_graceful_failover_takes_one_term_and_the_old_primary_is_a_standby_at_once(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario() as s:
        s.must_move()
        cluster.inv("failover")
        assert cluster.role(s.primary) == "standby"
        s.writes_go_on(on=s.standby, door="pool")


@pytest.mark.parametrize("at", ["pgha-node fence", "pgha-node promote", "pgha-node follow"])
@pytest.mark.parametrize("by", [signal.SIGKILL, *at_night(signal.SIGINT)])
def test_a_failover_is_cut_off_and_the_agents_finish_or_undo_it(
    cluster: ChaosCluster, at: str, by: signal.Signals
) -> None:
    with cluster.scenario() as s:
        cluster.cut_off("failover", at=at, by=by)
        s.writes_go_on()


def test_two_operators_at_once_and_one_of_them_is_told_who_is_at_work(
    cluster: ChaosCluster,
) -> None:
    with cluster.scenario():
        words = (sys.executable, "-m", "invoke", "failover", "-e", str(cluster.env))
        both = [
            subprocess.Popen(
                words,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        codes = sorted(process.wait(timeout=120.0) for process in both)
        # Where the first had ended before the second looked, both did their work.
        assert codes in ([0, 6], [0, 0]), codes


def test_the_target_dies_during_a_graceful_failover(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        cluster.cut_off("failover", at="pgha-node promote", by=signal.SIGKILL)
        with faults.kill(cluster, s.standby):
            s.writes_go_on(on=s.primary)


def test_stop_is_no_reason_for_an_election(cluster: ChaosCluster) -> None:
    with cluster.scenario() as s:
        cluster.inv("stop")
        s.watch.nothing_is_acknowledged(for_s=5.0)
        cluster.inv("start")
        s.writes_go_on()
