"""How many connections, and how much memory for what: from the memory that there is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1024 * 1024

# What one PostgreSQL connection at work takes, work_mem not counted (private memory, MB).
_CONNECTION_MB = 6
# What one Pgpool-II client process at work takes (measured: 1 to 5 MB private).
_CHILD_MB = 4
_FEWEST_CHILDREN, _MOST_CHILDREN = 8, 100
_MOST_CONNECTIONS = 500
_RESERVED = 5
# Sessions beside the clients': the agents' and probes', and Pgpool-II's own questions.
_OWN_PER_POOL = 2
_OWN = 10


@dataclass(frozen=True)
class Sizing:
    """num_init_children, max_pool: of each Pgpool-II. The rest: of each PostgreSQL, in MB where so
    named; superuser_reserved is within max_connections."""

    num_init_children: int
    max_pool: int
    max_connections: int
    superuser_reserved: int
    shared_buffers_mb: int
    effective_cache_size_mb: int
    work_mem_mb: int
    maintenance_work_mem_mb: int
    wal_buffers_mb: int
    max_wal_mb: int


def sizing(
    memory_bytes: int, data_nodes_on_host: int, pgpools: int, max_connections: int | None = None
) -> Sizing:
    """Fit PostgreSQL's and Pgpool-II's processes to one another and to a host's memory.

    memory_bytes: of the host (or what the containers on it may have). data_nodes_on_host: how many
    PostgreSQL servers share it (single mode: all). pgpools: how many Pgpool-IIs the cluster has.
    max_connections: the cluster's, the least that any host with data gives; None: what this memory
    gives.

    Memory, of each server's share (memory / data_nodes_on_host):

    * 25 % shared_buffers (PostgreSQL 17, "Resource Consumption"), 16 MB to 16 GB: beyond that the
      system's cache does as well. It never depends on the number of connections.
    * 30 % connections, at 6 MB each and 500 at most.
    * 25 % work_mem, divided by the connections; a query may take several, most take none.
    * the rest: maintenance, WAL buffers, the system, its cache. effective_cache, which only informs
      the planner, counts shared_buffers and what the system should have for its cache: 60 %.

    Connections. The client that counts on a place in Pgpool-II must find one in PostgreSQL, or the
    door says yes and the house says no. So (Pgpool-II 4.6, "Connection Pooling", times all pools):

        pgpools * num_init_children * max_pool + own + direct + superuser_reserved
            <= max_connections

    with max_pool 1 (nothing is kept for a next client), own = 10 and two a pool for the agents,
    probes and Pgpool-II's own questions, direct = a fifth of max_connections for the direct door.
    WAL senders (standbys, the witness, base backups) are not within max_connections since
    PostgreSQL 12. Each host's pools have 8 to 100 processes: each is started anew in a failover,
    0.4 to 2 ms apiece, and where three pools share two cores that is what clients wait for. Where
    memory would give fewer than the smallest number needs, the smallest number wins:
    idle connections take little.

    Raises ValueError where an argument is less than one.
    """
    if memory_bytes < 1 or data_nodes_on_host < 1 or pgpools < 1:
        raise ValueError("memory_bytes, data_nodes_on_host and pgpools must be at least 1")
    share_mb = memory_bytes // MEGABYTE // data_nodes_on_host
    # In single mode every Pgpool-II is on this host; then a fourth of memory bounds the processes.
    pools_here = pgpools if data_nodes_on_host > 1 else 1
    by_memory = share_mb * data_nodes_on_host // 8 // _CHILD_MB // pools_here
    own = _OWN + _OWN_PER_POOL * pgpools

    affordable = max_connections or min(_MOST_CONNECTIONS, share_mb * 30 // 100 // _CONNECTION_MB)
    by_connections = (affordable * 4 // 5 - own - _RESERVED) // pgpools
    most = _MOST_CHILDREN // pools_here
    children = max(_FEWEST_CHILDREN, min(most, by_memory, by_connections))

    # Up from what the pools take, so that it fits whichever bound it was.
    taken = pgpools * children + own + _RESERVED
    connections = max(affordable, -(-taken * 5 // 4))
    return Sizing(
        num_init_children=children,
        max_pool=1,
        max_connections=connections,
        superuser_reserved=_RESERVED,
        shared_buffers_mb=_within(16, share_mb * 25 // 100, 16 * 1024),
        effective_cache_size_mb=max(32, share_mb * 60 // 100),
        work_mem_mb=_within(1, share_mb * 25 // 100 // connections, 64),
        maintenance_work_mem_mb=_within(16, share_mb * 5 // 100, 1024),
        wal_buffers_mb=_within(1, share_mb // 128, 16),
        max_wal_mb=_within(256, share_mb, 4096),
    )


def _within(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))
