"""What is true on this node, in one report. It changes nothing and never hangs: each part has its
own limit, and a part that fails is told as an error or as `None`, never as zero."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pgha.commands.lsn import parse_lsn
from pgha.node import gate, lock, paths, postgres, process, wal, witness
from pgha.node.errors import VerbError
from pgha.node.postgres import SqlFailed
from pgha.node.report import (
    Agent,
    Assignment,
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
from pgha.node.state import Node, read_assignment, read_node

SQL_S = 0.9
PART_S = 1.2

_QUERY = """IDENTIFY_SYSTEM;
SELECT json_build_object(
 'in_recovery', pg_is_in_recovery(),
 'flush', CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END,
 'replay', (pg_last_wal_replay_lsn() - '0/0')::bigint,
 'quorum', current_setting('synchronous_standby_names'),
 'followers', (SELECT coalesce(json_agg(json_build_array(application_name, state, sync_state,
   (coalesce(flush_lsn, '0/0') - '0/0')::bigint) ORDER BY application_name), '[]')
   FROM pg_stat_replication WHERE state <> 'backup' AND application_name <> 'pgha'),
 'slots', (SELECT coalesce(json_agg(json_build_array(slot_name, active, coalesce(wal_status, ''),
   (restart_lsn - '0/0')::bigint) ORDER BY slot_name), '[]')
   FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary),
 'receiver', (SELECT json_build_array(status, sender_host) FROM pg_stat_wal_receiver),
 'waiting', (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'));
"""


def probe(*, offline: bool = False, light: bool = False) -> Report:
    """offline: the volumes of a stopped node, in a helper container. light: leave Pgpool-II and the
    disks out, for a verb that a client waits for."""
    try:
        node = read_node()
    except VerbError as error:
        return Report(node="", assignment=_assignment(), busy=error.message)
    parts: dict[str, Callable[[], Any]] = {"disks": lambda: _disks(node)}
    if node.kind == "witness":
        parts["wal"] = lambda: _wal(node, offline)
    else:
        parts["data"] = _data
        parts["postgres"] = lambda: Postgres(running=False) if offline else _postgres(node)
    if not light:
        parts["door"] = lambda: Door(running=False) if offline else _door()
    found = _at_once(parts)
    # A part that hangs or fails tells at least what the process list tells.
    late = str(found.get("postgres error") or found.get("wal error") or "it did not answer in time")
    if "postgres" in parts and "postgres" not in found:
        alive = postgres.pid() is not None
        found["postgres"] = Postgres(alive, in_recovery=_by_file() if alive else None, error=late)
    if "wal" in parts and "wal" not in found:
        found["wal"] = Wal(not offline and witness.receiver() is not None, error=late)
    return Report(
        node=node.node,
        assignment=_assignment(),
        main_running=not offline and process.runs_main(),
        data=found.get("data"),
        postgres=found.get("postgres"),
        wal=found.get("wal"),
        door=found.get("door"),
        agent=None if offline else _agent(),
        disks=found.get("disks") or (),
        image=node.image,
        busy=str(found.get("data error", "")) or ("" if offline else lock.busy()),
        members=tuple(member.name for member in node.nodes),
        initialising=paths.INITIALISING.exists(),
    )


def _at_once(parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run the parts beside one another; one that hangs is left behind and is not in the answer."""
    found: dict[str, Any] = {}

    def work(name: str, part: Callable[[], Any]) -> None:
        try:
            found[name] = part()
        except (VerbError, OSError, ValueError, LookupError) as error:
            found[name + " error"] = str(error)

    threads = [threading.Thread(target=work, args=p, daemon=True) for p in parts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PART_S)
    return dict(found)


def _assignment() -> Assignment:
    try:
        return read_assignment()
    except VerbError as error:
        return Assignment(role=Role.UNKNOWN, reason=error.message)


def _agent() -> Agent:
    """What the node's agent believes, by its file; not running where its process is gone."""
    try:
        told = json.loads(paths.AGENT.read_text())
        if not process.is_named(told["pid"], "pgha-agent"):
            return Agent(running=False)
        return Agent(
            running=True,
            term=int(told["term"]),
            leader=told["leader"],
            hears=tuple(told["hears"]),
            opened=bool(told["opened"]),
            held=bool(told["held"]),
            why=str(told["why"]),
            needs_copy=bool(told["needs_copy"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Agent(running=False)


def _disks(node: Node) -> tuple[Disk, ...]:
    places = [str(paths.CONFIG), node.archive] + (
        [str(paths.VOLUME)] if node.kind != "witness" else []
    )
    found: list[Disk] = []
    for place in places:
        try:
            disk = os.statvfs(place)
        except OSError:
            continue
        found.append(Disk(place, disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))
    return tuple(found)


def _data() -> Data | None:
    """What the data directory says of itself; where its WAL ends, when nothing runs on it."""
    control = postgres.control(SQL_S)
    if control is None:
        return None
    data = Data(control.system_identifier, control.state, control.timeline, control.checkpoint_lsn)
    if control.clean and postgres.pid() is None:
        try:
            end = wal.end_at_rest(control)
        except (VerbError, OSError):
            return data
        return replace(data, position=end.lsn, timeline=max(end.timeline, 1))
    return data


def _postgres(node: Node) -> Postgres:
    if postgres.pid() is None:
        return Postgres(running=False)
    if not postgres.accepting():
        return Postgres(running=True, in_recovery=_by_file(), error="it takes no connections yet")
    try:
        lines = postgres.sql(node, _QUERY, timeout_s=SQL_S, replication=True)
        system, found = lines[0].split("|"), json.loads("".join(lines[1:]))
    except SqlFailed as error:
        return Postgres(running=True, in_recovery=_by_file(), error=error.message)
    timeline, identified = int(system[1]), parse_lsn(system[2])
    recovery = bool(found["in_recovery"])
    lsn = max(identified, found["replay"] or 0) if recovery else found["flush"]
    receiver = found["receiver"]
    streams = receiver is not None and receiver[0] == "streaming"
    return Postgres(
        running=True,
        accepting=True,
        in_recovery=recovery,
        timeline=timeline,
        lsn=lsn,
        replay_lsn=found["replay"] if recovery else None,
        history=wal.history_of(paths.DATA / "pg_wal", timeline),
        quorum=found["quorum"],
        followers=tuple(
            Follower(name, state, sync, flush, max(0, lsn - flush))
            for name, state, sync, flush in found["followers"]
        ),
        slots=tuple(
            Slot(name, active, status, max(0, lsn - restart) if restart is not None else 0)
            for name, active, status, restart in found["slots"]
        ),
        upstream=node.name_of(receiver[1]) if streams else None,
        waiting_commits=found["waiting"],
        opened=gate.is_open(),
    )


def _by_file() -> bool | None:
    """What a server that does not answer was started as; None where that is no proof."""
    return True if postgres.in_recovery_by_file() else None


def _wal(node: Node, offline: bool) -> Wal:
    running = not offline and witness.receiver() is not None
    end = wal.end_of_witness(node)
    return Wal(running, end.timeline if end else None, end.lsn if end else None)


def _door() -> Door:
    from pgha.node import pgpool

    return pgpool.backends()
