"""PostgreSQL's programs as commands, and what they print as values. Pure: it runs nothing.

Positions are integers of bytes (`pgha.commands.lsn`); every reader raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgha.commands.lsn import parse_lsn, show_lsn

PAGE_BYTES = 8192
# PostgreSQL 17, "WAL Internals"; src/include/access/xlog_internal.h: sizes of a page's header,
# the longer one on the first page of a segment.
SHORT_HEADER_BYTES, LONG_HEADER_BYTES = 24, 40

CLEAN_STATES = ("shut down", "shut down in recovery")


# --- quoting -------------------------------------------------------------------------------------


def quote_identifier(name: str) -> str:
    """A name as SQL takes it. Raises ValueError for what PostgreSQL would refuse or cut off."""
    if not name or "\0" in name:
        raise ValueError("A name must not be empty nor hold a zero byte.")
    if len(name.encode()) > 63:
        raise ValueError("A name has at most 63 bytes.")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A text as SQL takes it, whatever standard_conforming_strings says."""
    if "\0" in text:
        raise ValueError("A text must not hold a zero byte.")
    doubled = text.replace("'", "''")
    if "\\" not in doubled:
        return f"'{doubled}'"
    return "E'" + doubled.replace("\\", "\\\\") + "'"


def quote_setting(text: str) -> str:
    """A value as a configuration file takes it (PostgreSQL 17, "Setting Parameters")."""
    if "\n" in text or "\0" in text:
        raise ValueError("A setting is one line.")
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def conninfo(values: Mapping[str, str]) -> str:
    """`key='value'` pairs (PostgreSQL 17, "Connection Strings")."""
    return " ".join(
        f"{key}='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        for key, value in values.items()
    )


# --- configuration that depends on the role ------------------------------------------------------


def quorum(voters: Sequence[str], me: str) -> str:
    """`synchronous_standby_names` of a primary `me`: a majority of the voters, itself counted in.

    Empty where it is the only voter.
    """
    others = [name for name in voters if name != me]
    needed = (len(others) + 1) // 2
    if not needed:
        return ""
    return f"ANY {needed} ({', '.join(quote_identifier(name) for name in others)})"


def upstream_conninfo(*, address: str, port: int, user: str, passfile: str, me: str) -> str:
    """How this node connects to another one's PostgreSQL, for replication and for pg_rewind."""
    return conninfo(
        {
            "host": address,
            "port": str(port),
            "user": user,
            "passfile": passfile,
            "application_name": me,
            "connect_timeout": "2",
            # A host that vanished is noticed by these, not after the kernel's two hours.
            "keepalives_idle": "2",
            "keepalives_interval": "1",
            "keepalives_count": "3",
            "tcp_user_timeout": "5000",
        }
    )


def restore_command(directories: Sequence[str]) -> str:
    """A shell line that lays the first copy it finds at %p; sh, since it runs ten times a second
    while nothing is streamed."""
    words = " ".join('"' + d.replace('"', "") + '/%f"' for d in directories)
    return f'for f in {words}; do test -f "$f" && exec cp "$f" "%p"; done; exit 1'


def role_conf(*, primary_conninfo: str, slot: str, names: str, restore: str) -> str:
    """The text of role.conf.

    names: the quorum that the node has as a primary. It stands there on a standby as well, where it
    has no effect: so it is in force from a promotion's first moment, without a race between the
    checkpointer's reload and the first commit.
    """
    settings = {
        "primary_conninfo": primary_conninfo,
        "primary_slot_name": slot if primary_conninfo else "",
        "synchronous_standby_names": names,
        "restore_command": restore,
    }
    lines = [f"{key} = {quote_setting(value)}" for key, value in settings.items()]
    return "\n".join(["# Written by pgha's verbs; what depends on the node's role.", *lines, ""])


# --- pg_controldata ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ControlData:
    """What pg_controldata says. timeline: the highest one that it names.

    state: `in production`, `shut down`, `shut down in recovery`, `in archive recovery`, …
    """

    system_identifier: str
    state: str
    timeline: int
    checkpoint_lsn: int
    redo_lsn: int
    checkpoint_timeline: int
    minimum_lsn: int
    segment_bytes: int
    checksums: bool

    @property
    def clean(self) -> bool:
        """It was shut down, no crash."""
        return self.state in CLEAN_STATES

    @property
    def was_primary(self) -> bool:
        """Its last run was a primary's: what a standby leaves behind says `recovery`."""
        return self.state in ("shut down", "in production", "shutting down", "in crash recovery")


def parse_controldata(text: str) -> ControlData:
    """pg_controldata's output with LC_ALL=C. Raises ValueError where a line is missing."""
    found = dict(re.findall(r"^([^:\n]+):\s*(.*)$", text, re.MULTILINE))
    try:
        return ControlData(
            system_identifier=found["Database system identifier"],
            state=found["Database cluster state"],
            # A promotion ends without a checkpoint: until the next one, only the minimum recovery
            # point names the new timeline (src/backend/access/transam/xlog.c, end of recovery).
            timeline=max(
                int(found["Latest checkpoint's TimeLineID"]),
                int(found["Min recovery ending loc's timeline"]),
            ),
            checkpoint_lsn=parse_lsn(found["Latest checkpoint location"]),
            redo_lsn=parse_lsn(found["Latest checkpoint's REDO location"]),
            checkpoint_timeline=int(found["Latest checkpoint's TimeLineID"]),
            minimum_lsn=parse_lsn(found["Minimum recovery ending location"]),
            segment_bytes=int(found["Bytes per WAL segment"]),
            checksums=found["Data page checksum version"] != "0",
        )
    except KeyError as error:
        raise ValueError(f"pg_controldata says nothing of {error}") from error


# --- timelines -----------------------------------------------------------------------------------

History = tuple[tuple[int, int], ...]


def parse_history(text: str) -> History:
    """A timeline history file → (timeline, LSN where it was left), oldest first.

    PostgreSQL 17, "Timelines". Comments and empty lines are skipped; so is whatever stands before
    the number (psql prints the file's name there).
    """
    found = re.findall(
        r"^(?:[^|\n#]*\|)?\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)\b", text, re.MULTILINE
    )
    return tuple((int(timeline), parse_lsn(lsn)) for timeline, lsn in found)


def history_name(timeline: int) -> str:
    """The name of a timeline's history file."""
    return f"{timeline:08X}.history"


_NOT_USED = "number not used"


def placeholder_history(timeline: int) -> str:
    """A history file that takes a number out of use, for a standby on `timeline`.

    It names the standby's timeline and an LSN before all it has: so a standby looks at it, finds
    that the number left its own log in the past, and stays where it is.
    """
    return f"{timeline}\t{show_lsn(1)}\t{_NOT_USED}\n"


def is_placeholder(text: str) -> bool:
    """Whether a history file is one of those."""
    return text.rstrip().endswith(_NOT_USED)


# --- WAL -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """One record as pg_waldump prints it; total_bytes: without page headers and alignment."""

    lsn: int
    total_bytes: int
    switch: bool


_RECORD = re.compile(
    r"^rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]+/[0-9A-F]+), "
    r"prev [0-9A-F]+/[0-9A-F]+, desc: (\S*)"
)


def parse_waldump_line(line: str) -> Record | None:
    """A line of pg_waldump; None where it is no record."""
    match = _RECORD.match(line)
    if match is None:
        return None
    manager, total, lsn, what = match.groups()
    return Record(parse_lsn(lsn), int(total), manager == "XLOG" and what == "SWITCH")


def record_end(record: Record, segment_bytes: int) -> int:
    """The LSN right behind a record: what PostgreSQL says once it has replayed it.

    A record goes on behind the header of each page that it crosses, and its end is aligned to 8
    bytes. One that switches segments reaches to its segment's end.
    """
    if record.switch:
        return (record.lsn // segment_bytes + 1) * segment_bytes
    position, left = record.lsn, record.total_bytes
    while True:
        space = PAGE_BYTES - position % PAGE_BYTES
        if left <= space:
            return position + (left + 7) // 8 * 8
        left -= space
        position += space
        first = position % segment_bytes == 0
        position += LONG_HEADER_BYTES if first else SHORT_HEADER_BYTES


def valid_pages(segment: bytes, start: int) -> int:
    """How many pages from the beginning of a segment's bytes carry the address they should.

    start: the segment's LSN. Zeros and a recycled file's old pages end the count.
    """
    count = 0
    for offset in range(0, len(segment) - SHORT_HEADER_BYTES + 1, PAGE_BYTES):
        magic = int.from_bytes(segment[offset : offset + 2], "little")
        address = int.from_bytes(segment[offset + 8 : offset + 16], "little")
        if magic == 0 or address != start + offset:
            break
        count += 1
    return count


_SEGMENT = re.compile(r"^[0-9A-F]{24}(\.partial)?$")


def is_segment(name: str) -> bool:
    """Whether a file's name is a WAL segment's, complete or partial."""
    return _SEGMENT.match(name) is not None


# --- the programs --------------------------------------------------------------------------------


def initdb(bindir: str, data: str, *, user: str, provider: str, locale: str) -> tuple[str, ...]:
    """A new cluster. The password is set afterwards, in single-user mode."""
    words: tuple[str, ...]
    if provider == "builtin":
        # PostgreSQL 17, "Locale Providers": builtin, so that a new glibc cannot break an index.
        words = ("--locale-provider=builtin", f"--builtin-locale={locale}", "--locale=C")
    elif provider == "icu":
        words = ("--locale-provider=icu", f"--icu-locale={locale}", "--locale=C.UTF-8")
    else:
        words = ("--locale-provider=libc", f"--locale={locale}")
    return (
        f"{bindir}/initdb",
        f"--pgdata={data}",
        f"--username={user}",
        "--encoding=UTF8",
        "--data-checksums",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        *words,
    )


def postmaster(bindir: str, data: str, config: str) -> tuple[str, ...]:
    """The server with our configuration; in the foreground."""
    return (f"{bindir}/postgres", "-D", data, "-c", f"config_file={config}")


def single_user(bindir: str, data: str, config: str) -> tuple[str, ...]:
    """The server for one session on standard input, nobody else (crash recovery, first roles)."""
    return (
        f"{bindir}/postgres",
        "--single",
        "-D",
        data,
        "-c",
        f"config_file={config}",
        "-c",
        "archive_mode=off",
        # There is nobody who could confirm a commit.
        "-c",
        "synchronous_standby_names=",
        "-c",
        "log_min_error_statement=panic",
        "postgres",
    )


def psql(bindir: str, connection: str) -> tuple[str, ...]:
    """psql that reads SQL on standard input, stops at the first error and names it by SQLSTATE."""
    return (
        f"{bindir}/psql",
        "-X",
        "-q",
        "-A",
        "-t",
        "-w",
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "VERBOSITY=sqlstate",
        "-d",
        connection,
        "-f",
        "-",
    )


_SQLSTATE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5})\b")


def sqlstate(stderr: str) -> str:
    """The SQLSTATE of psql's last error; empty where there is none (it could not connect)."""
    found = _SQLSTATE.findall(stderr)
    return found[-1] if found else ""


def controldata(bindir: str, data: str) -> tuple[str, ...]:
    return (f"{bindir}/pg_controldata", "-D", data)


def waldump(
    bindir: str, directory: str, *, timeline: int, start: int, limit: int | None = None
) -> tuple[str, ...]:
    """Records from `start` on (the first one that begins there or later)."""
    words = ("--path", directory, "--timeline", str(timeline), "--start", show_lsn(start))
    return (f"{bindir}/pg_waldump", *words, *(("--limit", str(limit)) if limit else ()))


def receivewal(bindir: str, directory: str, *, connection: str, slot: str) -> tuple[str, ...]:
    """The witness's receiver. It ends when the connection does: who runs it starts it again, sooner
    than its own loop of five seconds would."""
    return (
        f"{bindir}/pg_receivewal",
        "--directory",
        directory,
        "--dbname",
        connection,
        "--slot",
        slot,
        "--synchronous",
        "--no-loop",
        "--no-password",
        "--status-interval=1",
    )


def basebackup(bindir: str, target: str, *, connection: str, slot: str | None) -> tuple[str, ...]:
    """A copy of a running primary, with the WAL that it needs; slot None: a temporary one. Whoever
    asked for it makes it durable."""
    return (
        f"{bindir}/pg_basebackup",
        "--pgdata",
        target,
        "--dbname",
        connection,
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-password",
        "--no-manifest",
        "--no-sync",
        "--verbose",
        *(("--slot", slot) if slot else ()),
    )


_BACKUP_END = re.compile(r"write-ahead log end point: ([0-9A-F]+/[0-9A-F]+)")


def backup_end(said: str) -> int | None:
    """Where the WAL of a base backup ends, by what pg_basebackup says (--verbose)."""
    found = _BACKUP_END.search(said)
    return parse_lsn(found[1]) if found else None


def rewind(
    bindir: str, data: str, *, config: str, connection: str, dry_run: bool
) -> tuple[str, ...]:
    """pg_rewind against a running primary; `-c` lets it read WAL by restore_command."""
    return (
        f"{bindir}/pg_rewind",
        "--target-pgdata",
        data,
        "--source-server",
        connection,
        "--config-file",
        config,
        "--restore-target-wal",
        # A crashed target was recovered by us before, without our standby.signal.
        "--no-ensure-shutdown",
        *(("--dry-run",) if dry_run else ()),
    )


def pgpass_line(host: str, port: int | str, database: str, user: str, password: str) -> str:
    """A line of a password file, with its end (PostgreSQL 17, "The Password File").

    `*` matches everything. Raises ValueError for what the file cannot hold.
    """
    fields = [host, str(port), database, user, password]
    if any(c in field for field in fields for c in "\n\r\0"):
        raise ValueError("A password file holds one line a password.")
    return ":".join(f.replace("\\", "\\\\").replace(":", "\\:") for f in fields) + "\n"
