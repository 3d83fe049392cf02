"""`recovery --force` of a node whose directories are gone: a new disk, or a new host. Pure.

It has forgotten its votes and all WAL that it had acknowledged. So it takes no part in an election
before it has everything that the primary has: the mark of an `init` that is under way says so to
its agent, until the last step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pgha.commands import docker
from pgha.commands.base import Command, Secret
from pgha.errors import Refused
from pgha.heritage import NODE, Heritage
from pgha.keys import Birth
from pgha.operations.networks import network_stages
from pgha.operations.obstacles import NOT_RUNNING, held, in_words, obstacles_of
from pgha.operations.provision import Provision, begin_container
from pgha.operations.recovery import admit, counted, doors_to, kept, primary_of
from pgha.operations.settle import complete, first_copy, follow, opening
from pgha.plan import Plan, Run, Step, stages
from pgha.render import (
    AUTHORIZED,
    KNOWN_HOSTS,
    OURS,
    POOL_PASSWD,
    File,
    directories,
    document,
    files,
    sizing_beside,
    ssh_files,
)
from pgha.site import Site
from pgha.state import ClusterState, NodeState, anything, container_runs
from pgha.topology import Node


def lost_nodes(state: ClusterState, site: Site) -> frozenset[str]:
    """The nodes that do not run, and whose own files are gone from their hosts. site: none where
    nobody had to look."""
    if not site.hosts:
        return frozenset()
    return frozenset(n.name for n in unread(state) if is_lost(site, state.topology.node(n.name)))


def unread(state: ClusterState) -> tuple[NodeState, ...]:
    """The nodes that do not run, and of which nothing could be read at rest either."""
    return tuple(n for n in state.nodes if n.container in NOT_RUNNING and n.report is None)


def is_to_be_made(state: ClusterState, site: Site, name: str) -> bool:
    """Whether `recovery --force` makes this node anew: it is lost, or its host has no image yet
    with which one could look, as a new one has not."""
    if name not in {n.name for n in unread(state)}:
        return False
    node = state.topology.node(name)
    facts = site.of(node)
    return is_lost(site, node) or (not facts.error and not facts.image)


def is_lost(site: Site, node: Node) -> bool:
    """Whether something of its own that is always there is gone, or was being made anew. What
    cannot be seen is not lost. (An archive may be empty.)"""
    facts, places = site.of(node), node.volumes
    seen = {path: facts.volume(path) for path in places.all()}
    own = seen[places.etc_pgpool]
    if own is None or any(v is not None and v.problem for v in seen.values()):
        return False
    bare = {path for path, volume in seen.items() if volume is not None and not volume.entries}
    no_node = own.initialising or OURS.rpartition("/")[2] not in own.entries
    return no_node or bool(bare - {places.postgres_archive})


def replacement(
    state: ClusterState, site: Site, provision: Provision, heritage: Heritage, name: str
) -> Plan:
    """Plan the making of `name` from nothing, and its return as a follower of the primary.

    heritage: what the primary knows, with new keys of this node. What its directories hold is moved
    aside. Raises Refused with everything that is in the way.
    """
    topology = state.topology
    primary, node = primary_of(state), topology.node(name)
    # Other hosts may be away: this one is made by what answers.
    there = Site(tuple(h for h in site.hosts if not h.error or h.name == node.host))
    found = obstacles_of(state, there, provision, node)
    if found:
        remedy = "inv build" if any(line.endswith("inv build") for line in found) else ""
        raise Refused(f"{name} cannot be made anew.", next=remedy, details=found)
    term, birth = primary.timeline or 0, heritage.birth
    others = [n for n in state.nodes if n.name != name and n.answers]
    absent = [n.name for n in state.nodes if n.name != name and not n.answers]
    joining = [state.node(name)]
    known, voice = kept(state, name), counted(state, name)
    moved = held(there, node)
    return Plan(
        f"Make {name} anew on {node.host}, as a follower of {primary.name}",
        stages(
            *network_stages(there, provision),
            tuple(_introduce(topology.node(n.name), provision, birth, name) for n in others),
            _prepare(there, provision, heritage, node, bool(moved)),
            begin_container(provision, node, tuple(n.name for n in others)),
            None if known else admit(state, name),
            first_copy(name, primary.name, term) if node.carries_data else None,
            follow(name, primary.name, term),
            opening(state, primary, (name,)),
            admit(state, name) if known and not voice else None,
            doors_to(state, primary.name, joining),
            complete(name),
        ),
        notes=(*_notes(primary.name, name, absent, birth, moved), *_about_swarm(there, node)),
    )


def _notes(
    primary: str, name: str, absent: list[str], birth: Birth, moved: tuple[str, ...]
) -> Iterator[str]:
    if moved:
        yield f"What was there is in aside/{birth.stamp} of {in_words(moved)}."
    if absent:
        yield (
            f"{' and '.join(absent)} did not answer and {'do' if len(absent) > 1 else 'does'} not "
            f"know {name}'s new keys: WAL cannot be fetched between them until each of them is "
            "made anew as well, or its known_hosts and authorized_keys are those of "
            f"{primary}."
        )


def _about_swarm(site: Site, node: Node) -> Iterator[str]:
    """A host that is new is a new member of the Swarm; the old one is still counted."""
    engine = site.of(node).engine
    if engine is None or engine.swarm.state == "active":
        return
    for head in (h for h in site.hosts if h.swarm_nodes):
        gone = [n for n in head.swarm_nodes if n.hostname == engine.name and n.status != "Ready"]
        for old in gone:
            demote = f"docker node demote {old.id}; " if old.manager else ""
            promote = f"; docker node promote {engine.name}" if old.manager else ""
            yield (
                f"The Swarm still counts the {engine.name} that is gone. On {head.name}: "
                f"{demote}docker node rm {old.id}{promote}"
            )
        return


def _introduce(to: Node, provision: Provision, birth: Birth, name: str) -> Step:
    """The keys of `name`, with which nodes fetch WAL from one another."""
    known = (f for f in ssh_files(provision, birth, to) if f.path in (AUTHORIZED, KNOWN_HOSTS))
    command = Command(("pgha-node", "prepare"), Secret(document((), known, None)), "root")
    return Step(
        f"Let {to.name} know {name}'s new keys",
        to.name,
        container_runs(to.name),
        Run((docker.exec_in(to.container, command),)),
        container_runs(to.name),
    )


def _prepare(site: Site, provision: Provision, heritage: Heritage, node: Node, aside: bool) -> Step:
    """Its directories, keys and configuration, by root in a helper container."""
    facts = site.of(node)
    memory = {node.host: facts.engine.memory_bytes if facts.engine else 0}
    size = sizing_beside(provision, node, memory, heritage.max_connections)
    made = _as_others(files(provision, heritage.birth, node, size), heritage, provision, node)
    stamp = heritage.birth.stamp if aside else None
    written = Secret(document(directories(provision, node), made, stamp))
    there = node.container in dict(facts.containers)
    title = f"Prepare {node.name}'s directories and files"
    return Step(
        f"{title}, what is there moved aside" if aside else title,
        node.name,
        anything(),
        Run(
            (
                *((docker.remove(node.container),) if there else ()),
                provision.helper(node, ("pgha-node", "prepare"), written),
            )
        ),
        anything(),
    )


def _as_others(
    made: Iterable[File], heritage: Heritage, provision: Provision, node: Node
) -> Iterator[File]:
    """What the whole cluster must agree on is as the other nodes have it, whatever the settings
    have become since; and Pgpool-II knows the roles that it knows there."""
    own = {**heritage.node, "node": node.name, "kind": node.kind.value, "image": provision.image}
    as_there = {NODE: Secret(json.dumps(own, indent=2) + "\n"), POOL_PASSWD: heritage.pool_passwd}
    for file in made:
        yield replace(file, content=as_there.get(file.path, file.content))
