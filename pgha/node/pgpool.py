"""This node's Pgpool-II: start it, stop it, steer it, and keep its password file.

Runs in the node's container as postgres. docs/pgpool.md says what was tried, and why another
primary means a restart of Pgpool-II: it takes 0.1 s and believes what it is told, where attaching
and detaching puts running sessions to sleep for a second, asks nodes that may be dead, and leaves
sessions that touched a dead standby hanging for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pgha.commands import pgpool as commands
from pgha.commands.base import Command, Secret
from pgha.node import pgpool_process, process, state
from pgha.node.errors import Failed, Refused
from pgha.node.report import Assignment, Backend, Door, Role

# Seconds. A control command takes 0.006; one that hangs (the control process is replaced a second
# after each change) is killed, and another one tried.
PCP_S = 0.4
PCP_TRIES_S = 1.0
START_S = 5.0
STEER_S = 10.0
# For so long after an attachment sleepers are woken: it asks all attached nodes who is primary.
SETTLE_S = 0.15
LOCK_S = 5.0
LEAVE_S = 1.0

_CONFIG = Path(commands.CONFIG_FILE)
_PASSWD = Path(commands.PASSWD_FILE)
_STATUS = Path(commands.STATUS_FILE)


def backends() -> Door:
    """What this Pgpool-II believes of the nodes; costs about 10 ms, never more than a second."""
    if pgpool_process.main() is None:
        return Door(running=False)
    try:
        return Door(running=True, backends=_backends(PCP_TRIES_S))
    except Failed as error:
        return Door(running=True, error=error.message)


def stop() -> None:
    """End Pgpool-II and every session through it; nothing of it is left."""
    _stop(_nothing)


def close() -> None:
    """`stop`, and clients wait in the agent's lobby."""
    _stop(open_lobby)


def _stop(when_free: Callable[[], None]) -> None:
    settings: dict[str, str] = {}
    with contextlib.suppress(Failed):  # a node that was never configured has none to stop
        settings = _settings()
    pgpool_process.stop((settings.get("port", ""), settings.get("pcp_port", "")), when_free)


def _always(primary: str) -> bool:
    return True


# Whether a primary is still the one to lead to. The agent, which knows, puts its own word here: a
# primary may fall while Pgpool-II is being led to it, and a standby must not be read through it.
still_wanted: Callable[[str], bool] = _always


def _nothing() -> None:
    pass


# Wait for clients at Pgpool-II's port, and leave it to Pgpool-II: the agent puts its lobby here.
open_lobby: Callable[[], None] = _nothing
leave_lobby: Callable[[], None] = _nothing


def steer(primary: str, up: Sequence[str]) -> tuple[Backend, ...]:
    """Pgpool-II runs, sends writes to `primary`, and has exactly `up` attached (and `primary`).

    Nothing happens where that is so already. Another primary, or one attached node fewer: it is
    restarted, and sessions through it end (a session that has ever touched a node hangs when that
    node dies). One node more: it is attached, and sessions go on.

    Raises Refused for a node that Pgpool-II does not know, Failed when it does not come to it: then
    it is stopped, for without a primary it would let clients read a standby through this door.
    """
    wanted = frozenset(up) | {primary}
    index = {name: number for number, name in commands.names_in(_settings()).items()}
    for name in sorted(wanted):
        if name not in index:
            raise Refused("unknown-node", f"Pgpool-II's configuration has no node {name}.")
    end, fresh, word = time.monotonic() + STEER_S, True, state.read_assignment()
    now = _seen()
    while True:
        if _leads_to(now, primary) and _attached(now) == wanted:
            return now
        if _overtaken(word, primary) or not still_wanted(primary):
            stop()
            raise Failed("overtaken", f"{primary} is not the primary any more.")
        if time.monotonic() >= end:
            stop()
            raise Failed("not-steered", f"Pgpool-II does not come to {primary}: {_said(now)}.")
        if fresh and _leads_to(now, primary) and _attached(now) < wanted:
            _attach(index, sorted(wanted - _attached(now)))
            fresh = False  # where that did not do, its main process hangs
            now = _seen()
        else:
            now = _restart(index[primary], len(index))
            fresh = True


def door_user_set(name: str, password: str) -> None:
    """Pgpool-II knows the role's password from the next connection on, instead of an older one.

    Raises Refused for a name or a password that does not work through Pgpool-II.
    """
    secret = Secret(password)
    problem = commands.name_problem(name) or commands.password_problem(secret)
    if problem:
        raise Refused("bad-credentials", problem)
    done = _run(commands.encrypt(secret), 5.0)
    try:
        entry = commands.parse_encrypted(done.stdout)
    except ValueError:
        # Its output names the key's file at most; the password is in neither stream.
        raise Failed("not-encrypted", f"pg_enc made no entry (status {done.status}).") from None
    with _passwd_lock():
        _write_passwd(commands.with_user(_read_passwd(), name, entry))


def door_user_drop(name: str) -> None:
    """Pgpool-II lets nobody in as this role from the next connection on; open sessions go on."""
    with _passwd_lock():
        _write_passwd(commands.without_user(_read_passwd(), name))


# --- Starting ------------------------------------------------------------------------------------


def _spawn() -> None:
    """Start it where nobody listens: an agent that was told to keep out of it may be leaving just
    now, so its port is waited for."""
    leave_lobby()
    port = state.read_node().pgpool_port
    process.holds_within(lambda: _is_free(port), LEAVE_S)
    process.spawn(commands.start().words)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("", port))
        except OSError:
            return False
        return True


def _restart(primary: int, count: int) -> tuple[Backend, ...]:
    stop()
    # It reads this when it starts, and asks who is primary only those that are up in it.
    beside = _STATUS.with_suffix(".new")
    beside.write_text(commands.status_file(primary, count))
    beside.replace(_STATUS)
    _spawn()
    return _wait_for_answer()


def _wait_for_answer() -> tuple[Backend, ...]:
    """What it believes once it answers."""
    control = Path(commands.RUN_DIR) / f".s.PGSQL.{_pcp_port()}"

    def look() -> tuple[tuple[Backend, ...] | None, str]:
        # To ask costs more than to look, just when everybody wants the processors.
        if not control.exists():
            return None, "it has no control socket"
        try:
            return _backends(PCP_S), ""
        except Failed as error:
            return None, error.message

    return process.wait_until(
        look,
        timeout_s=START_S,
        code="pgpool-silent",
        what="Pgpool-II did not answer",
        pause_s=0.005,
    )


# --- Its control commands ------------------------------------------------------------------------


def _run(command: Command, timeout_s: float) -> process.Done:
    env = {"PCPPASSFILE": str(commands.PCPPASS_FILE)}
    stdin = command.stdin_bytes.decode()
    return process.run(command.words, timeout_s=timeout_s, stdin=stdin, env=env)


def _control(command: Command, within_s: float) -> str:
    """Run a pcp_* command, again where it fails or hangs; raises Failed with its last complaint."""
    end = time.monotonic() + within_s
    while True:
        left = max(0.05, min(PCP_S, end - time.monotonic()))
        done = _run(command, left)
        if done.status == 0:
            return done.stdout
        if time.monotonic() >= end:
            raise Failed("pgpool-silent", f"{command.words[0]}: {done.last_line}")
        time.sleep(0.01)


def _backends(within_s: float) -> tuple[Backend, ...]:
    settings = _settings()
    command = commands.node_info(_pcp_user(), _pcp_port())
    try:
        return commands.parse_node_info(_control(command, within_s), commands.names_in(settings))
    except ValueError as error:
        raise Failed("pgpool-silent", str(error)) from error


def _seen() -> tuple[Backend, ...]:
    """What it believes now; nothing where it does not run or does not answer."""
    if pgpool_process.main() is None:
        return ()
    with contextlib.suppress(Failed):
        return _backends(PCP_TRIES_S)
    return ()


def _attach(index: dict[str, int], names: Sequence[str]) -> None:
    """Attach nodes without disturbing sessions.

    While Pgpool-II does it, each session that asks something sleeps for whole seconds until it is
    done (4.6 and 4.7: wait_for_failover_to_finish), where 0.03 s would do. SIGUSR2 only wakes a
    client process, so it looks again: the main process sends the same after an online recovery.
    """
    port = _pcp_port()
    for name in names:
        _control(commands.attach_node(index[name], _pcp_user(), port), PCP_TRIES_S)
    wanted = frozenset(names)
    # The main process looks for further requests a second after it carried some out.
    end, settled = time.monotonic() + 3.0 * len(names), 0.0
    while time.monotonic() < end:
        for pid in pgpool_process.children():
            process.send(pid, signal.SIGUSR2)
        if settled and time.monotonic() >= settled:
            return
        if not settled and wanted <= _attached(_seen()):
            settled = time.monotonic() + SETTLE_S
        time.sleep(0.01)


# --- Its files -----------------------------------------------------------------------------------


def _settings() -> dict[str, str]:
    try:
        return commands.parse_config(_CONFIG.read_text())
    except OSError as error:
        raise Failed("no-configuration", f"{_CONFIG} cannot be read: {error.strerror}.") from error


def _pcp_port() -> int:
    return int(_settings().get("pcp_port", commands.PCP_PORT))


def _pcp_user() -> str:
    """Who may steer it: the one user of pcp.conf."""
    try:
        return Path(commands.PCP_FILE).read_text().partition(":")[0]
    except OSError as error:
        raise Failed("no-configuration", f"{commands.PCP_FILE}: {error.strerror}.") from error


def _read_passwd() -> str:
    try:
        return _PASSWD.read_text()
    except FileNotFoundError:
        return ""


def _write_passwd(text: str) -> None:
    """Replace pool_passwd as a whole, and have every process open the new one.

    Client processes keep the file open, and open it again on SIGHUP before their next client.
    """
    beside = _PASSWD.with_name("pool_passwd.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(_PASSWD)
    directory = os.open(_PASSWD.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    children, main = pgpool_process.children(), pgpool_process.main()
    # The children directly as well: the main process passes it on only when it is at leisure.
    for pid in (*children, *((main,) if main is not None else ())):
        process.send(pid, signal.SIGHUP)


@contextlib.contextmanager
def _passwd_lock() -> Iterator[None]:
    """One writer at a time; raises Failed when another one does not end."""
    handle = os.open(_PASSWD.with_name("pool_passwd.lock"), os.O_WRONLY | os.O_CREAT, 0o600)

    def taken() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    try:
        if not process.holds_within(taken, LOCK_S):
            raise Failed("busy", "Somebody else is changing Pgpool-II's passwords.")
        yield
    finally:
        os.close(handle)


# --- What it believes ----------------------------------------------------------------------------


def _attached(seen: Sequence[Backend]) -> frozenset[str]:
    return frozenset(backend.name for backend in seen if backend.status == "up")


def _overtaken(word: Assignment, primary: str) -> bool:
    """Whether this node was told of another primary since `word`, or has voted against this one."""
    now = state.read_assignment()
    if (now.role, now.term, now.upstream) == (word.role, word.term, word.upstream):
        return False
    return primary != (state.read_node().node if now.role is Role.PRIMARY else now.upstream)


def _leads_to(seen: Sequence[Backend], primary: str) -> bool:
    return any(b.name == primary and b.status == "up" and b.role == "primary" for b in seen)


def _said(seen: Sequence[Backend]) -> str:
    return ", ".join(f"{b.name} {b.status} as {b.role}" for b in seen) or "it does not answer"
