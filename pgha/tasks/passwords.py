"""A role's name, and where its password comes from: an argument, a file, a prompt."""

from __future__ import annotations

import sys

from pgha.commands.base import Secret
from pgha.errors import Usage

# No password is longer; who names a disk image by mistake need not wait for it.
MAX_BYTES = 65_536


def named(name: str) -> str:
    """The role's name, as given. Raises Usage where it is a flag that Invoke took for a name."""
    if name.startswith("-"):
        raise Usage(f"A name does not begin with «-»: {name} would be a flag.")
    if not name:
        raise Usage("The name is empty.")
    if not _is_text(name):
        raise Usage("The name is no text in UTF-8.")
    return name


def secret_from(argument: str | None, file: str | None, *, dry_run: bool) -> Secret:
    """The new password. Raises Usage where there is none, or an empty one, or more than one.

    A dry run needs none: its commands do not show it.
    """
    if argument is not None and file is not None:
        raise Usage("The password was given twice: as an argument and by --password-file.")
    if argument is not None:
        return _checked(argument)
    if file is not None and not (file == "-" and at_a_terminal()):
        return _checked(_read(file))
    if dry_run:
        return Secret("not asked for in a dry run")
    if not at_a_terminal():
        raise Usage(
            "No password was given, and there is no terminal to ask at.",
            details=(
                "--password-file FILE reads it from a file, --password-file - from standard input",
            ),
        )
    return _checked(_asked())


def _checked(password: str) -> Secret:
    if not password:
        raise Usage("The password is empty.")
    if not _is_text(password):
        raise Usage("The password is no text in UTF-8.")
    if "\0" in password:
        raise Usage("The password holds a NUL character, which PostgreSQL cannot take.")
    return Secret(password)


def _is_text(text: str) -> bool:
    """Python keeps bytes of the command line that are no UTF-8 as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def at_a_terminal() -> bool:
    """Whether somebody can be asked; standard input may also have been closed (`<&-`)."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(text: str) -> Secret:
    """What somebody types at the terminal, unseen; empty where nothing comes."""
    import getpass

    try:
        return Secret(getpass.getpass(text, sys.stderr))
    except EOFError:
        return Secret("")


def _asked() -> str:
    import getpass

    try:
        first = getpass.getpass("Password: ", sys.stderr)
        second = getpass.getpass("The same again: ", sys.stderr)
    except EOFError:
        raise Usage("No password was given.") from None
    if first != second:
        raise Usage("The two passwords differ; nothing was changed.")
    return first


def _read(file: str) -> str:
    """The file's text less one newline at its end, which editors and `echo` add."""
    try:
        if file == "-":
            if sys.stdin is None:
                raise Usage("There is no standard input to read the password from.")
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Usage(f"The password file {file} cannot be read: {why}.") from None
    except UnicodeDecodeError:
        raise Usage(f"The password file {file} is no text in UTF-8.") from None
    if len(data) > MAX_BYTES:
        raise Usage(f"The password file {file} holds more than {MAX_BYTES} bytes.")
    return (
        text.removesuffix("\n").removesuffix("\r")
        if text.endswith("\r\n")
        else text.removesuffix("\n")
    )
