"""`history` for people: a table, oldest first, and under it what the records do not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pgha.commands.lsn import show_lsn
from pgha.console import seconds_shown
from pgha.events import Event, Kind
from pgha.history import History
from pgha.journal import Who

STYLES = {
    Kind.FAILOVER: "bold",
    Kind.LOST: "yellow",
    Kind.STEPPED_DOWN: "yellow",
    Kind.PASSED_OVER: "yellow",
    Kind.FENCED: "yellow",
    Kind.ENDED: "yellow",
}
HEADERS = ("time (UTC)", "event", "timeline", "LSN", "writes out", "asked by", "what")
# What a terminal that is too narrow goes without, in this order; `--json` always has it.
FIRST_TO_GO = ("LSN", "timeline", "asked by")
# The sentence is folded; it needs this much to be read.
SENTENCE = 32
GAP = 2
# What was not observed; never zero.
UNKNOWN = "?"


def print_history(history: History, console: Console) -> None:
    """Print the whole answer."""
    if not history.events:
        console.print(f"{history.cluster}: the nodes' records tell of nothing.", soft_wrap=True)
    else:
        console.print(_table(history.events, console.width), soft_wrap=not console.is_terminal)
    for note in history.notes:
        console.print(Text(note), soft_wrap=not console.is_terminal)


def _table(events: Sequence[Event], columns: int) -> Table:
    rows = [row(event) for event in events]
    names = list(HEADERS)
    for name in FIRST_TO_GO:
        if _width(names, rows) > columns:
            names.remove(name)
    if "asked by" not in names:
        rows = [{**cells, "what": _with_asker(cells)} for cells in rows]
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            name,
            justify="right" if name in ("timeline", "writes out") else "left",
            no_wrap=name != "what",
            overflow="fold",
        )
    for event, cells in zip(events, rows, strict=True):
        style = STYLES.get(event.kind, "")
        table.add_row(
            *(Text(cells[name], style=style if name == "event" else "") for name in names)
        )
    return table


def row(event: Event) -> dict[str, str]:
    """An event's cells, by header. `?` is what is not known, "" what it does not have."""
    moved = event.kind is Kind.FAILOVER
    return {
        "time (UTC)": event.at.strftime("%Y-%m-%d %H:%M:%S"),
        "event": event.kind.value,
        "timeline": "" if event.timeline is None else str(event.timeline),
        "LSN": show_lsn(event.lsn) if event.lsn is not None else UNKNOWN if moved else "",
        "writes out": _out(event, UNKNOWN if moved else ""),
        "asked by": asked_by(event),
        "what": event.text,
    }


def _with_asker(cells: Mapping[str, str]) -> str:
    """Who asked is what one looks for first: it stays, without a column of its own."""
    asker = cells["asked by"]
    return f"{cells['what']} (asked by {asker})" if asker else cells["what"]


def _out(event: Event, unknown: str) -> str:
    if event.out_s is None:
        return unknown
    return f"{'≤ ' if event.at_most else ''}{seconds_shown(event.out_s)}"


def asked_by(event: Event) -> str:
    """`vote`, or `user@host: command`."""
    by = event.by
    if by is None or by.who is Who.NODE:
        return ""
    if by.who is Who.AGENT:
        return "vote"
    return f"{by.operator}: {by.command}" if by.command else by.operator


def _width(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> int:
    """The columns that the table takes at least."""
    widest = [
        SENTENCE if name == "what" else max(len(name), *(len(cells[name]) for cells in rows))
        for name in names
    ]
    return sum(widest) + GAP * (len(names) - 1)
