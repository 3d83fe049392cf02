"""The lock of a cluster: an flock on one file of each host, with a note of who holds it.

It belongs to the process (over SSH: to the connection) that took it, and ends with it, however
that ended: so there is no stale lock, and nothing to break one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pgha.errors import Locked, PghaError, Refused, Unreachable

if TYPE_CHECKING:
    from pgha.hosts import Host

# The holder over SSH ends itself when it has not heard of us for this long: a host that is cut off
# does not learn otherwise that our side of the connection is gone.
SILENCE_S = 30
BEAT_S = 5.0

_NOTE_BYTES = 2000

# Read: our note. Print `locked`, or `held` and the note of whoever has it. `flock` is told apart by
# its status, 1: held (util-linux and busybox). The file is opened without O_CREAT where it exists:
# with fs.protected_regular the kernel refuses that on another user's file in /tmp.
_HOLDER = """IFS= read -r note
[ -e "$1" ] || (umask 0; : > "$1") 2>/dev/null
exec 9< "$1"
flock -n 9
case $? in
0) ;;
1) printf 'held %s\\n' "$(head -n 1 "$1")"; exit 0 ;;
*) exit 1 ;;
esac
printf '%s\\n' "$note" | dd of="$1" conv=nocreat 2>/dev/null || printf '%s\\n' "$note" > "$1"
echo locked
timeout 1 true 2>/dev/null || exec cat > /dev/null
while [ -n "$(timeout "$2" head -n 1)" ]; do :; done"""


@dataclass(frozen=True)
class Note:
    """Who holds the lock. since: local time with offset, ISO 8601, to the second. taking: nobody
    else's, and the same on every host of one command."""

    owner: str
    since: str
    taking: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def note_now(owner: str) -> Note:
    """The note of somebody who takes the lock now."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return Note(owner, since, secrets.token_hex(8))


def path_of(cluster: str) -> str:
    """The file; in /tmp, which every host has, for all users, and which is empty after a boot."""
    return f"/tmp/pgha-{cluster}.lock"


def holder_words(cluster: str, *, silence_s: int = SILENCE_S) -> tuple[str, ...]:
    """A program that holds the lock for as long as it is fed a line every `silence_s` or sooner."""
    return ("sh", "-c", _HOLDER, "pgha-lock", path_of(cluster), str(silence_s))


def locked_error(cluster: str, host: str, note: str, ours: Note) -> Locked | Refused:
    """Who is at work, as far as his note can be read: another version may have written it.

    Refused where it is this very command, which has locked the same machine by another name.
    """
    try:
        document = json.loads(note)
        if document.get("taking") == ours.taking:
            return Refused(
                f"{host} is a machine that another host's name means as well; nothing was changed.",
                next=f"ssh -G {host} | grep -i ^hostname",
            )
        who, since = str(document["owner"]), f" since {document['since']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        who, since = "Somebody else", ""
    return Locked(f"{who} is at work on {cluster}{since} (lock on {host}).", next="inv status")


@contextlib.contextmanager
def lock_all(hosts: Sequence[Host], cluster: str, owner: str) -> Iterator[None]:
    """Hold the lock of every host that answers. Raises Locked; Refused if none answers.

    One after the other, in the same order for everybody: of two operators one comes first.
    """
    silent, note = list[PghaError](), note_now(owner)
    with contextlib.ExitStack() as held:
        for host in hosts:
            try:
                held.enter_context(host.lock(cluster, note))
            except Unreachable as error:
                silent.append(error)
        if len(silent) == len(hosts):
            first, *others = silent
            raise Refused(
                first.message,
                next=first.next,
                details=(*first.details, *(o.message for o in others), "Nothing was changed."),
            )
        yield


@contextlib.contextmanager
def lock_here(cluster: str, host: str, note: Note) -> Iterator[None]:
    """Hold the lock of this machine. Raises Locked at once where somebody else has it."""
    descriptor = _opened(path_of(cluster))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = os.pread(descriptor, _NOTE_BYTES, 0).decode("utf-8", "replace")
            raise locked_error(cluster, host, held, note) from None
        # Read-only where another user's umask made the file: the lock holds without a note.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (note.to_json() + "\n").encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    """The file, made for all users where it is missing; never through a symbolic link."""
    for flags in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            return os.open(path, flags | os.O_NOFOLLOW)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    # The umask took something away. Somebody who was quicker may own it: then it is his to do.
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, 0o666)
    return descriptor
