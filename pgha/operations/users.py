"""`user.create`, `user.password`, `user.delete`: the role, and its password at every door.

Pure. Each order is such that a run that was cut off is finished by the same command again, and that
a role which exists already loses nothing by a mistake.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from pgha.commands import pgpool
from pgha.commands.base import Secret
from pgha.errors import Refused, Usage
from pgha.limits import SQL_S
from pgha.plan import Plan, Stage, Step, Verb, stages, verb
from pgha.settings import Settings
from pgha.state import ClusterState, NodeState, container_runs, serves

Operation = Callable[[ClusterState], Plan]


def user_create(settings: Settings, name: str, password: Secret) -> Operation:
    """A role that may log in through every door.

    The doors first: while the role does not exist its password opens nothing, and a run that was
    cut off in between finds no role yet. Raises Usage for a name or a password that cannot work.
    """
    _check(settings, name, password)

    def plan(state: ClusterState) -> Plan:
        primary = _primary(state)
        return Plan(
            f"Create the role {name}",
            stages(
                _on_primary(primary, f"Check that there is no role {name}", _absent(name)),
                _at_doors(state, f"Let Pgpool-II on {{}} know {name}", _set(name, password)),
                _on_primary(
                    primary,
                    f"Create the role {name} on {primary.name}",
                    verb("sql_user_create", name=name, secrets={"password": password}),
                ),
            ),
            notes=_left_out(state, f"when it is back: inv user.password {shlex.quote(name)}"),
        )

    return plan


def user_password(settings: Settings, name: str, password: Secret) -> Operation:
    """Another password, on the primary and at every door. Raises Usage like `user_create`."""
    _check(settings, name, password)

    def plan(state: ClusterState) -> Plan:
        primary = _primary(state)
        change = verb("sql_user_password", name=name, secrets={"password": password})
        return Plan(
            f"Change the password of {name}",
            stages(
                _on_primary(primary, f"Change the password on {primary.name}", change),
                _at_doors(state, f"Let Pgpool-II on {{}} know {name}", _set(name, password)),
            ),
            notes=_left_out(state, "repeat the command when it is back."),
        )

    return plan


def user_delete(settings: Settings, name: str) -> Operation:
    """Drop a role that owns nothing. Raises Usage for a name that cannot be one's."""
    _check(settings, name, None)

    def plan(state: ClusterState) -> Plan:
        primary = _primary(state)
        return Plan(
            f"Delete the role {name}",
            stages(
                _on_primary(
                    primary,
                    f"Check that {name} owns nothing",
                    verb("sql_user_check", name=name, expect="free", timeout_s=SQL_S),
                ),
                _at_doors(
                    state,
                    f"Let Pgpool-II on {{}} forget {name}",
                    verb("door_user_drop", name=name),
                ),
                _on_primary(
                    primary, f"Drop the role on {primary.name}", verb("sql_user_delete", name=name)
                ),
            ),
            notes=_left_out(state, "its Pgpool-II keeps a password that opens nothing any more."),
        )

    return plan


def _check(settings: Settings, name: str, password: Secret | None) -> None:
    problem = pgpool.name_problem(name)
    if name.startswith("-"):
        problem = "A role's name cannot begin with `-`: it would be taken for a flag."
    if not problem and password is not None:
        problem = pgpool.password_problem(password)
    # PostgreSQL 17, "CREATE ROLE"; found out before any door is told.
    if name.startswith("pg_") or name in ("public", "none"):
        problem = f"PostgreSQL reserves the name {name}."
    if problem:
        raise Usage(problem)
    own = {
        settings.postgres_user: "POSTGRES_USER",
        settings.replication_user: "REPLICATION_USER",
    }
    if name in own:
        raise Refused(
            f"{name} is the cluster's own role: the settings make it ({own[name]}), and no command "
            "changes it."
        )


def _primary(state: ClusterState) -> NodeState:
    if state.primary is None:
        raise Refused("There is no primary, so no role can be changed.", next="inv status")
    return state.primary


def _absent(name: str) -> Verb:
    return verb("sql_user_check", name=name, expect="absent", timeout_s=SQL_S)


def _set(name: str, password: Secret) -> Verb:
    return verb("door_user_set", name=name, secrets={"password": password})


def _on_primary(primary: NodeState, title: str, action: Verb) -> Step:
    # The verb reads the catalog afterwards and fails where it does not say so.
    return Step(title, primary.name, serves(primary.name), action, serves(primary.name))


def _at_doors(state: ClusterState, title: str, action: Verb) -> Stage:
    return tuple(
        Step(title.format(n.name), n.name, container_runs(n.name), action, container_runs(n.name))
        for n in state.answering
    )


def _left_out(state: ClusterState, what_then: str) -> tuple[str, ...]:
    """Nodes whose door could not be told; nobody but an operator has the password to tell it."""
    away = [n.name for n in state.nodes if not n.answers]
    return tuple(f"{name} does not answer; {what_then}" for name in away)
