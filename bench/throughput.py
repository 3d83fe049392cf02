"""What each way to PostgreSQL costs, side by side in one run: pgbench on a running cluster.

    python bench/throughput.py -e demo
    python bench/throughput.py -e demo --rows direct,door --clients 8 --runs 3 \
        --pgpool-set max_pool=4 --pgpool-set connection_cache=off,log_statement=on

Rows: `alone` (PostgreSQL in a throw-away container with the primary's settings, no replication),
`direct` (the primary's PGPORT), `door` (its Pgpool-II), `classic` (direct, with one classical
synchronous standby in the quorum's place, changed for the run and back). Each --pgpool-set adds a
row: a Pgpool-II of its own beside the primary, with the cluster's configuration less those lines.

It creates the database pgha_bench on the primary and drops it; the cluster is not changed
otherwise (but for `classic`). Rounds are interleaved, so that what else the machine does hits all
rows alike; the table has medians. It is a measurement, never a pass or a fail.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pgha import Cluster
from pgha.commands import pgpool
from pgha.commands.base import Command, Secret
from pgha.commands.docker import exec_in
from pgha.errors import PghaError, Refused
from pgha.remote import Host, Reach
from pgha.topology import Node
from pgha.waiting import wait_until

DATABASE = "pgha_bench"
ROWS = ("alone", "direct", "door", "classic")
WORKLOADS = {
    "read-only": ("-S", "-M", "simple"),
    "read-only-prepared": ("-S", "-M", "prepared"),
    "tpcb-like": ("-M", "simple"),
    "tpcb-like-prepared": ("-M", "prepared"),
    "connecting": ("-S", "-C"),
}
# What `alone` must have in common with the primary to be comparable.
SHARED_SETTINGS = (
    *("shared_buffers", "max_connections", "effective_cache_size", "maintenance_work_mem"),
    *("work_mem", "max_wal_size", "synchronous_commit", "checkpoint_timeout", "wal_level"),
)
ROLE_CONF = "/etc/pgpool2/pgha/role.conf"


@dataclass(frozen=True)
class Row:
    """One way to PostgreSQL: host and port as the client container sees them."""

    name: str
    host: str
    port: int


@dataclass
class Bench:
    """A running cluster, and the throw-away containers beside its primary."""

    cluster: Cluster
    host: Host
    primary: Node
    image: str
    client: str = ""
    made: list[str] = field(default_factory=list)

    def docker(self, *words: str, timeout_s: float = 60.0, check: bool = True) -> str:
        """Run docker on the primary's host."""
        command = Command(("docker", *words))
        return self.host.run(command, timeout_s=timeout_s, check=check).stdout

    def inside(
        self, container: str, *words: str, stdin: Secret | None = None, timeout_s: float = 60.0
    ) -> str:
        """Run words as postgres in a container on the primary's host."""
        command = exec_in(container, Command(words, stdin=stdin, user="postgres"))
        return self.host.run(command, timeout_s=timeout_s).stdout

    def container(self, suffix: str) -> str:
        """A throw-away container of the node image on both networks; with a volume for data."""
        topology = self.cluster.topology
        name = f"{topology.cluster}-bench-{suffix}"
        self.docker("rm", "--force", "--volumes", name, check=False)
        self.docker(
            *("run", "--detach", "--init", "--name", name, "--shm-size", "1g"),
            *("--network", topology.frontend_network, "--volume", "/bench"),
            *("--entrypoint", "sleep", self.image, "infinity"),
        )
        self.made.append(name)
        self.docker("network", "connect", topology.backend_network, name)
        self.docker("exec", name, "chown", "postgres:", "/bench")
        return name

    def write(self, container: str, path: str, content: str) -> None:
        """A file of postgres' own, through standard input."""
        words = ("sh", "-c", 'umask 077; cat > "$1"', "sh", path)
        self.inside(container, *words, stdin=Secret(content))

    def sql(self, container: str, statement: str, database: str = "postgres") -> str:
        """As superuser over the socket of a container's own PostgreSQL."""
        port = str(self.cluster.settings.pgport)
        words = ("psql", "-XAtq", "-h", "/var/run/postgresql", "-p", port, "-d", database)
        return self.inside(container, *words, "-c", statement).strip()

    def pgbench(self, row: Row, *words: str, timeout_s: float) -> str:
        """pgbench in the client container; its password is in a file there."""
        user = self.cluster.settings.postgres_user
        return self.inside(
            self.client,
            *("env", "PGPASSFILE=/bench/pgpass", "pgbench", "-h", row.host, "-p", str(row.port)),
            *("-U", user, *words, DATABASE),
            timeout_s=timeout_s,
        )


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and exit 0; 1 or 3 with a sentence where that is not possible."""
    options = _options(arguments)
    cluster = Cluster.load(options.env)
    try:
        with cluster, _bench(cluster) as bench:
            results = _measure(bench, options)
    except PghaError as error:
        print(f"{error.message} {' '.join(error.details)}", file=sys.stderr)
        return error.exit_code
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")
    _print(results)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("-e", "--env", help="the cluster's env file, as for inv")
    parser.add_argument("--rows", default=",".join(ROWS), help="which of %(default)s")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="of %(default)s")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--seconds", type=int, default=10, help="of one pgbench run")
    parser.add_argument("--runs", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--scale", type=int, default=32, help="pgbench's; at least the clients")
    parser.add_argument("--pgpool-set", action="append", default=[], metavar="KEY=VALUE[,…]")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    for name, known in (("rows", ROWS), ("workloads", tuple(WORKLOADS))):
        chosen = getattr(options, name).split(",")
        setattr(options, name, chosen)
        if unknown := sorted(set(chosen) - set(known)):
            parser.error(f"no such {name}: {', '.join(unknown)}")
    return options


@contextlib.contextmanager
def _bench(cluster: Cluster) -> Iterator[Bench]:
    """The cluster with its client container; all that was made is gone afterwards."""
    primary = cluster.status().state.primary
    if primary is None:
        raise Refused("There is no primary to measure.", next="inv status")
    reach = Reach(cluster.settings, cluster.topology)
    try:
        node = cluster.topology.node(primary.name)
        host = reach.host(node.name)
        shown = Command(("docker", "inspect", "--format", "{{.Config.Image}}", node.container))
        bench = Bench(cluster, host, node, host.run(shown, timeout_s=10.0).stdout.strip())
        try:
            bench.client = bench.container("client")
            settings = cluster.settings
            password = settings.postgres_password.reveal().replace("\\", "\\\\").replace(":", "\\:")
            bench.write(bench.client, "/bench/pgpass", f"*:*:*:*:{password}\n")
            yield bench
        finally:
            for name in bench.made:
                bench.docker("rm", "--force", "--volumes", name, check=False)
    finally:
        reach.close()


def _measure(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Transactions a second: by row, by workload and clients, one number a round."""
    settings, node = bench.cluster.settings, bench.primary
    direct = Row("direct", node.name, settings.pgport)
    rows = [direct] if "direct" in options.rows else []
    if "door" in options.rows:
        rows.append(Row("door", node.name, settings.pgpool_port))
    bench.sql(node.container, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    bench.sql(node.container, f"CREATE DATABASE {DATABASE}")
    try:
        _fill(bench, direct, options.scale)
        if "alone" in options.rows:
            alone = _alone(bench)
            rows.insert(0, alone)
            _fill(bench, alone, options.scale)
        results: dict[str, dict[str, list[float]]] = {}
        for number in range(options.runs):
            for row in rows:
                _round(bench, row, options, results, number)
            for text in options.pgpool_set:
                with _variant(bench, text) as row:
                    _round(bench, row, options, results, number)
            if "classic" in options.rows:
                with _classical(bench):
                    classic = Row("classic", direct.host, direct.port)
                    _round(bench, classic, options, results, number)
        return results
    finally:
        bench.sql(node.container, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def _fill(bench: Bench, row: Row, scale: int) -> None:
    bench.pgbench(row, "-i", "-q", "-s", str(scale), timeout_s=60 + 10 * scale)


def _round(
    bench: Bench,
    row: Row,
    options: argparse.Namespace,
    results: dict[str, dict[str, list[float]]],
    number: int,
) -> None:
    of_row = results.setdefault(row.name, {})
    for workload in options.workloads:
        for clients in map(int, options.clients.split(",")):
            words = ["-n", "-c", str(clients), "-j", str(min(2, clients))]
            words += ["-T", str(options.seconds), *WORKLOADS[workload]]
            output = bench.pgbench(row, *words, timeout_s=options.seconds + 60.0)
            found = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
            tps = float(found[1]) if found else 0.0
            of_row.setdefault(f"{workload}, {clients}", []).append(tps)
            print(f"{number + 1} {row.name}: {workload}, {clients}: {tps:.0f}", file=sys.stderr)


def _alone(bench: Bench) -> Row:
    """A PostgreSQL like the primary, but for replication and archive."""
    name, settings = bench.container("alone"), bench.cluster.settings
    bench.write(name, "/bench/password", settings.postgres_password.reveal())
    user = ("-U", settings.postgres_user, "--pwfile=/bench/password", "-A", "scram-sha-256")
    locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8")
    bench.inside(name, "initdb", "-D", "/bench/data", "-k", *user, *locale, timeout_s=120.0)
    wanted = ", ".join(f"'{each}'" for each in SHARED_SETTINGS)
    query = (
        "SELECT format('%s = %L', name, current_setting(name)) FROM pg_settings"
        f" WHERE name IN ({wanted})"
    )
    lines = [
        *bench.sql(bench.primary.container, query).splitlines(),
        f"port = {settings.pgport}",
        "listen_addresses = '*'",
        "unix_socket_directories = '/var/run/postgresql'",
    ]
    bench.write(name, "/bench/data/postgresql.auto.conf", "\n".join(lines) + "\n")
    bench.inside(
        *(name, "sh", "-c", "echo 'host all all all scram-sha-256' >> /bench/data/pg_hba.conf")
    )
    bench.inside(name, "pg_ctl", "-D", "/bench/data", "-l", "/bench/log", "-w", "start")
    row = Row("alone", name, settings.pgport)
    words = ("env", "PGPASSFILE=/bench/pgpass", "psql", "-h", name, "-p", str(settings.pgport))
    create = ("-U", settings.postgres_user, "-qc", f"CREATE DATABASE {DATABASE}", "postgres")
    bench.inside(bench.client, *words, *create)
    return row


@contextlib.contextmanager
def _variant(bench: Bench, text: str) -> Iterator[Row]:
    """A Pgpool-II beside the primary: the cluster's configuration with other lines.

    One at a time: each keeps num_init_children connections, and max_connections has room for one.
    """
    name, node = bench.container("door"), bench.primary
    bench.inside(name, "mkdir", "-p", "/var/run/postgresql")
    files = (pgpool.HBA_FILE, pgpool.PCP_FILE, pgpool.PASSWD_FILE, pgpool.KEY_FILE)
    for path in files:
        bench.write(name, str(path), bench.inside(node.container, "cat", str(path)))
    changed = dict(part.split("=", 1) for part in text.split(","))
    config = bench.inside(node.container, "cat", str(pgpool.CONFIG_FILE))
    kept = [line for line in config.splitlines() if line.partition("=")[0].strip() not in changed]
    made = [f"{key} = {value}" for key, value in changed.items()]
    bench.write(name, str(pgpool.CONFIG_FILE), "\n".join([*kept, *made]) + "\n")
    nodes = [each.name for each in bench.cluster.topology.data_nodes]
    status = pgpool.status_file(nodes.index(node.name), len(nodes))
    bench.write(name, str(pgpool.STATUS_FILE), status)
    words = pgpool.start().words
    bench.docker("exec", "--detach", "--user", "postgres", name, *words)
    row = Row(text, name, bench.cluster.settings.pgpool_port)
    ready = ("pg_isready", "-q", "-h", name, "-p", str(row.port))

    def answers() -> bool:
        command = exec_in(bench.client, Command(ready, user="postgres"))
        return bench.host.run(command, timeout_s=10.0, check=False).status == 0

    try:
        wait_until(answers, timeout_s=20.0, what=f"Pgpool-II with {text} answers")
        yield row
    finally:
        bench.docker("rm", "--force", "--volumes", name, check=False)


@contextlib.contextmanager
def _classical(bench: Bench) -> Iterator[None]:
    """One named synchronous standby in the quorum's place, and back whatever happens."""
    container, topology = bench.primary.container, bench.cluster.topology
    before = bench.inside(container, "cat", ROLE_CONF)
    standby = next(n.name for n in topology.data_nodes if n.name != bench.primary.name)
    names = f"synchronous_standby_names = 'FIRST 1 (\"{standby}\")'"
    after = re.sub(r"(?m)^synchronous_standby_names = .*$", lambda _: names, before)
    try:
        bench.write(container, ROLE_CONF, after)
        bench.sql(container, "SELECT pg_reload_conf()")
        yield
    finally:
        bench.write(container, ROLE_CONF, before)
        bench.sql(container, "SELECT pg_reload_conf()")


def _print(results: dict[str, dict[str, list[float]]]) -> None:
    """A table in Markdown: medians, and in brackets the part of `direct`."""
    columns = list(results)
    print("| workload, clients | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for key in next(iter(results.values())):
        base = statistics.median(results["direct"][key]) if "direct" in results else 0.0
        cells = []
        for column in columns:
            median = statistics.median(results[column][key])
            part = f" ({median / base:.2f})" if base and column != "direct" else ""
            cells.append(f"{median:.0f}{part}")
        print(f"| {key} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
