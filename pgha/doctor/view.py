"""`doctor` for people: a line a finding, and under what is not fine its remedy."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgha.doctor.findings import Checkup, Level

MARKS = {Level.FINE: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.WRONG: ("✗", "bold red")}


def print_checkup(checkup: Checkup, typed: Callable[[str], str], console: Console) -> None:
    """Print the whole answer. typed: a command as this operator types it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for column in ("mark", "check", "where"):
        table.add_column(column, no_wrap=True)
    table.add_column("what", overflow="fold")
    for finding in checkup.findings:
        mark, style = MARKS[finding.level]
        table.add_row(Text(mark, style=style), finding.check, finding.where, Text(finding.message))
    console.print(table, soft_wrap=not console.is_terminal)
    console.print()
    console.print(Text(checkup.summary, style="bold"), soft_wrap=True)
    for finding in checkup.findings:
        if finding.level is not Level.FINE:
            where = f"{finding.where}: " if finding.where else ""
            mark, style = MARKS[finding.level]
            line = Text.assemble(
                (f"  {mark} ", style), f"{finding.check}, {where}{finding.message}"
            )
            console.print(line, soft_wrap=not console.is_terminal)
            # A command that is broken into two lines cannot be copied.
            remedy = Text(f"→ {typed(finding.remedy)}", style="bold")
            console.print(Padding(remedy, (0, 0, 0, 4)), soft_wrap=True)
