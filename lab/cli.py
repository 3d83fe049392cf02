"""The words of `bin/lab`: parsed, called, printed. What goes wrong is said as `inv` says it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from lab.lab import Lab, Standing
from lab.layout import FEWEST, MOST
from pgha.console import rich_console, seconds_shown
from pgha.errors import PghaError
from pgha.tasks.interrupts import Interrupted, catching

_NAME_HELP = "which lab, where there are several"
# Each fault's words behind its name, and what it is.
_FAULTS = {
    "kill": ("NODE", "dead at once, as without power"),
    "pause": ("NODE", "stalled: its network answers, none of its processes does"),
    "isolate": ("NODE", "no link: its address is gone"),
    "silence": ("NODE", "the link is there, and every packet vanishes, both ways"),
    "cut": ("A B", "packets between two hosts vanish (--one-way: from A to B only)"),
    "restart": ("NODE", "rebooted, in order"),
    "heal": ("[NODE]", "every fault of a host, or of all, is undone"),
}


def main(words: Sequence[str]) -> int:
    """Run one command; its exit code, as in README."""
    parsed = _parser().parse_args(words)
    try:
        with catching():
            run: Callable[[argparse.Namespace], int] = parsed.run
            return run(parsed)
    except PghaError as error:
        _complain(error)
        return error.exit_code
    except Interrupted:
        _complain(PghaError("Interrupted: the same command again finishes the work."))
        return 1


def _complain(error: PghaError) -> None:
    for line in (error.message, *(f"  {detail}" for detail in error.details)):
        print(line, file=sys.stderr)
    if error.next:
        print(f"→ {error.next}", file=sys.stderr)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _lab(parsed: argparse.Namespace) -> Lab:
    return Lab(parsed.name, report=_say)


def _up(parsed: argparse.Namespace) -> int:
    began = time.monotonic()
    lab = _lab(parsed)
    changed = lab.up(parsed.hosts)
    took = f" ({seconds_shown(time.monotonic() - began)})" if changed else ""
    _say(f"The lab «{lab.name}» is up{took}: {parsed.hosts} hosts, a registry, {_env(lab)}.")
    _say(f"→ inv build -e {lab.name} && inv init -e {lab.name}")
    return 0


def _env(lab: Lab) -> str:
    return f"env/{lab.files.env.name}"


def _down(parsed: argparse.Namespace) -> int:
    lab = _lab(parsed)
    was = lab.down()
    _say(f"The lab «{lab.name}» is gone." if was else f"There is no lab «{lab.name}».")
    return 0


def _status(parsed: argparse.Namespace) -> int:
    _table(_lab(parsed).status())
    return 0


def _table(rows: Sequence[Standing]) -> None:
    from rich.table import Table

    table = Table("host", "state", "address", "faults", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.host, row.state, row.address, row.faults)
    rich_console(sys.stdout).print(table)


def _ssh(parsed: argparse.Namespace) -> int:
    command = _lab(parsed).ssh(parsed.node, *parsed.words)
    os.execvp(command.words[0], command.words)


def _fault(parsed: argparse.Namespace) -> int:
    lab, kind = _lab(parsed), parsed.kind
    if kind == "cut":
        lab.cut(parsed.a, parsed.b, one_way=parsed.one_way)
        how = f"hears nothing of {parsed.a}" if parsed.one_way else f"and {parsed.a} are cut apart"
        _say(f"{parsed.b} {how}.")
        return 0
    verb: Callable[[str | None], None] = getattr(lab, kind)
    verb(parsed.node)
    done = {"heal": "healed", "kill": "dead", "pause": "paused", "isolate": "isolated"}
    done |= {"silence": "silent", "restart": "up again"}
    _say(f"{parsed.node or 'Every host'} is {done[kind]}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/lab",
        description="Docker hosts on this machine, to learn the tool on, and to break."
        " docs/lab.md has more.",
    )
    parser.add_argument("--name", default="lab", help=_NAME_HELP)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    up = _command(commands, "up", _up, "make the hosts, a registry and env/NAME.env")
    up.add_argument("--hosts", type=int, default=3, help=f"{FEWEST} to {MOST}; default: 3")
    _command(commands, "down", _down, "remove the lab and all that is in it")
    _command(commands, "status", _status, "show each host and its faults")
    ssh = _command(commands, "ssh", _ssh, "sign on to a host, or run a command there")
    ssh.add_argument("node", metavar="NODE")
    ssh.add_argument("words", metavar="WORD", nargs=argparse.REMAINDER)
    fault = commands.add_parser("fault", help="break a host or a link, and heal it")
    _named(fault)
    kinds = fault.add_subparsers(metavar="FAULT", required=True)
    for kind, (shown, text) in _FAULTS.items():
        each = _command(kinds, kind, _fault, text)
        each.set_defaults(kind=kind)
        if kind == "cut":
            each.add_argument("a", metavar="A")
            each.add_argument("b", metavar="B")
            each.add_argument("--one-way", action="store_true", help="only from A to B")
        else:
            optional = "?" if shown.startswith("[") else None
            each.add_argument("node", metavar="NODE", nargs=optional)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    _named(command)
    command.set_defaults(run=run)
    return command


def _named(parser: argparse.ArgumentParser) -> None:
    # Wherever it stands it counts: the default is the outermost parser's.
    parser.add_argument("--name", default=argparse.SUPPRESS, help=_NAME_HELP)
