"""Builders of cluster states that say only what matters: all else is as in a healthy cluster.

`cluster(primary("node-0", timeline=3), standby("node-1"), witness("node-2"))`: the others stream
from the primary, every Pgpool-II leads to it, the terms are those of the timelines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgha.node.report import (
    Assignment,
    Backend,
    Data,
    Disk,
    Door,
    Follower,
    Postgres,
    Report,
    Role,
    Slot,
    Wal,
)
from pgha.operations.provision import Provision
from pgha.settings import parse
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.topology import Kind, Node, Topology, topology

# Where the WAL of everybody ends who does not say otherwise.
LSN = 0x3000100


# With it every Pgpool-II has the standbys attached: the case with more to do.
_BALANCED = "READ_BALANCE=on\n"


def two_and_a_witness(*, read_balance: bool = True) -> Topology:
    text = "WITNESS_NODE=node-2\n" + (_BALANCED if read_balance else "")
    return topology(parse(text, source="t", environ={}))


def three_hosts() -> Topology:
    """Two data nodes and a witness, each on a host of its own."""
    return topology(parse(f"MODE=ha\nWITNESS_NODE=node-2\n{_BALANCED}", source="t", environ={}))


def two_nodes() -> Topology:
    """Asynchronous, as SYNCHRONOUS_MODE=auto makes it without a witness."""
    return topology(parse(_BALANCED, source="t", environ={}))


def three_data_nodes() -> Topology:
    """Three voters: quorum commit without a witness."""
    return topology(parse(f"{_BALANCED}STANDBY_2_NODE=node-2\n", source="t", environ={}))


def three_and_a_witness() -> Topology:
    """Four voters, three of which are a majority. node-3 is the witness."""
    text = f"{_BALANCED}STANDBY_2_NODE=node-2\nWITNESS_NODE=node-3\n"
    return topology(parse(text, source="t", environ={}))


def four_and_a_witness() -> Topology:
    """Five voters; a number is left out. node-4 is the witness."""
    text = "STANDBY_2_NODE=node-2\nSTANDBY_4_NODE=node-3\nWITNESS_NODE=node-4\n"
    return topology(parse(_BALANCED + text, source="t", environ={}))


def provision(of: Topology | None = None) -> Provision:
    mode = "MODE=ha\n" if of is not None and of.swarm else ""
    settings = parse(f"{mode}WITNESS_NODE=node-2", source="t", environ={})
    return Provision(settings, of or topology(settings), "pgha:test")


@dataclass(frozen=True)
class Draft:
    """A node as a test describes it; None: as in a healthy cluster."""

    name: str
    role: Role
    kind: Kind = Kind.DATA
    container: ContainerStatus = ContainerStatus.RUNNING
    timeline: int | None = None
    term: int | None = None
    lsn: int | None = LSN
    told: Role | None = None
    upstream: str | None = None
    follows: bool = True
    stopped: bool = False
    clean: bool = True
    history: tuple[tuple[int, int], ...] = ()
    voters: tuple[str, ...] = ()
    lost_slots: tuple[str, ...] = ()
    lag_bytes: int = 0
    catches_up: bool = False
    door: Door | None = None
    disks: tuple[Disk, ...] = ()
    error: str = ""
    readable: bool = True
    accepting: bool = True
    opened: bool = True
    members: tuple[str, ...] = ()
    initialising: bool = False


def primary(name: str, *, timeline: int = 1, **more: object) -> Draft:
    return replace(Draft(name, Role.PRIMARY, timeline=timeline), **more)  # type: ignore[arg-type]


def standby(name: str, **more: object) -> Draft:
    return replace(Draft(name, Role.STANDBY), **more)  # type: ignore[arg-type]


def witness(name: str, **more: object) -> Draft:
    draft = Draft(name, Role.WITNESS, Kind.WITNESS)
    return replace(draft, **more)  # type: ignore[arg-type]


def idle_witness(name: str, **more: object) -> Draft:
    """A witness whose receiver does not run: its primary is gone."""
    return witness(name, role=Role.DOWN, follows=False, **more)


def fenced(name: str, **more: object) -> Draft:
    """Fenced by an operator: cleanly shut down, its last LSN known."""
    return replace(Draft(name, Role.FENCED, told=Role.FENCED), **more)  # type: ignore[arg-type]


def crashed(name: str, **more: object) -> Draft:
    """The primary's PostgreSQL is dead, its container runs; where its WAL ends is not known."""
    draft = Draft(name, Role.FENCED, told=Role.PRIMARY, clean=False, lsn=None)
    return replace(draft, **more)  # type: ignore[arg-type]


def hung(name: str, **more: object) -> Draft:
    """A PostgreSQL that runs, takes no connection, and was not started as a standby."""
    draft = Draft(name, Role.UNKNOWN, told=Role.PRIMARY, clean=False, lsn=None, accepting=False)
    return replace(draft, **more)  # type: ignore[arg-type]


def down(name: str, **more: object) -> Draft:
    """A data node that answers and runs no PostgreSQL, told to be a standby."""
    return replace(Draft(name, Role.DOWN, told=Role.STANDBY), **more)  # type: ignore[arg-type]


def stopped(name: str, told: Role = Role.STANDBY, **more: object) -> Draft:
    """Its container is stopped; read at rest."""
    kind = Kind.WITNESS if told is Role.WITNESS else Kind.DATA
    draft = Draft(name, Role.DOWN, kind, ContainerStatus.STOPPED, told=told, follows=False)
    return replace(draft, **more)  # type: ignore[arg-type]


def missing(name: str, told: Role = Role.STANDBY, **more: object) -> Draft:
    return stopped(name, told, container=ContainerStatus.MISSING, **more)


def paused(name: str, **more: object) -> Draft:
    draft = Draft(name, Role.UNKNOWN, container=ContainerStatus.PAUSED, readable=False)
    return replace(draft, **more)  # type: ignore[arg-type]


def unknown(name: str, error: str = "no route to host", **more: object) -> Draft:
    """Its host does not answer."""
    draft = Draft(
        name, Role.UNKNOWN, container=ContainerStatus.UNKNOWN, readable=False, error=error
    )
    return replace(draft, **more)  # type: ignore[arg-type]


def silent(name: str, error: str = "its SSH server does not answer", **more: object) -> Draft:
    """The container runs, and nothing in it answers."""
    draft = Draft(name, Role.UNKNOWN, readable=False, error=error)
    return replace(draft, **more)  # type: ignore[arg-type]


def cluster(*drafts: Draft, of: Topology | None = None) -> ClusterState:
    """The state that the drafts describe, in the topology's order."""
    by_name = {d.name: d for d in drafts}
    if of is None:
        kinds = {d.kind for d in drafts}
        of = two_nodes() if len(drafts) == 2 else two_and_a_witness()
        if len(drafts) == 3 and kinds == {Kind.DATA} and all(d.readable for d in drafts):
            of = three_data_nodes()
    whole = [replace(by_name[n.name], kind=n.kind) for n in of.nodes]
    return ClusterState(of, tuple(_node(d, whole, of.node(d.name), of) for d in whole))


def _leader(whole: list[Draft]) -> Draft | None:
    leaders = [d for d in whole if d.role is Role.PRIMARY]
    return max(leaders, key=lambda d: d.timeline or 1, default=None)


def _timeline(draft: Draft, whole: list[Draft]) -> int:
    leader = _leader(whole)
    return draft.timeline or (leader.timeline if leader else None) or 1


def _node(draft: Draft, whole: list[Draft], node: Node, of: Topology) -> NodeState:
    state = NodeState(draft.name, node.kind, node.host, draft.container, error=draft.error)
    if not draft.readable:
        return state
    running = draft.container is ContainerStatus.RUNNING
    report = Report(
        draft.name,
        _assignment(draft, whole),
        running,
        data=_data(draft, whole) if node.kind is Kind.DATA else None,
        postgres=_postgres(draft, whole, of) if node.kind is Kind.DATA else None,
        wal=_wal(draft, whole) if node.kind is Kind.WITNESS else None,
        door=draft.door or _door(draft, whole, of),
        disks=draft.disks,
        members=draft.members or of.names,
        initialising=draft.initialising,
    )
    return replace(state, report=report, at_rest=not running)


def _assignment(draft: Draft, whole: list[Draft]) -> Assignment:
    leader = _leader(whole)
    follows = draft.role in (Role.STANDBY, Role.WITNESS) and draft.follows
    upstream = draft.upstream or (leader.name if leader and follows else None)
    told = draft.told or (Role.WITNESS if draft.kind is Kind.WITNESS else draft.role)
    return Assignment(
        term=_timeline(draft, whole) if draft.term is None else draft.term,
        role=told,
        upstream=upstream,
        doors=not draft.stopped,
        stopped=draft.stopped,
        voters=draft.voters,
        position=draft.lsn if told is Role.FENCED else None,
    )


def _data(draft: Draft, whole: list[Draft]) -> Data:
    at_rest = draft.role not in (Role.PRIMARY, Role.STANDBY, Role.UNKNOWN)
    position = draft.lsn if draft.clean and at_rest else None
    return Data("7", "shut down", _timeline(draft, whole), draft.lsn or LSN, position)


def _postgres(draft: Draft, whole: list[Draft], of: Topology) -> Postgres:
    if draft.role is Role.UNKNOWN:
        return Postgres(running=True, error=draft.error)
    if draft.role not in (Role.PRIMARY, Role.STANDBY):
        return Postgres(running=False, error=draft.error)
    leads = draft.role is Role.PRIMARY
    followers = [d for d in whole if leads and d is not draft and _streams(d, draft, whole)]
    slots = [n for n in of.others(draft.name) if leads]
    return Postgres(
        running=True,
        accepting=draft.accepting,
        in_recovery=not leads,
        timeline=_timeline(draft, whole),
        lsn=draft.lsn,
        history=draft.history,
        quorum="ANY" if leads and of.quorum_commit and draft.voters != (draft.name,) else "",
        followers=tuple(
            Follower(
                d.name,
                "catchup" if d.catches_up else "streaming",
                "quorum",
                (draft.lsn or LSN) - d.lag_bytes,
                d.lag_bytes,
            )
            for d in followers
        ),
        slots=tuple(
            Slot(n.slot, True, "lost" if n.name in draft.lost_slots else "reserved", 0)
            for n in slots
        ),
        opened=draft.opened and draft.accepting,
    )


def _streams(draft: Draft, leader: Draft, whole: list[Draft]) -> bool:
    able = draft.role in (Role.STANDBY, Role.WITNESS) and draft.follows
    return able and leader is _leader(whole) and _timeline(draft, whole) == leader.timeline


def _wal(draft: Draft, whole: list[Draft]) -> Wal:
    running = draft.role is Role.WITNESS
    timeline = _timeline(draft, whole) if draft.lsn is not None else None
    return Wal(running, timeline, draft.lsn, draft.error)


def _door(draft: Draft, whole: list[Draft], of: Topology) -> Door:
    leader = _leader(whole)
    if draft.container is not ContainerStatus.RUNNING or draft.stopped:
        return Door(False)
    up = [d.name for d in whole if leader and (d is leader or _streams(d, leader, whole))]
    if leader and not of.read_balance:
        up = [leader.name]
    return door(leader.name if leader else "", *up, of=of)


def door(to: str, *up: str, of: Topology | None = None) -> Door:
    """A Pgpool-II that sends writes to `to` and has `up` attached."""
    data = (of or two_and_a_witness()).data_nodes
    return Door(
        True,
        tuple(
            Backend(
                n.name,
                "up" if n.name in up else "down",
                "primary" if n.name == to else "standby",
            )
            for n in data
        ),
    )
