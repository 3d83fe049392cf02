"""Nodes that are made from another image are named, and the verdict is none the worse for it."""

from __future__ import annotations

from dataclasses import replace

from pgha.state import ClusterState
from pgha.verdict import Problem, Verdict, judge
from tests.unit.builders import cluster, primary, standby, witness

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def made_from(*ids: str, outdated: tuple[str, ...] = ()) -> ClusterState:
    """A healthy cluster of three nodes, made from these images."""
    state = cluster(primary("node-0"), standby("node-1"), witness("node-2"))
    nodes = zip(state.nodes, ids, strict=True)
    fresh = [replace(n, image_id=i, outdated=n.name in outdated) for n, i in nodes]
    return state.with_nodes(*fresh)


def told(state: ClusterState) -> tuple[Problem, ...]:
    verdict, problems = judge(state)
    assert verdict is Verdict.HEALTHY
    assert {p.code for p in problems} <= {"image"}
    return problems


def test_nodes_of_one_image_are_no_news() -> None:
    assert told(made_from(A, A, A)) == ()


def test_an_image_that_was_not_seen_is_no_other_one() -> None:
    assert told(made_from(A, "", A)) == ()


def test_a_node_of_another_image_than_most_is_named() -> None:
    (found,) = told(made_from(A, B, A))
    assert (found.node, found.remedy) == ("node-1", "inv build")
    assert found.message == (
        "node-1's container is made from image bbbbbbbbbbbb, the others' from aaaaaaaaaaaa."
    )


def test_a_follower_whose_host_has_a_newer_image_is_made_again_by_start() -> None:
    (found,) = told(made_from(A, A, A, outdated=("node-1",)))
    container = "postgres-cluster-node-1"
    assert found.remedy == f"docker stop {container} && docker rm {container} && inv start"
    assert found.message == "node-1's container is made from another image than its host has now."


def test_a_primary_hands_over_before_its_container_is_made_again() -> None:
    (found,) = told(made_from(A, A, A, outdated=("node-0",)))
    assert (found.node, found.remedy) == ("node-0", "inv failover")


def test_on_several_hosts_the_command_goes_to_the_nodes_own() -> None:
    state = made_from(A, A, A, outdated=("node-1",))
    state = state.with_nodes(*(replace(n, shell=f"ssh {n.name}") for n in state.nodes))
    (found,) = told(state)
    assert found.remedy.startswith("ssh node-1 'docker stop ")
    assert found.remedy.endswith("' && inv start")
