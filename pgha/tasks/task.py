"""ClusterTask: an Invoke task that ends with our exit codes, one sentence, and no traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import termios
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from pgha.errors import PghaError, Usage
from pgha.tasks.interrupts import Interrupted, catching
from pgha.tasks.invocation import Invocation
from pgha.tasks.leaving import will_end_with
from pgha.tasks.parsing import ClusterArgument, alone

if TYPE_CHECKING:
    from pgha.console import Printer
    from pgha.tasks.session import Session, Work

# Short flags are ours to give: Invoke would deal them out by the order of the arguments.
SHORT = {"env": "e", "force": "f"}

HELP = {
    "env": "Environment: env/NAME.env, or a path (else PGHA_ENV, else env/default.env).",
    "dry-run": "Print the plan with its commands, and change nothing.",
    "yes": "Go on without asking where something may be lost.",
    "json": "Print one JSON document on standard output, and nothing else.",
}


class ClusterTask(Task[Callable[..., Any]]):
    """One of our tasks: its flags are the same everywhere, and how it ends is the contract's.

    path: its name in our collection (`user.create`). trailing: the argument that may follow the
    positional ones without its flag.
    """

    def __init__(
        self, body: Callable[..., Any], *, path: str, trailing: str, help: dict[str, Any]
    ) -> None:
        name = path.rpartition(".")[2]
        super().__init__(body, name=name, auto_shortflags=False, help=help)
        self.path, self.trailing = path, trailing

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        opts = super().arg_opts(name, default, taken_names)
        if name in SHORT:
            opts["names"] = [*opts["names"], SHORT[name]]
        return opts

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Any]:
        # Invoke takes texts out of `help` as it reads them: the second reader would find none.
        texts = self.help.copy()
        try:
            arguments = super().get_arguments(ignore_unknown_help)
        finally:
            self.help = texts
        return [
            ClusterArgument.of(each, self.path, trailing=each.name == self.trailing)
            for each in arguments
        ]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it. Raises invoke.exceptions.Exit with the code, unless that is 0."""
        from pgha.console import Printer

        given = dict(zip(self.argspec(self.body).parameters, args[1:], strict=False))
        flags = {**self._defaults(), **given, **kwargs}
        invocation = Invocation.of(self.path, flags)
        will_end_with(None)
        with catching():
            code = self._ended(Printer(invocation), invocation, *args, **kwargs)
        # Where other tasks follow a success, the code is theirs to say.
        will_end_with(code if code or alone() else None)
        if code:
            raise Exit(code=code)

    def _ended(self, printer: Printer, invocation: Invocation, *args: Any, **kwargs: Any) -> int:
        """Do the work, say how it ended, and with which exit code."""
        try:
            return self._said(printer, invocation, *args, **kwargs)
        except OSError:
            if not _terminal_is_gone():
                raise
            _reader_went_away()
            return 1

    def _said(self, printer: Printer, invocation: Invocation, *args: Any, **kwargs: Any) -> int:
        try:
            _mind_the_caller(args[0], invocation)
            work: Work = super().__call__(*args, **kwargs)
            code = work(_session(args[0], invocation, printer))
            printer.flush()
            return code
        except PghaError as error:
            printer.error(error)
            return error.exit_code
        except Interrupted:
            printer.interrupted()
            return 1
        except BrokenPipeError:
            _reader_went_away()
            return 1
        except Exception as error:
            if isinstance(error, OSError) and _terminal_is_gone():
                raise
            printer.unexpected(_kept(error), error)
            return 1

    def _defaults(self) -> dict[str, Any]:
        parameters = self.argspec(self.body).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}


def cluster_task(
    path: str, *, trailing: str = "", help: dict[str, str] | None = None
) -> Callable[[Callable[..., Any]], ClusterTask]:
    """Make a function a task. help: the texts of the flags that it alone has."""

    def made(body: Callable[..., Any]) -> ClusterTask:
        code = body.__code__
        names = code.co_varnames[1 : code.co_argcount]
        shared = {k: v for k, v in HELP.items() if k.replace("-", "_") in names}
        return ClusterTask(body, path=path, trailing=trailing, help={**shared, **(help or {})})

    return made


def _mind_the_caller(context: object, invocation: Invocation) -> None:
    """Raise Usage where Invoke or Fabric would run something else than what was meant."""
    fabric = sys.modules.get("fabric")
    if fabric is not None and isinstance(context, fabric.Connection):
        raise Usage(
            f"{invocation.called_as} is about a whole cluster, whose hosts it finds by itself: "
            "it does not run once for each host of -H.",
            next=invocation.again(),
        )
    takes_env = "env" in invocation.flags
    if takes_env and invocation.env is None and _run_config(context).get("echo"):
        raise Usage(
            "No environment was given, and Invoke's echo is on: that is what `-e` means before the "
            "command's name. Ours goes behind it.",
            next=f"{invocation.again()} -e NAME",
        )


def _session(context: object, invocation: Invocation, printer: Printer) -> Session:
    """`inv --dry failover` and `-R` mean --dry-run: Invoke's own would run our tasks for real."""
    from pgha.tasks.session import Session, root_of

    flags = invocation.flags
    project = getattr(cast(Context, context).config, "_project_prefix", None)
    return Session(
        printer,
        env=invocation.env,
        dry_run=bool(flags.get("dry_run") or _run_config(context).get("dry")),
        yes=bool(flags.get("yes")),
        root=root_of(invocation.env, Path.cwd(), project if isinstance(project, str) else None),
    )


def _run_config(context: object) -> dict[str, object]:
    config = cast(Context, context).config
    return dict(config.get("run", {}))


def _terminal_is_gone() -> bool:
    """Whether we were shown at a terminal that hung up: each write to it fails (EIO) from then on,
    which is no defect of ours."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                return True
    return False


def _reader_went_away() -> None:
    """Whoever reads our output has enough (`| head`): Python's last flush must not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def _kept(error: Exception) -> str:
    """The file with the traceback of an error that should not be; "" where none was written."""
    try:
        handle, path = tempfile.mkstemp(prefix="pgha-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return path
