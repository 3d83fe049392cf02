"""In people's own scripts and tasks files, against a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.real_cluster import ROOT, RealCluster, environment

TASKS = """
from invoke import Collection, task
from pgha.tasks import namespace as pgha

@task
def hello(c):
    print("hello")

namespace = Collection(hello, pgha=pgha)
"""

# Composing in one's own task: ours ends with Exit, which a task that calls it can catch.
CALLING = """
from invoke import Collection, Exit, task
from pgha.tasks import namespace as pgha

@task
def nightly(c, env):
    try:
        pgha["status"](c, env=env, json=True)
        pgha["failover"](c, env=env, to="nobody")
    except Exit as end:
        print(f"ended with {end.code}")

namespace = Collection(nightly)
"""

SCRIPT = """
import sys
from pgha import Cluster
from pgha.commands.base import Secret
from pgha.errors import Locked, PghaError, Refused, Usage

def error_of(call):
    try:
        call()
    except PghaError as error:
        return f"{type(error).__name__} {error.exit_code} {error.message}"
    return "none"

with Cluster.load(sys.argv[1]) as cluster:
    print(cluster.status().verdict.value)
    outcome = cluster.failover(dry_run=True)
    print(outcome.plan.title, len(outcome.done))
    print(cluster.failback().plan.title)
    print(error_of(lambda: cluster.failover(to="nobody")))
    print(error_of(lambda: cluster.failover(to="node-2")))
    print(error_of(lambda: cluster.recovery("node-0")))
    print(error_of(lambda: cluster.init()))
    print(error_of(lambda: cluster.user_delete("nobody")))
    print(error_of(lambda: cluster.user_create("public", Secret("pw"))))
print(error_of(lambda: Cluster.load("no-such-environment")))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("script", tmp_path_factory.mktemp("script"))
    try:
        made.inv("init")
        yield made
    finally:
        made.tear_down()


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program of somebody else's, who has the package installed."""
    return subprocess.run(
        (sys.executable, *words),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment({"PYTHONPATH": str(ROOT)}),
    )


def test_a_plain_script_gets_results_and_typed_errors(cluster: RealCluster, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    before = cluster.fingerprint()
    done = run("script.py", str(cluster.env), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "healthy",
        "Move the primary from node-0 to node-1 0",
        "node-0 is the primary already.",
    ]
    assert [line.split()[:2] for line in lines[3:]] == [
        ["Usage", "2"],
        ["Refused", "3"],
        ["Refused", "3"],
        ["Refused", "3"],
        ["Refused", "3"],
        ["Usage", "2"],
        ["Usage", "2"],
    ]
    assert cluster.fingerprint() == before


def test_a_script_moves_the_primary_and_prints_nothing_of_its_own(
    cluster: RealCluster, tmp_path: Path
) -> None:
    (tmp_path / "move.py").write_text(
        "import sys\nfrom pgha import Cluster\n"
        "with Cluster.load(sys.argv[1]) as cluster:\n"
        "    print(cluster.failover(to='node-1').state.primary.name)\n"
        "    outcome = cluster.failback()\n"
        "    print(outcome.state.primary.name, len(outcome.done) > 0, outcome.seconds > 0)\n"
    )
    done = run("move.py", str(cluster.env), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "node-1\nnode-0 True True\n"
    cluster.becomes("healthy")


@pytest.mark.parametrize(
    ("program", "file"), [("invoke", "tasks.py"), ("fabric", "fabfile.py"), ("fabric", "tasks.py")]
)
def test_mounted_in_another_tasks_file(
    cluster: RealCluster, tmp_path: Path, program: str, file: str
) -> None:
    (tmp_path / file).write_text(TASKS)
    # Fabric looks for a fabfile unless it is told another name.
    named = ("-c", Path(file).stem) if (program, file) == ("fabric", "tasks.py") else ()
    env = ("-e", str(cluster.env))
    assert run("-m", program, *named, "hello", cwd=tmp_path).stdout == "hello\n"
    done = run("-m", program, *named, "pgha.status", "--json", *env, cwd=tmp_path)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["verdict"] == "healthy"
    refused = run("-m", program, *named, "pgha.recovery", "--node", "node-0", *env, cwd=tmp_path)
    assert refused.returncode == 3
    assert "pgha.status -e" in refused.stderr, "the next command goes by its name there"
    assert run("-m", program, *named, "pgha.failover", "--nonsense", cwd=tmp_path).returncode == 2
    listed = run("-m", program, *named, "--list", cwd=tmp_path).stdout
    assert "pgha.user.create" in listed


def test_another_task_calls_ours_and_catches_how_it_ended(
    cluster: RealCluster, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(CALLING)
    done = run("-m", "invoke", "nightly", "--env", str(cluster.env), cwd=tmp_path)
    assert done.returncode == 0, done
    status, ended = done.stdout.splitlines()
    assert json.loads(status)["verdict"] == "healthy"
    assert ended == "ended with 2"


def test_the_console_script_is_the_same_without_a_tasks_file(
    cluster: RealCluster, tmp_path: Path
) -> None:
    done = run("-m", "pgha.tasks.program", "status", "--json", "-e", str(cluster.env), cwd=tmp_path)
    assert json.loads(done.stdout)["verdict"] == "healthy"
    assert os.listdir(tmp_path) == []
