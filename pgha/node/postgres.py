"""The PostgreSQL server of this node: start, stop, ask. It decides nothing about roles."""

from __future__ import annotations

import signal
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.node import archive, paths, process
from pgha.node.errors import Failed, Refused
from pgha.node.process import Done
from pgha.node.state import Node, read_node, sync_directory, write_durably

LIBRARY = Path("/usr/lib/postgresql")

# Limits, seconds.
CONTROLDATA_S = 5.0
SQL_S = 10.0
FAST_STOP_S = 20.0
IMMEDIATE_STOP_S = 10.0
START_S = 120.0

ENDED = "PostgreSQL ended while it started; its log says why."


class SqlFailed(Failed):
    """PostgreSQL refused a statement; sqlstate is empty where it could not be reached."""

    def __init__(self, done: Done) -> None:
        self.sqlstate = commands.sqlstate(done.stderr)
        what = f"SQLSTATE {self.sqlstate}" if self.sqlstate else done.last_line
        super().__init__("sql", f"PostgreSQL said no: {what}.")


def bindir() -> str:
    """The programs of the data directory's major version, else of the newest one that is there."""
    try:
        version = (paths.DATA / "PG_VERSION").read_text().strip()
    except OSError:
        versions = sorted(int(d.name) for d in LIBRARY.glob("[0-9]*") if d.name.isdigit())
        version = str(versions[-1]) if versions else "17"
    return str(LIBRARY / version / "bin")


def has_data() -> bool:
    return (paths.DATA / "PG_VERSION").exists()


def pid() -> int | None:
    """The living postmaster's process; None where none is."""
    number = process.read_pid(paths.POSTMASTER_PID)
    return number if process.runs(number, "postgres") else None


def accepting() -> bool:
    """Whether the postmaster says that it takes connections (postmaster.pid, line 8)."""
    try:
        lines = paths.POSTMASTER_PID.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def started_since(file: Path) -> bool:
    """Whether the postmaster was started in a later second than that file was written in, and so
    has read it as it is (postmaster.pid, line 3)."""
    try:
        return int(paths.POSTMASTER_PID.read_text().splitlines()[2]) > file.stat().st_mtime
    except (OSError, ValueError, IndexError):
        return False


def in_recovery_by_file() -> bool:
    return (paths.DATA / "standby.signal").exists()


def control(timeout_s: float = CONTROLDATA_S) -> commands.ControlData | None:
    """pg_control; None where there is no data directory, or pg_controldata says that it is none.

    Raises Failed("control") where that program takes too long, or does not come to say anything
    (there is no memory for it): nothing is known then.
    """
    done = process.run(
        commands.controldata(bindir(), str(paths.DATA)),
        timeout_s=timeout_s,
        env={"LC_ALL": "C"},
    )
    if done.status not in (0, 1) and has_data():
        raise Failed("control", f"pg_control could not be read: {done.last_line}.")
    try:
        return commands.parse_controldata(done.stdout) if done.status == 0 else None
    except ValueError:
        return None


def need_control() -> commands.ControlData:
    found = control()
    if found is None:
        raise Refused("no-data", "This node has no data directory that could be read.")
    return found


# --- start and stop ------------------------------------------------------------------------------


def launch() -> None:
    """Start the postmaster, unless it runs; it may not take connections yet.

    Raises Refused("rewinding") where a rewind was cut off: such data is neither old nor new.
    """
    if pid() is not None:
        return
    require_whole()
    found = need_control()
    archive.drop_incoming(Path(read_node().archive))
    if in_recovery_by_file():
        _drop_unused_numbers(found.timeline)
    # Numbers of processes come again in a container: one that is alive but no postmaster of ours
    # would make PostgreSQL believe that it runs already. Its socket has such a file as well, not in
    # a volume: it is still there when a container that was killed starts again.
    for stale in (paths.POSTMASTER_PID, *paths.SOCKETS.glob(".s.PGSQL.*.lock")):
        stale.unlink(missing_ok=True)
    words = commands.postmaster(bindir(), str(paths.DATA), str(paths.POSTGRESQL_CONF))
    for _ in range(3):
        server = process.spawn(words)
        process.holds_within(lambda s=server: s.poll() is not None or pid() == s.pid, 10.0)  # type: ignore[misc]
        if pid() == server.pid:
            return
        # Children of a postmaster that was killed hold its shared memory for a moment, and the new
        # one ends at once.
        if not titles() or not process.holds_within(lambda: not titles(), 5.0):
            break
    raise Failed("start", ENDED)


def _drop_unused_numbers(timeline: int) -> None:
    """Take away history files that a promotion laid for numbers between, and that lead nowhere,
    since it was cut off: a standby that starts takes the last number of an unbroken row for its
    target, and does not start where that is no child of its own (PostgreSQL 17, "Timelines";
    src/backend/access/transam/timeline.c). The next promotion lays its own.
    """
    directories = (paths.DATA / "pg_wal", Path(read_node().archive))
    unused: list[Path] = []
    number = timeline + 1
    while files := [
        file for d in directories if (file := d / commands.history_name(number)).exists()
    ]:
        if all(commands.is_placeholder(file.read_text()) for file in files):
            unused += files
        else:
            unused = []
        number += 1
    for file in unused:
        file.unlink()
    for directory in {file.parent for file in unused}:
        sync_directory(directory)


def require_whole() -> None:
    """Raises Refused("rewinding") where a rewind was cut off."""
    if paths.REWINDING.exists():
        raise Refused("rewinding", "A rewind was cut off here: rewind or copy again first.")


def titles() -> dict[int, str]:
    """The postmaster's children and what they call themselves (`postgres: walreceiver …`). Where no
    postmaster runs: those that a dead one left."""
    found: dict[int, str] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            words = process.program_of(int(directory.name))
            if words and words[0].startswith("postgres: "):
                found[int(directory.name)] = words[0]
    return found


def start(timeout_s: float = START_S) -> None:
    """Start it and wait until it takes connections. Raises Failed("start")."""
    launch()
    ended = process.holds_within(lambda: accepting() or pid() is None, timeout_s)
    if pid() is None:
        raise Failed("start", ENDED)
    if not ended:
        raise Failed("start", f"PostgreSQL takes no connections after {timeout_s:g} s.")


def stop(fast_s: float = FAST_STOP_S) -> str:
    """End it: fast, and where that takes longer than fast_s, immediate. How it ended.

    A session that waits for the quorum gets no success from either: in a fast shutdown PostgreSQL
    warns, and closes the connection without a command tag (src/backend/replication/syncrep.c;
    tests/integration/test_verbs.py tries it).
    """
    number = pid()
    if number is None:
        return "was not running"
    process.send(number, signal.SIGINT)
    if process.holds_within(lambda: pid() is None, fast_s):
        return "fast"
    process.send(number, signal.SIGQUIT)
    if process.holds_within(lambda: pid() is None, IMMEDIATE_STOP_S):
        return "immediate"
    process.send(number, signal.SIGKILL)
    # Its children see that it is gone and end; one that is stalled does not.
    if process.holds_within(lambda: pid() is None, IMMEDIATE_STOP_S):
        if not process.holds_within(lambda: not titles(), 1.0):
            for child in titles():
                process.send(child, signal.SIGKILL)
        if process.holds_within(lambda: not titles(), IMMEDIATE_STOP_S):
            return "killed"
    raise Failed("stop", "PostgreSQL does not end.")


def quit_primary() -> bool:
    """Have a running primary shut down immediately, without waiting for it (SIGQUIT: PostgreSQL 17,
    "Shutting Down the Server"). Whether there was one.

    For a node that was asleep, or whose agent was: another primary may be at work since then, and
    the next reader would be shown what is no longer true. Nothing quicker can be done.
    """
    number = pid()
    if number is None or in_recovery_by_file():
        return False
    process.send(number, signal.SIGQUIT)
    return True


def reload() -> None:
    number = pid()
    if number is not None:
        process.send(number, signal.SIGHUP)


def become_standby_at_start() -> None:
    """Lay standby.signal, durably: from now on a start is a standby's."""
    if not in_recovery_by_file():
        write_durably(paths.DATA / "standby.signal", b"")


def single_user(text: str, timeout_s: float = START_S) -> Done:
    """One session of the stopped server, for nobody else; one statement a line."""
    words = commands.single_user(bindir(), str(paths.DATA), str(paths.POSTGRESQL_CONF))
    return process.run(words, timeout_s=timeout_s, stdin=text, dies_with_us=True)


# --- configuration of the role -------------------------------------------------------------------


def write_role_conf(node: Node, upstream: str | None, voters: tuple[str, ...]) -> bool:
    """role.conf for a follower of `upstream`, or of nobody; whether it was another text before."""
    text = commands.role_conf(
        primary_conninfo=connection_to(node, upstream) if upstream else "",
        slot=node.me.slot,
        names=quorum(node, voters),
        restore=commands.restore_command((f"{node.archive}/incoming", node.archive)),
    )
    try:
        if paths.ROLE_CONF.read_text() == text:
            return False
    except OSError:
        pass
    write_durably(paths.ROLE_CONF, text.encode(), mode=0o600)
    return True


def quorum(node: Node, voters: tuple[str, ...]) -> str:
    """Our synchronous_standby_names as a primary; voters empty: every node."""
    if not node.quorum_commit:
        return ""
    return commands.quorum(voters or tuple(m.name for m in node.nodes), node.node)


def connection_to(node: Node, name: str, *, me: str = "") -> str:
    """The connection to another node's PostgreSQL, as the replication user. me: what we are called
    there, where that is not our node's name: by that a stream of WAL counts for the quorum."""
    return commands.upstream_conninfo(
        address=node.member(name).address,
        port=node.pgport,
        user=node.replication_user,
        passfile=str(paths.PGPASS),
        me=me or node.node,
    )


# --- SQL -----------------------------------------------------------------------------------------


def sql(
    node: Node,
    text: str,
    *,
    timeout_s: float = SQL_S,
    database: str = "postgres",
    replication: bool = False,
) -> list[str]:
    """Run SQL as the superuser over the socket; the lines of the answer. Raises SqlFailed.

    replication: over a connection that takes replication commands as well.
    """
    values = {
        "host": str(paths.SOCKETS),
        "port": str(node.pgport),
        "user": node.postgres_user,
        "dbname": database,
        "application_name": "pgha",
        "connect_timeout": "2",
    }
    if replication:
        values["replication"] = "database"
    return _psql(commands.conninfo(values), text, timeout_s)


def ask(connection: str, text: str, *, timeout_s: float = 3.0) -> list[str]:
    """The same over the network, to another node."""
    return _psql(connection, text, timeout_s)


def _psql(connection: str, text: str, timeout_s: float) -> list[str]:
    limit = f"-c statement_timeout={max(1, int(timeout_s * 1000) - 100)}"
    done = process.run(
        commands.psql(bindir(), connection),
        timeout_s=timeout_s,
        stdin=text,
        env={"PGOPTIONS": limit},
    )
    if done.status != 0:
        raise SqlFailed(done)
    return [line for line in done.stdout.split("\n") if line]


def in_recovery(node: Node) -> bool:
    """Whether the running server is a standby. Raises SqlFailed."""
    return sql(node, "SELECT pg_is_in_recovery();", timeout_s=2.0) == ["t"]


def runs_as_primary(node: Node) -> bool:
    """Whether it runs and could take a write now or in a moment. A server that does not answer
    counts as one unless it was started as a standby."""
    if pid() is None:
        return False
    try:
        return not in_recovery(node)
    except SqlFailed:
        return not in_recovery_by_file()


def clear_configuration(data: Path) -> None:
    """Take away what initdb left of configuration: without it nobody starts this node by hand. The
    file of ALTER SYSTEM stays, empty: it would win over ours."""
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        (data / name).unlink(missing_ok=True)
    (data / "postgresql.auto.conf").write_bytes(b"")
    sync_directory(data)
