"""The checker of histories finds what was planted, and nothing in histories that are allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos import checker
from tests.chaos.checker import Rows, check, summary
from tests.chaos.history import (
    History,
    Outcome,
    Read,
    Record,
    Refused,
    Serving,
    Write,
    outages,
    parse,
    records,
)


def ok(number: int, begun: float, node: str = "node-0", timeline: int = 1, **more: str) -> Write:
    """An acknowledged write that took half a second."""
    client = more.get("client", "a")
    return Write(client, number, begun, begun + 0.5, Outcome.OK, node, timeline)


def unknown(number: int, begun: float) -> Write:
    return Write("a", number, begun, begun + 0.5, Outcome.UNKNOWN)


def refused(number: int, begun: float) -> Write:
    return Write("a", number, begun, begun + 0.5, Outcome.FAILED, error="25006")


def read(begun: float, sees: int, node: str = "node-0", timeline: int = 1) -> Read:
    return Read("reader", begun, begun + 0.5, node, timeline, {"a": sees})


def serves(node: str, timeline: int, at: float, *, in_recovery: bool = False) -> Serving:
    return Serving(node, at, in_recovery, timeline)


def rows(*numbers: int, client: str = "a") -> dict[tuple[str, int], int]:
    return {(client, number): 1 for number in numbers}


def broken(final: Rows, *history: Record) -> list[str]:
    """The rules that this history breaks."""
    return [violation.rule for violation in check(History.of(history), final)]


MOVED = (
    ok(1, 0.0),
    unknown(2, 1.0),
    serves("node-1", 2, 2.0),
    ok(3, 3.0, "node-1", 2),
    read(4.0, 3, "node-1", 2),
)


@pytest.mark.parametrize("unknown_came_through", [True, False])
def test_a_clean_failover_breaks_no_rule(unknown_came_through: bool) -> None:
    final = rows(1, 2, 3) if unknown_came_through else rows(1, 3)
    assert broken(final, *MOVED) == []


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    assert broken(rows(3), *MOVED) == [checker.LOST]


@pytest.mark.parametrize("number", [1, 2])
def test_a_row_that_is_there_twice_is_found_acknowledged_or_not(number: int) -> None:
    assert broken({**rows(1, 2, 3), ("a", number): 2}, *MOVED) == [checker.TWICE]


def test_a_row_that_was_refused_must_not_be_there() -> None:
    assert broken(rows(1), ok(1, 0.0), refused(2, 1.0)) == []
    assert broken(rows(1, 2), ok(1, 0.0), refused(2, 1.0)) == [checker.REFUSED_BUT_THERE]


def test_a_row_that_nobody_wrote_is_found_but_for_a_probe_that_died_with_its_node() -> None:
    assert broken(rows(1, 7), ok(1, 0.0)) == [checker.NEVER_WRITTEN]
    assert broken({**rows(1), **rows(7, client="1/probe/node-0/2")}, ok(1, 0.0)) == []


def test_two_nodes_that_acknowledge_on_one_timeline_are_two_writers_at_once() -> None:
    history = (ok(1, 0.0, "node-0", 2), ok(2, 0.1, "node-1", 2), ok(3, 0.2, "node-1", 2))
    assert broken(rows(1, 2, 3), *history) == [checker.TWO_OF_ONE_TERM]


def test_a_second_node_seen_out_of_recovery_on_the_same_timeline_is_found() -> None:
    history = (ok(1, 0.0), serves("node-1", 1, 2.0))
    assert broken(rows(1), *history) == [checker.TWO_OF_ONE_TERM]
    follows = (ok(1, 0.0), serves("node-1", 1, 2.0, in_recovery=True))
    assert broken(rows(1), *follows) == []


def test_a_primary_that_acknowledges_after_another_one_did_is_found() -> None:
    history = (ok(1, 0.0), ok(2, 1.0, "node-1", 2), ok(3, 2.0, "node-0", 1))
    assert broken(rows(1, 2, 3), *history) == [checker.AFTER_PROMOTION]


def test_a_primary_that_acknowledges_after_another_one_was_promoted_is_found() -> None:
    history = (serves("node-1", 2, 1.0), ok(1, 2.0, "node-0", 1))
    assert broken(rows(1), *history) == [checker.AFTER_PROMOTION]


def test_an_acknowledgement_that_was_under_way_at_the_promotion_may_still_arrive() -> None:
    late = Write("b", 1, 0.0, 5.0, Outcome.OK, "node-0", 1)
    history = (late, ok(2, 1.0, "node-1", 2))
    assert broken({**rows(2), **rows(1, client="b")}, *history) == []


def test_writers_that_take_turns_are_found_each_time_the_old_one_is_back() -> None:
    history = (
        ok(1, 0.0, "node-1", 2),
        ok(2, 1.0, "node-0", 1),
        ok(3, 2.0, "node-1", 2),
        ok(4, 3.0, "node-0", 1),
    )
    assert broken(rows(1, 2, 3, 4), *history) == [checker.AFTER_PROMOTION] * 2


def test_a_read_that_misses_an_acknowledged_write_went_back() -> None:
    assert broken(rows(1, 2), ok(1, 0.0), ok(2, 1.0), read(2.0, 1)) == [checker.WENT_BACK]


def test_a_read_that_misses_what_another_read_saw_went_back_even_where_it_is_unknown() -> None:
    history = (ok(1, 0.0), unknown(2, 1.0), read(2.0, 2), read(3.0, 1, "node-1", 2))
    assert broken(rows(1), *history) == [checker.WENT_BACK]


def test_a_node_that_nobody_attends_is_excused_for_its_own_reads_of_that_time() -> None:
    writes = (ok(1, 0.0), ok(2, 1.0, "node-1", 2))
    past = checker.Past("node-0", 1.0, 3.0)

    def left(*reads: Read) -> int:
        return len(checker.check(History(writes, reads, (), ()), rows(1, 2), [past]))

    assert left(read(2.0, 1)) == 0
    assert left(read(2.0, 1, "node-1", 2)) == 1
    assert left(read(3.0, 1)) == 1
    lost = checker.check(History(writes, (), (), ()), rows(2), [past])
    assert [violation.rule for violation in lost] == [checker.LOST]


def test_a_read_beside_a_write_may_see_it_or_not() -> None:
    assert broken(rows(1, 2), ok(1, 0.0), ok(2, 1.0), read(1.2, 1)) == []
    assert broken(rows(1, 2), ok(1, 0.0), ok(2, 1.0), read(1.2, 2)) == []


def test_a_summary_counts_and_shows_a_few() -> None:
    history = History.of(ok(number, float(number)) for number in range(9))
    text = summary(check(history, {}), most=2)
    assert text.splitlines()[0] == "lost: 9 times"
    assert len(text.splitlines()) == 3
    assert "a:0, acknowledged by node-0 on timeline 1 at 0.500, is not there" in text


def test_an_outage_is_the_time_between_two_acknowledgements_of_one_client() -> None:
    history = History.of((ok(1, 0.0), ok(9, 1.0, client="b"), unknown(2, 2.0), ok(3, 4.0)))
    (found,) = outages(history, "a", at_least_s=0.2)
    assert (found.begun, found.length_s) == (0.5, 4.0)
    assert outages(history, "a", at_least_s=4.5) == ()


def test_what_clients_print_is_read_back_and_a_line_cut_off_is_left_out(tmp_path: Path) -> None:
    lines = [
        ["write", "a", 1, 0.0, 0.5, "ok", "node-0", 1, ""],
        ["read", "reader", 4.0, 4.5, "node-1", 2, {"a": 3}],
        ["serving", "node-1", 2.0, False, 2],
        ["refused", "a", 3.0, 17, "08001"],
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '["write", "a", 2, 0.'
    (tmp_path / "a.jsonl").write_text(text)
    assert list(records(tmp_path)) == [
        ok(1, 0.0),
        read(4.0, 3, "node-1", 2),
        serves("node-1", 2, 2.0),
        Refused("a", 3.0, 17, "08001"),
    ]


def test_a_record_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="dance"):
        parse('["dance"]')
