"""Journals in, what happened out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.console import rich_console
from pgha.events import Event, Kind
from pgha.history import History, Record, history
from pgha.history_view import print_history, row
from pgha.node import records, state
from tests.unit.journals import Journals, election, hand_over, made


def kinds(told: History) -> list[str]:
    return [event.kind.value for event in told.events]


def last(told: History) -> Event:
    return told.events[-1]


# Who became primary


def test_init_is_one_event_whatever_it_did_on_how_many_nodes() -> None:
    told = made().told()
    assert kinds(told) == ["init"]
    assert (last(told).to, last(told).timeline, last(told).asked_by) == ("node-0", 1, "operator")
    assert told.notes == ()


def test_a_hand_over_is_a_failover_at_an_operator_s_word() -> None:
    journals = made()
    with journals.command("failover"):
        hand_over(journals, "node-0", "node-1", 2)
    told = journals.told()
    assert kinds(told) == ["init", "failover"]
    document = told.as_dict()["events"][-1]
    wanted = {
        "event": "failover",
        "cause": "hand-over",
        "from": "node-0",
        "to": "node-1",
        "term": 2,
        "timeline": 2,
        "lsn": "0/4000000",
        "asked_by": "operator",
        "operator": "ann@desk",
        "command": "failover",
        "voters": ["node-2", "node-1"],
    }
    assert {key: document[key] for key in wanted} == wanted


def test_the_outage_of_a_hand_over_ends_when_somebody_streams_and_is_an_upper_bound() -> None:
    journals = made()
    hand_over(journals, "node-0", "node-1", 2)
    # Fence, promotion and the witness's follow take 0.1 s each.
    event = last(journals.told())
    assert event.out_s == pytest.approx(0.3)
    assert event.at_most


def test_a_failover_by_vote_has_the_agents_own_figures() -> None:
    journals = made()
    election(journals, "node-0", "node-1", 2)
    told = journals.told()
    assert kinds(told) == ["init", "failover"]
    event = last(told)
    assert (event.asked_by, event.from_, event.to) == ("vote", "node-0", "node-1")
    assert (event.cause, event.out_s, event.at_most) == ("node-0 was silent", 2.0, False)
    assert (event.timeline, event.lsn, event.voters) == (2, 0x5000000, ("node-2", "node-1"))


def test_without_the_agents_figure_the_outage_begins_when_the_primary_was_last_heard() -> None:
    journals = made()
    journals.event("node-1", "lost", 1, leader="node-0", last_heard_s=1.5, why="silent")
    journals.verb("node-1", "promote", by="agent", term="2", lsn="0/5000000")
    journals.verb("node-1", "confirm", by="agent", term="2")
    event = last(journals.told())
    assert event.out_s == pytest.approx(1.7)
    assert event.cause == "silent"


def test_a_promotion_without_a_primary_is_no_hand_over() -> None:
    journals = made()
    for node in ("node-1", "node-2"):
        journals.verb(node, "vote", term="2")
    journals.verb("node-1", "promote", term="2", lsn="0/5000000")
    event = last(journals.told())
    assert (event.kind, event.cause) == (Kind.FAILOVER, "there was no primary")
    assert (event.out_s, event.asked_by) == (None, "operator")


def test_a_forced_promotion_names_its_voters() -> None:
    journals = made()
    journals.verb("node-1", "promote", term="120", lsn="0/5000000", voters="node-1")
    assert last(journals.told()).cause == "forced, without a majority: node-1 alone"


def test_a_hand_over_that_was_cut_off_and_done_by_a_second_call_is_one_failover() -> None:
    journals = made()
    for _ in range(2):
        journals.verb("node-0", "fence", "fenced (fast) at 0/4", to="node-1", reason="hand-over")
    journals.verb("node-1", "promote", term="2", lsn="0/4000000")
    assert kinds(journals.told()) == ["init", "failover"]


def test_a_hand_over_that_nobody_finished_is_a_fence() -> None:
    journals = made()
    journals.verb("node-0", "fence", "fenced (fast) at 0/4", to="node-1", reason="hand-over")
    told = journals.told()
    assert kinds(told) == ["init", "fenced"]
    assert "node-1, which did not take over" in last(told).text


def test_the_same_node_leading_again_is_no_failover() -> None:
    journals = made()
    election(journals, "node-0", "node-0", 2)
    told = journals.told()
    assert kinds(told) == ["init", "reopened"]
    journals.event("node-0", "opened", 2, cause="PostgreSQL restarted", out_s=1.0)
    assert kinds(journals.told()) == ["init", "reopened", "reopened"]


def test_a_primary_that_recovered_in_place_says_why_and_for_how_long() -> None:
    journals = made()
    journals.verb("node-0", "revive", by="agent", term="1")
    journals.wait(0.4)
    journals.event("node-0", "opened", 1)
    event = last(journals.told())
    assert (event.kind, event.to) == (Kind.REOPENED, "node-0")
    assert event.text == "node-0 recovered in place: one of PostgreSQL's processes was killed"
    assert event.out_s == pytest.approx(0.5)
    journals.event("node-0", "opened", 1)
    assert "killed" not in last(journals.told()).text


def test_an_agent_that_promoted_and_never_opened_is_said() -> None:
    journals = made()
    journals.verb("node-1", "promote", by="agent", term="2", lsn="0/5000000")
    assert "no majority is known to have held its first commit" in last(journals.told()).text


def test_a_hand_over_to_another_node_than_the_one_that_took_over_is_none() -> None:
    journals = made()
    journals.verb("node-0", "fence", "fenced (fast) at 0/4", to="node-3", reason="hand-over")
    journals.verb("node-1", "promote", term="2", lsn="0/4000000")
    told = journals.told()
    assert sorted(kinds(told)) == ["failover", "fenced", "init"]
    assert "hand-over" not in [event.cause for event in told.events]


def test_verbs_that_refused_tell_nothing() -> None:
    journals = made()
    journals.verb("node-1", "promote", "behind: It has WAL up to 0/1.", term="2", lsn="0/5")
    journals.verb("node-0", "fence", "busy: Another verb is at work here.", to="node-1")
    assert kinds(journals.told()) == ["init"]


# What else happened


def test_a_recovery_says_how_the_node_came_back() -> None:
    journals = made()
    hand_over(journals, "node-0", "node-1", 2)
    journals.verb("node-0", "rewind", "pg_rewind can work: …", upstream="node-1")
    journals.verb("node-0", "rewind", "rewound to node-1, which it had left at 0/4", by="ann@desk")
    journals.verb("node-0", "follow", term="2", upstream="node-1")
    journals.wait(3600)
    journals.verb("node-0", "copy", "a fresh copy of node-1; the old data is in /a/b")
    journals.verb("node-0", "follow", term="2", upstream="node-1")
    told = journals.told()
    assert kinds(told) == ["init", "failover", "recovery", "recovery"]
    assert [e.cause for e in told.events[-2:]] == ["rewound", "copied"]
    assert "the old data is in /a/b" in last(told).text
    assert "pg_rewind can work" not in told.events[-2].text


def test_a_node_that_was_away_in_the_failover_and_needed_no_rewind_was_recovered() -> None:
    journals = made()
    journals.verb("node-1", "promote", term="2", lsn="0/5000000")
    journals.verb("node-2", "follow", term="2", upstream="node-1")
    journals.wait(5)
    journals.verb("node-0", "rewind", "no rewind is required", upstream="node-1")
    journals.verb("node-0", "follow", term="2", upstream="node-1")
    assert (kinds(journals.told())[-1], last(journals.told()).cause) == ("recovery", "followed")


def test_the_command_s_name_decides_where_it_is_told() -> None:
    journals = made()
    with journals.command("failover"):
        journals.verb("node-1", "promote", term="2", lsn="0/5000000")
        journals.wait(3600)  # a standby that replays for long
        journals.verb("node-2", "follow", term="2", upstream="node-1")
    assert kinds(journals.told()) == ["init", "failover"]
    with journals.command("recovery"):
        journals.verb("node-0", "follow", term="2", upstream="node-1")
    assert kinds(journals.told()) == ["init", "failover", "recovery"]


def test_what_a_node_does_by_itself_was_asked_for_by_nobody() -> None:
    journals = made()
    journals.verb("node-0", "fence", "fenced (killed) at 0/4", by="main", reason="its agent hangs")
    told = journals.told()
    assert kinds(told) == ["init", "fenced"]
    assert (told.events[1].by, told.events[1].cause) == (None, "its agent hangs")


def test_stop_and_start_are_one_event_each() -> None:
    journals = made()
    for node in ("node-0", "node-1", "node-2"):
        journals.verb(node, "halt", "Pgpool-II is stopped")
    for node in ("node-0", "node-1", "node-2"):
        journals.verb(node, "halt", "Pgpool-II is stopped; PostgreSQL: fast")
        journals.verb(node, "shutdown", "PostgreSQL: was not running", by="")
    journals.wait(600)
    journals.verb("node-0", "serve", term="1")
    for node in ("node-1", "node-2"):
        journals.verb(node, "follow", upstream="node-0", term="1")
    told = journals.told()
    assert kinds(told) == ["init", "stop", "start"]
    assert told.events[1].nodes == told.events[2].nodes == ("node-0", "node-1", "node-2")


def test_an_operator_s_start_ends_with_the_agent_s_word_and_is_one_event() -> None:
    journals = made()
    journals.event("node-0", "opened", 1, to="node-0")
    journals.verb("node-0", "halt")
    journals.wait(600)
    journals.verb("node-0", "serve", term="1")
    journals.event("node-0", "opened", 1, to="node-0")
    assert kinds(journals.told()) == ["init", "stop", "start"]


def test_two_stops_are_two_events() -> None:
    journals = made()
    for _ in range(2):
        journals.verb("node-0", "halt")
        journals.wait(600)
        journals.verb("node-0", "serve", term="1")
        journals.wait(600)
    assert kinds(journals.told()) == ["init", "stop", "start", "stop", "start"]


def test_a_container_that_ended_without_an_operator_s_stop_is_said() -> None:
    journals = made()
    journals.verb("node-1", "shutdown", "PostgreSQL: fast", by="")
    assert kinds(journals.told()) == ["init", "ended"]


def test_what_the_agents_tell_beside_failovers_is_there() -> None:
    journals = made()
    journals.event("node-1", "lost", 1, leader="node-0", last_heard_s=1.5, why="dead")
    journals.wait(60)
    journals.event("node-0", "stepped-down", 1, why="no majority heard")
    election(journals, "node-0", "node-1", 2)
    journals.event("node-0", "passed-over", 2)
    journals.event("node-0", "rejoined", 2, how="rewound", upstream="node-1")
    told = journals.told()
    wanted = ["init", "lost", "stepped-down", "failover", "passed-over", "rejoined"]
    assert kinds(told) == wanted
    assert told.events[2].text == "node-0 stepped down: no majority heard"
    assert (last(told).cause, last(told).to, last(told).asked_by) == ("rewound", "node-1", None)


def test_init_with_agents_is_one_event_too() -> None:
    journals = made()
    journals.event("node-0", "opened", 1, to="node-0", out_s=None)
    assert kinds(journals.told()) == ["init"]


def test_what_an_agent_serves_again_is_told_once_a_majority_has_its_first_commit() -> None:
    journals = made()
    journals.event("node-0", "opened", 1, to="node-0")
    journals.verb("node-0", "serve", by="agent", term="1")
    assert kinds(journals.told()) == ["init"]
    journals.event("node-0", "opened", 1, to="node-0", out_s=0.8)
    assert kinds(journals.told()) == ["init", "reopened"]


def test_who_voted_and_follows_is_no_news_and_who_lost_the_primary_is_told_once() -> None:
    journals = made()
    for node in ("node-1", "node-2"):
        journals.event(node, "lost", 1, leader="node-0", text="node-0 was not heard for 0.5 s")
    journals.wait(600)
    election(journals, "node-0", "node-1", 2)
    journals.event("node-2", "rejoined", 2, how="followed", upstream="node-1")
    journals.event("node-0", "rejoined", 2, how="followed", upstream="node-1")
    told = journals.told()
    assert kinds(told) == ["init", "lost", "failover", "rejoined"]
    assert told.events[1].nodes == ("node-0", "node-1", "node-2")


def test_an_election_that_came_to_nothing_is_said() -> None:
    journals = made()
    journals.event("node-1", "elected", 2, voters=["node-1", "node-2"], timeline=1, lsn=0x4000)
    assert kinds(journals.told()) == ["init", "elected"]
    election(journals, "node-0", "node-1", 3)
    assert kinds(journals.told()) == ["init", "elected", "failover"]


# Clocks, and records that are not whole


def moves_and_returns() -> Journals:
    """Four failovers, with a wrong clock on node-1 in the middle of it."""
    journals = made()
    with journals.command("failover"):
        hand_over(journals, "node-0", "node-1", 2)
        journals.ahead_s["node-1"] = 7200.0
        election(journals, "node-1", "node-0", 3)
        hand_over(journals, "node-0", "node-1", 4)
        journals.ahead_s["node-1"] = 0.0
        hand_over(journals, "node-1", "node-0", 5)
    return journals


def test_terms_give_the_order_where_a_clock_was_wrong_for_a_while() -> None:
    told = moves_and_returns().told()
    assert [e.term for e in told.events] == [1, 2, 3, 4, 5]
    assert any("Times go back" in note for note in told.notes)


def test_a_node_s_own_order_holds_when_its_clock_was_set_back() -> None:
    journals = made()
    journals.verb("node-0", "halt")
    journals.ahead_s["node-0"] = -7200.0
    journals.verb("node-0", "serve", term="1")
    assert kinds(journals.told(known=False)) == ["init", "stop", "start"]


def test_what_follows_a_new_primary_comes_after_it_whatever_its_clock_said() -> None:
    journals = made()
    journals.ahead_s["node-2"] = -1800.0
    election(journals, "node-0", "node-1", 2)
    journals.wait(-3600)
    journals.event("node-2", "rejoined", 2, how="rewound", upstream="node-1")
    assert kinds(journals.told(known=False)) == ["init", "failover", "rejoined"]


def test_a_clock_that_is_wrong_now_is_said_and_allowed_for() -> None:
    journals = made()
    journals.ahead_s["node-0"] = -3600.0
    hand_over(journals, "node-0", "node-1", 2)
    told = journals.told()
    assert any("node-0's clock is 3600 s behind" in note for note in told.notes)
    assert last(told).out_s == pytest.approx(0.3)


def test_an_outage_that_the_clocks_contradict_is_not_known() -> None:
    journals = made()
    journals.ahead_s["node-0"] = 3600.0
    hand_over(journals, "node-0", "node-1", 2)
    assert last(journals.told(known=False)).out_s is None


@given(
    st.lists(st.sampled_from([-9000.0, -3.0, 0.0, 3.0, 9000.0]), min_size=9, max_size=9),
    st.booleans(),
)
def test_no_clock_changes_what_happened_nor_its_order(ahead: list[float], known: bool) -> None:
    journals, clocks = made(), iter(ahead)
    for term, old, new in (
        (2, "node-0", "node-1"),
        (3, "node-1", "node-0"),
        (4, "node-0", "node-1"),
    ):
        for node in journals.ahead_s:
            journals.ahead_s[node] = next(clocks)
        with journals.command("failover"):
            hand_over(journals, old, new, term)
    told = journals.told(known=known)
    assert [(e.kind.value, e.term, e.to) for e in told.events] == [
        ("init", 1, "node-0"),
        ("failover", 2, "node-1"),
        ("failover", 3, "node-0"),
        ("failover", 4, "node-1"),
    ]
    assert all(e.out_s is None or e.out_s >= 0 for e in told.events)


@pytest.mark.parametrize("missing", ["node-0", "node-1", "node-2"])
def test_a_missing_record_is_said_and_the_others_tell_what_they_know(missing: str) -> None:
    journals = made()
    hand_over(journals, "node-0", "node-1", 2)
    hand_over(journals, "node-1", "node-0", 3)
    told = journals.told(missing)
    moved = [(e.from_, e.to) for e in told.events if e.kind is Kind.FAILOVER]
    assert ("node-1", "node-0") in moved
    assert told.missing == (missing,)
    assert f"{missing}'s record is missing" in told.notes[0]
    assert not any("no primary" in e.text for e in told.events)


def test_lines_that_cannot_be_read_are_counted_and_the_others_are_read() -> None:
    journals = made()
    lines = journals.lines["node-1"]
    journals.lines["node-1"] = [*lines, '{"at": "2026-11', "null", "[]", '{"at": 1, "verb": "x"}']
    told = journals.told()
    assert kinds(told) == ["init"]
    assert told.notes == ("node-1's record has 4 lines that cannot be read.",)


def test_a_record_that_begins_later_guesses_nothing() -> None:
    journals = made()
    hand_over(journals, "node-0", "node-1", 2)
    hand_over(journals, "node-1", "node-0", 3)
    journals.lines = {name: lines[-2:] for name, lines in journals.lines.items()}
    assert [(e.from_, e.to) for e in journals.told().events] == [("node-1", "node-0")]


line = st.dictionaries(
    st.sampled_from(
        ["at", "verb", "event", "by", "args", "result", "seconds", "term", "to", "lsn"]
    ),
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.sampled_from(
            [
                "2026-11-24T03:00:00+00:00",
                "promote",
                "follow",
                "opened",
                "lost",
                "agent",
                "2",
                "a: b",
            ]
        ),
        st.just({"term": "2", "upstream": "node-1", "to": "node-1"}),
        st.lists(st.integers(), max_size=2),
    ),
)


@given(st.lists(line, max_size=8), st.lists(line, max_size=8))
def test_whatever_stands_in_a_journal_it_is_read(one: list[object], other: list[object]) -> None:
    told = history(
        "c",
        [Record(n, tuple(map(json.dumps, lines))) for n, lines in (("a", one), ("b", other))],
    )
    json.dumps(told.as_dict())
    print_history(told, rich_console(io.StringIO()))


# The table


def test_the_table_says_who_asked_and_marks_an_upper_bound() -> None:
    journals = made()
    with journals.command("failback", "bob@ops"):
        hand_over(journals, "node-0", "node-1", 2)
    cells = row(last(journals.told()))
    assert (cells["asked by"], cells["writes out"]) == ("bob@ops: failback", "≤ 0.30 s")
    assert (cells["timeline"], cells["LSN"]) == ("2", "0/4000000")


def test_what_is_not_known_of_a_failover_is_a_question_mark() -> None:
    journals = made()
    journals.verb("node-1", "promote", term="2")
    cells = row(last(journals.told()))
    assert (cells["LSN"], cells["writes out"]) == ("?", "?")


def test_a_narrow_terminal_still_says_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgha.console.UNLIMITED", 72)
    journals = made()
    with journals.command("failover"):
        hand_over(journals, "node-0", "node-1", 2)
    out = io.StringIO()
    print_history(journals.told(), rich_console(out))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 72
    assert "asked by ann@desk: failover" in " ".join(line[43:].strip() for line in lines)


def test_without_events_the_table_is_a_sentence() -> None:
    out = io.StringIO()
    print_history(history("c", [Record("a"), Record("b", error="away.")]), rich_console(out))
    assert out.getvalue().splitlines() == [
        "c: the nodes' records tell of nothing.",
        "b's record is missing, what it alone knows with it: away.",
    ]


# What a node hands out


def read_back(text: str) -> tuple[dict[str, Any], list[str]]:
    head, *lines = text.splitlines()
    return json.loads(head), lines


def test_a_node_hands_out_its_older_file_first(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.with_name("journal.jsonl.1").write_text('{"n": 1}\n{"n": 2')
    file.write_text('{"n": 3}\n')
    head, lines = read_back(records.journal(file))
    assert lines == ['{"n": 1}', '{"n": 2', '{"n": 3}']
    assert (head["ok"], head["lines"], head["cut"]) == (True, 3, False)


def test_a_node_without_a_journal_hands_out_none(tmp_path: Path) -> None:
    head, lines = read_back(records.journal(tmp_path / "journal.jsonl"))
    assert (head["lines"], lines) == (0, [])


def test_what_a_node_hands_out_is_bounded_and_in_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    line = json.dumps({"n": "x" * 90}) + "\n"
    file.write_bytes(line.encode() * (records.MAX_BYTES // len(line) + 50))
    head, lines = read_back(records.journal(file))
    assert head["cut"] is True
    assert {len(each) for each in lines} == {len(line) - 1}
    assert len(lines) <= records.MAX_BYTES // len(line)


def test_a_journal_as_it_is_written_is_handed_out_whole(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    entry: dict[str, object] = {"verb": "fence", "by": "ann@desk", "result": "»ü« " + "x" * 400}
    for number in range(3000):
        state.journal({**entry, "n": number}, file)
    head, lines = read_back(records.journal(file))
    assert head["cut"] is False
    assert json.loads(lines[-1])["n"] == 2999
    assert len(lines) == head["lines"] > 2000


def test_torn_bytes_do_not_keep_the_rest_from_being_read(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_bytes(b'\xff\x00\x85{"n":\n{"n": 2}\n')
    assert read_back(records.journal(file))[1][-1] == '{"n": 2}'
