"""What Invoke's parser gets wrong for us, put right where one of our tasks is meant, nowhere else.

Invoke ends with 1 on a parse error, which says "failed on the way" in our contract; it hands `-e`
to the last of several tasks alone; it takes a flag of its own behind our task's name (`start -f F`
would read an Invoke configuration); it has no optional positional argument. There is no hook for
any of it (Invoke 2.2.1, `Program.run` and `Parser`): `Parser.parse_argv` and `ParseMachine.handle`
are wrapped. The wrappers look for arguments of our own class and leave every other task alone.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from invoke.exceptions import Exit, ParseError
from invoke.parser import parser as invoke_parser
from invoke.parser.argument import Argument

from pgha.tasks.invocation import program_name, remember_name

if TYPE_CHECKING:
    from invoke.parser.context import ParserContext

# Invoke's flags that mean nothing of ours and change a run when given behind our task's name.
FOREIGN = ("config", "collection", "search-root")

# Flags of ours that some type before the command's name.
BEHIND = (
    "-e",
    "--env",
    "-f",
    "--force",
    "--yes",
    "--json",
    "--dry-run",
    "--to",
    "--node",
    "--into",
)


class ClusterArgument(Argument):
    """An argument of one of our tasks; `task` is that task's own name."""

    task: str = ""
    trailing: bool = False

    @classmethod
    def of(cls, argument: Argument, task: str, *, trailing: bool = False) -> ClusterArgument:
        """trailing: it may also stand without its flag, behind the positional arguments."""
        made = cls(
            names=argument.names,
            kind=argument.kind,
            default=argument.default,
            help=argument.help,
            positional=argument.positional,
            attr_name=argument.attr_name,
        )
        made.task, made.trailing = task, trailing
        return made

    def __repr__(self) -> str:
        """As Invoke's sentences show it: «Flag --env needed value»."""
        return f"--{self.names[0]}"


class WrongUsage(ParseError, Exit):
    """A parse error that ends Invoke's program with 2: `Program.run` takes an Exit's code first."""

    def __init__(self, sentence: str, next: str, context: ParserContext | None = None) -> None:
        ParseError.__init__(self, sentence, context)
        self.sentence, self.next = sentence, next
        self.message, self._code = None, 2

    def __str__(self) -> str:
        return f"{self.sentence}\n→ {self.next}" if self.next else self.sentence


def task_of(context: ParserContext | None) -> str:
    """Our task's own name; "" where the context is none of ours."""
    if context is None or not context.name:
        return ""
    found = (a.task for a in context.args.values() if isinstance(a, ClusterArgument))
    return next(found, "")


_tasks_in_call = 0


def alone() -> bool:
    """Whether the command line names one task and no more."""
    return _tasks_in_call == 1


def mind_our_contexts() -> None:
    """Wrap Invoke's parser, once in a process."""
    if getattr(invoke_parser.Parser.parse_argv, "minds_pgha", False):
        return
    parse_argv, handle = invoke_parser.Parser.parse_argv, invoke_parser.ParseMachine.handle

    def minding(self: invoke_parser.Parser, argv: list[str]) -> invoke_parser.ParseResult:
        if not any(task_of(context) for context in self.contexts.values()):
            return parse_argv(self, argv)
        try:
            result = parse_argv(self, argv)
        except ParseError as error:
            raise _as_usage(error) from None
        _check(result)
        return result

    def handling(self: invoke_parser.ParseMachine, token: str) -> None:
        argument = _trailing(self, token)
        if argument is None:
            handle(self, token)
        else:
            argument.value = token

    minding.minds_pgha = True  # type: ignore[attr-defined]
    invoke_parser.Parser.parse_argv = minding  # type: ignore[method-assign]
    invoke_parser.ParseMachine.handle = handling  # type: ignore[method-assign]


def _trailing(machine: invoke_parser.ParseMachine, token: str) -> ClusterArgument | None:
    """The argument that `token` fills though no flag names it (`user.create NAME PASSWORD`)."""
    context = machine.context
    if token.startswith("-") or token in machine.contexts or machine.waiting_for_flag_value:
        return None
    if not task_of(context) or context.missing_positional_args:
        return None
    free = (
        a
        for a in context.args.values()
        if isinstance(a, ClusterArgument) and a.trailing and a.raw_value is None
    )
    return next(free, None)


def _as_usage(error: ParseError) -> ParseError:
    """The parse error with our exit code, where one of our tasks (or no task at all) was meant."""
    context, program = error.context, program_name()
    if context is not None and context.name and not task_of(context):
        return error  # somebody else's task, in whose file ours are mounted
    sentence = str(error)
    if context is not None and context.name:
        if task_of(context).startswith("user."):
            sentence = _without_words(context)
        elif context.missing_positional_args:
            missing = ", ".join(str(each.name).upper() for each in context.missing_positional_args)
            sentence = f"{context.name} needs {missing}."
        return _usage(sentence, f"{program} --help {context.name}", context)
    first = sys.argv[1].split("=")[0] if len(sys.argv) > 1 else ""
    if first in BEHIND:
        sentence = f"{sentence} {first} goes behind the command's name."
        value = " NAME" if first in ("-e", "--env") else ""
        return _usage(sentence, f"{program} init {first}{value}", context)
    return _usage(sentence, f"{program} --list", context)


def _without_words(context: ParserContext) -> str:
    """What is wrong, without the words that were typed: any of them may be a password."""
    if context.missing_positional_args:
        return f"{context.name} needs the name of a role."
    return (
        f"{context.name}: a flag that it does not have, one without its value, or a word too many."
    )


def _usage(sentence: str, next: str, context: ParserContext | None) -> WrongUsage:
    asked = sys.argv[1:]
    if "--json" in asked and "--complete" not in asked:
        document = {"ok": False, "error": sentence, "next": next, "exit_code": 2, "details": []}
        print(json.dumps(document))
    return WrongUsage(sentence, next, context)


def _check(result: invoke_parser.ParseResult) -> None:
    """Raise WrongUsage where the call as a whole cannot be meant as it stands."""
    global _tasks_in_call
    _tasks_in_call = sum(1 for context in result if context.name)
    ours = [context for context in result if task_of(context)]
    for context in ours:
        remember_name(task_of(context), context.name or "")
    if not ours:
        return
    for name in FOREIGN:
        if name in result[0].args and result[0].args[name].got_value:
            sentence = (
                f"{ours[-1].name} takes no --{name}: that is Invoke's own, and goes before it."
            )
            raise _usage(sentence, f"{program_name()} --help {ours[-1].name}", ours[-1])
    _check_environments(ours)


def _check_environments(ours: list[ParserContext]) -> None:
    default = os.environ.get("PGHA_ENV") or "default"
    chosen = [(each.name, each.args["env"].value) for each in ours if "env" in each.args]
    if all(env is None for _, env in chosen) or all(env is not None for _, env in chosen):
        return
    if len({env or default for _, env in chosen}) == 1:
        return
    said = ", ".join(f"{name} on {env or f'{default} (no -e)'}" for name, env in chosen)
    env = next(env for _, env in chosen if env is not None)
    command = " ".join(f"{name} -e {env}" for name, _ in chosen)
    raise _usage(
        f"Each command needs its own -e; nothing was run: {said}.",
        f"{program_name()} {command}",
        ours[0],
    )
