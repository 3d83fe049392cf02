"""Who runs this where the machine does not know him, as in a container with a number alone."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path
from typing import Any

import pytest

from pgha import account, container_keys, machines, ssh_host


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Any) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_name_and_a_home_is_a_number_and_keeps_nothing() -> None:
    assert account.user_name() == str(os.getuid())
    assert machines.here().home == Path("/nonexistent")
    assert container_keys.cache_directory() == Path("/nonexistent/.cache/pgha")
    assert account.expanded("~/.docker/machine") == Path("/nonexistent/.docker/machine")


def test_a_home_is_what_its_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert account.expanded("~/.ssh/config") == Path("/home/anna/.ssh/config")
    assert account.expanded("/etc/ssh/config") == Path("/etc/ssh/config")


def test_a_lock_has_a_clock_on_systems_that_are_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert ssh_host._now() <= ssh_host._now()
