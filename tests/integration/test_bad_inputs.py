"""A hundred bad inputs: each gives one clear sentence and the right exit code, and changes nothing.

Real `inv` processes. What is wrong before anything is contacted runs with a Docker address where
nobody listens: had it been contacted, the exit code would be another one.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgha import Cluster
from pgha.errors import Refused
from pgha.locking import Note, path_of
from pgha.plan import Plan
from tests.client.client import docker
from tests.client.engine import stall
from tests.integration import loopback
from tests.integration.image import PREFIX
from tests.integration.real_cluster import BY_HAND, INVOKE, LIMIT_S, ROOT, Done, RealCluster
from tests.integration.real_cluster import environment as clean_environment

NOBODY = "unix:///nonexistent/docker.sock"
AT_ONCE = 4


@dataclass(frozen=True)
class Case:
    """One bad input.

    what: in words. says: a part of the sentence that must come. settings: over those of the file.
    raw: lines of the file as they are. environ: of the process. env: what `-e` gets; "": no `-e`;
    None: the case's own file.
    """

    what: str
    words: tuple[str, ...]
    code: int
    says: str
    settings: Mapping[str, str] = field(default_factory=dict)
    raw: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    env: str | None = None
    stdin: str = ""


def wrong(what: str, says: str, **settings: str) -> Case:
    """A wrong configuration."""
    return Case(what, ("status",), 2, says, settings, environ={"DOCKER_HOST": NOBODY})


def misused(what: str, line: str, says: str, *, stdin: str = "") -> Case:
    """Wrong words on the command line."""
    words = tuple(line.split(" "))
    return Case(what, words, 2, says, environ={"DOCKER_HOST": NOBODY}, stdin=stdin)


def unimported(what: str, line: str, says: str) -> Case:
    """Not to be imported; it has no -e."""
    environ = {"DOCKER_HOST": NOBODY}
    return Case(f"to import: {what}", tuple(line.split()), 2, says, environ=environ, env="")


CONFIGURATION = (
    wrong("a port that is no number", "PGPORT=abc: a port from 1 to 65535", PGPORT="abc"),
    wrong("a port of nothing", "PGPORT=: a port", PGPORT=""),
    wrong("a port too high", "PGPORT=65536: a port", PGPORT="65536"),
    wrong("a port below zero", "PGPOOL_PORT=-1: a port", PGPOOL_PORT="-1"),
    wrong("a port with an underscore", "PGPORT=5_433: a port", PGPORT="5_433"),
    wrong("the SSH server's port", "the container's SSH server", PGPORT="22"),
    wrong("the port of pcp commands", "Pgpool-II's pcp commands", PGPOOL_PORT="9898"),
    wrong("one port for both", "two different ports", PGPORT="5432", PGPOOL_PORT="5432"),
    wrong("a mode that there is not", "single or ha", MODE="cluster"),
    wrong("a mode in capitals", "single or ha", MODE="SINGLE"),
    wrong("a project without a name", "COMPOSE_PROJECT_NAME", COMPOSE_PROJECT_NAME=""),
    wrong("a project with a slash", "COMPOSE_PROJECT_NAME", COMPOSE_PROJECT_NAME="a/b"),
    wrong("a project with a long name", "63 at most", COMPOSE_PROJECT_NAME="a" * 64),
    wrong("a node with a space", "a host's name", MASTER_NODE="node 0"),
    wrong("a node called localhost", "neither localhost", MASTER_NODE="localhost"),
    wrong("a node that looks like an address", "looks like an address", STANDBY_NODE="10.0.0.5"),
    wrong("a node of nothing", "MASTER_NODE=: a host's name", MASTER_NODE=""),
    wrong("a node's name too long", "63 characters", MASTER_NODE="n" * 64),
    wrong("two nodes of one name", "two different names", MASTER_NODE="x", STANDBY_NODE="X"),
    wrong("a node called like the alias", "two different names", PGPOOL_ALIAS="node-0"),
    wrong("an address that is none", "an IPv4 address", MASTER_IP="10.0.0.256"),
    wrong("an IPv6 address", "an IPv4 address", MASTER_IP="fd00::1"),
    wrong("an address outside its subnet", "an address inside the subnet", MASTER_IP="10.1.2.3"),
    wrong("the gateway's address", "other than the subnet's first two", STANDBY_IP="10.99.0.1"),
    wrong("the broadcast address", "other than the subnet's", WITNESS_IP="10.99.0.255"),
    wrong("one address for two", "two different addresses", STANDBY_IP="10.99.0.11"),
    wrong("the loopback address", "an address that a container can have", MASTER_IP="127.0.0.1"),
    wrong(
        "a subnet that is an address",
        "the subnet's first address (10.99.0.0/24)",
        POSTGRES_BACKEND_SUBNET="10.99.0.5/24",
    ),
    wrong("a subnet too small", "a subnet from /8 to /29", POSTGRES_BACKEND_SUBNET="10.99.0.0/30"),
    wrong("a subnet too large", "a subnet from /8 to /29", POSTGRES_FRONTEND_SUBNET="8.0.0.0/7"),
    wrong("a subnet without a length", "an IPv4 subnet", POSTGRES_BACKEND_SUBNET="10.99.0.0"),
    wrong(
        "subnets that overlap",
        "two subnets that do not overlap",
        POSTGRES_FRONTEND_SUBNET="10.99.0.0/16",
    ),
    wrong("a user of nothing", "a user's name", POSTGRES_USER=""),
    wrong("a superuser that PostgreSQL reserves", "'pg_'", POSTGRES_USER="pg_admin"),
    wrong("a replication user called public", "does not reserve", REPLICATION_USER="public"),
    wrong("a user with a colon", "without ':'", PCP_USER="a:b"),
    wrong("a user with a long name", "63 bytes", POSTGRES_USER="u" * 64),
    wrong("one user for both", "two different users", REPLICATION_USER="postgres"),
    wrong("a password of nothing", "POSTGRES_PASSWORD: ", POSTGRES_PASSWORD=""),
    wrong("PCP's password of nothing", "PCP_PASSWORD: ", PCP_PASSWORD=""),
    wrong("a data directory that is relative", "an absolute path", PGDATA="data"),
    wrong("a data directory with '..'", "a path without '..'", PGDATA="/var/../data"),
    wrong("a data directory of the system's", "the container needs", PGDATA="/usr/data"),
    wrong(
        "an archive inside the data", "neither inside", CLUSTER_ARCHIVE="/var/lib/postgresql/data/a"
    ),
    wrong("an archive with a percent sign", "a path of letters", CLUSTER_ARCHIVE="/var/%f"),
    wrong("volumes in /etc", "none of the system's", VOLUME_ROOT="/etc"),
    wrong("volumes at /", "none of the system's", VOLUME_ROOT="/"),
    wrong("volumes at a relative path", "an absolute path", VOLUME_ROOT="volumes"),
    wrong("a volume with a colon", "a path without ':'", MASTER_VOLUME_ETC_SSH="/srv/a:b"),
    wrong(
        "one volume for two",
        "neither inside the other",
        MASTER_VOLUME_POSTGRES_DATA="/srv/x",
        STANDBY_VOLUME_POSTGRES_DATA="/srv/x",
    ),
    wrong(
        "a volume inside another",
        "neither inside",
        MASTER_VOLUME_ETC_SSH="/srv/x",
        MASTER_VOLUME_ROOT_SSH="/srv/x/y",
    ),
    wrong("a third standby of the second's name", "two different names", STANDBY_2_NODE="node-1"),
    wrong("a standby of a number that there is not", "did you mean one of", STANDBY_6_NODE="x"),
    wrong("a flag that is no flag", "true or false", DOCKER_HUB_IMAGE="perhaps"),
    wrong("a switch that is no switch", "on or off", AUTO_FAILOVER="2"),
    wrong(
        "a synchronous mode that there is not", "auto, on or off", SYNCHRONOUS_MODE="remote_apply"
    ),
    wrong("a version too old", "a major version from 17", POSTGRES_VERSION="16"),
    wrong("a version with a point", "a major version", POSTGRES_VERSION="17.2"),
    wrong("a time-out in words", "a number of seconds", ELECTION_TIMEOUT="fast"),
    wrong("a time-out below zero", "a number of seconds from 1 to 60", ELECTION_TIMEOUT="-1"),
    wrong("a time-out without end", "a number of seconds", ELECTION_TIMEOUT="inf"),
    wrong("memory with a unit", "a number of megabytes", MEMORY_MB="2GB"),
    wrong("an archive too small", "a number of megabytes", ARCHIVE_MAX_MB="1"),
    wrong("an image with capitals", "an image's name", DOCKER_HUB_IMAGE_NAME="Pgha/Cluster"),
    wrong("an image's tag with a colon", "an image's tag", DOCKER_HUB_IMAGE_VERSION="a:b"),
    wrong("a locale that the provider has not", "C, C.UTF-8", POSTGRES_LOCALE="de_DE.UTF-8"),
    wrong("a locale of a later version", "PostgreSQL 18", POSTGRES_LOCALE="PG_UNICODE_FAST"),
    wrong("a source that is none of apt's", "sources.list", APT_SOURCE="http://example.org"),
    wrong(
        "a variable that there is not",
        "PGPROT is no variable of ours; did you mean PGPORT?",
        PGPROT="1",
    ),
    wrong(
        "a lower-case variable", "pgport is no variable of ours; did you mean PGPORT", pgport="1"
    ),
    wrong("a reference to nothing", "names nothing that is set above", MASTER_NODE="${NOT_THERE}"),
    wrong(
        "three mistakes at once",
        "3 mistakes in",
        PGPORT="x",
        MODE="y",
        MEMORY_MB="z",
    ),
    Case("a line that is no assignment", ("status",), 2, "a line NAME=value", raw="what is this\n"),
    Case("a variable without a value", ("status",), 2, "PGPORT=value was expected", raw="PGPORT\n"),
    Case(
        "a slip in the environment",
        ("status",),
        2,
        "POSTGRES_PASWORD is no variable",
        environ={"POSTGRES_PASWORD": "x"},
    ),
    Case(
        "a wrong value in the environment",
        ("status",),
        2,
        "environment: PGPORT=zero",
        environ={"PGPORT": "zero"},
    ),
)

FILES = (
    Case(
        "an environment that there is not",
        ("status",),
        2,
        "There is no file env/nosuch.env",
        env="nosuch",
    ),
    Case(
        "a file that there is not",
        ("status",),
        2,
        "There is no file /nosuch/x.env",
        env="/nosuch/x.env",
    ),
    Case("a file that is a directory", ("status",), 2, "/tmp/ cannot be read", env="/tmp/"),
    Case("a file that is no text", ("status",), 2, "text in UTF-8", env="/bin/true"),
    Case("a file too large", ("status",), 2, "too large", env="/dev/zero"),
    Case("a name of nothing", ("status",), 2, "env file without a name", env=" "),
    Case(
        "PGHA_ENV that names nothing",
        ("status",),
        2,
        "(PGHA_ENV)",
        environ={"PGHA_ENV": "nosuch"},
        env="",
    ),
)

USAGE = (
    misused("a command that there is not", "promote", "promote"),
    misused("a flag that there is not", "failover --now", "--now"),
    misused("a flag without its value", "failover --to", "--to"),
    misused("a word too many", "status node-0", "node-0"),
    misused("a node that there is not", "failover --to node-9", "There is no node 'node-9'"),
    misused(
        "a node to recover that there is not",
        "recovery --node node-9",
        "its nodes are node-0, node-1, node-2",
    ),
    misused("one document, many times", "status --watch --json", "--watch is many"),
    misused("a user without a name", "user.create", "needs the name of a role"),
    misused("a user that is a flag", "user.delete --help", "would be a flag"),
    misused("no password, no terminal", "user.create ann", "no terminal to ask at"),
    misused("an empty password", "user.password ann --password-file -", "The password is empty"),
    misused(
        "a password of one empty line",
        "user.create ann --password-file -",
        "The password is empty",
        stdin="\n",
    ),
    misused(
        "a password in two lines", "user.create ann --password-file -", "line breaks", stdin="a\nb"
    ),
    misused("a password too long", f"user.create ann {'p' * 80}", "Pgpool-II takes 79"),
    misused("a password twice", "user.create ann pw --password-file -", "given twice"),
    misused(
        "a password's file that there is not",
        "user.create ann --password-file /nosuch",
        "/nosuch cannot be read: No such file",
    ),
    misused(
        "a password's file that is a directory",
        "user.create ann --password-file /tmp",
        "Is a directory",
    ),
    misused(
        "a password's file without end", "user.create ann --password-file /dev/zero", "more than"
    ),
    misused(
        "a password that looks like a flag",
        "user.create ann --password --yes",
        "one without its value",
    ),
    misused("a user's name too long", f"user.create {'n' * 64} pw", "64 bytes"),
    misused("a user's name with a tab", "user.create a\tb pw", "control characters"),
    misused(
        "a user that PostgreSQL reserves",
        "user.create pg_monitor2 pw",
        "reserves the name pg_monitor2",
    ),
    misused("a user called public", "user.create public pw", "reserves the name public"),
    misused("an Invoke flag behind the command", "start --collection x", "takes no --collection"),
    unimported("no file", "import-env", "import-env needs FILE."),
    unimported("a file that there is not", "import-env /nosuch", "/nosuch cannot be read: No such"),
    unimported("a directory", "import-env /tmp", "Is a directory"),
    unimported("a file that is no text", "import-env /bin/true", "text in UTF-8 was expected"),
    unimported("a file without end", "import-env /dev/zero", "too large"),
    unimported("a flag", "import-env --help", "would be a flag"),
    unimported("a program", "import-env bin/demo", "one NAME=value was expected"),
    unimported("a path to write to", "import-env env/ha.env --into ../x", "--into takes the NAME"),
    unimported("an environment", "import-env env/ha.env -e prod", "No idea what 'prod' is"),
)


def docker_gone(line: str, code: int, says: str = "No Docker engine answers on localhost") -> Case:
    words = tuple(line.split())
    return Case(f"Docker gone: {line}", words, code, says, environ={"DOCKER_HOST": NOBODY})


DOCKER_GONE = (
    docker_gone("status", 5, "No Docker engine answers"),
    docker_gone("build", 3),
    docker_gone("init", 3),
    docker_gone("init -f", 3),
    docker_gone("start", 3),
    docker_gone("stop", 3),
    docker_gone("failover", 3),
    docker_gone("failover --force --yes", 3),
    docker_gone("failback", 3),
    docker_gone("recovery", 3),
    docker_gone("recovery -f", 3),
    docker_gone("user.create ann pw", 3),
    docker_gone("user.password ann pw", 3),
    docker_gone("user.delete ann", 3),
    Case(
        "no docker program: init", ("init",), 3, "no docker program on", environ={"PATH": "/nosuch"}
    ),
    Case(
        "no docker program: status",
        ("status",),
        5,
        "no docker program",
        environ={"PATH": "/nosuch"},
    ),
)

ALONE = (*CONFIGURATION, *FILES, *USAGE, *DOCKER_GONE)


@dataclass(frozen=True)
class Runner:
    """Runs cases, each with a file of its own that is right but for what is wrong."""

    directory: Path

    def __call__(self, case: Case) -> Done:
        words = [*INVOKE, *case.words]
        if case.env is None:
            words += ["-e", str(self._file(case))]
        elif case.env:
            words += ["-e", case.env.strip()]
        done = subprocess.run(
            words,
            cwd=ROOT,
            input=case.stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=clean_environment(case.environ),
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _file(self, case: Case) -> Path:
        number = abs(hash(case.what))
        values = {
            # Another cluster for each: they would lock one another out.
            "COMPOSE_PROJECT_NAME": f"{PREFIX}-{number}",
            "DOCKER_HUB_IMAGE": "false",
            "WITNESS_NODE": "node-2",
            "VOLUME_ROOT": str(self.directory / "volumes"),
            "POSTGRES_BACKEND_SUBNET": "10.99.0.0/24",
            "POSTGRES_FRONTEND_SUBNET": "10.99.1.0/24",
            "MASTER_IP": "10.99.0.11",
            "STANDBY_IP": "10.99.0.12",
            "WITNESS_IP": "10.99.0.13",
            **case.settings,
        }
        path = self.directory / f"{number}.env"
        lines = "".join(f"{key}={value}\n" for key, value in values.items())
        path.write_text(lines + case.raw)
        return path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Done]]:
    """The cases that need no cluster, a few of them at once."""
    directory = tmp_path_factory.mktemp("bad")
    run, running = Runner(directory), dict[str, Future[Done]]()
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def answer(case: Case) -> Done:
            if not running:
                running.update({each.what: pool.submit(run, each) for each in ALONE})
            return running[case.what].result()

        yield answer
        pool.shutdown(cancel_futures=True)
    assert not (directory / "volumes").exists()


def check(case: Case, done: Done) -> None:
    """One clear sentence, the right exit code, no traceback."""
    said = done.stdout + done.stderr
    assert done.code == case.code, f"{case.what}: {done}"
    assert case.says in said, f"{case.what}: {done}"
    assert "Traceback" not in said
    assert "defect" not in said
    if "--json" not in case.words and (case.words[0] != "status" or case.code == 2):
        # Progress comes before it where a step looked and refused.
        said_first = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
        assert any(line.endswith((".", "!", "?")) for line in said_first), f"no sentence: {done}"


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.what)
def test_what_is_wrong_is_said_in_a_sentence(case: Case, answers: Callable[[Case], Done]) -> None:
    check(case, answers(case))


def test_there_are_more_than_a_hundred_and_each_is_another() -> None:
    cases = (*ALONE, *IN_THE_WAY, *UNREACHABLE, *RUNNING, *PAUSED)
    assert len({case.what for case in cases}) == len(cases) > 100


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REPLICATION_PASSWORD", "PCP_PASSWORD"])
def test_a_wrong_password_is_not_shown(name: str, tmp_path: Path) -> None:
    case = wrong("", name, **{name: '"hunter2\nhunter2"'})
    done = Runner(tmp_path)(case)
    assert done.code == 2
    assert "hunter2" not in done.stdout + done.stderr


# What is in the way of `init`


def in_the_way(what: str, says: str, **settings: str) -> Case:
    return Case(what, ("init",), 3, says, settings)


IN_THE_WAY = (
    in_the_way("a container of our name that is not ours", "that is not ours exists on localhost"),
    in_the_way("a network that overlaps", "overlaps with the network"),
    in_the_way("a host's route that overlaps", "route to 10.98.4.0/24 by lo"),
    in_the_way(
        "a network of our name with another subnet", "exists on localhost with 10.98.6.0/24"
    ),
    in_the_way(
        "an image that there is not",
        "has no image pgha/nosuch",
        DOCKER_HUB_IMAGE_NAME="pgha/nosuch",
    ),
    in_the_way("a file system that is full", "MB are free at"),
    in_the_way("a file in a volume's place", "etc/ssh on localhost"),
    in_the_way("data of somebody else", "node-1 has data on localhost"),
    Case(
        "data that somebody else uses",
        ("init", "-f", "--yes"),
        3,
        "-way-other runs on localhost and uses",
        {},
    ),
)


@contextmanager
def obstacle(case: Case, directory: Path, prefix: str) -> Iterator[dict[str, str]]:
    """Put what the case speaks of in the way; settings beside the case's own."""
    if os.geteuid() != 0 and ("route" in case.what or "full" in case.what):
        pytest.skip("only root can lay a route or mount a file system")
    root = directory / "volumes"
    settings, undo = {"COMPOSE_PROJECT_NAME": prefix}, list[tuple[str, ...]]()
    if "container of our name" in case.what:
        docker("create", "--name", f"{prefix}-node-1", "pgha-base:trixie", "true")
        undo.append(("docker", "rm", f"{prefix}-node-1"))
    elif "network that overlaps" in case.what:
        docker("network", "create", "--subnet", "10.98.2.0/25", f"{prefix}-other")
        undo.append(("docker", "network", "rm", f"{prefix}-other"))
        settings["POSTGRES_FRONTEND_SUBNET"] = "10.98.2.0/24"
    elif "route" in case.what:
        subprocess.run(("ip", "route", "replace", "10.98.4.0/24", "dev", "lo"), check=True)
        undo.append(("ip", "route", "del", "10.98.4.0/24", "dev", "lo"))
        settings["POSTGRES_FRONTEND_SUBNET"] = "10.98.4.0/25"
    elif "another subnet" in case.what:
        docker("network", "create", "--subnet", "10.98.6.0/24", f"{prefix}-backend")
        undo.append(("docker", "network", "rm", f"{prefix}-backend"))
    elif "full" in case.what:
        root.mkdir()
        subprocess.run(("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(root)), check=True)
        undo.append(("umount", str(root)))
    elif "a file in" in case.what:
        (root / "standby" / "etc").mkdir(parents=True)
        (root / "standby" / "etc" / "ssh").write_text("no directory")
    elif "else uses" in case.what:
        place = root / "standby" / "postgresql" / "data" / "theirs"
        place.mkdir(parents=True)
        other = ("--name", f"{prefix}-other", "-v", f"{place}:/theirs")
        docker("run", "-d", *other, "pgha-base:trixie", "sleep", "600")
        undo.append(("docker", "rm", "-f", f"{prefix}-other"))
    elif "somebody else" in case.what:
        (root / "standby" / "postgresql" / "data").mkdir(parents=True)
        (root / "standby" / "postgresql" / "data" / "PG_VERSION").write_text("9.6")
    try:
        yield settings
    finally:
        for words in undo:
            subprocess.run(words, check=True, capture_output=True)


def traces(prefix: str, directory: Path) -> list[str]:
    """Everything that an `init` that began would have left."""
    found = docker("ps", "-a", "--filter", f"name={prefix}", "--format", "{{.ID}} {{.Names}}")
    found += docker("network", "ls", "--filter", f"name={prefix}", "--format", "{{.ID}}")
    return [*sorted(found.splitlines()), *sorted(str(p) for p in directory.rglob("volumes/**"))]


@pytest.mark.parametrize("case", IN_THE_WAY, ids=lambda case: case.what)
def test_what_is_in_the_way_of_init_is_named_before_anything_is_made(
    case: Case, tmp_path: Path
) -> None:
    prefix = f"{PREFIX}-way"
    with obstacle(case, tmp_path, prefix) as settings:
        before = traces(prefix, tmp_path)
        case = Case(case.what, case.words, case.code, case.says, {**settings, **case.settings})
        check(case, Runner(tmp_path)(case))
        assert traces(prefix, tmp_path) == before


# Hosts that cannot be reached over SSH


def unreachable(what: str, line: str, code: int, says: str) -> Case:
    return Case(what, tuple(line.split()), code, says, {"MODE": "ha", "SSH_CONNECT_TIMEOUT": "1"})


UNREACHABLE = (
    unreachable("nobody listens: status", "status", 5, "Connection refused"),
    unreachable("nobody listens: failover", "failover", 3, "Connection refused"),
    unreachable("nobody speaks: status", "status", 5, "did not answer within 1 s"),
    unreachable("nobody speaks: init", "init", 3, "did not answer within 1 s"),
    unreachable("an unknown host key: status", "status", 5, "known_hosts"),
    unreachable("an unknown host key: stop", "stop", 3, "known_hosts"),
    unreachable("a key that is not let in: status", "status", 5, "refuses our keys for user"),
    unreachable("a key that is not let in: start", "start", 3, "refuses our keys for user"),
    unreachable("a name that there is not: status", "status", 5, "cannot be reached"),
    unreachable("a name that there is not: recovery", "recovery", 3, "cannot be reached"),
)


@contextmanager
def broken_ssh(case: Case, folder: Path) -> Iterator[dict[str, str]]:
    """An SSH server, broken as the case says; the settings that lead there."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = loopback.start(folder)
        nodes = "Host node-0 node-1 node-2\n"
        config = server.folder / "config"
        config.write_text(config.read_text().replace("Host box behind\n", nodes, 1))
        if "listens" in case.what:
            server.stop()
        elif "speaks" in case.what:
            port = str(mute.getsockname()[1])
            config.write_text(config.read_text().replace(str(server.port), port))
        elif "unknown host key" in case.what:
            server.known_hosts.write_text("")
        elif "let in" in case.what:
            loopback.keygen(server.folder / "our_key")
        else:
            config.write_text(nodes + " HostName no-such-host.invalid\n")
        try:
            yield {"SSH_CONFIG": str(config), "SSH_KNOWN_HOSTS": str(server.known_hosts)}
        finally:
            server.stop()


@pytest.mark.parametrize("case", UNREACHABLE, ids=lambda case: case.what)
def test_a_host_that_cannot_be_reached_is_named_with_the_reason(case: Case, tmp_path: Path) -> None:
    with broken_ssh(case, tmp_path) as settings:
        case = Case(case.what, case.words, case.code, case.says, {**settings, **case.settings})
        check(case, Runner(tmp_path)(case))


# What a running cluster refuses


def refused(what: str, line: str, says: str, code: int = 3) -> Case:
    return Case(what, tuple(line.split()), code, says)


RUNNING = (
    refused("init where a cluster runs", "init", "node-0's container runs: inv stop"),
    refused("init -f where a cluster runs", "init -f", "node-2's container runs: inv stop"),
    refused("failover to the witness", "failover --to node-2", "it has no database"),
    refused("failover to nobody", "failover --to node-7", "There is no node 'node-7'", 2),
    refused("recovery of the primary", "recovery --node node-0", "what others recover from"),
    refused("recovery of the primary, forced", "recovery --node node-0 -f", "what others recover"),
    refused("recovery of nobody", "recovery --node node-7", "There is no node 'node-7'", 2),
    refused("a user that there is", "user.create there pw", "There is a role there already"),
    refused("a password for nobody", "user.password nobody pw", "There is no role nobody"),
    refused("deleting nobody", "user.delete nobody", "There is no role nobody"),
    refused("deleting an owner", "user.delete owner", "table things"),
    refused("deleting the superuser", "user.delete postgres", "the cluster's own role"),
    refused("the superuser's password", "user.password postgres pw", "the cluster's own role"),
    refused("deleting the replication user", "user.delete replication", "the cluster's own role"),
    refused("creating the superuser", "user.create postgres pw", "the cluster's own role"),
)

PAUSED = (
    refused("failover without a majority", "failover", "1 of 3 nodes answer and 2 are needed"),
    refused("failover --force, nobody to ask", "failover --force", "no terminal to ask at"),
    refused("failover to a node that is away", "failover --to node-0", "node-0"),
    refused("failback with the home away", "failback", "node-0"),
    refused("failback --force with the home away", "failback --force", "node-0"),
    refused("recovery without a primary", "recovery", "There is no primary"),
    refused("recovery -f without a primary", "recovery -f", "There is no primary"),
    refused("start with nodes paused", "start", "paused: unpause it first"),
    refused("a user without a primary", "user.create ben pw", "There is no primary"),
    refused("a password without a primary", "user.password there pw", "There is no primary"),
    refused("deleting without a primary", "user.delete there", "There is no primary"),
    refused("init beside paused nodes", "init -f", "node-1's container runs: inv stop"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("bad", tmp_path_factory.mktemp("bad-cluster"), **BY_HAND)
    try:
        made.inv("init")
        made.client.start()
        made.inv("user.create", "there", "pw")
        made.inv("user.create", "owner", "pw")
        made.client.psql("CREATE TABLE things (n int); ALTER TABLE things OWNER TO owner")
        yield made
    finally:
        made.tear_down()


@pytest.mark.parametrize("case", RUNNING, ids=lambda case: case.what)
def test_a_running_cluster_refuses_and_stays_as_it_is(case: Case, cluster: RealCluster) -> None:
    before = cluster.fingerprint()
    check(case, cluster.inv(*case.words, check=None))
    assert cluster.fingerprint() == before


def test_two_of_three_away_is_refused_and_stays_as_it_is(cluster: RealCluster) -> None:
    """Alone: each case needs the same two nodes paused."""
    away = (cluster.container("node-0"), cluster.container("node-2"))
    for container in away:
        stall(container)
    try:
        before = cluster.settled()
        for case in PAUSED:
            check(case, cluster.inv(*case.words, check=None))
        assert cluster.fingerprint() == before
    finally:
        docker("unpause", *away)
    cluster.becomes("healthy")


def test_a_yes_that_comes_when_the_cluster_is_another_one_is_not_acted_upon(
    cluster: RealCluster,
) -> None:
    away = (cluster.container("node-0"), cluster.container("node-2"))
    for container in away:
        stall(container)

    def yes(plan: Plan) -> bool:
        assert plan.loses
        docker("unpause", *away)
        cluster.becomes("healthy")
        return True

    with (
        Cluster.load(str(cluster.env), environ={}) as opened,
        pytest.raises(Refused, match="another one"),
    ):
        opened.failover(force=True, confirm=yes)
    cluster.becomes("healthy")
    assert cluster.status()["primary"] == "node-0"


@pytest.mark.parametrize(
    "case",
    [
        refused("to whom there is", "failover", "node-0"),
        refused("to a node that is away", "failover --to node-1", "node-1"),
    ],
    ids=lambda case: case.what,
)
def test_nobody_takes_over_while_the_standby_is_away(case: Case, cluster: RealCluster) -> None:
    stall(cluster.container("node-1"))
    try:
        before = cluster.settled()
        check(case, cluster.inv(*case.words, check=None))
        assert cluster.fingerprint() == before
    finally:
        docker("unpause", cluster.container("node-1"))
        cluster.becomes("healthy", "degraded")
        cluster.inv("recovery")
    cluster.becomes("healthy")


@pytest.mark.parametrize("word", ["failover", "stop", "user.delete there", "init -f", "build"])
def test_somebody_else_at_work_is_named_at_once(word: str, cluster: RealCluster) -> None:
    before = cluster.fingerprint()
    lock = os.open(path_of(cluster.name), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = Note("anna@desk: recovery", "2026-01-02T03:04:05+00:00").to_json()
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{note}\n".encode(), 0)
        done = cluster.inv(*word.split(), check=6)
        assert "anna@desk: recovery is at work" in done.stderr
        assert "since 2026-01-02T03:04:05+00:00" in done.stderr
        # It only looks: that needs no lock.
        assert cluster.inv(*word.split(), "--dry-run", check=None).code != 6
        assert cluster.status()["verdict"] == "healthy"
    finally:
        os.close(lock)
    assert cluster.fingerprint() == before


@pytest.mark.parametrize("door", [True, False], ids=["through Pgpool-II", "direct"])
@pytest.mark.parametrize("user", ["there", "postgres", "nobody"])
def test_a_wrong_password_opens_no_door(cluster: RealCluster, user: str, door: bool) -> None:
    with pytest.raises(AssertionError, match="authentication failed"):
        cluster.client.psql("SELECT 1", user=user, password="not this one", door=door)


def test_an_error_is_one_document_where_json_is_asked_for(cluster: RealCluster) -> None:
    done = cluster.inv("user.delete", "nobody", "--json", check=3)
    document = json.loads(done.stdout)
    assert (document["ok"], document["exit_code"], done.stderr) == (False, 3, "")
