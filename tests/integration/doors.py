"""Which doors of a real cluster let a role in."""

from __future__ import annotations

from tests.integration.real_cluster import RealCluster

# Standard input is the only way in: no word and no variable that `docker inspect` would show.
LOGINS = """
IFS= read -r PGUSER; IFS= read -r PGPASSWORD; export PGUSER PGPASSWORD
for door in "$@"; do
    where="host=${door%:*} port=${door#*:} dbname=postgres connect_timeout=5"
    psql -XAtq -c "SELECT '$door ' || current_user" "$where"
done
"""


def doors(cluster: RealCluster) -> list[str]:
    """Each node's Pgpool-II, and PostgreSQL itself on the data nodes: `host:port`."""
    topology, settings = cluster.client.topology, cluster.settings
    pools = [f"{name}:{settings.pgpool_port}" for name in topology.names]
    return [*pools, *(f"{node.name}:{settings.pgport}" for node in topology.data_nodes)]


def open_doors(cluster: RealCluster, name: str, password: str) -> list[str]:
    """The doors that let this name in as nobody else."""
    words = ("exec", "-i", cluster.client.name, "sh", "-c", LOGINS, "sh", *doors(cluster))
    said = cluster.client.docker(*words, stdin=f"{name}\n{password}\n", check=False).split("\n")
    return [door for door in doors(cluster) if f"{door} {name}" in said]
