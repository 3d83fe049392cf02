"""What a node keeps on its disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.node import archive, state
from pgha.node.errors import Failed
from pgha.node.report import Assignment, Role, from_json, to_json
from pgha.node.verbs import Args

NODE = {
    "cluster": "c",
    "node": "a",
    "kind": "data",
    "nodes": [
        {"name": "a", "kind": "data", "address": "10.0.0.11", "slot": "pgha_a"},
        {"name": "w", "kind": "witness", "address": "10.0.0.13", "slot": "pgha_w"},
    ],
    "pgport": 5433,
    "pgpool_port": 5432,
    "postgres_user": "postgres",
    "replication_user": "replication",
    "pcp_user": "postgres",
    "quorum_commit": True,
    "archive_max_bytes": 1,
    "wal_keep_max_bytes": 1,
    "locale_provider": "builtin",
    "locale": "C.UTF-8",
    "pgdata": "/data",
    "archive": "/archive",
}


def test_a_node_that_was_never_told_anything_is_fenced(tmp_path: Path) -> None:
    assert state.read_assignment(tmp_path / "state.json") == Assignment(term=0, role=Role.FENCED)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    told = Assignment(term=3, role=Role.STANDBY, upstream="b", voters=("a", "b"), position=7)
    written = state.write_assignment(told, file)
    assert state.read_assignment(file) == written
    assert replace(written, since="") == told
    assert file.stat().st_mode & 0o777 == 0o600
    assert [f.name for f in tmp_path.iterdir()] == ["state.json"]


def test_a_term_never_goes_down(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    state.write_assignment(Assignment(term=3), file)
    with pytest.raises(Failed, match="never goes down"):
        state.write_assignment(Assignment(term=2), file)
    assert state.read_assignment(file).term == 3


def test_an_assignment_that_cannot_be_read_is_an_error_and_no_fresh_one(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    for content in ("", "{", '{"term": "x"}', "[]"):
        file.write_text(content)
        with pytest.raises(Failed):
            state.read_assignment(file)


def test_what_changes_nothing_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    first = state.write_assignment(Assignment(term=1), file)
    assert state.change(lambda a: replace(a, term=1), file) == first


def test_a_write_that_was_cut_off_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    first = state.write_assignment(Assignment(term=1), file)
    (tmp_path / "state.json.new").write_text('{"te')
    assert state.read_assignment(file) == first
    state.write_assignment(Assignment(term=2), file)
    assert state.read_assignment(file).term == 2


def test_the_journal_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_bytes(b"x" * (state.JOURNAL_MAX_BYTES + 1))
    state.journal({"verb": "fence"}, file)
    assert json.loads(file.read_text())["verb"] == "fence"
    assert (tmp_path / "journal.jsonl.1").exists()


def test_a_journal_that_cannot_be_written_fails_no_verb(tmp_path: Path) -> None:
    state.journal({"verb": "fence"}, tmp_path / "missing" / "journal.jsonl")


def test_node_json_says_who_the_nodes_are() -> None:
    node = state.node_from_json(json.dumps(NODE))
    assert node.me.slot == "pgha_a"
    assert [m.name for m in node.others] == ["w"]
    assert node.name_of("10.0.0.13") == "w"
    assert node.name_of(None) is None
    with pytest.raises(Failed, match="no node of c"):
        node.member("x")


def test_node_json_that_lacks_something_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "node.json"
    file.write_text(json.dumps({k: v for k, v in NODE.items() if k != "pgport"}))
    with pytest.raises(Failed) as error:
        state.read_node(file)
    assert error.value.code == "unprepared"


names = st.text(min_size=1, max_size=20)


@given(
    st.builds(
        Assignment,
        term=st.integers(0, 2**32),
        role=st.sampled_from(Role),
        upstream=st.none() | names,
        doors=st.booleans(),
        voters=st.lists(names).map(tuple),
        position=st.none() | st.integers(0, 2**63),
    )
)
def test_an_assignment_travels_as_json(assignment: Assignment) -> None:
    assert from_json(json.loads(json.dumps(to_json(assignment))), Assignment) == assignment


def test_the_archive_is_pruned_oldest_first_and_history_stays(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"00000001{0:08X}{number:08X}").write_bytes(b"x" * 100)
    (tmp_path / "00000002.history").write_text("1\t0/1\t")
    # Below LOW_BYTES of free space more goes; the test's disk has more than that.
    assert archive.prune(tmp_path, 600) == 4
    left = sorted(f.name for f in tmp_path.iterdir())
    assert left[0].endswith("04")
    assert left[-1] == "00000002.history"
    assert archive.prune(tmp_path, 0) == 2  # the newest four are never pruned


def test_arguments_that_do_not_fit_are_told() -> None:
    cases: tuple[tuple[dict[str, str], Callable[[Args], object]], ...] = (
        ({}, lambda a: a.text("x")),
        ({"term": "0"}, lambda a: a.term()),
        ({"term": "1.5"}, lambda a: a.term()),
        ({"lsn": "zz"}, lambda a: a.lsn("lsn")),
        ({"more": "1"}, lambda a: a.only(["term"])),
    )
    for values, read in cases:
        with pytest.raises(Failed) as error:
            read(Args(values))
        assert error.value.code == "usage"
    args = Args({"lsn": "1/0", "names": "a,b", "flag": "true"})
    assert (args.lsn("lsn"), args.names("names"), args.flag("flag")) == (1 << 32, ("a", "b"), True)
