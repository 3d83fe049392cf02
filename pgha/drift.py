"""What the nodes were made from, and what they would be made from now. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pgha.node.report import Role
from pgha.problem import Problem
from pgha.state import ClusterState


def of_images(state: ClusterState) -> Iterator[Problem]:
    """Containers that are made from another image than `init` and `start` would take now, or than
    most of the others are."""
    current = [n for n in state.nodes if n.image_id and not n.outdated]
    counted = Counter(n.image_id for n in current)
    usual = max(counted, key=counted.__getitem__, default="")
    for node in state.nodes:
        name, container = node.name, state.topology.node(node.name).container
        if node.outdated:
            message = f"{name}'s container is made from another image than its host has now."
            # Its volumes stay, and `start` makes a container that is missing from them.
            again = node.typed(f"docker stop {container} && docker rm {container}")
            primary = node.role is Role.PRIMARY
            remedy = "inv failover" if primary else f"{again} && inv start"
            yield Problem("image", name, message, remedy)
        elif node in current and node.image_id != usual:
            has, others = short_id(node.image_id), short_id(usual)
            message = f"{name}'s container is made from image {has}, the others' from {others}."
            yield Problem("image", name, message, "inv build")


def short_id(image_id: str) -> str:
    """As `docker ps` shows it."""
    return image_id.removeprefix("sha256:")[:12]
