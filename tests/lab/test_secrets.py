"""Hosts that want a secret: sudo's password for Docker, the passphrase of a key; told by a variable
or typed at a terminal, and shown nowhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from tests.integration.real_cluster import INVOKE, ROOT, environment
from tests.integration.terminal import LIMIT_S, at_a_terminal, read_until
from tests.lab.hosts import Hosts

STRICT = "node-1"
SECRET = "pass word"
# `status` does not wait for as long as PAM lets whoever is wrong wait.
SLOW = "sudo takes long over a password that is wrong (SUDO_PASSWORD)"


@pytest.fixture
def strict(fresh: Hosts) -> Iterator[Hosts]:
    """A host whose user may use Docker by sudo alone, and sudo wants his password."""
    on = fresh.lab.on
    on(STRICT, "chpasswd", stdin=f"ops:{SECRET}\n")
    on(STRICT, "gpasswd", "-d", "ops", "docker")
    on(STRICT, "sed", "-i", "s/NOPASSWD: //", "/etc/sudoers.d/ops")
    try:
        yield fresh
    finally:
        on(STRICT, "sed", "-i", "s/) ALL/) NOPASSWD: ALL/", "/etc/sudoers.d/ops")
        on(STRICT, "gpasswd", "-a", "ops", "docker")
        on(STRICT, "usermod", "--password", "*", "ops")


@pytest.fixture
def locked(fresh: Hosts) -> Iterator[Hosts]:
    """The user's key has a passphrase, and no agent has the key."""
    key = str(fresh.lab.files.key)
    change = ("ssh-keygen", "-q", "-p", "-f", key)
    subprocess.run((*change, "-P", "", "-N", SECRET), check=True)
    try:
        yield fresh
    finally:
        subprocess.run((*change, "-P", SECRET, "-N", ""), check=True)


def status(hosts: Hosts, **variables: str) -> str:
    done = hosts.cluster.inv("status", check=5, environ=variables)
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


def typed(hosts: Hosts, question: bytes, answer: str) -> str:
    """What `status` shows at a terminal once the answer was given."""
    words = (*INVOKE, "status", "-e", str(hosts.cluster.env))
    with at_a_terminal(words, ROOT, without_agent()) as (screen, process):
        before = read_until(screen, question)
        os.write(screen, f"{answer}\n".encode())
        rest = read_until(screen, b"")
        assert process.wait(LIMIT_S) == 5
    assert SECRET.encode() not in before + rest
    return " ".join(rest.decode().split())


def without_agent() -> Mapping[str, str]:
    return {k: v for k, v in environment().items() if k != "SSH_AUTH_SOCK"}


def test_sudos_password_by_its_variable(strict: Hosts) -> None:
    assert "sudo wants a password (SUDO_PASSWORD)" in status(strict)
    wrong = {"SUDO_PASSWORD": "another one"}
    assert SLOW in status(strict, **wrong)
    refused = strict.cluster.inv("init", check=3, environ=wrong)
    assert "sudo does not take the password (SUDO_PASSWORD)" in refused.stderr
    assert "may not use Docker" not in status(strict, SUDO_PASSWORD=SECRET)


def test_who_may_run_docker_alone_by_sudo_needs_no_password(strict: Hosts) -> None:
    on = strict.lab.on
    on(STRICT, "cp", "/etc/sudoers.d/ops", "/root/ops")
    try:
        rule = "ops ALL=(root) NOPASSWD: /usr/bin/docker\n"
        on(STRICT, "sh", "-c", "cat > /etc/sudoers.d/ops", stdin=rule)
        assert "may not use Docker" not in status(strict)
    finally:
        on(STRICT, "cp", "/root/ops", "/etc/sudoers.d/ops")


def test_sudos_password_is_asked_for_at_a_terminal(strict: Hosts) -> None:
    question = f"sudo's password on {STRICT}: ".encode()
    assert "may not use Docker" not in typed(strict, question, SECRET)
    assert SLOW in typed(strict, question, "another one")


def test_with_sudos_password_a_cluster_is_made(strict: Hosts) -> None:
    with_it = {"SUDO_PASSWORD": SECRET}
    try:
        strict.cluster.inv("init", environ=with_it)
        assert strict.cluster.inv("status", environ=with_it).code == 0
        strict.cluster.inv("failover", environ=with_it)
    finally:
        strict.wipe()


def test_a_keys_passphrase_is_asked_for_once_at_a_terminal(locked: Hosts) -> None:
    question = f"Passphrase of {locked.lab.files.key}: ".encode()
    assert "refuses our keys" not in typed(locked, question, SECRET)
    assert "is not that of" in typed(locked, question, "another one")


def test_a_keys_passphrase_by_its_variable(locked: Hosts) -> None:
    assert "has a passphrase" in status(locked)
    assert "refuses our keys" not in status(locked, SSH_PASSPHRASE=SECRET)
