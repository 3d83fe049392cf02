"""`init`: a whole new cluster, from nothing to healthy. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pgha.commands import docker
from pgha.commands.base import Command, Secret
from pgha.errors import Refused
from pgha.keys import Birth
from pgha.limits import INITDB_S, PROMOTE_S
from pgha.operations.last_primary import last_primary
from pgha.operations.networks import network_notes, network_obstacles, network_stages
from pgha.operations.obstacles import (
    NOT_RUNNING,
    begun_with_force,
    cut_off,
    has_database,
    held,
    in_words,
    may_have_served,
    obstacles,
)
from pgha.operations.provision import Provision, begin_container, create_container
from pgha.operations.settle import complete, confirm, first_copy, follow, start_container, steer
from pgha.plan import Plan, Run, Stage, Step, stages, verb
from pgha.render import prepare_document
from pgha.site import Site
from pgha.state import (
    ClusterState,
    Condition,
    ContainerStatus,
    NodeState,
    anything,
    container_runs,
    is_primary,
)
from pgha.topology import Node, Topology

# A cluster's first term: PostgreSQL's first timeline.
FIRST_TERM = 1
ANEW = "What the init that was cut off had made is kept: inv stop, then inv init -f, begins anew."


def init(
    state: ClusterState, site: Site, provision: Provision, birth: Birth, *, force: bool = False
) -> Plan:
    """Plan a new cluster on these hosts.

    force: what the volumes hold is moved aside, and containers that were stopped are made again.
    Where an earlier `init` was cut off (with force: an earlier one with force) but its primary may
    have served, the rest is done: clients may have written to it.
    Raises Refused with everything that is in the way.
    """
    begun = tuple(
        n
        for n in provision.topology.nodes
        if cut_off(site, n) and (begun_with_force(site, n) or not force)
    )
    served = _in_use(state, site, begun, force)
    if served is not None:
        plan = _rest(state, served, site, provision)
        return replace(plan, notes=(ANEW,)) if force else plan
    found = obstacles(state, site, provision, force=force)
    if found:
        raise _refusal(found, bool(obstacles(state, site, provision, force=True)))
    topology = provision.topology
    moved = {n.name: held(site, n) for n in topology.nodes}
    primary = topology.node(topology.home)
    others = topology.others(primary.name)
    up = state.to_attach(primary.name, topology.names)
    return Plan(
        f"Make the cluster {topology.cluster}: {', '.join(topology.names)}",
        stages(
            *network_stages(site, provision),
            tuple(
                _prepare(site, provision, birth, n, bool(moved[n.name]), force)
                for n in topology.nodes
            ),
            tuple(
                begin_container(provision, n, tuple(o.name for o in topology.others(n.name)))
                for n in topology.nodes
            ),
            (_initdb(primary, birth), *_doors_know(provision)),
            _serve(primary, FIRST_TERM),
            tuple(first_copy(n.name, primary.name, FIRST_TERM) for n in others if n.carries_data),
            tuple(follow(n.name, primary.name, FIRST_TERM) for n in others),
            confirm(primary.name, FIRST_TERM),
            tuple(steer(n.name, primary.name, up) for n in topology.nodes),
            *_completed(others, primary),
        ),
        notes=(
            *network_notes(site, provision),
            *_about_voters(topology),
            *(
                f"What {name} had is in aside/{birth.stamp} of {in_words(paths)}."
                for name, paths in moved.items()
                if paths
            ),
        ),
    )


def _about_voters(topology: Topology) -> Iterator[str]:
    """An even number of voters bears no more losses than one fewer; two are what they are."""
    count, majority = len(topology.nodes), topology.majority
    if count > 2 and count % 2 == 0:
        yield (
            f"{count} nodes have a vote and {majority} must agree: {count - majority} of them may "
            f"be lost, no more than of {count - 1}."
        )


def _in_use(
    state: ClusterState, site: Site, begun: tuple[Node, ...], force: bool
) -> NodeState | None:
    """The primary of the `init` that was cut off on these nodes; None where nobody can have written
    to one. It need not run: its `serve` may be under way, or it has died since.

    Raises Refused where what these nodes have may have been written to, and none of them is surely
    the last primary.
    """
    names = tuple(n.name for n in begun)
    if state.primary is not None and names and (state.primary.name in names or not force):
        if state.overtaken:
            raise Refused(
                f"The init was cut off, and then a failover to term {state.term}; nothing was "
                "changed.",
                next="inv failover",
            )
        return state.primary
    served = tuple(n.name for n in begun if may_have_served(state, site, n))
    if state.primary is not None or not served:
        return None
    silent = [name for name in served if state.node(name).report is None]
    if silent:
        raise Refused(
            f"{silent[0]} may have served clients since its init was cut off, and does not answer; "
            "nothing was changed.",
            next="inv status",
        )
    try:
        last = last_primary(state)
    except Refused as error:
        error.details = (*error.details, "An init was cut off here; inv init -f begins anew.")
        raise
    if last.name not in names:
        raise Refused(
            f"{last.name} was the primary after the init that was cut off; nothing was changed.",
            next="inv start",
        )
    return last


def _rest(state: ClusterState, primary: NodeState, site: Site, provision: Provision) -> Plan:
    """What an `init` that was cut off has left to do once its primary may have served.

    Nothing is made anew: clients may have written to it.
    """
    topology, term = provision.topology, primary.timeline or FIRST_TERM
    leader = topology.node(primary.name)
    joining = [n for n in topology.others(primary.name) if not state.streams(n.name)]
    lacking = [n for n in joining if n.carries_data and not has_database(site, n)]
    missing = _those(state, ContainerStatus.MISSING)
    blocked = network_obstacles(site, provision) if missing else ()
    if blocked:
        raise _refusal(blocked, True)
    stopped = _those(state, *NOT_RUNNING)
    up = state.to_attach(primary.name, topology.names)
    doors = tuple(steer(n.name, primary.name, up) for n in topology.nodes)
    return Plan(
        f"Complete the cluster {topology.cluster}: its init was cut off",
        stages(
            *(network_stages(site, provision) if missing else ()),
            tuple(
                create_container(provision, n, instead=state.node(n.name).half_made)
                for n in missing
            ),
            tuple(start_container(topology, n.name) for n in stopped),
            # Its `serve` may have died before it made the slots, without which nobody joins.
            _serve(leader, term) if joining or state.primary is None else None,
            tuple(first_copy(n.name, leader.name, term) for n in lacking),
            tuple(follow(n.name, primary.name, term) for n in joining),
            confirm(primary.name, term),
            tuple(step for step in doors if not step.ensures.holds(state)),
            *_completed((n for n in topology.nodes if cut_off(site, n)), leader),
        ),
    )


def _those(state: ClusterState, *statuses: ContainerStatus) -> tuple[Node, ...]:
    return tuple(n for n in state.topology.nodes if state.node(n.name).container in statuses)


def _refusal(found: tuple[str, ...], still_with_force: bool) -> Refused:
    """still_with_force: something would be in the way with -f too."""

    def any_ends(*ends: str) -> bool:
        return any(line.endswith(ends) for line in found)

    if any_ends("inv build"):
        remedy = "inv build"
    elif any_ends("inv stop"):
        remedy = "inv stop"
    else:
        remedy = "" if still_with_force else "inv init -f"
    count = "One thing is" if len(found) == 1 else f"{len(found)} things are"
    return Refused(
        f"{count} in the way of a new cluster; nothing was changed.", next=remedy, details=found
    )


def _prepare(
    site: Site, provision: Provision, birth: Birth, node: Node, aside: bool, force: bool
) -> Step:
    """Directories, owners, keys, configuration, made by root in a helper container."""
    facts = site.of(node)
    stamp = birth.stamp if aside else None
    memory = {h.name: h.engine.memory_bytes if h.engine else 0 for h in site.hosts}
    document = prepare_document(provision, birth, node, memory, stamp, forced=force)
    commands: list[Command] = []
    if node.container in dict(facts.containers):
        # A container holds nothing of its own: what counts is in the volumes.
        commands.append(docker.remove(node.container, force=cut_off(site, node)))
    commands.append(provision.helper(node, ("pgha-node", "prepare"), Secret(document)))
    title = f"Prepare {node.name}'s directories and files"
    return Step(
        f"{title}, what is there moved aside" if aside else title,
        node.name,
        anything(),
        Run(tuple(commands)),
        anything(),
    )


def _initdb(primary: Node, birth: Birth) -> Step:
    return Step(
        f"Make a new database cluster on {primary.name}",
        primary.name,
        container_runs(primary.name),
        verb(
            "initdb",
            timeout_s=INITDB_S,
            secrets={"superuser": birth.superuser, "replication": birth.replication},
        ),
        Condition(
            f"{primary.name} has data",
            (primary.name,),
            lambda s: s.node(primary.name).has_data,
        ),
    )


def _doors_know(provision: Provision) -> Iterator[Step]:
    """Pgpool-II knows the cluster's own roles; their passwords are encrypted on the node itself."""
    settings = provision.settings
    roles = (
        (settings.postgres_user, settings.postgres_password),
        (settings.replication_user, settings.replication_password),
    )
    for node in provision.topology.nodes:
        for role, password in roles:
            yield Step(
                f"Let Pgpool-II on {node.name} know {role}",
                node.name,
                container_runs(node.name),
                verb("door_user_set", name=role, secrets={"password": password}),
                container_runs(node.name),
            )


def _serve(primary: Node, term: int) -> Step:
    return Step(
        f"Start {primary.name} as the primary",
        primary.name,
        container_runs(primary.name),
        verb("serve", term=term, timeout_s=PROMOTE_S),
        is_primary(primary.name, term),
    )


def _completed(others: Iterable[Node], primary: Node) -> tuple[Stage, ...]:
    """The primary last: while it has its mark, its cluster is that of an `init` that goes on."""
    return stages(
        tuple(complete(n.name) for n in others if n.name != primary.name), complete(primary.name)
    )
