"""Where things are in a node's container (docs/architecture.md has the table)."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path("/etc/pgpool2/pgha")
NODE = CONFIG / "node.json"
STATE = CONFIG / "state.json"
# There from the first file of `init` to its last step; `survey.MARKER` is the same on the host.
INITIALISING = CONFIG / "initialising"
JOURNAL = CONFIG / "journal.jsonl"
POSTGRESQL_CONF = CONFIG / "postgresql.conf"
ROLE_CONF = CONFIG / "role.conf"
PGPASS = CONFIG / "pgpass"
AGENT_KEY = CONFIG / "agent.key"
# pg_hba.conf includes the gate: empty, and PostgreSQL lets no client in; open, it includes clients.
GATE = CONFIG / "gate_hba.conf"
CLIENTS_HBA = CONFIG / "clients_hba.conf"

VOLUME = Path("/var/lib/pgha/volume")
DATA = VOLUME / "pgdata"
POSTMASTER_PID = DATA / "postmaster.pid"
INCOMING_DATA = VOLUME / "pgdata.incoming"
# Laid before pg_rewind touches the data directory, taken away after it: what has it must not start.
REWINDING = VOLUME / "rewinding"

RUN = Path("/run/pgha")
LOCK = RUN / "verb.lock"
LOG = RUN / "log"
MAIN_PID = RUN / "main.pid"
STATE_LOCK = RUN / "state.lock"
HOLD = RUN / "hold.lock"
DOOR_LOCK = RUN / "door.lock"
AGENT = RUN / "agent.json"
RECEIVER_PID = RUN / "pg_receivewal.pid"
SOCKETS = Path("/var/run/postgresql")
