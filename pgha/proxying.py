"""ProxyCommand: a program whose input and output are the connection to a server."""

from __future__ import annotations

import os
import socket
import subprocess
import threading


def proxied(line: str) -> socket.socket:
    """Start the user's shell with this line, as OpenSSH does; it ends when the socket is closed.

    Paramiko's ProxyCommand spins once the program has ended, and knows no shell.
    """
    ours, its = socket.socketpair()
    shell = os.environ.get("SHELL") or "/bin/sh"
    try:
        with its:
            process = subprocess.Popen(
                (shell, "-c", f"exec {line}"),
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    # Otherwise a dead process stays in the table for as long as we run.
    threading.Thread(target=process.wait, daemon=True, name="end of a ProxyCommand").start()
    return ours
