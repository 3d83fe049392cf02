"""Roles: at every door at once, whatever their names and passwords; and nobody else reads those."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.client import docker
from tests.integration.doors import doors, open_doors
from tests.integration.real_cluster import INVOKE, LIMIT_S, ROOT, RealCluster, environment

NODES = ("node-0", "node-1", "node-2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("users", tmp_path_factory.mktemp("users"))
    try:
        made.inv("init")
        made.client.start()
        made.client.psql("CREATE TABLE precious (n int); INSERT INTO precious VALUES (1)")
        yield made
    finally:
        made.tear_down()


def known_at(cluster: RealCluster) -> list[bytes]:
    """Each node's pool_passwd."""
    root = cluster.directory / "volumes"
    return [
        (root / born / "etc" / "pgpool2" / "pool_passwd").read_bytes()
        for born in ("master", "standby", "witness")
    ]


NAMES = (
    "ann",
    "Ann",
    "two words",
    " outer spaces ",
    "o'brien",
    'quo"te',
    '"quoted"',
    "back\\slash",
    "a:b#c%d",
    "#comment",
    "Жан-Поль 漢字 é",
    "name=value",
    "x; DROP TABLE precious; --",
    "x'; DROP TABLE precious; --",
    '"; DROP TABLE precious; --',
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "';touch /tmp/pwned;'",
    "n" * 63,
    "ä" * 31,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_role_is_let_in_at_every_door_at_once_and_nowhere_once_deleted(
    cluster: RealCluster, name: str
) -> None:
    before = known_at(cluster)
    cluster.inv("user.create", name, "--password-file", "-", stdin="pass word\n")
    assert open_doors(cluster, name, "pass word") == doors(cluster)
    assert open_doors(cluster, name, "password") == []
    cluster.inv("user.delete", name)
    assert open_doors(cluster, name, "pass word") == []
    assert known_at(cluster) == before
    assert cluster.client.psql("SELECT n FROM precious") == "1"
    for node in NODES:
        docker("exec", cluster.container(node), "test", "!", "-e", "/tmp/pwned")
    assert not Path("/tmp/pwned").exists()


PASSWORDS = (
    "p",
    "p" * 79,
    "ä" * 39,
    " outer spaces ",
    "'; DROP TABLE precious; --",
    '"$(touch /tmp/pwned)`id`\\',
    ":colon:#hash%percent",
    "-leading-dash",
    "md5" + "0" * 32,
    "a soft\u00adhyphen and a ligature \ufb01",
)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_changes_at_every_door_at_once(
    cluster: RealCluster, password: str, tmp_path: Path
) -> None:
    cluster.inv("user.create", "bea", "the first")
    try:
        file = tmp_path / "password"
        file.write_text(password)
        cluster.inv("user.password", "bea", "--password-file", str(file))
        assert open_doors(cluster, "bea", password) == doors(cluster)
        assert open_doors(cluster, "bea", "the first") == []
    finally:
        cluster.inv("user.delete", "bea")
    assert cluster.client.psql("SELECT n FROM precious") == "1"


@pytest.mark.parametrize("way", ["argument", "flag", "file", "standard input"])
def test_every_way_to_give_a_password(cluster: RealCluster, way: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    given = {
        "argument": (("as an argument",), "", "as an argument"),
        "flag": (("--password", "by flag"), "", "by flag"),
        "file": (("--password-file", str(file)), "", "from a file"),
        "standard input": (("--password-file", "-"), "from\u00e4 stdin\r\n", "from\u00e4 stdin"),
    }
    words, stdin, password = given[way]
    cluster.inv("user.create", "cis", *words, stdin=stdin)
    try:
        assert open_doors(cluster, "cis", password) == doors(cluster)
    finally:
        cluster.inv("user.delete", "cis")


def test_an_owner_is_not_deleted_and_every_object_is_named(cluster: RealCluster) -> None:
    cluster.inv("user.create", "dan", "pw")
    cluster.client.psql('CREATE TABLE "his things" (n int); ALTER TABLE "his things" OWNER TO dan')
    cluster.client.psql("CREATE DATABASE other")
    cluster.client.psql("ALTER DATABASE other OWNER TO dan")
    cluster.client.psql("GRANT SELECT ON precious TO dan")
    before = cluster.fingerprint()
    refusal = cluster.inv("user.delete", "dan", check=3).stderr
    for name in ("his things", "database other", "precious"):
        assert name in refusal
    assert cluster.fingerprint() == before
    assert open_doors(cluster, "dan", "pw") == doors(cluster)
    cluster.client.psql('DROP TABLE "his things"; REVOKE ALL ON precious FROM dan')
    cluster.client.psql("DROP DATABASE other")
    cluster.inv("user.delete", "dan")


def test_a_role_is_let_in_after_a_failover_too(cluster: RealCluster) -> None:
    cluster.inv("user.create", "eve", "pw")
    cluster.inv("failover")
    assert open_doors(cluster, "eve", "pw") == doors(cluster)
    cluster.inv("user.password", "eve", "other")
    cluster.inv("failback")
    assert open_doors(cluster, "eve", "other") == doors(cluster)
    cluster.inv("user.delete", "eve")


class Watch:
    """Looks at the words and the environment of every process of this machine, containers too."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._ends = threading.Event()
        self.found: set[str] = set()
        self.looks = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.002):
            self.looks += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for file in ("cmdline", "environ"):
                    try:
                        text = Path("/proc", pid, file).read_bytes()
                    except OSError:  # It ended meanwhile.
                        continue
                    if self._secret in text:
                        self.found.add(f"{file}: {text[:40]!r}")


@pytest.mark.parametrize("verb", ["user.create", "user.password"])
def test_a_password_is_read_by_nobody_else(cluster: RealCluster, verb: str, tmp_path: Path) -> None:
    secret = f"secret-{uuid.uuid4().hex}"
    file = tmp_path / "password"
    file.write_text(secret)
    if verb == "user.password":
        cluster.inv("user.create", "fay", "pw")
    watch = Watch(secret)
    try:
        with watch.watching():
            said = [
                debugged(cluster, verb, "fay", "--password-file", str(file), *more)
                for more in (("--dry-run",), ())
            ]
        assert watch.looks > 10
        assert watch.found == set()
        assert open_doors(cluster, "fay", secret) == doors(cluster)
        said.append(debugged(cluster, verb, "fay", "--password-file", str(file), "--json"))
        for text in (*said, *traces(cluster)):
            assert secret not in text
        assert files_with(cluster, secret) == []
    finally:
        cluster.inv("user.delete", "fay")


def test_a_password_as_an_argument_stays_in_that_one_process(cluster: RealCluster) -> None:
    secret = f"secret-{uuid.uuid4().hex}"
    watch = Watch(secret)
    with watch.watching():
        said = debugged(cluster, "user.create", "gil", secret)
    cluster.inv("user.delete", "gil")
    assert watch.found, "the watch is blind"
    assert all("invoke" in found or "python" in found for found in watch.found)
    assert all(found.startswith("cmdline") for found in watch.found)
    for text in (said, *traces(cluster)):
        assert secret not in text


def test_the_cluster_s_own_passwords_are_in_no_trace(tmp_path: Path) -> None:
    """From `init` on: in no word, no variable, no log; and in one file, for its owner alone."""
    secrets = {
        name: f"secret-{uuid.uuid4().hex}"
        for name in ("POSTGRES_PASSWORD", "REPLICATION_PASSWORD", "PCP_PASSWORD")
    }
    cluster = RealCluster("own", tmp_path, **secrets)
    watch = Watch("secret-")
    try:
        with watch.watching():
            said = debugged(cluster, "init") + debugged(cluster, "failover")
        assert watch.found == set()
        for secret in secrets.values():
            for text in (said, *traces(cluster)):
                assert secret not in text
            for path in files_with(cluster, secret):
                assert path.stat().st_mode & 0o077 == 0, path
    finally:
        cluster.tear_down()


def debugged(cluster: RealCluster, *words: str) -> str:
    """What a command says with DEBUG=1."""
    done = subprocess.run(
        (*INVOKE, *words, "-e", str(cluster.env)),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment({"DEBUG": "1"}),
    )
    return done.stdout + done.stderr


def traces(cluster: RealCluster) -> list[str]:
    """What each container leaves for others to read: its inspection, its log, its journal."""
    found = []
    for node in NODES:
        name = cluster.container(node)
        done = subprocess.run(("docker", "logs", name), capture_output=True, text=True, check=True)
        journal = docker("exec", name, "cat", "/etc/pgpool2/pgha/journal.jsonl")
        assert all(json.loads(line) for line in journal.splitlines())
        found += [docker("inspect", name), done.stdout + done.stderr, journal]
    return found


def files_with(cluster: RealCluster, secret: str) -> list[Path]:
    """The files in the volumes that hold it; PostgreSQL's data and WAL are among them."""
    root = str(cluster.directory / "volumes")
    words = ("grep", "-rlaF", "--", secret, root)
    done = subprocess.run(words, capture_output=True, text=True)
    return [Path(line) for line in done.stdout.splitlines()]
