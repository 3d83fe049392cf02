"""Ctrl-C, SIGTERM and SIGHUP end a command alike: with a sentence; at once, the second time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Rich hides the cursor while it animates; who is killed in the middle of it brings it back himself.
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""


@contextmanager
def catching() -> Iterator[None]:
    """Within, a signal raises Interrupted in the main thread; a second one ends the process with 1.

    The second must not wait for anything: what holds the lock ends with the process. A signal that
    whoever started us ignores (nohup, a shell's background job) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen:
            if sys.stderr.isatty():
                os.write(2, SHOW_CURSOR)
            os._exit(1)
        seen.append(number)
        raise Interrupted(number)

    before = {s: signal.getsignal(s) for s in SIGNALS}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        # Once interrupted, the process is ending, and a second signal still ends it at once.
        for number, old in before.items() if not seen else ():
            signal.signal(number, old if old is not None else signal.SIG_DFL)
