"""Making a node's data a beginning of another's log: rewind it, or copy it anew; initdb as well."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from pgha.commands import postgres as commands
from pgha.commands.lsn import is_beginning_of, segment_start, show_lsn
from pgha.node import aside, lead, paths, postgres, process, roles, upstream, wal
from pgha.node.errors import Failed, Refused
from pgha.node.report import Role
from pgha.node.state import Node, change, read_assignment, sync_directory, write_durably
from pgha.node.wal import SEGMENT_BYTES, End

INITDB_S = 120.0
REWIND_S = 3600.0
COPY_S = 24 * 3600.0
_FRESH = "a fresh cluster"
RECOVERY_S = 3600.0


# --- a new cluster -------------------------------------------------------------------------------


def initdb(node: Node, superuser_password: str, replication_password: str) -> str:
    """An empty data directory becomes a fresh cluster with its two roles, stopped. Passwords may be
    verifiers already.

    The roles are made in single-user mode: no follower exists yet that could confirm a commit, and
    no password is in any log. It is built beside and renamed: half a cluster is never in place.
    """
    lead.require_data_node(node)
    if postgres.has_data():
        if read_assignment().reason != _FRESH:
            raise Refused("has-data", "The data directory is not empty.")
        # An `init` that was cut off here: nobody was ever served from it.
        os.rename(paths.DATA, aside.new_directory(paths.VOLUME) / "pgdata")
    shutil.rmtree(paths.INCOMING_DATA, ignore_errors=True)
    words = commands.initdb(
        postgres.bindir(),
        str(paths.INCOMING_DATA),
        user=node.postgres_user,
        provider=node.locale_provider,
        locale=node.locale,
    )
    done = process.run(words, timeout_s=INITDB_S, dies_with_us=True)
    if done.status != 0:
        raise Failed("initdb", f"initdb failed: {done.last_line}")
    postgres.write_role_conf(node, None, ())
    words = commands.single_user(
        postgres.bindir(), str(paths.INCOMING_DATA), str(paths.POSTGRESQL_CONF)
    )
    done = process.run(
        words,
        timeout_s=INITDB_S,
        stdin=_roles(node, superuser_password, replication_password),
        dies_with_us=True,
    )
    # Single-user mode ends with 0 after an error as well: ask for the result.
    if done.status != 0 or "pgha-roles-made" not in done.stdout:
        raise Failed("initdb", "The first roles could not be made.")
    change(lambda a: replace(a, role=Role.FENCED, reason=_FRESH, position=None))
    _into_place()
    return _FRESH


def _roles(node: Node, superuser_password: str, replication_password: str) -> str:
    """One statement a line, as single-user mode reads them."""
    name = commands.quote_identifier(node.replication_user)
    super_verifier = roles.verifier_of(superuser_password)
    verifier = roles.verifier_of(replication_password)
    # PostgreSQL 17, "pg_rewind", Notes: what a role needs that is no superuser. pg_monitor: the
    # witness asks whether it streams.
    functions = (
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    )
    superuser = commands.quote_identifier(node.postgres_user)
    lines = [
        f"ALTER ROLE {superuser} PASSWORD {commands.quote_literal(super_verifier)}",
        f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD {commands.quote_literal(verifier)}",
        *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {name}" for f in functions),
        f"GRANT pg_monitor TO {name}",
        "SELECT 'pgha-roles' || '-made' FROM pg_roles"
        f" WHERE rolname = {commands.quote_literal(node.replication_user)}"
        " AND pg_has_role(rolname, 'pg_monitor', 'member')",
    ]
    return "\n".join([*lines, ""])


def _into_place() -> None:
    """pgdata.incoming becomes pgdata; it carries no configuration."""
    postgres.clear_configuration(paths.INCOMING_DATA)
    os.rename(paths.INCOMING_DATA, paths.DATA)
    sync_directory(paths.VOLUME)


# --- a base backup -------------------------------------------------------------------------------


def copy(node: Node, source: str) -> str:
    """The data directory becomes a fresh base backup of `source`; the old one is moved aside.

    The old server goes on until the backup is complete: one that fails has cost nothing. What it
    acknowledges meanwhile goes along. Raises Refused("primary"), Failed("copy").
    """
    lead.require_data_node(node)
    if postgres.runs_as_primary(node):
        raise Refused("primary", "PostgreSQL runs here as a primary: fence it first.")
    # A primary's timeline does not change; should it end as one, the backup fails.
    theirs = upstream.look(node, source)
    acknowledges = postgres.pid() is not None
    shutil.rmtree(paths.INCOMING_DATA, ignore_errors=True)
    words = commands.basebackup(
        postgres.bindir(),
        str(paths.INCOMING_DATA),
        # Under no node's name: what it streams is on no disk yet, and may be thrown away, but
        # pg_basebackup tells positions as a standby does, and they would count for the quorum.
        connection=postgres.connection_to(node, source, me="pgha"),
        # Our standby holds the slot while it runs; then a temporary one does.
        slot=None if acknowledges else node.me.slot,
    )
    done = process.run(words, timeout_s=COPY_S, dies_with_us=True)
    if done.status != 0:
        shutil.rmtree(paths.INCOMING_DATA, ignore_errors=True)
        raise Failed("copy", f"pg_basebackup failed: {done.last_line}")
    postgres.stop()
    if acknowledges:
        _carry_over(node, commands.backup_end(done.stderr), theirs)
    (paths.INCOMING_DATA / "standby.signal").touch()
    synced = process.run(("sync", "--file-system", str(paths.INCOMING_DATA)), timeout_s=COPY_S)
    if synced.status != 0:
        raise Failed("copy", f"The copy cannot be made durable: {synced.last_line}")
    moved = ""
    if paths.DATA.exists():
        directory = aside.new_directory(paths.VOLUME)
        os.rename(paths.DATA, directory / "pgdata")
        moved = f"; the old data is in {directory}"
    paths.REWINDING.unlink(missing_ok=True)
    change(
        lambda a: replace(
            a, role=Role.FENCED, upstream=None, reason=f"a fresh copy of {source}", position=None
        )
    )
    _into_place()
    aside.move_diverged(Path(node.archive), theirs.history, theirs.timeline)
    return f"a fresh copy of {source}{moved}"


def _carry_over(node: Node, copied_to: int | None, theirs: upstream.Upstream) -> None:
    """What the old server acknowledged after the backup's end stays on this node: a majority may be
    counted with it. The segments go into the new data, which replays them. They are made durable
    with that.

    Raises Failed("copy") where they cannot be had. The old data is in its place then: that server
    starts again, and once it does not run there is nothing to be carried over.
    """
    if copied_to is None:
        raise Failed("copy", "pg_basebackup did not say where its WAL ends.")
    try:
        end = wal.own_end(node)
        if end is None or end.lsn <= copied_to:
            return
        upstream.require_beginning(end, theirs)
        for name, file in wal.chain(paths.DATA / "pg_wal", end, copied_to):
            shutil.copyfile(file, paths.INCOMING_DATA / "pg_wal" / name)
    except Refused:
        return  # apart: it followed another one, and acknowledged nothing here
    except (Failed, OSError) as error:
        why = error.message if isinstance(error, Failed) else str(error)
        raise Failed(
            "copy", f"WAL that this node has acknowledged cannot be kept: {why}"
        ) from error


# --- pg_rewind -----------------------------------------------------------------------------------


def rewind(node: Node, source: str, check_only: bool) -> str:
    """The data directory becomes a beginning of the log of `source`, by pg_rewind.

    check_only: say whether that could work; nothing is touched. Raises Refused("primary"),
    Refused("cannot-rewind"), Failed("rewind").
    """
    lead.require_data_node(node)
    if postgres.runs_as_primary(node):
        raise Refused("primary", "PostgreSQL runs here as a primary: fence it first.")
    theirs = upstream.look(node, source)
    control = postgres.need_control()
    if control.system_identifier != theirs.system_identifier:
        raise Refused("cannot-rewind", f"{source} is another cluster's.")
    cut_off = paths.REWINDING.exists()
    try:
        end = wal.own_end(node) or End(control.timeline, control.checkpoint_lsn)
    except Failed:
        if not cut_off:
            raise
        # Half-way through, pg_wal is neither ours nor the source's: go by pg_control.
        end = End(control.timeline, control.checkpoint_lsn)
    if not cut_off and is_beginning_of(end.timeline, end.lsn, theirs.history, theirs.timeline):
        return "no rewind is required"
    apart = upstream.divergence(end, theirs)
    _require_possible(control, apart, cut_off)
    apart = apart or 0  # a rewind that was cut off has hidden it
    if check_only:
        if control.clean and postgres.pid() is None and (why := _dry_run(node, source)):
            raise Refused("cannot-rewind", why)
        return f"pg_rewind can work: the logs are one up to {show_lsn(apart)}"
    change(lambda a: replace(a, role=Role.FENCED, upstream=None, reason=f"rewinds to {source}"))
    postgres.stop()
    _recover(node)
    if why := _dry_run(node, source):
        # It may be the network, or the source's: who asks again may have more luck.
        raise Failed("rewind", why)
    kept = "" if cut_off else _keep_own_wal(node, end, apart, source)
    write_durably(paths.REWINDING, f"from {source}\n".encode())
    done = process.run(_words(node, source, dry_run=False), timeout_s=REWIND_S, dies_with_us=True)
    if done.status != 0:
        raise Failed("rewind", f"pg_rewind failed: {done.last_line}")
    postgres.become_standby_at_start()
    postgres.clear_configuration(paths.DATA)
    aside.move_diverged(Path(node.archive), theirs.history, theirs.timeline)
    change(
        lambda a: replace(
            a, role=Role.FENCED, upstream=None, reason=f"rewound to {source}", position=None
        )
    )
    paths.REWINDING.unlink()
    sync_directory(paths.VOLUME)
    return f"rewound to {source}, which it had left at {show_lsn(apart)}{kept}"


def _require_possible(control: commands.ControlData, apart: int | None, cut_off: bool) -> None:
    """What can be known without pg_rewind."""
    if not control.checksums:
        raise Refused("cannot-rewind", "The data has no checksums: changed pages are not known.")
    if apart is None and not cut_off:
        raise Refused("cannot-rewind", "The two logs have no timeline in common.")


def _recover(node: Node) -> None:
    """A clean shutdown for data that crashed, without serving anybody: pg_rewind needs it.

    standby.signal is out of the way for that moment; it is back before anybody else could start
    this data (the verb holds the node's lock, and main starts nothing that is fenced).
    """
    if postgres.need_control().clean:
        return
    paths.POSTMASTER_PID.unlink(missing_ok=True)
    (paths.DATA / "standby.signal").unlink(missing_ok=True)
    done = postgres.single_user("", timeout_s=RECOVERY_S)
    postgres.become_standby_at_start()
    if done.status != 0 or not postgres.need_control().clean:
        raise Failed("rewind", f"Crash recovery did not work: {done.last_line}")


def _words(node: Node, source: str, *, dry_run: bool) -> tuple[str, ...]:
    """pg_rewind with a configuration that finds WAL in the archive and in what was kept aside."""
    archive = Path(node.archive)
    kept = sorted(str(d) for d in (archive / "aside").glob("*") if d.is_dir())
    config = paths.RUN / "rewind.conf"
    restore = commands.restore_command((str(archive), *reversed(kept)))
    config.write_text(
        f"include {commands.quote_setting(str(paths.POSTGRESQL_CONF))}\n"
        f"restore_command = {commands.quote_setting(restore)}\n"
    )
    return commands.rewind(
        postgres.bindir(),
        str(paths.DATA),
        config=str(config),
        connection=upstream.database_connection(node, source),
        dry_run=dry_run,
    )


def _dry_run(node: Node, source: str) -> str:
    """Why pg_rewind does not work now; nothing where it would."""
    done = process.run(_words(node, source, dry_run=True), timeout_s=REWIND_S)
    return f"pg_rewind cannot work: {done.last_line}" if done.status != 0 else ""


def _keep_own_wal(node: Node, end: End, apart: int, source: str) -> str:
    """Copy the segments that reach beyond the divergence to the archive's volume, with a note."""
    archive = Path(node.archive)
    directory = aside.new_directory(archive)
    own = {end.timeline, *(timeline for timeline, _ in end.history)}
    files: list[Path] = []
    for file in sorted((paths.DATA / "pg_wal").iterdir()):
        if commands.is_segment(file.name):
            timeline, start = segment_start(file.name, SEGMENT_BYTES)
            if timeline in own and start + SEGMENT_BYTES > apart and start < end.lsn:
                files.append(file)
        elif file.name.endswith(".history"):
            files.append(file)
    try:
        for file in files:
            target = directory / file.name
            shutil.copyfile(file, target)
            with target.open("rb") as handle:
                os.fsync(handle.fileno())
        note = (
            f"WAL that only {node.node} had: timeline {end.timeline}, from {show_lsn(apart)} to"
            f" {show_lsn(end.lsn)}. It was rewound to {source}."
        )
        write_durably(directory / "NOTE", note.encode() + b"\n")
    except OSError as error:
        raise Failed(
            "disk", f"WAL that only this node has cannot be kept: {error.strerror}."
        ) from error
    return f"; WAL that only it had is kept in {directory}"
