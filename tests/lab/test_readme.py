"""What README says about the lab, to the letter; and the nights that several hosts are bought for,
as an operator lives through them: status, and what it says to type."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from pgha.waiting import wait_until
from tests.integration.real_cluster import INVOKE, LIMIT_S, ROOT, environment
from tests.integration.test_documents import blocks
from tests.lab.cluster import OfTheLab
from tests.lab.hosts import Hosts

ELECTED_S = 30.0
HEALTHY_S = 60.0


@pytest.fixture(scope="module")
def cluster(fresh: Hosts) -> Iterator[OfTheLab]:
    fresh.wipe()
    made = OfTheLab(fresh.lab)
    try:
        yield made
    finally:
        fresh.lab.heal()
        Hosts(made).wipe()


def typed(cluster: OfTheLab, line: str) -> int:
    """Type a line of README, for this lab; its exit code."""
    words = line.replace("-e lab", f"-e {cluster.lab.name}").split()
    if words[0] == "inv":
        words[:1] = INVOKE
    elif words[0] == "bin/lab":
        words += ["--name", cluster.lab.name]
    done = subprocess.run(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=LIMIT_S, env=environment()
    )
    return done.returncode


def test_readmes_block_on_the_lab_runs_as_it_stands(cluster: OfTheLab) -> None:
    (block,) = (
        b for b in blocks("sh") if "bin/lab up" in b.text and b.document.name == "README.md"
    )
    *commands, last = (one for line in block.commands for one in line.split(" && "))
    # The lab is up already, and others want it after this.
    assert last == "bin/lab down"
    for command in commands:
        # Its primary's host was killed a moment ago.
        wanted = (4, 5) if "inv status" in command else (0,)
        assert typed(cluster, command) in wanted, command
    does_what_status_says(cluster)


def does_what_status_says(cluster: OfTheLab) -> None:
    """An operator's way back to a healthy cluster."""
    for _ in range(5):
        # What comes by itself is on its way for a while.
        wait_until(lambda: settled(cluster), timeout_s=HEALTHY_S, what="status says what to do")
        problems = cluster.status()["problems"]
        if not problems:
            return
        remedy = next(p["remedy"] for p in problems if p["remedy"].startswith("inv "))
        assert typed(cluster, remedy) == 0
    raise AssertionError(cluster.status()["problems"])


def settled(cluster: OfTheLab) -> bool:
    """It is healthy, or some problem has a command that helps."""
    seen = cluster.status()
    helps = [p for p in seen["problems"] if p["remedy"].startswith("inv ")]
    return seen["verdict"] == "healthy" or bool(helps)


@pytest.mark.parametrize("fault", ["kill", "isolate", "silence"])
def test_a_host_is_lost_with_a_writer_at_work_and_all_comes_home(
    cluster: OfTheLab, fault: str
) -> None:
    cluster.client.start()
    assert cluster.inv("status").code == 0
    primary = str(cluster.status()["primary"])

    def another() -> bool:
        return cluster.status()["primary"] not in (None, primary)

    with cluster.client.writing() as writing:
        assert typed(cluster, f"bin/lab fault {fault} {primary}") == 0
        wait_until(another, timeout_s=ELECTED_S, what="another primary")
        assert typed(cluster, "inv status -e lab") == 4
        assert typed(cluster, "bin/lab fault heal") == 0
        does_what_status_says(cluster)
        for command in ("recovery", "failover", "failback"):
            assert typed(cluster, f"inv {command} -e lab") == 0
    assert writing.written is not None
    assert len(writing.written.acknowledged) > 100
    assert cluster.client.lost(writing.written) == []
    assert cluster.status()["primary"] == "node-0"
    cluster.becomes("healthy")
