"""What people and programs see: errors, plans, outcomes, questions, JSON.

Text for people goes to stderr; what was asked for (a table, a plan, a JSON document) to stdout.
Rich is imported where a table or an animation is drawn: an error must not wait for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from pgha.errors import PghaError, Refused

if TYPE_CHECKING:
    from rich.console import Console

    from pgha.doctor.findings import Checkup
    from pgha.execute import Outcome
    from pgha.history import History
    from pgha.plan import Plan, Step
    from pgha.progress import Progress
    from pgha.state import ClusterState
    from pgha.status_view import StatusLike

BOLD, RED, GREEN, DIM = "1", "31;1", "32", "2"

# Without a terminal a table is as wide as it needs to be: who pipes it wants whole lines.
UNLIMITED = 400
FALLBACK_COLUMNS = 80


class Caller(Protocol):
    """How the operator called us (`pgha.tasks.invocation`)."""

    @property
    def as_json(self) -> bool: ...

    @property
    def task(self) -> str: ...

    def typed(self, text: str) -> str:
        """A command, or a sentence with commands, as this operator types them."""

    def again(self, *more: str) -> str:
        """The same command once more, with more flags."""


def animated(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which lines can be drawn again."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "")


def coloured(stream: TextIO) -> bool:
    """No colour where the output is no terminal, and none where NO_COLOR is set (no-color.org)."""
    return animated(stream) and not os.environ.get("NO_COLOR")


def rich_console(stream: TextIO) -> Console:
    """A Rich console that is as plain as the stream demands, whatever FORCE_COLOR says."""
    from rich.console import Console

    terminal = animated(stream)
    return Console(
        file=stream,
        force_terminal=terminal,
        no_color=not coloured(stream),
        highlight=False,
        emoji=False,
        markup=False,
        width=None if terminal else UNLIMITED,
    )


def seconds_shown(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Printer:
    """Prints for one call of one command."""

    def __init__(
        self, caller: Caller, *, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.caller = caller
        self.out, self.err = _open(out or sys.stdout), _open(err or sys.stderr)
        self._progress: Progress | None = None
        for stream in (self.out, self.err):
            # A terminal that knows no «✓» shows a «?»: no reason to fail.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")

    # Answers, on stdout

    def document(self, document: Mapping[str, object]) -> None:
        text = json.dumps(document, ensure_ascii=not _knows_unicode(self.out))
        print(text, file=self.out, flush=True)

    def status(self, status: StatusLike) -> None:
        if self.caller.as_json:
            self.document(self._with_typed_remedies(status.as_dict()))
            return
        from pgha.status_view import print_status

        print_status(status, self.caller.typed, rich_console(self.out))

    def checkup(self, checkup: Checkup) -> None:
        if self.caller.as_json:
            document = checkup.as_dict()
            for finding in document["findings"]:
                finding["remedy"] = finding["remedy"] and self.caller.typed(finding["remedy"])
            self.document(document)
            return
        from pgha.doctor.view import print_checkup

        print_checkup(checkup, self.caller.typed, rich_console(self.out))

    def history(self, history: History) -> None:
        if self.caller.as_json:
            self.document(history.as_dict())
            return
        from pgha.history_view import print_history

        print_history(history, rich_console(self.out))

    @contextlib.contextmanager
    def watching(self) -> Iterator[Callable[[StatusLike], None]]:
        """Shows one status after the other: in place at a terminal, below one another elsewhere."""
        if not animated(self.out):
            yield self.status
            return
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        from pgha.status_view import status_view

        console = rich_console(self.out)
        live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

        def show(status: StatusLike) -> None:
            view = status_view(status, self.caller.typed, columns=console.width)
            foot = Text(time.strftime("%H:%M:%S, every second; Ctrl-C ends it"), style="dim")
            live.update(Group(view, Text(), foot), refresh=True)

        live.start()
        try:
            yield show
        finally:
            # Where the terminal is gone (SIGHUP) there is no cursor to give back.
            with contextlib.suppress(OSError):
                live.stop()

    def plan(self, outcome: Outcome) -> None:
        """What a dry run found would be done."""
        plan = outcome.plan
        if self.caller.as_json:
            self.document(plan_document(plan, outcome.state, self.caller))
            return
        for line in plan_lines(plan, outcome.state, self.caller):
            print(self._paint(line, BOLD if line == plan.title else "", self.out), file=self.out)

    # News, on stderr

    def outcome(self, outcome: Outcome) -> None:
        """What a changing command came to; its steps were shown by `progress`."""
        self.quieten()
        if self.caller.as_json:
            self.document(outcome_document(outcome, self.caller))
            return
        if not outcome.done:
            self.say(sentence(outcome.plan.title))
        else:
            self.say(f"Done in {seconds_shown(outcome.seconds)}.", GREEN)
        for note in outcome.plan.notes:
            self.say(self.caller.typed(note))

    def error(self, error: PghaError) -> None:
        """One sentence, its details as lines, and the command that helps."""
        self.quieten(failed=True)
        next, details = self.caller.typed(error.next), tuple(map(self.caller.typed, error.details))
        if self.caller.as_json:
            self.document(
                {
                    "ok": False,
                    "error": self.caller.typed(error.message),
                    "next": next,
                    "exit_code": error.exit_code,
                    "details": list(details),
                }
            )
            return
        self.say(self.caller.typed(error.message), RED)
        for detail in details:
            for line in detail.splitlines() or ("",):
                self.say(f"  {line}")
        if next:
            self.say(f"→ {next}", BOLD)

    def interrupted(self) -> None:
        """Ctrl-C or a signal: what was done, and that the same command finishes the work."""
        done = self._progress.done if self._progress else ()
        running = self._progress.running if self._progress else ()
        error = PghaError("Interrupted: nothing was changed.")
        if done or running:
            error = PghaError(
                "Interrupted: the same command again finishes the work.",
                next=self.caller.again(),
                details=(
                    *(f"Done before: {title}." for title in done),
                    *(f"Cut off: {title}." for title in running),
                ),
            )
        elif self.caller.task == "status":
            error = PghaError("Interrupted.")
        self.error(error)

    def unexpected(self, kept_in: str, error: Exception) -> None:
        """An error that should not be: a defect of ours, whose traceback is in a file."""
        where = f"; please report it with {kept_in}" if kept_in else "; please report it"
        self.error(PghaError(f"A defect of pgha ({type(error).__name__}){where}."))
        if os.environ.get("DEBUG") == "1":
            import traceback

            print("".join(traceback.format_exception(error)), file=self.err)

    def progress(self) -> Progress:
        """The listener that shows each step; with --json it keeps what was done, and is silent."""
        from pgha.progress import Progress

        stream = None if self.caller.as_json else self.err
        self._progress = Progress(stream)
        return self._progress

    def confirm(self, plan: Plan) -> bool:
        """Ask before something may be lost. Raises Refused on a no, or where nobody is there."""
        self.quieten()
        yes = self.caller.again("--yes")
        if not (sys.stdin and sys.stdin.isatty() and self.err.isatty()):
            raise Refused(
                f"{sentence(plan.loses)} Nothing was changed: there is no terminal to ask at, and "
                "--yes was not given.",
                next=yes,
            )
        self.say(f"{plan.title}.")
        self.say(sentence(plan.loses), RED)
        print("Go on? [y/N] ", end="", file=self.err, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("That was no yes; nothing was changed.", next=yes)
        return True

    def say(self, line: str, style: str = "") -> None:
        """A line for people. A sentence is wrapped where the terminal ends, a command never."""
        if self.err.isatty() and not line.startswith("→"):
            indent = "  " if line.startswith("  ") else ""
            line = textwrap.fill(
                line,
                _columns(),
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        # Where the terminal is gone (SIGHUP) there is nobody to tell.
        with contextlib.suppress(OSError):
            print(self._paint(line, style, self.err), file=self.err, flush=True)

    def quieten(self, *, failed: bool = False) -> None:
        """End the animation; with `failed` the steps that were running are marked."""
        if self._progress is not None:
            self._progress.close(failed=failed)

    def flush(self) -> None:
        self.quieten()
        self.out.flush()

    def _paint(self, line: str, style: str, stream: TextIO) -> str:
        return f"\x1b[{style}m{line}\x1b[0m" if style and coloured(stream) else line

    def _with_typed_remedies(self, document: Mapping[str, object]) -> dict[str, object]:
        problems = document.get("problems")
        if not isinstance(problems, list | tuple):
            return dict(document)
        typed = [{**p, "remedy": self.caller.typed(str(p.get("remedy") or ""))} for p in problems]
        return {**document, "problems": typed}


def sentence(words: str) -> str:
    """A title as a sentence: with one full stop."""
    return words if words.endswith((".", "!", "?")) else f"{words}."


def plan_lines(plan: Plan, state: ClusterState, caller: Caller) -> Iterator[str]:
    """A Plan for people: title, numbered stages with their steps and commands, notes."""
    if not plan.stages:
        yield sentence(plan.title)
        yield from map(caller.typed, plan.notes)
        yield "Nothing was changed."
        return
    yield plan.title
    for number, stage in enumerate(plan.stages, 1):
        if len(stage) == 1:
            yield f"{number:3}. {stage[0].title}"
            yield from _command_lines(stage[0], state, "       ")
            continue
        yield f"{number:3}. at once:"
        for step in stage:
            yield f"     - {step.title}"
            yield from _command_lines(step, state, "         ")
    if plan.loses:
        yield sentence(plan.loses)
    yield from map(caller.typed, plan.notes)
    yield "Nothing was changed."


def _command_lines(step: Step, state: ClusterState, indent: str) -> Iterator[str]:
    """`node-0$ pgha-node …` in a container, `host$ docker …` on its host, secrets masked."""
    from pgha.plan import Verb

    in_container = isinstance(step.action, Verb)
    hosts = {node.name: node.host for node in state.nodes}
    for node, command in step.placed(state):
        where = node if in_container else hosts.get(node, node)
        yield f"{indent}{where}$ {command.shown}"


def plan_document(plan: Plan, state: ClusterState, caller: Caller) -> dict[str, object]:
    return {
        "ok": True,
        "dry_run": True,
        "title": plan.title,
        "loses": plan.loses,
        "notes": [caller.typed(note) for note in plan.notes],
        "steps": [
            {
                "title": step.title,
                "node": step.node,
                "stage": number,
                "commands": [command.shown for command in step.commands(state)],
                "seconds": None,
            }
            for number, stage in enumerate(plan.stages, 1)
            for step in stage
        ],
        "seconds": None,
    }


def outcome_document(outcome: Outcome, caller: Caller) -> dict[str, object]:
    return {
        "ok": True,
        "title": outcome.plan.title,
        "notes": [caller.typed(note) for note in outcome.plan.notes],
        "steps": [
            {"title": d.step.title, "node": d.step.node, "seconds": round(d.seconds, 3)}
            for d in outcome.done
        ],
        "seconds": round(outcome.seconds, 3),
    }


def _open(stream: TextIO | None) -> TextIO:
    """A stream that was closed before we started (`>&-`) takes everything and shows nothing."""
    return stream or open(os.devnull, "w", encoding="utf-8")


def _knows_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _columns() -> int:
    return max(shutil.get_terminal_size((FALLBACK_COLUMNS, 24)).columns, 20)
