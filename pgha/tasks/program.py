"""The console script `pgha`: Invoke's Program over our collection, with our exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from invoke.config import Config
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext
from invoke.program import Program

from pgha.tasks import namespace
from pgha.tasks.leaving import leave
from pgha.tasks.parsing import WrongUsage

# Invoke's own flags that mean something here. The others stay, since Program reads them, but lose
# their short names: `-e` and `-f` are ours, behind the command.
SHOWN = ("complete", "dry", "help", "list", "print-completion-script", "version")


class PghaConfig(Config):
    """No file and no variable of Invoke's changes what `pgha` does."""

    prefix = "pgha"


class PghaProgram(Program):
    """Parse errors end with 2, as wrong usage does everywhere."""

    def create_config(self) -> None:
        self.config = PghaConfig(lazy=True)
        self.config.merge()

    def core_args(self) -> list[Argument]:
        arguments = super().core_args()
        for argument in arguments:
            if argument.names[0] not in SHOWN:
                argument.names = argument.names[:1]
            if argument.names[0] == "dry":
                argument.help = "The same as --dry-run behind the command."
            if argument.names[0] == "list":
                argument.help = "List the commands."
        return arguments

    def print_help(self) -> None:
        print("Usage: pgha COMMAND [--flags]\n       pgha --help COMMAND\n")
        print("Options:\n")
        shown = [a for a in self.core_args() if a.names[0] in SHOWN and a.names[0] != "complete"]
        self.print_columns(ParserContext(args=shown).help_tuples())
        self.list_tasks()

    def task_list_opener(self, extra: str = "") -> str:
        return "Commands"

    def parse_core(self, argv: list[str] | None) -> None:
        with _wrong_usage():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        with _wrong_usage():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        try:
            with _wrong_usage():
                super().parse_cleanup()
        except WrongUsage:
            # A line that is half typed (a quote still open) is nobody's mistake, and no candidate.
            if self.args.complete.value:
                raise Exit from None
            raise


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """What Invoke finds wrong with the words of the command line is wrong usage: 2."""
    try:
        yield
    except WrongUsage:
        raise
    except (ParseError, ValueError) as error:
        raise WrongUsage(str(error), "pgha --help") from None
    except Exit as end:
        if end.message:
            raise WrongUsage(end.message, "pgha --help") from None
        raise


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pgha")
    except PackageNotFoundError:  # a checkout that was not installed
        return "unknown"


class _Version(str):
    """Asked for when it is printed: looking it up costs what `--list` should not."""

    def __format__(self, spec: str) -> str:
        return _version()


program = PghaProgram(
    version=_Version("pgha"),
    namespace=namespace,
    name="pgha",
    binary="pgha",
    binary_names=["pgha"],
)


def main() -> None:
    """The console script."""
    if sys.argv:
        sys.argv[0] = "pgha"
    try:
        program.run()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
        raise


if __name__ == "__main__":
    main()
