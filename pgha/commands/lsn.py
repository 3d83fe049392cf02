"""Log sequence numbers: a position in the WAL as an integer of bytes, and in PostgreSQL's form."""

from __future__ import annotations

# PostgreSQL 17, "pg_lsn Type": two hexadecimal numbers of up to 8 digits each, split by a slash.


def parse_lsn(text: str) -> int:
    """`16/B374D848` → bytes since the beginning of the WAL. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def show_lsn(lsn: int) -> str:
    """Bytes since the beginning of the WAL → `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def segment_name(timeline: int, lsn: int, segment_bytes: int) -> str:
    """The file that holds the byte at `lsn` (PostgreSQL 17, "WAL Internals")."""
    number, per_id = lsn // segment_bytes, 0x100000000 // segment_bytes
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def segment_start(name: str, segment_bytes: int) -> tuple[int, int]:
    """A segment's file name → (timeline, LSN of its first byte). Raises ValueError."""
    if len(name) < 24:
        raise ValueError(f"{name} is no WAL segment")
    timeline, high, low = (int(name[i : i + 8], 16) for i in (0, 8, 16))
    return timeline, high * 0x100000000 + low * segment_bytes


def is_beginning_of(
    timeline: int, lsn: int, history: tuple[tuple[int, int], ...], last_timeline: int
) -> bool:
    """Whether a log that ends at (timeline, lsn) is a beginning of the history that leads to
    `last_timeline`; history: (timeline, the LSN where it was left), oldest first.

    PostgreSQL 17, "Timelines": a history file names each ancestor and where it was left.
    """
    if timeline == last_timeline:
        return True  # its end may be ahead of what we were told: the same log, only longer
    return any(ancestor == timeline and lsn <= left_at for ancestor, left_at in history)
