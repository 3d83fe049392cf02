"""An env file and the process environment → Settings, or all mistakes at once.

`parse` is pure; `load` finds and reads the file. The process environment wins over the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pgha.consistency import clashes
from pgha.envfile import Assignment, BadLine, Undefined, interpolate, read
from pgha.errors import Usage
from pgha.kinds import Unfit
from pgha.mistakes import Given, Mask, Mistake, blamed, looks_ours, near, usage
from pgha.variables import (
    BY_NAME,
    VARIABLES,
    ImageDistribution,
    LocaleProvider,
    Mode,
    Settings,
    SynchronousMode,
    Variable,
)

__all__ = [
    "VARIABLES",
    "ImageDistribution",
    "LocaleProvider",
    "Mode",
    "Settings",
    "SynchronousMode",
    "Variable",
    "file_text",
    "find",
    "judged",
    "load",
    "parse",
]

# No env file is larger; who names a disk image by mistake need not wait for it.
_MAX_BYTES = 1_000_000


def parse(text: str, *, source: str, environ: Mapping[str, str]) -> Settings:
    """The settings that a file's text and a process environment make.

    source: the file's name, as errors show it. Raises Usage with every mistake in its details.
    """
    assignments, bad = read(text.removeprefix("\ufeff"))
    settings, mistakes = judged(assignments, bad, environ)
    if mistakes:
        raise usage(mistakes, source)
    return settings


def judged(
    assignments: tuple[Assignment, ...], bad: tuple[BadLine, ...], environ: Mapping[str, str]
) -> tuple[Settings, list[Mistake]]:
    """The settings that a file's assignments make, and every mistake in them.

    Where there is a mistake, the settings hold a default in its place, and are not to be used.
    """
    given, mistakes = _given(assignments, environ)
    mistakes += _misread(bad, assignments, environ)
    mask = Mask(given)

    values: dict[str, object] = {}
    wrong: set[str] = set()
    for each in VARIABLES:
        value, expected = _value(each, given[each.name].value)
        if value is None:
            # Its default stands in, so that the others can still be compared with one another.
            wrong.add(each.name)
            value = each.kind.read(_default(each, str(values.get("VOLUME_ROOT"))))
        if expected:
            sentence = f"{mask.shown(each.name)}: {expected} was expected"
            mistakes.append(Mistake(given[each.name].line, sentence))
        values[each.name] = value
    settings = Settings(**{name.lower(): value for name, value in values.items()})  # type: ignore[arg-type]

    for clash in clashes(settings):
        if not wrong.intersection(clash.names):
            sentence = f"{' and '.join(map(mask.shown, clash.names))}: {clash.expected}"
            mistakes.append(Mistake(blamed(given[each].line for each in clash.names), sentence))
    return settings, mistakes


def _value(variable: Variable, text: str | None) -> tuple[object | None, str]:
    """A variable's value, or None and what was expected ("": that was said already)."""
    if text is None:
        return None, ""
    try:
        text.encode()
    except UnicodeEncodeError:
        return None, "text in UTF-8"
    try:
        return variable.kind.read(text), ""
    except Unfit as unfit:
        return None, str(unfit) or variable.kind.expected
    except ValueError:
        # ipaddress's words: they repeat the value, and ours are shorter.
        return None, variable.kind.expected


def _default(variable: Variable, root: str) -> str:
    return variable.default.replace("${VOLUME_ROOT}", root)


def _given(
    assignments: tuple[Assignment, ...], environ: Mapping[str, str]
) -> tuple[dict[str, Given], list[Mistake]]:
    """What gives each variable: the process environment, else the file's last line, else a default.

    With the mistakes in `${…}`, which may name the environment, a variable that is set above, or
    one that is left at its default.
    """
    mistakes: list[Mistake] = []
    given = {name: Given(environ[name], environ[name], 0) for name in BY_NAME if name in environ}
    last = {each.name: each for each in assignments}
    plain = (each for each in VARIABLES if "${" not in each.default)
    known = {each.name: each.default for each in plain if each.name not in last}
    known.update(environ)
    for each in assignments:
        if each.name not in BY_NAME or each.name in environ or each.value is None:
            continue
        value: str | None = None
        try:
            value = interpolate(each.value, known)
        except Undefined as undefined:
            if last[each.name] is each:
                mistakes.append(Mistake(each.line, _undefined(each, str(undefined), last)))
        # An empty text keeps one mistake from making others below.
        known[each.name] = value or ""
        given[each.name] = Given(each.value, value, each.line)
    root = _root(given.get("VOLUME_ROOT"))
    for variable in VARIABLES:
        if variable.name not in given:
            text = _default(variable, root)
            given[variable.name] = Given(text, text, None)
    return given, mistakes


def _root(given: Given | None) -> str:
    """The root of the directories that stand under it; a wrong one is one mistake, not twenty."""
    variable = BY_NAME["VOLUME_ROOT"]
    value, _ = _value(variable, given.value if given else None)
    return variable.default if value is None else str(value)


def _undefined(each: Assignment, name: str, last: Mapping[str, Assignment]) -> str:
    nothing = "names nothing that is set above it or in the environment"
    if BY_NAME[each.name].kind.hidden:
        return f"{each.name}: a ${{…}} in it {nothing}"
    below = f" (line {last[name].line} is below it)" if name in last else ""
    return f"{each.name}={each.value}: ${{{name}}} {nothing}{below}"


def _misread(
    bad: tuple[BadLine, ...], assignments: tuple[Assignment, ...], environ: Mapping[str, str]
) -> list[Mistake]:
    """Lines that are no assignment, and names that nobody knows."""
    mistakes = [Mistake(each.line, "a line NAME=value was expected") for each in bad]
    for each in assignments:
        known = each.name in BY_NAME
        if known and each.value is None:
            mistakes.append(Mistake(each.line, f"{each.name}: {each.name}=value was expected"))
        elif not known and each.value is not None and re.fullmatch(r"[A-Za-z_]\w*", each.name):
            text = f"{each.name} is no variable of ours{near(each.name)}"
            mistakes.append(Mistake(each.line, text))
        elif not known:
            # It may be the second line of a password: it is not shown.
            mistakes.append(Mistake(each.line, "a line NAME=value was expected"))
    slips = (name for name in sorted(environ) if name not in BY_NAME and looks_ours(name))
    return mistakes + [Mistake(0, f"{name} is no variable of ours{near(name)}") for name in slips]


def load(env: str | None, *, environ: Mapping[str, str], cwd: Path) -> Settings:
    """The settings of the chosen file, by the rules of `find`. Raises Usage."""
    path, shown = find(env, environ=environ, cwd=cwd)
    text = file_text(path, shown, details=_choices(cwd))
    return parse(text, source=shown, environ=environ)


def find(env: str | None, *, environ: Mapping[str, str], cwd: Path) -> tuple[Path, str]:
    """The file that `-e` names, and how to call it in messages. Raises Usage where there is none.

    A word with a slash is a path. Another one is the NAME of env/NAME.env under `cwd`; with its
    ending, of a file there or in `cwd`. Without `-e` it is PGHA_ENV's, without that `default`,
    which the package has too.
    """
    chosen = env if env is not None else environ.get("PGHA_ENV") or "default"
    candidates = [chosen] if "/" in chosen else [f"env/{chosen}.env"]
    if "/" not in chosen and chosen.endswith(".env"):
        candidates += [f"env/{chosen}", chosen]
    for candidate in candidates:
        # Whatever is there, a directory too: reading it says what is wrong with it.
        if chosen and _exists(cwd / candidate):
            return cwd / candidate, candidate
    if chosen == "default":
        return _built_in(), "the package's env/default.env"
    said = " (PGHA_ENV)" if env is None else ""
    what = f"file {candidates[0]}" if chosen else "env file without a name"
    raise Usage(f"There is no {what}{said}.", details=_choices(cwd))


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        # ValueError: a NUL in the name.
        return False
    except OSError:
        # It is there but may not be looked at, or is too long a name: reading it will say so.
        return True
    return True


def _built_in() -> Path:
    """The package's own env/default.env: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "env" / "default.env"
    return inside if inside.exists() else package.parent / "env" / "default.env"


def _choices(cwd: Path) -> tuple[str, ...]:
    names = sorted({path.stem for path in cwd.glob("env/*.env")} | {"default"})
    return (
        f"env files there are: {', '.join(names)}",
        "choose one by -e NAME (env/NAME.env), by -e path/to/file, or by PGHA_ENV",
    )


def file_text(path: Path, shown: str, details: tuple[str, ...] = ()) -> str:
    """An env file's text. shown: how it is called. Raises Usage, with `details` behind it."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        # strerror alone: the whole message would repeat the path in another form.
        why = error.strerror or type(error).__name__
        raise Usage(f"{shown} cannot be read: {why}.", details=details) from None
    if len(data) > _MAX_BYTES:
        raise Usage(f"{shown} is too large for an env file.", details=details)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise usage([Mistake(line, "text in UTF-8 was expected")], shown) from None
