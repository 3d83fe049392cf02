"""What a failure to connect means: pgha.remote.dials."""

from __future__ import annotations

import paramiko
import pytest

from pgha.remote.dials import Dial, explained
from pgha.waiting import Deadline

TURNED_AWAY = " After failed sign-ons OpenSSH turns whoever made them away for a while."


@pytest.mark.parametrize(
    ("error", "means"),
    [
        pytest.param(
            paramiko.SSHException("Error reading SSH protocol banner"),
            "Error reading SSH protocol banner." + TURNED_AWAY,
            id="it ends while we wait for its first line",
        ),
        # Without a text, where the end is noticed while our own first line is written.
        pytest.param(
            EOFError(),
            "it ended the connection." + TURNED_AWAY,
            id="it ends while we write ours",
        ),
        pytest.param(
            paramiko.SSHException('Indecipherable protocol version "HTTP/1.1 400"'),
            'Indecipherable protocol version "HTTP/1.1 400".',
            id="it speaks something else",
        ),
    ],
)
def test_who_is_no_ssh_server_is_told_with_a_reason(error: Exception, means: str) -> None:
    dial = Dial(paramiko.SSHClient(), "192.0.2.1", 22, "root")
    found = explained(error, "db", [dial], Deadline(60), "ssh db")
    assert found.message == f"db does not answer as an SSH server: {means}"
    assert found.next == "ssh db"
