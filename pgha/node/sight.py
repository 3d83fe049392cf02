"""What an agent sees of its own node, ten times a second: from files and the process list alone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from pgha.node import gate, hold, paths, pgpool_process, postgres, process, witness
from pgha.node.election_types import Local, Rest, Server
from pgha.node.errors import Failed, VerbError
from pgha.node.pulse import Pulse
from pgha.node.report import Assignment, Role
from pgha.node.state import Node, read_assignment

# With less room than this a data directory is no primary's.
ROOM_BYTES = 64 * 1024 * 1024
DISK_S = 1.0
# The loop waits for pg_control; more than the election timeout, and it would be taken for asleep.
CONTROL_S = 0.8
# How often a stream that is gone is looked for, and how long a receiver has to last to be one.
STREAM_S, LASTED_S = 0.5, 1.0


class Sight:
    """Reads again only what has changed.

    postmaster: the process, to notice its end at once. crashed: it ended by itself, as it does when
    one of its processes was killed, and the agent is about to start it again: it recovers in place.
    """

    def __init__(self, node: Node, pulse: Pulse) -> None:
        self._node, self._pulse = node, pulse
        self._assignment: tuple[int, Assignment] | None = None
        self._rest: tuple[object, Rest, int] | None = None
        self._room: tuple[float, bool] = (float("-inf"), True)
        self._role_conf: tuple[int, str] | None = None
        self._stream: tuple[int, bool] = (0, False)
        self._stream_at = float("-inf")
        self.postmaster: int | None = None
        self.crashed = False
        # It has served, and nobody of ours has ended it since.
        self._ends_by_itself = False

    def look(self, ending: bool = False) -> Local:
        """This node now. ending: the container ends, and its agent takes no part any more.

        Raises VerbError where the assignment cannot be read: a guess could forget a vote.
        """
        told = self._told()
        server = self._server(told, ending)
        rest, timeline = self._at_rest(told, server)
        streams, cut = self._receiving(told, server)
        return Local(
            term=told.term,
            voted_for=told.voted_for,
            led=told.led,
            role=told.role,
            upstream=self._upstream(told),
            stopped=told.stopped,
            doors=told.doors,
            voters=told.voters,
            server=server,
            rest=rest,
            timeline=timeline,
            opened=gate.is_open(),
            up=self._pulse.streaming,
            cut=cut,
            streams=streams,
            door=pgpool_process.main() is not None,
            held=ending or hold.held(),
            idle=self._idle(told, server),
            fit=self._fit(),
        )

    def _idle(self, told: Assignment, server: Server) -> bool:
        """Not initialised yet. A primary that let clients in takes part at once: the others may
        have lost their marks already, and would elect another one beside it. So does one that runs
        in no term: its assignment is lost, and it is fenced."""
        served = told.role is Role.PRIMARY and gate.is_open()
        if paths.INITIALISING.exists() and not served:
            return True
        return told.term == 0 and server not in (Server.PRIMARY, Server.STARTING)

    def _told(self) -> Assignment:
        stamp = _stamp(paths.STATE)
        if self._assignment is None or self._assignment[0] != stamp:
            self._assignment = stamp, read_assignment()
        return self._assignment[1]

    def _upstream(self, told: Assignment) -> str | None:
        """Whom it follows: by its assignment and by PostgreSQL's setting. A vote that was cut off
        between the two leaves a standby that takes WAL from nobody."""
        if told.upstream is None or told.role is not Role.STANDBY:
            return told.upstream
        stamp = _stamp(paths.ROLE_CONF)
        if self._role_conf is None or self._role_conf[0] != stamp:
            self._role_conf = stamp, paths.ROLE_CONF.read_text()
        address = re.escape(self._node.member(told.upstream).address)
        there = re.search(rf"(?<![\d.]){address}(?![\d.])", self._role_conf[1])
        return told.upstream if there else None

    def expect_end(self) -> None:
        """PostgreSQL is ended by us: it is not to be started again."""
        self._ends_by_itself = self.crashed = False

    def _server(self, told: Assignment, ending: bool) -> Server:
        if self._node.kind == "witness":
            return Server.NONE if witness.receiver() is None else Server.RECEIVING
        pid = postgres.pid()
        if pid != self.postmaster:
            self.crashed = pid is None and not ending and self._has_crashed(told)
            self.postmaster, self._ends_by_itself = pid, False
            self._pulse.begin(None)
        if pid is None:
            return Server.STARTING if self.crashed else Server.NONE
        if postgres.in_recovery_by_file():
            return Server.STANDBY
        if not postgres.accepting():
            return Server.STARTING
        if not self._pulse.asks(pid):
            self._pulse.begin(pid)
            self._ends_by_itself = True
        return Server.PRIMARY if self._pulse.alive() else Server.STARTING

    def _has_crashed(self, told: Assignment) -> bool:
        """Whether a primary that served has ended in good order (one that was killed leaves its
        postmaster.pid) and yet without a checkpoint."""
        leads = told.role is Role.PRIMARY and not told.stopped and self._ends_by_itself
        if not leads or postgres.in_recovery_by_file() or paths.POSTMASTER_PID.exists():
            return False
        try:
            control = postgres.control(CONTROL_S)
        except Failed:
            return False
        return control is not None and not control.clean

    def _at_rest(self, told: Assignment, server: Server) -> tuple[Rest, int]:
        """What a start would make of the data, and its timeline; while it runs, as it was."""
        if self._node.kind == "witness" or server is not Server.NONE:
            return (self._rest[1], self._rest[2]) if self._rest else (Rest.NOTHING, 0)
        places = (paths.DATA / "global/pg_control", paths.DATA / "standby.signal", paths.REWINDING)
        key = (told.role, *(_stamp(place) for place in places))
        if self._rest is None or self._rest[0] != key:
            try:
                self._rest = key, *self._read_data(told)
            except Failed:
                # Nothing is known: it is asked again.
                return Rest.NOTHING, 0
        return self._rest[1], self._rest[2]

    def _read_data(self, told: Assignment) -> tuple[Rest, int]:
        """Raises Failed("control")."""
        control = postgres.control(CONTROL_S)
        if control is None or paths.REWINDING.exists():
            return Rest.NOTHING, 0
        standby = told.role is Role.STANDBY and postgres.in_recovery_by_file()
        copied = (paths.DATA / "backup_label").exists()
        rest = Rest.PRIMARY if control.was_primary and not copied and not standby else Rest.STANDBY
        return rest, control.timeline

    def _receiving(self, told: Assignment, server: Server) -> tuple[bool, bool]:
        """Whether a stream of WAL is there (or none should be); whether one was, and is gone."""
        if told.upstream is None or server in (Server.PRIMARY, Server.STARTING):
            self._stream = (0, False)
            return True, False
        pid, cut = self._stream
        if pid and self._streams(pid):
            return True, False
        now = time.monotonic()
        if pid or now - self._stream_at >= STREAM_S:
            self._stream_at = now
            found = self._find_stream(server)
            cut = not found and (cut or bool(pid))
            self._stream = (found, cut)
        found, cut = self._stream
        return found != 0, cut

    def _streams(self, pid: int) -> bool:
        if self._node.kind == "witness":
            return process.is_named(pid, witness.PROGRAM)
        return any("walreceiver streaming" in word for word in process.program_of(pid)[:1])

    def _find_stream(self, server: Server) -> int:
        """The process that takes WAL; 0 where none does. A receiver of the witness's that has only
        just been started has yet to find somebody."""
        if self._node.kind == "witness":
            pid = witness.receiver()
            return pid if pid is not None and witness.has_lasted(pid, LASTED_S) else 0
        if server is not Server.STANDBY:
            return 0
        return next((p for p in postgres.titles() if self._streams(p)), 0)

    def _fit(self) -> bool:
        if self._node.kind == "witness":
            return True
        now = time.monotonic()
        if now - self._room[0] >= DISK_S:
            try:
                disk = os.statvfs(paths.DATA)
                self._room = now, disk.f_bavail * disk.f_frsize >= ROOM_BYTES
            except OSError:
                self._room = now, True
        return self._room[1]


def _stamp(file: Path) -> int:
    """What changes when a file is replaced or written; 0 where there is none."""
    try:
        found = file.stat()
    except OSError:
        return 0
    return hash((found.st_ino, found.st_mtime_ns, found.st_size))


def complaint(look: Callable[[], Local]) -> tuple[Local | None, str]:
    """(what is seen, ""), or (None, why nothing can be seen)."""
    try:
        return look(), ""
    except (VerbError, OSError) as error:
        return None, str(error)
