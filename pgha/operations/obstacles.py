"""Everything that is in the way of `init`, each in a sentence. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from pgha.node import paths
from pgha.operations.networks import network_obstacles
from pgha.operations.provision import Provision
from pgha.site import HostFacts, Site
from pgha.state import ClusterState, ContainerStatus
from pgha.topology import Node

# A new cluster takes about 40 MB, one segment of WAL 16 MB; below this the first day fails.
DATA_FREE_BYTES = 512 * 1024 * 1024
OTHER_FREE_BYTES = 64 * 1024 * 1024

NOT_RUNNING = (ContainerStatus.STOPPED, ContainerStatus.MISSING)


def obstacles(
    state: ClusterState, site: Site, provision: Provision, *, force: bool
) -> tuple[str, ...]:
    """What must be out of the way first; empty where `init` can begin.

    force: data and stopped containers of this very cluster are no obstacle (they are moved aside,
    made again); what belongs to others is, always.
    """
    found: list[str] = []
    for facts in site.hosts:
        found.extend(_of_host(facts, provision))
    found.extend(network_obstacles(site, provision))
    for node in provision.topology.nodes:
        facts = site.of(node)
        if not facts.error and facts.image:
            found.extend(_of_node(state, facts, provision, node, force))
    return tuple(found)


def obstacles_of(
    state: ClusterState, site: Site, provision: Provision, node: Node
) -> tuple[str, ...]:
    """What must be out of the way before this one node can be made anew."""
    facts = site.of(node)
    found = [*_of_host(facts, provision), *network_obstacles(site, provision)]
    if facts.image:
        found.extend(_of_node(state, facts, provision, node, force=True))
    return tuple(found)


def cut_off(site: Site, node: Node) -> bool:
    """Whether an earlier `init` came as far as this node but not to its end."""
    volume = site.of(node).volume(node.volumes.etc_pgpool)
    return volume is not None and volume.initialising


def begun_with_force(site: Site, node: Node) -> bool:
    """Whether the `init` that was cut off there was one with -f."""
    volume = site.of(node).volume(node.volumes.etc_pgpool)
    return volume is not None and volume.forced


def has_database(site: Site, node: Node) -> bool:
    """Whether a data directory is in place there: it comes whole, or not at all."""
    path = node.volumes.postgres_data
    volume = site.of(node).volume(path) if path else None
    return volume is not None and paths.DATA.name in volume.entries


def held(site: Site, node: Node) -> tuple[str, ...]:
    """The node's volumes that hold something."""
    seen = ((path, site.of(node).volume(path)) for path in node.volumes.all())
    return tuple(path for path, volume in seen if volume is not None and volume.entries)


def may_have_served(state: ClusterState, site: Site, node: Node) -> bool:
    """Whether somebody may have written to its database, although its `init` was cut off: it was
    told a term, or it does not tell."""
    report = state.node(node.name).report
    return has_database(site, node) and (report is None or report.assignment.term > 0)


def in_words(paths: tuple[str, ...]) -> str:
    """Directories as people read them: their common parent once."""
    if len(paths) == 1:
        return paths[0]
    above = os.path.commonpath(paths)
    if above == "/":
        return ", ".join(paths)
    return f"{', '.join(os.path.relpath(path, above) for path in paths)} in {above}"


def _of_host(facts: HostFacts, provision: Provision) -> Iterator[str]:
    if facts.error:
        yield f"{facts.name}: {facts.error}"
        return
    if facts.engine is not None and facts.engine.too_old:
        needed = facts.engine.too_old
        yield f"{facts.name} has Docker {facts.engine.version}; {needed} or later is needed."
    if not facts.image:
        yield f"{facts.name} has no image {provision.image}: inv build"
        return


def _of_node(
    state: ClusterState, facts: HostFacts, provision: Provision, node: Node, force: bool
) -> Iterator[str]:
    yield from _of_container(state, facts, provision, node, force)
    yield from _of_strangers(facts, node)
    yield from _of_volumes(facts, node, force)


def _of_container(
    state: ClusterState, facts: HostFacts, provision: Provision, node: Node, force: bool
) -> Iterator[str]:
    owner = dict(facts.containers).get(node.container)
    if owner is None:
        return
    if owner != provision.topology.cluster:
        yield f"A container {node.container} that is not ours exists on {facts.name}."
    elif cut_off(Site((facts,)), node):
        runs = state.node(node.name).container not in NOT_RUNNING
        if force and runs and may_have_served(state, Site((facts,)), node):
            yield (
                f"{node.name} runs, and may have served clients although its init was cut off (inv "
                "init completes it): inv stop"
            )
    elif state.node(node.name).container not in NOT_RUNNING:
        yield f"{node.name}'s container runs: inv stop"
    elif not force:
        yield f"{node.name}'s container exists, stopped, on {facts.name}."


def _of_strangers(facts: HostFacts, node: Node) -> Iterator[str]:
    """A container that runs and has such a directory, or one in it, is in the way with -f too: its
    files would be moved away from under it. (One that has a directory above may look only.)"""
    for path in node.volumes.all():
        for name in dict.fromkeys(
            name for name, used in facts.in_use if used == path or used.startswith(f"{path}/")
        ):
            yield f"{node.name}: the container {name} runs on {facts.name} and uses {path}."


def _of_volumes(facts: HostFacts, node: Node, force: bool) -> Iterator[str]:
    volumes = [v for v in map(facts.volume, node.volumes.all()) if v is not None]
    for volume in volumes:
        if volume.problem:
            yield f"{node.name}: {volume.path} on {facts.name}: {volume.problem}."
    held = tuple(v.path for v in volumes if v.entries)
    if held and not force and not cut_off(Site((facts,)), node):
        yield f"{node.name} has data on {facts.name}: {in_words(held)}."
    for volume in volumes:
        is_data = volume.path == node.volumes.postgres_data
        wanted = DATA_FREE_BYTES if is_data else OTHER_FREE_BYTES
        if volume.free_bytes < wanted:
            megabytes = volume.free_bytes // (1024 * 1024)
            yield (
                f"{node.name}: {megabytes} MB are free at {volume.path} on {facts.name}, "
                f"{wanted // (1024 * 1024)} MB are needed."
            )
