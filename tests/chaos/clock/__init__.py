"""A node whose wall clock can be set: an image of its own, by a library that all programs load."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults import Fault
from tests.chaos.world import ChaosCluster
from tests.client.client import docker
from tests.integration.image import IMAGE, VERSION

HERE = Path(__file__).parent
NAME = "pgha-test-clock"


def build() -> dict[str, str]:
    """Build the image; the variables of a cluster whose nodes are made of it."""
    words = ("build", "-q", "-t", f"{NAME}:{VERSION}", "--build-arg", f"NODE_IMAGE={IMAGE}")
    docker(*words, str(HERE), timeout_s=600.0)
    # An image that is there already is not pulled.
    return {
        "DOCKER_HUB_IMAGE": "true",
        "DOCKER_HUB_IMAGE_NAME": NAME,
        "DOCKER_HUB_IMAGE_VERSION": VERSION,
    }


def wall_clock(cluster: ChaosCluster, node: str) -> int:
    """What a program in the node's container takes for the time, in seconds since 1970."""
    return int(docker("exec", cluster.container(node), "date", "+%s"))


def set_clock(cluster: ChaosCluster, node: str, ahead_s: int) -> Fault:
    """The node's wall clock jumps; it jumps back at the end."""
    container = cluster.container(node)

    def moved(by_s: int) -> None:
        # Renamed into its place: nobody reads half a number.
        script = f"echo {by_s} > /etc/chaos-clock.new && mv /etc/chaos-clock.new /etc/chaos-clock"
        docker("exec", container, "sh", "-c", script)

    return Fault(f"clock {ahead_s:+d} s", (node,), lambda: moved(ahead_s), lambda: moved(0))
