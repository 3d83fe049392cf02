"""Ends the process with its code although threads are left behind that hang.

Whoever waits for a host that does not answer is left behind as a daemon thread (`pgha.at_once`).
Such a thread that wakes up while the interpreter shuts down can abort the whole process (CPython
before 3.14, pthread_exit: "FATAL: exception not rethrown", status 134; seen in 2 of 150 interrupted
commands). So the process leaves without that shutdown when there are any; and when its terminal is
gone, since the shutdown would end with 120 where it cannot flush (Python, "sys.exit").
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TextIO

_code: int | None = None
_registered = False


def will_end_with(code: int | None) -> None:
    """The process is about to end with this code; None: other tasks may follow."""
    global _code, _registered
    _code = code
    if not _registered:
        atexit.register(_leave_if_known)
        _registered = True


def leave(code: int) -> None:
    """End the process now, where threads are left behind or nobody reads on; else return."""
    main = threading.main_thread()
    hanging = any(t.daemon and t.is_alive() for t in threading.enumerate() if t is not main)
    written = [_flushed(stream) for stream in (sys.stdout, sys.stderr) if stream is not None]
    if hanging or not all(written):
        os._exit(code)


def _flushed(stream: TextIO) -> bool:
    """Whether what was said has gone out. Whoever read it may be gone: there is nobody to tell."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


def _leave_if_known() -> None:
    if _code is not None:
        leave(_code)
