"""Hosts in every bad state: each gives a sentence and the right exit code, and nothing is made."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from lab import Lab
from pgha.locking import Note, path_of
from tests.integration.test_bad_inputs import Case, check
from tests.lab.hosts import Hosts

# The host that is bad; the others are well.
BAD = "node-1"
OLD = "19.03.15"


@dataclass(frozen=True)
class Fault:
    """What is wrong with the host. says: the sentence about it. do, undo: scripts of its root; the
    tool's own files are broken by `harm`. init, status: their exit codes where there is no cluster;
    None: `status` has no reason to look there."""

    what: str
    says: str
    do: str = ""
    undo: str = ""
    harm: Callable[[Hosts], contextlib.AbstractContextManager[None]] | None = None
    init: int = 3
    status: int | None = 5

    def __str__(self) -> str:
        return self.what


@contextlib.contextmanager
def silence(hosts: Hosts) -> Iterator[None]:
    hosts.lab.silence(BAD)
    try:
        yield
    finally:
        hosts.lab.heal(BAD)


@contextlib.contextmanager
def changed_key(hosts: Hosts) -> Iterator[None]:
    """known_hosts has another key for it: that of another host."""
    known = hosts.lab.files.known_hosts
    text = known.read_text()
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines()}
    bad = next(name for name in lines if address(hosts.lab) in name)
    other = next(name for name in lines if name != bad)
    try:
        known.write_text("".join(f"{n} {lines[other if n == bad else n]}\n" for n in lines))
        yield
    finally:
        known.write_text(text)


@contextlib.contextmanager
def unknown_key(hosts: Hosts) -> Iterator[None]:
    known = hosts.lab.files.known_hosts
    text = known.read_text()
    kept = [line for line in text.splitlines() if address(hosts.lab) not in line]
    try:
        known.write_text("\n".join(kept) + "\n")
        yield
    finally:
        known.write_text(text)


@contextlib.contextmanager
def somebody_at_work(hosts: Hosts) -> Iterator[None]:
    """Another user's command holds the cluster's lock on the host."""
    note = Note("anna@desk: recovery", "2026-01-02T03:04:05+00:00").to_json()
    path = path_of(hosts.cluster.name)
    script = 'echo "$1" > "$0"; exec flock "$0" sh -c "echo locked; cat"'
    container = f"{hosts.lab.name}-{BAD}"
    words = ("docker", "exec", "-i", container, "sh", "-c", script, path, note)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holds:
        assert holds.stdin is not None
        assert holds.stdout is not None
        assert holds.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            holds.stdin.close()


def address(lab: Lab) -> str:
    return next(each.address for each in lab.status() if each.host == BAD)


# What `docker` says there, of another version.
_WRAPPER = f"""#!/bin/sh
case $1 in info) docker.real "$@" | sed 's/"ServerVersion":"[^"]*"/"ServerVersion":"{OLD}"/' ;;
*) exec docker.real "$@" ;; esac
"""

FAULTS = (
    Fault(
        "nobody listens",
        "Connection refused",
        "systemctl stop ssh.socket ssh; pkill -x sshd || true",
        "systemctl start ssh",
    ),
    Fault("it hangs", "did not answer within", "pkill -STOP -x sshd", "pkill -CONT -x sshd"),
    Fault("it is silent", "did not answer within", harm=silence),
    Fault("its key has changed", f"The host key of {BAD}", harm=changed_key),
    Fault("its key is unknown", "known_hosts", harm=unknown_key),
    Fault(
        "our key is not let in",
        "refuses our keys for user ops",
        "mv ~ops/.ssh/authorized_keys /root/",
        "mv /root/authorized_keys ~ops/.ssh/",
    ),
    Fault(
        "no docker program",
        "There is no docker program",
        "mv /usr/bin/docker /usr/bin/docker.real",
        "mv /usr/bin/docker.real /usr/bin/docker",
    ),
    Fault(
        "no engine",
        "No Docker engine answers",
        "systemctl stop docker.socket docker",
        "systemctl start docker",
    ),
    Fault(
        "an old Docker",
        f"{BAD} has Docker {OLD}; 20.10 or later is needed",
        f"mv /usr/bin/docker /usr/bin/docker.real; cat > /usr/bin/docker <<'E'\n{_WRAPPER}E\n"
        "chmod 755 /usr/bin/docker",
        "mv /usr/bin/docker.real /usr/bin/docker",
        status=None,
    ),
    Fault(
        "a user without rights",
        "user ops may not use Docker",
        "gpasswd -d ops docker; mv /etc/sudoers.d/ops /root/",
        "gpasswd -a ops docker; mv /root/ops /etc/sudoers.d/",
    ),
    Fault(
        "a full disk",
        "MB are free at",
        "mkdir -p $VOLUMES; mount -t tmpfs -o size=32m tmpfs $VOLUMES",
        "umount $VOLUMES; rmdir $VOLUMES",
        status=None,
    ),
    Fault(
        "another user's lock",
        "anna@desk: recovery is at work on {cluster} since 2026-01-02T03:04:05+00:00",
        harm=somebody_at_work,
        init=6,
        status=None,
    ),
)


@contextlib.contextmanager
def broken(fault: Fault, hosts: Hosts) -> Iterator[None]:
    if fault.harm is not None:
        with fault.harm(hosts):
            yield
        return
    run = f"set -e; VOLUMES={hosts.cluster.settings.volume_root}; "
    hosts.lab.on(BAD, "bash", "-c", run + fault.do)
    try:
        yield
    finally:
        hosts.lab.on(BAD, "bash", "-c", run + fault.undo)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_bad_host_is_named_with_the_reason_and_nothing_is_made(
    fault: Fault, fresh: Hosts
) -> None:
    says = fault.says.format(cluster=fresh.cluster.name)
    with broken(fault, fresh):
        done = fresh.cluster.inv("init", check=None)
        check(Case(fault.what, ("init",), fault.init, says), done)
        assert BAD in done.stderr
        if fault.status is not None:
            seen = fresh.cluster.inv("status", check=None)
            check(Case(fault.what, ("status",), fault.status, says), seen)
    fresh.nothing_is_made()
