"""SQL roles of users, on the primary. No password reaches a log: PostgreSQL gets a verifier, in a
session that logs and shows nothing of what it runs."""

from __future__ import annotations

from pgha.commands.postgres import quote_identifier, quote_literal
from pgha.node import postgres
from pgha.node.errors import Failed, Refused
from pgha.node.postgres import SqlFailed
from pgha.node.state import Node

MAX_OBJECTS = 20
SQL_S = 30.0

# No limit on statements: a cancelled one that waits for the quorum would be told as done.
_SILENT = """SET statement_timeout = 0;
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET log_min_duration_sample = -1;
SET log_transaction_sample_rate = 0;
SET log_duration = off;
SET track_activities = off;
"""

# PostgreSQL 17, "PostgreSQL Error Codes".
DUPLICATE_OBJECT, UNDEFINED_OBJECT, DEPENDENT_OBJECTS = "42710", "42704", "2BP01"
RESERVED_NAME = "42939"


def create(node: Node, name: str, password: str) -> str:
    """A login role. Raises Refused("exists"), Refused("name"), Refused("password")."""
    quoted, verifier = _name(node, name), verifier_of(password)
    try:
        _run(
            node,
            f"CREATE ROLE {quoted} LOGIN PASSWORD {quote_literal(verifier)};",
            _stored(name, verifier),
        )
    except SqlFailed as error:
        if error.sqlstate == DUPLICATE_OBJECT:
            raise Refused("exists", f"There is a role {name} already.") from error
        raise _other(error, name) from error
    return f"created the role {name}"


def set_password(node: Node, name: str, password: str) -> str:
    """Another password. Raises Refused("missing"), Refused("name"), Refused("password")."""
    quoted, verifier = _name(node, name), verifier_of(password)
    try:
        _run(
            node,
            f"ALTER ROLE {quoted} PASSWORD {quote_literal(verifier)};",
            _stored(name, verifier),
        )
    except SqlFailed as error:
        if error.sqlstate == UNDEFINED_OBJECT:
            raise Refused("missing", f"There is no role {name}.") from error
        raise _other(error, name) from error
    return f"changed the password of {name}"


def delete(node: Node, name: str) -> str:
    """Drop a role that owns nothing. Raises Refused: "reserved", "missing", "owns" (names up to 20
    of the objects, over all databases)."""
    _not_ours(node, name)
    quoted = _name(node, name)
    try:
        _run(
            node,
            f"DROP ROLE {quoted};",
            f"SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {quote_literal(name)});",
        )
    except SqlFailed as error:
        if error.sqlstate == UNDEFINED_OBJECT:
            raise Refused("missing", f"There is no role {name}.") from error
        if error.sqlstate == DEPENDENT_OBJECTS:
            raise Refused("owns", _owned(node, name)) from error
        raise _other(error, name) from error
    return f"deleted the role {name}"


def check(node: Node, name: str, expect: str) -> str:
    """Whether a role could be made (`absent`) or dropped (`free`); nothing is changed.

    Raises Refused: "exists"; "reserved", "missing", "owns".
    """
    _name(node, name)
    literal = quote_literal(name)
    there = postgres.sql(node, f"SELECT 1 FROM pg_roles WHERE rolname = {literal};") == ["1"]
    if expect == "absent":
        if there:
            raise Refused("exists", f"There is a role {name} already.")
        return f"there is no role {name} yet"
    _not_ours(node, name)
    if not there:
        raise Refused("missing", f"There is no role {name}.")
    depends = (
        "SELECT EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass"
        f" AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = {literal}));"
    )
    if postgres.sql(node, depends) == ["t"]:
        raise Refused("owns", _owned(node, name))
    return f"{name} owns nothing"


def _not_ours(node: Node, name: str) -> None:
    if name in (node.postgres_user, node.replication_user):
        raise Refused("reserved", f"{name} is the cluster's own: it cannot be deleted.")


def _stored(name: str, verifier: str) -> str:
    """Asks whether a role has this verifier."""
    return (
        f"SELECT rolpassword = {quote_literal(verifier)} FROM pg_authid"
        f" WHERE rolname = {quote_literal(name)};"
    )


def _run(node: Node, statement: str, check: str) -> None:
    """A statement, and a question to the catalog that must answer yes afterwards."""
    if postgres.sql(node, f"{_SILENT}{statement}\n{check}\n", timeout_s=SQL_S) != ["t"]:
        raise Failed("not-done", "The catalog does not say afterwards what it should.")


def _name(node: Node, name: str) -> str:
    if not postgres.runs_as_primary(node):
        raise Refused("not-primary", "Only the primary changes roles.")
    try:
        return quote_identifier(name)
    except ValueError as error:
        raise Refused("name", str(error)) from error


def verifier_of(password: str) -> str:
    """The verifier of a password; one that is a verifier already goes through."""
    if password.startswith("SCRAM-SHA-256$"):
        return password
    import secrets

    from pgha.commands import scram  # 10 ms that only passwords cost

    try:
        return scram.verifier(password, secrets.token_bytes(16))
    except ValueError as error:
        raise Refused("password", str(error)) from error


def _other(error: SqlFailed, name: str) -> Failed | Refused:
    if error.sqlstate == RESERVED_NAME:
        return Refused("reserved", f"PostgreSQL reserves the name {name}.")
    return error


def _owned(node: Node, name: str) -> str:
    """What a role owns or has rights on, as a sentence."""
    literal = quote_literal(name)
    mine = f"refobjid = (SELECT oid FROM pg_roles WHERE rolname = {literal})"
    try:
        # pg_shdepend: dbid 0 is what all databases share.
        databases = postgres.sql(
            node,
            "SELECT DISTINCT coalesce(d.datname, 'postgres') FROM pg_shdepend s"
            " LEFT JOIN pg_database d ON d.oid = s.dbid"
            f" WHERE s.refclassid = 'pg_authid'::regclass AND s.{mine} ORDER BY 1;\n",
        )
        found: list[str] = []
        for database in databases:
            found += postgres.sql(
                node,
                "SELECT pg_describe_object(classid, objid, objsubid) || CASE WHEN dbid = 0 THEN ''"
                " ELSE ' in database ' || current_database() END FROM pg_shdepend"
                " WHERE refclassid = 'pg_authid'::regclass AND dbid IN (0, (SELECT oid FROM"
                f" pg_database WHERE datname = current_database())) AND {mine}"
                f" ORDER BY 1 LIMIT {MAX_OBJECTS + 1};\n",
                database=database,
            )
    except SqlFailed:
        return f"{name} owns objects or has rights on some; they could not be listed."
    unique = list(dict.fromkeys(found))
    shown, more = unique[:MAX_OBJECTS], len(unique) > MAX_OBJECTS
    return f"{name} owns or has rights on: {', '.join(shown)}{' and more' if more else ''}."
