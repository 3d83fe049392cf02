"""The `env.sh` of a db_ctl.sh user → our env file. Pure: a text in, a text out.

db_ctl.sh reads its file by `export $(cat etc/env.sh)`, to which quotes and `$` are letters like all
others; who sources the file has a shell read them. We read as a shell does, and say so where the
two differ; what needs more than that is a mistake (`pgha.shellfile`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgha.envfile import Assignment, escaped, example, written
from pgha.mistakes import near, usage
from pgha.settings import judged
from pgha.shellfile import ShellAssignment, read_shell
from pgha.variables import BY_NAME, VARIABLES, Mode, Settings, births

MASK = "***"


@dataclass(frozen=True)
class Unknown:
    """A variable that is none of ours. meant: the end of a sentence, what was perhaps meant."""

    name: str
    line: int
    meant: str


@dataclass(frozen=True)
class Imported:
    """What an `env.sh` comes to.

    source: its name, without directories. values: each variable that it sets, in our order, and
    MODE. unknown: what it sets beside them. quoted: variables whose values stood in quotes.
    """

    source: str
    settings: Settings
    values: dict[str, str]
    unknown: tuple[Unknown, ...]
    quoted: tuple[ShellAssignment, ...]
    mode_was_given: bool

    def text(self, *, masked: bool = False) -> str:
        """The env file. masked: as people may see it, without what may be secret."""
        values = {
            name: MASK if masked and BY_NAME[name].kind.hidden else written(value)
            for name, value in self.values.items()
        }
        return example("\n".join(self._heading()), values, VARIABLES)

    def _heading(self) -> Iterator[str]:
        # No path and no time: the same file gives the same text, whenever and wherever it is read.
        yield f"Imported from {self.source}, a file of db_ctl.sh, by `inv import-env`."
        yield ""
        yield 'A line such as "# PGPORT=5433" shows a default; without its "# " it sets it.'
        yield "Variables of the process environment win over this file."
        if self.unknown:
            yield ""
            yield f"No variables of ours, and left out ({self.source}'s line in brackets):"
            yield from (f"  {each.name} ({each.line})" for each in self.unknown)

    def notes(self) -> Iterator[str]:
        """What is worth knowing before the file is used, a sentence each."""
        for each in self.unknown:
            found = f"Line {each.line}: {each.name} is no variable of ours, and left out"
            yield f"{found}{each.meant}" if each.meant else f"{found}."
        for quoted in self.quoted:
            yield (
                f"Line {quoted.line}: the quotes of {quoted.name} are no part of its value; to"
                " db_ctl.sh, which reads its file without a shell, they were."
            )
        yield from self._about_mode()
        if len(births(self.settings)) == 2:
            yield (
                "There is no WITNESS_NODE: two nodes replicate asynchronously (SYNCHRONOUS_MODE),"
                " and a silent host is not replaced without an operator."
            )
        if self.settings.docker_hub_image:
            yield (
                f"DOCKER_HUB_IMAGE=true pulls {self.settings.docker_hub_image_name}, which is not"
                " db_ctl.sh's image; with DOCKER_HUB_IMAGE=false `inv build` makes one."
            )

    def _about_mode(self) -> Iterator[str]:
        settings = self.settings
        if self.mode_was_given:
            return
        if settings.mode is Mode.HA:
            yield (
                f"MODE=ha: {settings.master_node} and {settings.standby_node} are two Docker hosts,"
                " as docker-machine's names in db_ctl.sh are. --single is for one machine."
            )
        else:
            yield "MODE=single: all nodes are on this machine, in the directories of *_VOLUME_*."


def imported(text: str, *, source: str, single: bool = False) -> Imported:
    """What a file's text comes to. Raises Usage with every mistake and its line.

    source: the file's name, as errors show it. single: MODE=single, whatever the file says; else
    MODE=ha unless the file says more.
    """
    found, unreadable = read_shell(text)
    ours = {each.name: each for each in found if each.name in BY_NAME}
    given = "MODE" in ours and not single
    assignments = [
        Assignment(each.name, escaped(each.value), each.line)
        for each in found
        if each.name in BY_NAME and (given or each.name != "MODE")
    ]
    if not given:
        mode = Mode.SINGLE if single else Mode.HA
        assignments.append(Assignment("MODE", mode.value, text.count("\n") + 1))
    settings, mistakes = judged(tuple(assignments), (), {})
    if unreadable or mistakes:
        raise usage((*unreadable, *mistakes), source)

    values = {name: each.value for name, each in ours.items()}
    values["MODE"] = settings.mode.value
    return Imported(
        source=source.rpartition("/")[2],
        settings=settings,
        values={each.name: values[each.name] for each in VARIABLES if each.name in values},
        unknown=_unknown(found),
        quoted=tuple(each for each in ours.values() if each.quoted),
        mode_was_given=given,
    )


def _unknown(found: tuple[ShellAssignment, ...]) -> tuple[Unknown, ...]:
    last = {each.name: each.line for each in found if each.name not in BY_NAME}
    return tuple(Unknown(name, line, near(name)) for name, line in last.items())
