"""The Invoke tasks as a Collection: `from pgha.tasks import namespace` mounts them anywhere.

Importing it costs Invoke and nothing more: Fabric, Paramiko and Rich are loaded by the task that
needs them, so that `--list`, `--help` and a wrong configuration do not pay for them.
"""

from __future__ import annotations

from invoke.collection import Collection

from pgha.tasks.doctor import doctor
from pgha.tasks.history import history
from pgha.tasks.import_env import import_env
from pgha.tasks.lifecycle import build, init, start, stop
from pgha.tasks.parsing import mind_our_contexts
from pgha.tasks.roles import failback, failover, recovery
from pgha.tasks.status import status
from pgha.tasks.units import units
from pgha.tasks.user import create, delete, password

mind_our_contexts()

namespace = Collection(
    "pgha",
    build,
    init,
    start,
    stop,
    status,
    doctor,
    history,
    failover,
    failback,
    recovery,
    units,
    import_env,
    Collection("user", create, delete, password),
)

__all__ = ["namespace"]
