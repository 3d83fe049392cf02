"""The verbs: everything that can be done to this node, by its agent or by an operator over SSH.

Each takes named arguments, can be run twice, and gives a sentence. `run` holds the node's lock for
those that change something, writes the journal, and takes the report afterwards.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgha.commands.lsn import parse_lsn
from pgha.node import fetch as wal_transfer
from pgha.node import follow as following
from pgha.node import (
    hold,
    lead,
    paths,
    prepare,
    probe,
    rebuild,
    records,
    roles,
    state,
    tend,
)
from pgha.node.errors import Failed, VerbError
from pgha.node.lock import LOCK_S, locked
from pgha.node.report import to_json

SOON_S = 0.5


class Args:
    """A verb's arguments as text or JSON; every reader raises Failed("usage") for what is missing
    or does not fit."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.pop(key, default)
        if not isinstance(value, str):
            raise Failed("usage", f"{key}= is missing or is no text.")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values.pop(key, default)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise Failed("usage", f"{key}= is missing or is no number.") from error

    def term(self) -> int:
        value = self.number("term")
        if value != int(value) or not 0 < value < 0xFFFFFFFF:
            raise Failed("usage", "term= is a whole number from 1 on.")
        return int(value)

    def lsn(self, key: str) -> int | None:
        value = self._values.pop(key, None)
        if value in (None, ""):
            return None
        try:
            return int(value) if isinstance(value, int) else parse_lsn(str(value))
        except ValueError as error:
            raise Failed("usage", f"{key}= is no LSN.") from error

    def names(self, key: str) -> tuple[str, ...]:
        value = self._values.pop(key, "")
        parts = value if isinstance(value, list) else str(value).split(",")
        return tuple(str(p) for p in parts if p)

    def flag(self, key: str) -> bool:
        return str(self._values.pop(key, "false")).lower() in ("true", "1", "yes", "on")

    def only(self, known: Sequence[str]) -> None:
        """Refuse what nobody asks for, before anything is done: a misspelt `lsn` is not none."""
        unknown = sorted(self._values.keys() - set(known))
        if unknown:
            raise Failed("usage", f"Unknown arguments: {', '.join(unknown)}.")


@dataclass(frozen=True)
class Verb:
    """do: does it, gives a sentence. takes: its arguments' names. locks: it changes something.
    light: its report leaves out Pgpool-II and the disks, since clients wait for it. door: it is
    about Pgpool-II alone, whose lock is another one: it goes beside PostgreSQL's verbs."""

    do: Callable[[Args], str]
    takes: str = ""
    locks: bool = True
    light: bool = False
    door: bool = False


def _initdb(args: Args) -> str:
    return rebuild.initdb(state.read_node(), args.text("superuser"), args.text("replication"))


def _serve(args: Args) -> str:
    return lead.serve(state.read_node(), args.term(), args.names("voters"))


def _revive(args: Args) -> str:
    return lead.revive(state.read_node(), args.term())


def _follow(args: Args) -> str:
    return following.follow(
        state.read_node(), args.text("upstream"), args.term(), args.number("timeout_s", 50.0)
    )


def _fence(args: Args) -> str:
    return lead.fence(
        state.read_node(),
        args.text("reason", "fenced"),
        args.number("checkpoint_s", 60.0),
        args.number("kill_after_s", 10.0),
        args.text("to", "") or None,
    )


def _vote(args: Args) -> str:
    return following.vote(state.read_node(), args.term(), args.text("for"))


def _confirm(args: Args) -> str:
    return lead.confirm(state.read_node(), args.term(), args.number("wait_s", 0.5))


def _close(args: Args) -> str:
    from pgha.node import pgpool

    pgpool.close()
    return "Pgpool-II is stopped until a primary is heard"


def _fetch(args: Args) -> str:
    return wal_transfer.fetch(state.read_node(), args.text("source"))


def _promote(args: Args) -> str:
    return lead.promote(state.read_node(), args.term(), args.lsn("lsn"), args.names("voters"))


def _rewind(args: Args) -> str:
    return rebuild.rewind(state.read_node(), args.text("upstream"), args.flag("check"))


def _copy(args: Args) -> str:
    return rebuild.copy(state.read_node(), args.text("upstream"))


def _admit(args: Args) -> str:
    return lead.admit(state.read_node(), args.text("node"))


def _steer(args: Args) -> str:
    from pgha.node import pgpool

    primary, up = args.text("primary"), args.names("up")
    state.change(lambda a: replace(a, doors=True))
    pgpool.steer(primary, up)
    return f"Pgpool-II sends writes to {primary}"


def _halt(args: Args) -> str:
    from pgha.node import pgpool

    services = args.text("services")
    if services not in ("doors", "all"):
        raise Failed("usage", "services= is `doors` or `all`.")
    unsaid = state.try_change(lambda a: replace(a, doors=False))
    reason = args.text("reason", "stopped by an operator")
    did = "; ".join(filter(None, ("Pgpool-II is stopped", unsaid)))
    try:
        pgpool.stop()
    finally:
        # Trouble with the one must not keep the other running.
        if services == "all":
            did += "; " + lead.halt(state.read_node(), reason)
    return did


def _hand_out(args: Args) -> str:
    lsn, timeline = args.lsn("from"), int(args.number("timeline"))
    wal_transfer.hand_out(state.read_node(), timeline, lsn or 0, sys.stdout.buffer)
    return ""


def _user_create(args: Args) -> str:
    return roles.create(state.read_node(), args.text("name"), args.text("password"))


def _user_password(args: Args) -> str:
    return roles.set_password(state.read_node(), args.text("name"), args.text("password"))


def _user_check(args: Args) -> str:
    name, expect = args.text("name"), args.text("expect")
    if expect not in ("absent", "free"):
        raise Failed("usage", "expect= is `absent` or `free`.")
    return roles.check(state.read_node(), name, expect)


def _user_delete(args: Args) -> str:
    return roles.delete(state.read_node(), args.text("name"))


def _door_user_set(args: Args) -> str:
    from pgha.node import pgpool

    name = args.text("name")
    pgpool.door_user_set(name, args.text("password"))
    return f"Pgpool-II knows {name}"


def _door_user_drop(args: Args) -> str:
    from pgha.node import pgpool

    name = args.text("name")
    pgpool.door_user_drop(name)
    return f"Pgpool-II does not know {name}"


def _prepare(args: Args) -> str:
    keys = ("stamp", "directories", "files")
    return prepare.prepare({key: args._values.pop(key, None) or [] for key in keys})


# What only these two need is imported by them: no other verb waits for it.


def _survey(args: Args) -> str:
    from pgha.node.survey import survey

    return json.dumps(survey(args.text("root"), list(args.names("paths")))) + "\n"


def _ports(args: Args) -> str:
    from pgha.node.ports import ports

    listen, peers = (args._values.pop(key, None) or [] for key in ("listen", "peers"))
    return json.dumps(ports(args.text("name"), listen, peers, args.number("limit_s"))) + "\n"


VERBS: Mapping[str, Verb] = {
    "probe": Verb(lambda args: "", locks=False),
    "initdb": Verb(_initdb, "superuser replication"),
    "serve": Verb(_serve, "term voters", light=True),
    "revive": Verb(_revive, "term", light=True),
    "follow": Verb(_follow, "upstream term timeout_s", light=True),
    "fence": Verb(_fence, "reason to checkpoint_s kill_after_s", light=True),
    "vote": Verb(_vote, "term for", light=True),
    "confirm": Verb(_confirm, "term wait_s", locks=False, light=True),
    "hold": Verb(
        lambda args: hold.take(args.text("reason", "")), "reason", locks=False, light=True
    ),
    "release": Verb(lambda args: hold.release(), locks=False, light=True),
    "stand_by": Verb(lambda args: following.stand_by(state.read_node()), light=True),
    "fetch": Verb(_fetch, "source", light=True),
    "promote": Verb(_promote, "term lsn voters", light=True),
    "rewind": Verb(_rewind, "upstream check"),
    "copy": Verb(_copy, "upstream"),
    "admit": Verb(_admit, "node", light=True),
    "steer": Verb(_steer, "primary up", door=True),
    "close": Verb(_close, door=True, light=True),
    "halt": Verb(_halt, "services reason"),
    "tend": Verb(lambda args: tend.tend(state.read_node()), light=True),
    "shutdown": Verb(lambda args: tend.shutdown(state.read_node(), 100.0), locks=False, light=True),
    "sql_user_create": Verb(_user_create, "name password", locks=False, light=True),
    "sql_user_password": Verb(_user_password, "name password", locks=False, light=True),
    "sql_user_check": Verb(_user_check, "name expect", locks=False, light=True),
    "sql_user_delete": Verb(_user_delete, "name", locks=False, light=True),
    "door_user_set": Verb(_door_user_set, "name password"),
    "door_user_drop": Verb(_door_user_drop, "name"),
    "complete": Verb(lambda args: prepare.complete()),
}
# These answer with something else than a report, and run where no node is yet.
RAW: Mapping[str, Callable[[Args], str]] = {
    "hand_out": _hand_out,
    "journal": lambda args: records.journal(),
    "ports": _ports,
    "prepare": lambda args: json.dumps({"ok": True, "did": _prepare(args)}) + "\n",
    "survey": _survey,
}


def run(name: str, values: Mapping[str, Any], *, report: bool = True) -> tuple[int, dict[str, Any]]:
    """Do a verb: (exit code, the answer). Raises nothing that a node can cause. report: what is
    true afterwards, which the node's own agent does not need."""
    verb = VERBS.get(name)
    if verb is None:
        return 1, {"ok": False, "code": "usage", "error": f"There is no verb {name}."}
    args = Args(values)
    by, why = args.text("by", ""), args.text("why", "")
    offline, full = args.flag("offline"), args.text("report", "") == "full"
    began = time.monotonic()
    answer: dict[str, Any]
    code = 0
    try:
        args.only(verb.takes.split())
        file = paths.DOOR_LOCK if verb.door else paths.LOCK
        # Whom an agent fences may have been passed over: it does not wait its turn for long.
        wait_s = SOON_S if (name, by) == ("fence", "agent") else LOCK_S
        lock = locked(name, wait_s, file) if verb.locks else contextlib.nullcontext()
        with hold.at_work(), lock:
            answer = {"ok": True, "did": verb.do(args)}
    except VerbError as error:
        code, answer = error.exit_code, {"ok": False, "code": error.code, "error": error.message}
    except OSError as error:
        # A full or read-only disk: said as what it is, with what is true now.
        where = f"{error.filename}: " if error.filename else ""
        code, answer = 1, {"ok": False, "code": "system", "error": f"{where}{error.strerror}"}
    if name not in ("probe", "hold", "release"):
        _note(name, by, why, values, answer, time.monotonic() - began)
    answer["seconds"] = round(time.monotonic() - began, 4)
    hold.renew()
    if report and name not in ("hold", "release"):
        light = verb.light and not full
        answer["report"] = to_json(probe.probe(offline=offline, light=light))
    return code, answer


def _note(
    name: str,
    by: str,
    why: str,
    values: Mapping[str, Any],
    answer: Mapping[str, Any],
    seconds: float,
) -> None:
    """A line in the journal; nothing that came on standard input stands in it."""
    public = (
        "term",
        "upstream",
        "source",
        "primary",
        "up",
        "node",
        "lsn",
        "reason",
        "to",
        "for",
        "voters",
    )
    state.journal(
        {
            "verb": name,
            "by": by,
            **({"why": why} if why else {}),
            "args": {key: values[key] for key in public if key in values},
            "result": answer.get("did") or f"{answer['code']}: {answer['error']}",
            "seconds": round(seconds, 3),
        }
    )
