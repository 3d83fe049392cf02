"""`user.create`, `user.delete`, `user.password`."""

from __future__ import annotations

from invoke.context import Context

from pgha.errors import Usage
from pgha.tasks.passwords import named, secret_from
from pgha.tasks.session import Work, changes
from pgha.tasks.task import cluster_task

NAME = "The role's name."
PASSWORD_HELP = {
    "name": NAME,
    "password": "The password; other users of this machine can see it in its process list. "
    "Without it there is a prompt.",
    "password-file": "Read the password from this file (-: standard input), less one last newline.",
}


@cluster_task("user.create", trailing="password", help=PASSWORD_HELP)
def create(
    c: Context,
    name: str,
    password: str | None = None,
    password_file: str | None = None,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Create a role that may log in, through every door.

    user.create NAME [PASSWORD]: without a password, it is asked for.
    """
    name = _named(name, password)

    return changes(
        lambda cluster, how: cluster.user_create(
            name,
            secret_from(password, password_file, dry_run=how.dry_run),
            dry_run=how.dry_run,
        )
    )


@cluster_task("user.password", trailing="password", help=PASSWORD_HELP)
def password(
    c: Context,
    name: str,
    password: str | None = None,
    password_file: str | None = None,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Change a role's password, for every door.

    user.password NAME [PASSWORD]: without a password, it is asked for.
    """
    name = _named(name, password)

    return changes(
        lambda cluster, how: cluster.user_password(
            name,
            secret_from(password, password_file, dry_run=how.dry_run),
            dry_run=how.dry_run,
        )
    )


@cluster_task("user.delete", help={"name": NAME})
def delete(
    c: Context,
    name: str,
    env: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> Work:
    """Delete a role, unless it owns something.

    user.delete NAME: where it owns objects it refuses, and names them.
    """
    name = named(name)
    return changes(lambda cluster, how: cluster.user_delete(name, dry_run=how.dry_run))


def _named(name: str, password: str | None) -> str:
    if password is not None and password.startswith("-") and len(password) > 1:
        # `--password --yes`: more likely a flag that was taken for the password than a password.
        raise Usage(
            "A password that begins with «-» looks like a flag: it has to come by --password-file."
        )
    return named(name)
