"""What one call of a command works with: the printer, the flags, and the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgha.tasks.passwords import ask, at_a_terminal

if TYPE_CHECKING:
    from pgha.cluster import Cluster
    from pgha.console import Printer
    from pgha.execute import Outcome
    from pgha.plan import Plan


@dataclass(frozen=True)
class How:
    """How a changing command goes about it. confirm: asked where something may be lost."""

    dry_run: bool
    confirm: Callable[[Plan], bool]


@dataclass(frozen=True)
class Session:
    """root: the directory below which env/ lies."""

    printer: Printer
    env: str | None
    dry_run: bool
    yes: bool
    root: Path

    @contextmanager
    def cluster(self) -> Iterator[Cluster]:
        """The cluster of `-e`. Raises Usage where its configuration is wrong."""
        from pgha.cluster import Cluster

        progress = self.printer.progress()
        with Cluster.load(
            self.env,
            cwd=self.root,
            listener=progress,
            observer=progress.ran,
            ask=ask if at_a_terminal() else None,
        ) as cluster:
            progress.debug = cluster.settings.debug
            yield cluster

    @property
    def how(self) -> How:
        return How(self.dry_run, (lambda plan: True) if self.yes else self.printer.confirm)


# What a task's function returns: the work, to be done with a session, which tells the exit code. So
# the function itself is no more than its flags.
Work = Callable[[Session], int]


def changes(operation: Callable[[Cluster, How], Outcome]) -> Work:
    """The work of a command that changes something: its plan with --dry-run, else what was done."""

    def work(session: Session) -> int:
        with session.cluster() as cluster:
            outcome = operation(cluster, session.how)
            if session.dry_run:
                session.printer.plan(outcome)
            else:
                session.printer.outcome(outcome)
        return 0

    return work


def root_of(env: str | None, cwd: Path, project: str | None) -> Path:
    """Where env/ is looked for: here, else where the tasks file is that Invoke found further up.

    Without this, a command in a subdirectory would silently work on the package's default
    environment and not on the project's.
    """
    if project is None or (cwd / "env").is_dir() or "/" in (env or ""):
        return cwd
    if env is not None and (cwd / env).exists():
        return cwd
    return Path(project) if (Path(project) / "env").is_dir() else cwd
