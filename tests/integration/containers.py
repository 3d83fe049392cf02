"""Nodes for tests of the verbs: real containers from the image, with this checkout's node part."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgha.templating import render
from tests.integration.image import IMAGE

PACKAGE = Path(__file__).parents[2] / "pgha"
PASSWORD = "sécret: 'x\\"

_SCRIPT = """#!/usr/bin/python3 -IS
import sys
sys.path.append("/usr/lib/pgha")
from pgha.node.{module} import main
sys.exit(main())
"""
_ALONE = """#!/usr/bin/python3 -IS
import sys
sys.path.append("/usr/lib/pgha")
from pgha.node import main
main.Main._look_after_agent = lambda *_: None
sys.exit(main.main())
"""
_PROGRAMS = ("pgha-node", "pgha-main")
_OURS = "/etc/pgpool2/pgha"
_VOLUMES = {
    "etc": "/etc/pgpool2",
    "ssh": "/etc/ssh/pgha",
    "root": "/root/.ssh",
    "home": "/var/lib/postgresql/.ssh",
    "archive": "/var/lib/postgresql/archive",
    "data": "/var/lib/pgha/volume",
}


def run(*words: str, stdin: str = "", check: bool = True, timeout_s: float = 120.0) -> str:
    """A command's output; raises with what it complained about."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition; fails with how long it waited."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)


def never(condition: Callable[[], bool], for_s: float) -> None:
    """Watch that a condition does not come true."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert not condition(), f"it came true within {for_s} s"
        time.sleep(0.05)


@dataclass(frozen=True)
class Answer:
    """What a verb said."""

    exit: int
    document: dict[str, Any]
    seconds: float

    @property
    def code(self) -> str:
        return str(self.document.get("code", ""))

    @property
    def report(self) -> dict[str, Any]:
        report = self.document["report"]
        assert isinstance(report, dict)
        return report


class Nodes:
    """`a` and `b` carry data, `w` is the witness; each a container on a network of its own.

    agents: they run, and AUTO_FAILOVER is off. Without them what a verb does is seen alone: main
    starts none, and misses none.
    """

    def __init__(self, prefix: str, place: Path, subnet: str, *, agents: bool = False) -> None:
        self.prefix, self.place, self.subnet, self.agents = prefix, place, subnet, agents
        base = subnet.rsplit(".", 1)[0]
        self.members = [
            {"name": n, "kind": k, "address": f"{base}.{11 + i}", "slot": f"pgha_{n}"}
            for i, (n, k) in enumerate((("a", "data"), ("b", "data"), ("w", "witness")))
        ]

    def create(self) -> None:
        """Network, code, keys, files, containers."""
        self.remove()
        run("docker", "network", "create", "--subnet", self.subnet, f"{self.prefix}-net")
        self._code()
        for name in ("a", "b", "w"):
            keys = self.place / "keys"
            keys.mkdir(exist_ok=True)
            for kind in ("host", "node"):
                file = str(keys / f"{kind}-{name}")
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
        for member in self.members:
            document = json.dumps(self._document(member))
            words = (*self.mounts(member["name"]), "--entrypoint", "/usr/bin/pgha-node")
            run("docker", "run", "--rm", "-i", *words, IMAGE, "prepare", stdin=document)
            self.start(member["name"])

    def start(self, name: str) -> None:
        """Make and start a node's container on its volumes."""
        network = ("--network", f"{self.prefix}-net", "--ip", self.address(name))
        words = ["--name", f"{self.prefix}-{name}", "--stop-timeout", "60", "--shm-size", "128m"]
        words += ["--cap-add", "SYS_NICE", "--hostname", name]
        mounts = self.mounts(name)
        entry = ("--entrypoint", "/usr/bin/tini", IMAGE, "--", "/usr/bin/pgha-main")
        run("docker", "run", "-d", *words, *network, *mounts, *entry)
        eventually(lambda: self.verb(name, "probe").report["main_running"])

    def verb(
        self, name: str, verb: str, stdin: Mapping[str, Any] | None = None, **args: object
    ) -> Answer:
        """Call a verb as an operator does, by `docker exec`."""
        words = [f"{key}={value}" for key, value in args.items()]
        feed = ("-i",) if stdin is not None else ()
        began = time.monotonic()
        done = subprocess.run(
            (
                "docker",
                "exec",
                *feed,
                "-u",
                "postgres",
                f"{self.prefix}-{name}",
                "pgha-node",
                verb,
                *words,
            ),
            input=json.dumps(stdin) if stdin is not None else None,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        try:
            document = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{verb}: {done.stdout}{done.stderr}") from None
        return Answer(done.returncode, document, time.monotonic() - began)

    def done(
        self, name: str, verb: str, stdin: Mapping[str, Any] | None = None, **a: object
    ) -> Answer:
        """A verb that must succeed."""
        answer = self.verb(name, verb, stdin, **a)
        assert answer.exit == 0, (name, verb, answer.document)
        return answer

    def vote(self, name: str, candidate: str, term: int) -> Answer:
        """Let `name` vote for `candidate`."""
        args: dict[str, Any] = {"term": term, "for": candidate}
        return self.verb(name, "vote", **args)

    def address(self, name: str) -> str:
        return next(m["address"] for m in self.members if m["name"] == name)

    def lets_in(self, name: str, door: str = "") -> bool:
        """Whether a client comes in by TCP with a password: one on the network, or through the
        Pgpool-II of the node `door`."""
        words = (
            "-XAtq",
            "-h",
            self.address(name),
            "-p",
            "5433",
            "-d",
            "postgres",
            "-U",
            "postgres",
        )
        password = ("-e", f"PGPASSWORD={PASSWORD}", "-e", "PGPASSFILE=/dev/null")
        there = ("exec", *password, "-u", "postgres", f"{self.prefix}-{door}", "psql")
        beside = ("--network", f"{self.prefix}-net", "--entrypoint", "psql", IMAGE)
        place = there if door else ("run", "--rm", *password, *beside)
        done = subprocess.run(
            ("docker", *place, *words, "-c", "SELECT 1"),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        # PostgreSQL 17, "psql", "Exit Status": 2, the connection went bad.
        assert done.returncode in (0, 2), done.stderr
        return done.returncode == 0

    def sql(self, name: str, text: str, *, check: bool = True) -> str:
        """SQL over the socket, as the superuser."""
        words = ("psql", "-XAtq", "-h", "/var/run/postgresql", "-p", "5433", "-d", "postgres")
        prefix = ("docker", "exec", "-i", "-u", "postgres", f"{self.prefix}-{name}")
        return run(*prefix, *words, stdin=text, check=check).strip()

    def sh(self, name: str, text: str, *, user: str = "postgres", check: bool = True) -> str:
        """A shell line in the container."""
        words = ("docker", "exec", "-u", user, f"{self.prefix}-{name}", "sh", "-c", text)
        return run(*words, check=check).strip()

    def docker(self, verb: str, name: str, *words: str) -> None:
        """`kill`, `stop`, `start`, `rm` for a node's container."""
        run("docker", verb, *words, f"{self.prefix}-{name}")

    def remove(self) -> None:
        """Take everything away."""
        for name in ("a", "b", "w"):
            run("docker", "rm", "-f", f"{self.prefix}-{name}", check=False)
        run("docker", "network", "rm", f"{self.prefix}-net", check=False)
        if self.place.exists():
            place = f"{self.place}:/place"
            clean = ("--entrypoint", "/bin/sh", IMAGE, "-c", "rm -rf /place/*")
            run("docker", "run", "--rm", "-v", place, *clean, check=False)

    def cluster(self) -> None:
        """Bring all three up: a is the primary of term 1, and lets clients in."""
        secrets = {"superuser": PASSWORD, "replication": PASSWORD}
        self.done("a", "initdb", secrets)
        self.done("a", "serve", term=1)
        self.done("b", "copy", upstream="a")
        self.done("b", "follow", upstream="a", term=1)
        self.done("w", "follow", upstream="a", term=1)
        self.done("a", "confirm", term=1, wait_s=30)
        # The agents take part from here on.
        for name in ("b", "w", "a"):
            self.done(name, "complete")

    def _code(self) -> None:
        code = self.place / "code" / "pgha"
        code.mkdir(parents=True, exist_ok=True)
        (code / "__init__.py").touch()
        for part in ("node", "commands"):
            shutil.copytree(PACKAGE / part, code / part, dirs_exist_ok=True)
        main = _SCRIPT.format(module="main") if self.agents else _ALONE
        for script, text in zip(_PROGRAMS, (_SCRIPT.format(module="cli"), main), strict=True):
            (self.place / script).write_text(text)
            (self.place / script).chmod(0o755)
        for parent in (self.place, self.place / "code"):
            parent.chmod(0o755)

    def mounts(self, name: str) -> list[str]:
        words = ["-v", f"{self.place}/code:/usr/lib/pgha:ro"]
        for script in _PROGRAMS:
            words += ["-v", f"{self.place}/{script}:/usr/bin/{script}:ro"]
        for volume, target in _VOLUMES.items():
            words += ["-v", f"{self.place}/{name}/{volume}:{target}"]
        return words

    def _about(self, member: Mapping[str, str]) -> dict[str, object]:
        """What the node knows of itself and of the others (`node.json`)."""
        return {
            "cluster": self.prefix,
            "node": member["name"],
            "kind": member["kind"],
            "nodes": self.members,
            "pgport": 5433,
            "pgpool_port": 5432,
            "postgres_user": "postgres",
            "replication_user": "replication",
            "pcp_user": "postgres",
            "quorum_commit": True,
            "archive_max_bytes": 1 << 30,
            "wal_keep_max_bytes": 1 << 30,
            "locale_provider": "builtin",
            "locale": "C.UTF-8",
            "pgdata": "/var/lib/postgresql/data",
            "archive": "/var/lib/postgresql/archive",
            "election_timeout_s": 1.5 if self.agents else 3600.0,
            "auto_failover": False,
        }

    def _files(self, member: Mapping[str, str]) -> dict[str, str]:
        """Those of postgres' own."""
        ours, keys = _OURS, self.place / "keys"
        return {
            f"{ours}/node.json": json.dumps(self._about(member)),
            f"{ours}/postgresql.conf": postgresql_conf(self.prefix),
            f"{ours}/pg_hba.conf": pg_hba_conf(self.subnet),
            f"{ours}/clients_hba.conf": clients_hba_conf(self.subnet),
            f"{ours}/gate_hba.conf": "",
            f"{ours}/agent.key": "0123456789abcdef" * 4,
            f"{ours}/pg_ident.conf": render("pg_ident.conf.j2", postgres_user="postgres"),
            f"{ours}/pgpass": _pgpass(),
            # Enough for Pgpool-II to be stopped; how it is steered, its own tests tell.
            "/etc/pgpool2/pgpool.conf": "port = 5432\npcp_port = 9898\n",
            "/var/lib/postgresql/.ssh/id_ed25519": (keys / f"node-{member['name']}").read_text(),
            "/var/lib/postgresql/.ssh/authorized_keys": "".join(
                (keys / f"node-{m['name']}.pub").read_text() for m in self.members
            ),
            "/var/lib/postgresql/.ssh/known_hosts": "".join(
                m["address"] + " " + (keys / f"host-{m['name']}.pub").read_text()
                for m in self.members
            ),
        }

    def _document(self, member: Mapping[str, str]) -> dict[str, Any]:
        """What the verb `prepare` reads."""
        host_key = self.place / "keys" / f"host-{member['name']}"
        of_root = {
            "/etc/ssh/pgha/ssh_host_ed25519_key": host_key.read_text(),
            "/etc/ssh/pgha/sshd_config": render("sshd_config.j2"),
        }
        directories = [
            {
                "path": path,
                "mode": "0755" if path == "/etc/ssh/pgha" else "0700",
                "owner": "root" if path.startswith(("/etc/ssh", "/root")) else "postgres",
            }
            for path in (*_VOLUMES.values(), _OURS)
        ]
        return {
            "stamp": None,
            "directories": directories,
            "files": [
                {"path": p, "mode": "0600", "owner": owner, "content": c}
                for owner, group in (("postgres", self._files(member)), ("root", of_root))
                for p, c in group.items()
            ],
        }


def postgresql_conf(cluster: str) -> str:
    return render(
        "postgresql.conf.j2",
        cluster=cluster,
        pgport=5433,
        archive="/var/lib/postgresql/archive",
        max_connections=50,
        max_wal_senders=20,
        shared_buffers_mb=64,
        effective_cache_size_mb=256,
        maintenance_work_mem_mb=32,
        work_mem_mb=4,
        wal_keep_mb=128,
        max_slot_wal_keep_mb=1024,
        max_wal_size_mb=512,
        superuser_reserved=3,
    )


def pg_hba_conf(subnet: str) -> str:
    return render(
        "pg_hba.conf.j2",
        postgres_user="postgres",
        replication_user="replication",
        backend_subnet=subnet,
    )


def clients_hba_conf(subnet: str) -> str:
    return render("clients_hba.conf.j2", backend_subnet=subnet, frontend_subnet=subnet)


def _pgpass() -> str:
    from pgha.commands.postgres import pgpass_line

    return pgpass_line("*", "*", "*", "replication", PASSWORD)
