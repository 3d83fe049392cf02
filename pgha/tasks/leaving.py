"""Ends the process with its code although threads are left behind that hang.

Whoever waits for a host that does not answer is left behind as a daemon thread (`pgha.at_once`).
Such a thread that wakes up while the interpreter shuts down can abort the whole process (CPython
before 3.14, pthread_exit: "FATAL: exception not rethrown", status 134; seen in 2 of 150 interrupted
commands). So the process leaves without that shutdown when there are any.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

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
    """End the process now, where threads are left behind; else return."""
    main = threading.main_thread()
    if not any(t.daemon and t.is_alive() for t in threading.enumerate() if t is not main):
        return
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # Whoever read it may be gone; there is nobody to tell then.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _leave_if_known() -> None:
    if _code is not None:
        leave(_code)
