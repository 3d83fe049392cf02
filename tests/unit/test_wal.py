"""Which files of a directory are a timeline's own, and which timeline a standby's log is on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgha.commands.lsn import segment_name, show_lsn
from pgha.commands.postgres import (
    PAGE_BYTES,
    ControlData,
    history_name,
    parse_history,
    placeholder_history,
)
from pgha.node import wal, witness
from pgha.node.wal import SEGMENT_BYTES

FOUR, FIVE, SIX = (n * SEGMENT_BYTES for n in (4, 5, 6))
FORK = FIVE + 0x4000
# A standby that has replayed timeline 1 up to 0x100 bytes before the fork, by its pg_control.
CONTROL = ControlData(
    system_identifier="7",
    state="in archive recovery",
    timeline=1,
    checkpoint_lsn=FOUR,
    redo_lsn=FOUR,
    checkpoint_timeline=1,
    minimum_lsn=FORK - 0x100,
    segment_bytes=SEGMENT_BYTES,
    checksums=True,
)


def page(timeline: int, address: int) -> bytes:
    head = (0xD116).to_bytes(2, "little") + bytes(2) + timeline.to_bytes(4, "little")
    return (head + address.to_bytes(8, "little")).ljust(PAGE_BYTES, b"\0")


def lay(directory: Path, timeline: int, start: int, first_page: bytes) -> None:
    (directory / segment_name(timeline, start, SEGMENT_BYTES)).write_bytes(first_page)


def history(directory: Path, timeline: int, *left: tuple[int, int]) -> None:
    lines = "".join(f"{t}\t{show_lsn(at)}\tno recovery target specified\n" for t, at in left)
    (directory / history_name(timeline)).write_text(lines)


def test_a_segment_is_a_timelines_own_by_its_address_and_its_number(tmp_path: Path) -> None:
    history(tmp_path, 2, (1, FORK))
    lay(tmp_path, 2, FIVE, page(1, FIVE))  # a copy of the parent's bytes up to the fork
    lay(tmp_path, 2, SIX, page(2, SIX))
    log = wal.log_of(tmp_path, 2)
    assert (log.forked_at, log.has_begun(FIVE), log.has_begun(SIX)) == (FORK, True, True)
    assert not log.has_begun(FOUR)
    for recycled in (page(2, FOUR), page(1, SIX), page(3, SIX), bytes(PAGE_BYTES), b""):
        lay(tmp_path, 2, SIX, recycled)
        assert not log.has_begun(SIX)


def test_recycled_files_have_no_end_and_are_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in (FOUR, FIVE, SIX):
        lay(tmp_path, 1, start, page(1, SEGMENT_BYTES))

    def read_whole(file: Path) -> bytes:
        raise AssertionError(f"{file} was read whole")

    monkeypatch.setattr(Path, "read_bytes", read_whole)
    assert wal.end_of_segments(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("left", "goes_on"),
    [
        (((1, FORK),), True),
        (((1, FORK), (2, SIX)), True),  # a grandchild
        (((1, CONTROL.minimum_lsn),), True),
        (((1, CONTROL.minimum_lsn - 8),), False),  # left before what has been replayed
        (((2, FORK),), False),
        ((), False),
    ],
)
def test_a_later_timeline_counts_if_it_left_ours_behind_what_is_replayed(
    left: tuple[tuple[int, int], ...], goes_on: bool
) -> None:
    assert wal.goes_on(left, CONTROL) is goes_on


def test_a_timeline_that_left_ours_before_its_checkpoint_does_not_go_on_with_it() -> None:
    no_minimum = replace(CONTROL, minimum_lsn=0)
    assert wal.goes_on(((1, FOUR),), no_minimum)
    assert not wal.goes_on(((1, FOUR - 8),), no_minimum)


def test_a_number_that_is_not_used_is_no_timeline() -> None:
    assert not wal.goes_on(parse_history(placeholder_history(1)), CONTROL)


def test_a_padding_that_was_cut_off_is_completed_with_zeros(tmp_path: Path) -> None:
    odd, whole, empty = (
        tmp_path / f"{segment_name(1, start, SEGMENT_BYTES)}.partial" for start in (FOUR, FIVE, SIX)
    )
    odd.write_bytes(page(1, FOUR) + bytes(5 * 1024 * 1024))
    whole.write_bytes(page(1, FIVE).ljust(SEGMENT_BYTES, b"\1"))
    empty.touch()
    foreign = tmp_path / "download.partial"
    foreign.write_bytes(b"x")
    before = whole.stat()
    for _ in range(2):
        witness.complete_partial(tmp_path)
    assert odd.read_bytes() == page(1, FOUR).ljust(SEGMENT_BYTES, b"\0")
    assert whole.stat() == before
    assert (empty.stat().st_size, foreign.stat().st_size) == (0, 1)
