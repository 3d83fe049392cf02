"""How the operator called us, and how the next command is therefore typed."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

PROGRAMS = ("inv", "invoke", "fab", "pgha")

# A command of ours wherever it stands in a text: `inv`, a task's name, flags. No flag's value ends
# with a full stop: that is the sentence's.
_OURS = re.compile(
    r"\binv (?P<task>build|init|start|stop|status|doctor|history|failover|failback|recovery|"
    r"units|import-env|user\.[a-z]+)\b"
    r"(?P<flags>( (--to|--node|--password-file|--env|-e)[ =][\w./@:-]*[\w@-]| --?[a-z-]+[a-z])*"
    r"( -[a-z]\b)*)"
)

# Flags without a value that belong to what was asked for; --dry-run, --yes and --json do not.
_SWITCHES = {"single": "--single", "remove": "--remove", "force": "-f"}

# Where our collection is mounted in somebody else's (`db.` of `inv db.failover`), by our task's own
# name; the parser tells (`pgha.tasks.parsing`), since Invoke hands a task no name.
_mounted_as: dict[str, str] = {}


def remember_name(task: str, called_as: str) -> None:
    """Our task `task` goes by the name `called_as` in the program that runs."""
    _mounted_as[task] = called_as


def program_name() -> str:
    """The program that the operator typed; `inv` where that was none that has our tasks."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name if name in PROGRAMS else "inv"


@dataclass(frozen=True)
class Invocation:
    """One call of one of our tasks.

    task: its own name (`user.create`). flags: what was given, None and False where it was not.
    """

    task: str
    flags: Mapping[str, object]
    program: str = "inv"
    called_as: str = ""

    @classmethod
    def of(cls, task: str, flags: Mapping[str, object]) -> Invocation:
        return cls(task, flags, program_name(), _mounted_as.get(task, task))

    @property
    def env(self) -> str | None:
        """The environment that `-e` names; None where it was not given."""
        env = self.flags.get("env")
        return env if isinstance(env, str) else None

    @property
    def as_json(self) -> bool:
        return bool(self.flags.get("json"))

    def typed(self, text: str) -> str:
        """A command of ours, or a sentence with some in it (`inv recovery --node node-0`), as this
        operator types it: the same program, the names as they are mounted there, the same `-e`."""
        return _OURS.sub(self._typed, text)

    def _typed(self, found: re.Match[str]) -> str:
        task, flags = found["task"], found["flags"]
        words = f"{self.program} {self._prefix}{task}{flags}"
        if self.env is None or re.search(r"\s(-e|--env)\b", flags):
            return words
        return f"{words} -e {shlex.quote(self.env)}"

    @property
    def _prefix(self) -> str:
        return self.called_as.removesuffix(self.task) if self.called_as != self.task else ""

    def again(self, *more: str) -> str:
        """This same command as it is typed, with `more` flags; a password is never part of it."""
        words = [self.program, self.called_as or self.task]
        words += [v for v in map(self.flags.get, ("name", "file")) if isinstance(v, str)]
        for flag in ("to", "node", "password_file", "into"):
            value = self.flags.get(flag)
            if isinstance(value, str):
                words += [f"--{flag.replace('_', '-')}", value]
        for flag, word in _SWITCHES.items():
            if self.flags.get(flag):
                words.append(word)
        if self.env is not None:
            words += ["-e", self.env]
        return shlex.join((*words, *more))
