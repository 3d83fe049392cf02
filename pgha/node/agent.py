"""The agent: the shell around `election`. One process a node, a child of main, which watches it.

One thread decides and never waits; one calls PostgreSQL's verbs, one Pgpool-II's, one asks whether
PostgreSQL answers. Messages are datagrams on the backend network.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from pgha.node import courier, paths, pgpool, postgres, process, state, verbs
from pgha.node.election import Election
from pgha.node.election_types import (
    LEAVE,
    Action,
    Config,
    Do,
    Door,
    Local,
    Result,
    Say,
    Send,
    Voter,
)
from pgha.node.errors import VerbError
from pgha.node.link import Link
from pgha.node.lobby import Lobby
from pgha.node.messages import Message
from pgha.node.pulse import Pulse
from pgha.node.sight import Sight, complaint
from pgha.node.state import Node

PORT = courier.PORT
TICK_S = 0.1
MOST_BYTES = 65536
# After main's word the container ends; should it not, another agent is started.
ENDING_S = 130.0


def say(text: str) -> None:
    """A line in the container's log."""
    print(f"pgha-agent: {text}", file=sys.stderr, flush=True)


class Worker:
    """Calls verbs one after another, beside the loop; what became of them comes back in a queue."""

    def __init__(self, door: bool, results: queue.Queue[tuple[Do, Result]], wake: int) -> None:
        self._orders: queue.Queue[Do] = queue.Queue()
        self._door, self._results, self._wake = door, results, wake
        name = "door" if door else "verbs"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(self, order: Do) -> None:
        self._orders.put(order)

    def _run(self) -> None:
        # A vote and a follower are waited for by everybody; doors are many, and compete with them.
        if self._door:
            process.be_calm()
        while True:
            order = self._orders.get()
            self._results.put((order, call(order)))
            os.write(self._wake, b".")


def call(order: Do) -> Result:
    """Do a verb here, as `pgha-node` would."""
    values: dict[str, Any] = {k: v for k, v in order.args.items() if v is not None}
    try:
        _, answer = verbs.run(order.verb, {**values, "by": "agent", "why": order.why}, report=False)
    except Exception as error:  # a fault of ours must end neither the loop nor the thread
        say(f"{order.verb} broke: {traceback.format_exc()}")
        return Result(False, "fault", str(error))
    result = Result(
        bool(answer["ok"]),
        str(answer.get("code", "")),
        str(answer.get("did") or answer.get("error")),
    )
    if order.verb != "vote" or not result.ok:
        return result
    end = state.read_assignment()
    return Result(True, "", result.said, end.ended_on or 0, end.position or 0)


class Agent:
    """The loop, and what it holds. watch: the pipe to main, by which it is known to be alive."""

    def __init__(self, node: Node, key: bytes, watch: int) -> None:
        self._node = node
        self._pulse = Pulse(node)
        self._sight = Sight(node, self._pulse)
        self._link = Link(node.cluster, node.node, tuple(m.name for m in node.others), key)
        self._election = Election(config(node), time.monotonic(), random.Random())
        self._results: queue.Queue[tuple[Do, Result]] = queue.Queue()
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        self._workers = {door: Worker(door, self._results, wake) for door in (False, True)}
        self._socket = open_socket(node.me.address)
        self._courier = courier.Server(node, key)
        self._select = selectors.DefaultSelector()
        self._select.register(self._socket, selectors.EVENT_READ)
        self._select.register(self._woken, selectors.EVENT_READ)
        self._watched: tuple[int | None, int | None] = (None, None)
        self._watch = watch
        self._door: Door | None = LEAVE
        self._lobby = Lobby(node.pgpool_port, f"{paths.SOCKETS}/.s.PGSQL.{node.pgpool_port}")
        pgpool.still_wanted = self._still_wanted
        pgpool.open_lobby, pgpool.leave_lobby = self._lobby.open, self._lobby.leave
        self._reviving = False
        self._said: dict[str, str] = {}
        self._told = ""
        self._saw_at = time.monotonic()
        self._turned_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.ending_since: float | None = None

    def run(self) -> None:
        """Until it is told to end."""
        self._pulse.start()
        self._courier.start()
        say(f"{self._node.node} takes part, as process {os.getpid()}")
        next_tick = time.monotonic()
        self._turned_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        while self.ending_since is None or time.monotonic() - self.ending_since < ENDING_S:
            self._select.select(max(0.0, next_tick - time.monotonic()))
            self._alive()
            turned = self._have_slept()
            local, why = complaint(lambda: self._sight.look(self.ending_since is not None))
            if local is None:
                self._be_blind(why, turned)
                continue
            self._saw_at = turned
            self._revive(local)
            self._hear(local)
            self._finish(local)
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK_S
                self._act(self._election.tick(now, local))
            self._watch_postmaster()
            if local.held or local.stopped:
                self._lobby.leave()
            elif self._election.out_of_reach(now):
                self._lobby.dismiss()
            self._door = self._election.door_wish(time.monotonic(), local)
            if self._lobby.waiting and self._election.may_enter(time.monotonic(), local):
                self._lobby.admit()
            self._tell(local)

    def _have_slept(self) -> float:
        """Now. Where that is long after the last turn, this node was asleep (`docker pause`, a
        machine that was suspended): a primary is ended before it can answer anybody. It may serve
        again as soon as a majority knows of no other."""
        now, turned_at = time.monotonic(), self._turned_at
        self._turned_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        asleep_s = self._turned_at - turned_at
        if asleep_s > self._node.election_timeout_s and self._quit_primary():
            why = f"it was asleep for {asleep_s:.1f} s"
            text = f"{self._node.node} steps down: {why}"
            self._act([Say("stepped-down", text, {"why": why})])
        return now

    def _be_blind(self, why: str, now: float) -> None:
        """Nothing is said or done for a node that cannot be seen; the others take it for dead after
        the election timeout, and so its primary ends by then."""
        self._once("sight", f"cannot see this node: {why}")
        if now - self._saw_at > self._node.election_timeout_s and self._quit_primary():
            say(f"{self._node.node} steps down: its agent cannot see it")
        self._drop_all()
        with contextlib.suppress(OSError):
            os.read(self._woken, 4096)
        # Whatever has woken it may do so again at once.
        time.sleep(TICK_S)

    def _quit_primary(self) -> bool:
        self._sight.expect_end()
        return postgres.quit_primary()

    def _revive(self, local: Local) -> None:
        """A primary that ended since one of its processes was killed is started again at once, and
        goes on in its term: for everybody it recovers in place."""
        if self._sight.crashed and not self._reviving:
            self._reviving = True
            order = Do("revive", {"term": local.term}, "one of its processes was killed")
            self._workers[order.door].do(order)

    def _still_wanted(self, primary: str) -> bool:
        """For a steer that is under way, in another thread."""
        wish = self._door
        return wish is LEAVE or (wish is not None and wish.primary == primary)

    def _hear(self, local: Local) -> None:
        for _ in range(64):
            try:
                datagram = self._socket.recv(MOST_BYTES)
            except OSError:
                return
            received, new = self._link.unpack(datagram)
            if new is not None:
                self._send(new, None)
            if received is not None:
                now = time.monotonic()
                self._act(
                    self._election.received(
                        now, local, received.sender, received.message, received.answers
                    )
                )

    def _drop_all(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(MOST_BYTES):
                pass

    def _finish(self, local: Local) -> None:
        with contextlib.suppress(OSError):
            os.read(self._woken, 4096)
        while True:
            try:
                order, result = self._results.get_nowait()
            except queue.Empty:
                return
            self._log(order, result)
            if order.verb == "revive":
                # Where it did not work, or it ended again: it is down.
                self._reviving = self._sight.crashed = False
                continue
            # What the verb has changed, the decision must see.
            with contextlib.suppress(VerbError, OSError):
                local = self._sight.look(self.ending_since is not None)
            if order.verb == "fence" and not result.ok and local.leads:
                # Another verb has the lock, or the disk takes no word: it does not wait for that.
                self._quit_primary()
            self._act(self._election.finished(time.monotonic(), local, order, result))

    def _act(self, actions: list[Action]) -> None:
        # What is said goes to a disk and a pipe, which may be slow: last.
        for action in sorted(actions, key=lambda a: isinstance(a, Say)):
            match action:
                case Send():
                    self._send(action.to, action.message)
                case Do():
                    if action.verb == "fence":
                        self._sight.expect_end()
                    self._workers[action.door].do(action)
                case Say():
                    say(f"{action.event}: {action.text}")
                    entry = {"event": action.event, "by": "agent", "text": action.text}
                    state.journal({**entry, **action.fields})

    def _send(self, to: str, message: Message | None) -> None:
        datagram = self._link.pack(to, message, time.monotonic())
        # A network that is away for a while is what the other side notices.
        with contextlib.suppress(OSError):
            self._socket.sendto(datagram, (self._node.member(to).address, PORT))

    def _log(self, order: Do, result: Result) -> None:
        """One line for what was done; what fails again and again is said once."""
        args = " ".join(f"{k}={v}" for k, v in order.args.items() if v is not None)
        became = result.said if result.ok else f"no, {result.code}: {result.said}"
        line = f"{order.verb} {args} ({order.why}): {became}"
        if result.ok:
            self._said.pop(order.verb, None)
            say(line)
        else:
            self._once(order.verb, line)

    def _once(self, about: str, line: str) -> None:
        if self._said.get(about) != line:
            self._said[about] = line
            say(line)

    def _watch_postmaster(self) -> None:
        """Be woken when PostgreSQL's main process ends."""
        pid, handle = self._watched
        if handle is not None and pid == self._sight.postmaster:
            return
        if handle is not None:
            self._select.unregister(handle)
            os.close(handle)
        handle, pid = None, self._sight.postmaster
        if pid is not None:
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(pid)
                self._select.register(handle, selectors.EVENT_READ)
        self._watched = (pid, handle)

    def _alive(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._watch, b".")

    def _tell(self, local: Local) -> None:
        """For `probe`: what this agent believes."""
        now = time.monotonic()
        election = self._election
        hears = election.hears_leader(now, local)
        leader = election.leader.name if election.leader is not None and hears else None
        document: Mapping[str, Any] = {
            "pid": os.getpid(),
            "term": local.term,
            "leader": self._node.node if local.leads else leader,
            "hears": list(election.hears(now)),
            "opened": local.serving and local.opened,
            "held": local.held,
            "why": election.why,
            "needs_copy": election.needs_copy,
        }
        text = json.dumps(document)
        if text != self._told:
            self._told = text
            with contextlib.suppress(OSError):
                beside = paths.AGENT.with_name("agent.json.new")
                beside.write_text(text)
                beside.replace(paths.AGENT)


def config(node: Node) -> Config:
    """node.json → what the election knows of the cluster."""
    return Config(
        me=node.node,
        voters=tuple(Voter(m.name, m.kind != "witness") for m in node.nodes),
        election_timeout_s=node.election_timeout_s,
        auto_failover=node.auto_failover,
        auto_recovery=node.auto_recovery,
    )


def open_socket(address: str) -> socket.socket:
    """The end of this node on the backend network; waits while the address is not there."""
    while True:
        found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            found.bind((address, PORT))
        except OSError as error:
            found.close()
            say(f"{address}:{PORT} cannot be had: {error.strerror}")
            time.sleep(1.0)
            continue
        found.setblocking(False)
        return found


def _end_with_thread(broken: threading.ExceptHookArgs) -> None:
    """A thread that died leaves an agent that speaks and does nothing: main starts another one."""
    lines = traceback.format_exception(broken.exc_type, broken.exc_value, broken.exc_traceback)
    say(f"a thread broke: {''.join(lines)}")
    os._exit(1)


def main(watch: int) -> int:
    """Run until SIGTERM and the container's end; the process's exit code."""
    os.umask(0o077)
    try:
        node, key = state.read_node(), courier.key()
    except (VerbError, OSError) as error:
        say(str(error))
        return 1
    agent = Agent(node, key, watch)

    def end(number: int, frame: object) -> None:
        agent.ending_since = agent.ending_since or time.monotonic()

    signal.signal(signal.SIGTERM, end)
    threading.excepthook = _end_with_thread
    agent.run()
    return 0
