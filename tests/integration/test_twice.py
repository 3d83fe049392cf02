"""Every command twice: the second time nothing happens, and a sentence says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.real_cluster import BY_HAND, RealCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("twice", tmp_path_factory.mktemp("twice"), **BY_HAND)
    try:
        made.inv("init")
        yield made
    finally:
        made.tear_down()


@pytest.fixture
def healthy(cluster: RealCluster) -> RealCluster:
    """Each test begins with a running cluster whose primary is at home."""
    cluster.inv("start")
    cluster.inv("failback")
    cluster.becomes("healthy")
    return cluster


def nothing_happens(cluster: RealCluster, *words: str, says: str) -> None:
    """The command ends with 0 and a sentence; the cluster is as it was, by --dry-run too."""
    before = cluster.fingerprint()
    for extra in ((), ("--dry-run",)):
        done = cluster.inv(*words, *extra)
        said = done.stdout + done.stderr
        assert says in said
        assert said.splitlines()[0].endswith(".")
        assert "Done in" not in said
    document = cluster.inv(*words, "--json").json
    assert (document["ok"], document["steps"]) == (True, [])
    assert cluster.fingerprint() == before


def test_init(healthy: RealCluster) -> None:
    before = healthy.fingerprint()
    done = healthy.inv("init", check=3)
    assert "nothing was changed" in done.stderr
    assert "node-0 has data" in done.stderr
    assert healthy.fingerprint() == before


def test_start(healthy: RealCluster) -> None:
    nothing_happens(healthy, "start", says="The cluster runs; node-0 is the primary.")


def test_stop(healthy: RealCluster) -> None:
    healthy.inv("stop")
    nothing_happens(healthy, "stop", says="The cluster is stopped.")


def test_failback(healthy: RealCluster) -> None:
    healthy.inv("failover")
    healthy.inv("failback")
    nothing_happens(healthy, "failback", says="node-0 is the primary already.")


def test_failover_to_the_same_node(healthy: RealCluster) -> None:
    healthy.inv("failover", "--to", "node-1")
    nothing_happens(healthy, "failover", "--to", "node-1", says="node-1 is the primary already.")


def test_recovery(healthy: RealCluster) -> None:
    healthy.kill("node-1")
    healthy.inv("recovery")
    nothing_happens(healthy, "recovery", says="Every node follows node-0: nothing to recover.")
    nothing_happens(healthy, "recovery", "--node", "node-1", says="node-1 follows node-0")


def test_build(healthy: RealCluster) -> None:
    healthy.inv("build")
    nothing_happens(healthy, "build", says="is up to date.")
