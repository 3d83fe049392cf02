"""Progress of a Plan: a line for each step; beside what runs a spinner, at a terminal only."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from pgha.commands.base import Command
from pgha.console import GREEN, RED, animated, coloured, rich_console, seconds_shown
from pgha.execute import Listener, StepDone
from pgha.plan import Plan, Step

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from pgha.hosts import Result

# A spinner that turns ten times a second is smooth, and costs a hundredth of a core.
FRAMES_PER_SECOND = 10


class Progress(Listener):
    """Draws on `stream`; None: draws nothing, and remembers what was done.

    done and running are titles, for the account of an interrupted command. debug: each command that
    is run is shown. Steps of one stage start and finish in any order, in any thread.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.debug = False
        self._stream = stream
        self._lock = threading.RLock()
        self._done: list[str] = []
        self._running: dict[str, float] = {}
        self._said = ""
        self._moving: dict[str, tuple[int, int | None]] = {}
        self._width = 0
        self._live: Live | None = None
        self._closed = False

    @property
    def done(self) -> tuple[str, ...]:
        return tuple(self._done)

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(self._running)

    def planned(self, plan: Plan) -> None:
        titles = [len(step.title) for step in plan.steps]
        if titles:
            self._width = min(max(titles), max(self._columns - 16, 10))
            self._line(plan.title)

    def started(self, step: Step) -> None:
        with self._lock:
            self._running[step.title] = time.monotonic()
            self._animate()

    def finished(self, done: StepDone) -> None:
        with self._lock:
            title = done.step.title
            self._running.pop(title, None)
            self._done.append(title)
            self._said = ""
            self._line(f"  ✓ {title:{self._width}}  {seconds_shown(done.seconds):>8}", GREEN)

    def failed(self, step: Step) -> None:
        with self._lock:
            self._running.pop(step.title, None)
            self._said = ""
            self._line(f"  ✗ {step.title}", RED)

    def said(self, line: str) -> None:
        """A line from within a step: beside the spinner, without a terminal a line of its own."""
        with self._lock:
            self._said = line.strip()
            if self._stream is not None and (self.debug or not animated(self._stream)):
                self._line(f"    {self._said}")
            elif self._said:
                self._animate()

    def moved(self, name: str, sent_bytes: int, total_bytes: int | None) -> None:
        """A bar below the spinners, at a terminal only."""
        with self._lock:
            self._moving[name] = (sent_bytes, total_bytes)
            self._animate()

    def ran(self, place: str, command: Command, result: Result | None) -> None:
        """The observer of every command (DEBUG=1), before it and after it; secrets show as ***."""
        if not self.debug:
            return
        with self._lock:
            if result is None:
                self._line(f"    {place}$ {command.shown}")
            elif result.status:
                self._line(f"    {place}: {command.words[0]} ended with {result.status}")

    def close(self, *, failed: bool = False) -> None:
        """End the animation. failed: what was running is marked as failed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._live is not None:
                # Where the terminal is gone (SIGHUP) there is no cursor to give back.
                with contextlib.suppress(OSError):
                    self._live.stop()
                self._live = None
            if failed:
                for title in self._running:
                    self._line(f"  ✗ {title}", RED)

    @property
    def _columns(self) -> int:
        return shutil.get_terminal_size((80, 24)).columns

    def _line(self, line: str, style: str = "") -> None:
        """A line that stays, above the spinners; its mark alone is coloured."""
        if self._stream is None:
            return
        if style and coloured(self._stream):
            line = f"  \x1b[{style}m{line[2]}\x1b[0m{line[3:]}"
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(line), soft_wrap=True)
            return
        # Where the terminal is gone (SIGHUP) there is nobody to tell.
        with contextlib.suppress(OSError):
            print(line, file=self._stream, flush=True)

    def _animate(self) -> None:
        if self._live is not None or self._stream is None or not animated(self._stream):
            return
        if self._closed:
            return
        from rich.live import Live

        self._live = Live(
            console=rich_console(self._stream),
            get_renderable=self.view,
            refresh_per_second=FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def view(self) -> Group:
        """A line for each step that runs and the last that one said, cut to the terminal; a bar for
        each host that something is sent to."""
        from rich.console import Group
        from rich.text import Text

        now, lines = time.monotonic(), []
        frame = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * FRAMES_PER_SECOND) % 10]
        for title, since in tuple(self._running.items()):
            line = f"  {frame} {title:{self._width}}  {seconds_shown(now - since):>8}"
            lines.append(Text(line, no_wrap=True, overflow="ellipsis"))
        if self._said:
            lines.append(Text(f"    {self._said}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines, *self._bars())

    def _bars(self) -> Iterator[Table]:
        """How far each host is that has not got everything yet."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from pgha.status_view import size_shown

        moving = {n: (s, t) for n, (s, t) in sorted(self._moving.items()) if s != t}
        width = max(map(len, moving), default=0)
        for name, (sent, total) in moving.items():
            of = f" of {size_shown(total)}" if total else ""
            row = Table.grid(padding=(0, 1, 0, 0))
            row.add_row(
                Text(f"    {name:{width}}"),
                ProgressBar(total, sent, width=30),
                Text(f"{size_shown(sent)}{of}"),
            )
            yield row
