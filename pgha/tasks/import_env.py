"""`import-env`: the `env.sh` of a db_ctl.sh user becomes an env file of ours."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from pgha.errors import Usage
from pgha.tasks.session import Session, Work
from pgha.tasks.task import cluster_task

if TYPE_CHECKING:
    from pgha.import_env import Imported
    from pgha.placing import Placed

NAMELESS = "imported"


@cluster_task(
    "import-env",
    help={
        "file": "db_ctl.sh's file, such as etc/env.sh.",
        "into": "NAME of the env/NAME.env that is written (else the file's COMPOSE_PROJECT_NAME, "
        f"else {NAMELESS}).",
        "single": "Write MODE=single, for one machine; else it is MODE=ha, as db_ctl.sh's hosts.",
        "force": "Move another env/NAME.env aside, with a time stamp; nothing is deleted.",
        "dry-run": "Print the file with its passwords masked, and write nothing.",
    },
)
def import_env(
    c: Context,
    file: str,
    into: str | None = None,
    single: bool = False,
    force: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Make db_ctl.sh's env.sh an env file of ours.

    import-env FILE: nothing in FILE is run, and no cluster is asked. What only a shell could read
    is refused, with its line; what is no variable of ours is named, and left out.
    """
    if file.startswith("-"):
        raise Usage(f"A file does not begin with «-»: {file} would be a flag.")
    if into is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", into):
        raise Usage(
            "--into takes the NAME of an env/NAME.env: letters, digits, and inner '-', '_', '.'."
        )

    def work(session: Session) -> int:
        from pgha.import_env import imported
        from pgha.placing import Occupied, place
        from pgha.settings import file_text

        found = imported(file_text(Path(file), _shown(file)), source=_shown(file), single=single)
        name = into or found.values.get("COMPOSE_PROJECT_NAME") or NAMELESS
        target = Path("env") / f"{name.removesuffix('.env')}.env"
        if session.root != Path.cwd():
            target = session.root / target
        try:
            placed = place(
                target,
                found.text(),
                stamp=datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"),
                force=force,
                dry_run=session.dry_run,
            )
        except Occupied as occupied:
            occupied.details = ("-f moves it aside; --into NAME writes another one.",)
            occupied.next = session.printer.caller.again("-f")
            raise
        _show(session, found, placed, target)
        return 0

    return work


def _show(session: Session, found: Imported, placed: Placed, target: Path) -> None:
    printer = session.printer
    title = _title(placed, target, dry_run=session.dry_run)
    notes = [printer.caller.typed(note) for note in found.notes()]
    if printer.caller.as_json:
        text = {"text": found.text(masked=True)} if session.dry_run else {}
        printer.document(
            {
                "ok": True,
                "dry_run": session.dry_run,
                "title": title,
                "file": str(target),
                "changed": placed.changed,
                "aside": str(placed.aside) if placed.aside else None,
                "variables": list(found.values),
                "unknown": [{"name": each.name, "line": each.line} for each in found.unknown],
                "notes": notes,
                **text,
            }
        )
        return
    if session.dry_run:
        print(found.text(masked=True), file=printer.out)
    for line in (title, *notes):
        printer.say(line)
    if not session.dry_run:
        printer.say(f"→ {printer.caller.typed(f'inv init --dry-run -e {target.stem}')}")


def _title(placed: Placed, target: Path, *, dry_run: bool) -> str:
    if not placed.changed:
        return f"{target} is there already, as it should be."
    if dry_run:
        aside = f", and what is there moved to {placed.aside}" if placed.aside else ""
        return f"{target} would be written{aside}. Nothing was changed."
    aside = f", and what was there moved to {placed.aside}" if placed.aside else ""
    return f"{target} is written{aside}."


def _shown(file: str) -> str:
    """A file's name, which need not be text."""
    return file.encode(errors="backslashreplace").decode()
