"""PostgreSQL's commands, its programs' answers, and what is rendered for it; no server needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.commands import postgres as pg
from pgha.commands.lsn import is_beginning_of, parse_lsn, segment_name, segment_start, show_lsn
from pgha.commands.scram import saslprep, verifier
from tests.integration.containers import pg_hba_conf, postgresql_conf

SEGMENT = 16 * 1024 * 1024

CONTROL = """pg_control version number:            1700
Database system identifier:           7711743269634560036
Database cluster state:               shut down
pg_control last modified:             Tue Nov 24 14:22:29 2026
Latest checkpoint location:           0/17594E8
Latest checkpoint's REDO location:    0/17594E8
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
Bytes per WAL segment:                16777216
Data page checksum version:           1
"""


def test_identifiers_and_literals_hold_whatever_they_are_given() -> None:
    assert pg.quote_identifier('we"ird') == '"we""ird"'
    assert pg.quote_literal("it's") == "'it''s'"
    assert pg.quote_literal("a\\'b") == "E'a\\\\''b'"
    for name in ("", "a\0b", "ä" * 32):
        with pytest.raises(ValueError, match="name"):
            pg.quote_identifier(name)


def test_a_connection_string_keeps_quotes_and_backslashes() -> None:
    assert pg.conninfo({"user": "o'h\\"}) == "user='o\\'h\\\\'"


def test_a_number_that_was_not_used_is_known_by_its_file() -> None:
    assert pg.is_placeholder(pg.placeholder_history(3))
    assert not pg.is_placeholder("3\t0/5000028\tno recovery target specified\n")


def test_where_a_base_backup_ends_is_what_pg_basebackup_says() -> None:
    said = "pg_basebackup: write-ahead log start point: 0/2000028 on timeline 1\n"
    assert pg.backup_end(said) is None
    assert pg.backup_end(f"{said}pg_basebackup: write-ahead log end point: 1/20001D0\n") == (
        0x1_020001D0
    )


def test_a_setting_is_one_quoted_line() -> None:
    assert pg.quote_setting("a'b\\") == "'a''b\\\\'"
    with pytest.raises(ValueError, match="one line"):
        pg.quote_setting("a\nb")


@pytest.mark.parametrize(
    ("voters", "names"),
    [
        (("a",), ""),
        (("a", "b"), 'ANY 1 ("b")'),
        (("a", "b", "w"), 'ANY 1 ("b", "w")'),
        (("a", "b", "c", "w"), 'ANY 2 ("b", "c", "w")'),
        (("a", "b", "c", "d", "w"), 'ANY 2 ("b", "c", "d", "w")'),
    ],
)
def test_the_quorum_is_a_majority_of_all_voters_less_the_primary(
    voters: tuple[str, ...], names: str
) -> None:
    assert pg.quorum(voters, "a") == names


def test_a_standby_has_its_quorum_in_role_conf_before_it_is_promoted() -> None:
    text = pg.role_conf(primary_conninfo="host='h'", slot="s", names='ANY 1 ("b")', restore="r")
    assert text.splitlines()[1:] == [
        "primary_conninfo = 'host=''h'''",
        "primary_slot_name = 's'",
        "synchronous_standby_names = 'ANY 1 (\"b\")'",
        "restore_command = 'r'",
    ]


def test_pg_controldata_is_read() -> None:
    control = pg.parse_controldata(CONTROL)
    assert control.system_identifier == "7711743269634560036"
    assert (control.clean, control.was_primary, control.checksums) == (True, True, True)
    assert (control.timeline, control.segment_bytes) == (1, SEGMENT)
    assert control.checkpoint_lsn == parse_lsn("0/17594E8")


def test_the_timeline_of_a_fresh_promotion_is_that_of_the_minimum_recovery_point() -> None:
    text = CONTROL.replace("timeline:   0", "timeline:   3")
    assert pg.parse_controldata(text).timeline == 3


def test_a_standbys_data_was_no_primarys() -> None:
    for state in ("shut down in recovery", "in archive recovery"):
        text = CONTROL.replace("shut down", state)
        assert not pg.parse_controldata(text).was_primary


def test_pg_controldata_that_lacks_a_line_is_no_answer() -> None:
    with pytest.raises(ValueError, match="REDO"):
        pg.parse_controldata("\n".join(x for x in CONTROL.splitlines() if "REDO" not in x))


def test_a_history_is_read_from_a_file_and_from_psql() -> None:
    text = "1\t0/40000A0\tno recovery target specified\n\n2\t0/5000000\twhy\n"
    expected = ((1, 0x40000A0), (2, 0x5000000))
    assert pg.parse_history(text) == expected
    assert pg.parse_history("00000003.history|" + text) == expected
    assert pg.parse_history("") == ()


def test_a_placeholder_leaves_its_timeline_before_everything_that_a_standby_has() -> None:
    ((timeline, left_at),) = pg.parse_history(pg.placeholder_history(4))
    assert (timeline, left_at) == (4, 1)
    assert not is_beginning_of(4, 0x1000028, ((timeline, left_at),), 5)


LINE = (
    "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/040000A0, "
    "prev 0/04000028, desc: CHECKPOINT_SHUTDOWN redo 0/40000A0; tli 1"
)


def test_a_line_of_pg_waldump_is_a_record() -> None:
    record = pg.parse_waldump_line(LINE)
    assert record == pg.Record(0x40000A0, 114, False)
    assert pg.record_end(record, SEGMENT) == 0x40000A0 + 120
    assert pg.parse_waldump_line("pg_waldump: error: x") is None


def test_a_switch_reaches_to_the_end_of_its_segment() -> None:
    line = LINE.replace("CHECKPOINT_SHUTDOWN redo 0/40000A0; tli 1", "SWITCH ")
    record = pg.parse_waldump_line(line)
    assert record is not None
    assert pg.record_end(record, SEGMENT) == 0x5000000


@pytest.mark.parametrize(
    ("lsn", "total", "end"),
    [
        # Up to the page's last byte: the end is the next page's beginning, not its header's end.
        (0x1000000 + 8192 - 64, 64, 0x1000000 + 8192),
        # Over one page's end: 24 bytes of header are in between.
        (0x1000000 + 8192 - 64, 65, 0x1000000 + 8192 + 24 + 8),
        # Over a segment's end: 40 bytes.
        (0x2000000 - 64, 100, 0x2000000 + 40 + 40),
        # Over a whole page.
        (0x1000000 + 8192 - 8, 8 + (8192 - 24) + 8, 0x1000000 + 2 * 8192 + 24 + 8),
    ],
)
def test_a_record_goes_on_behind_the_headers_of_pages(lsn: int, total: int, end: int) -> None:
    assert pg.record_end(pg.Record(lsn, total, False), SEGMENT) == end


@given(st.integers(0, 2**40), st.integers(24, 10**6))
def test_a_records_end_is_aligned_and_behind_its_bytes(start: int, total: int) -> None:
    lsn = start // 8192 * 8192 + 40
    end = pg.record_end(pg.Record(lsn, total, False), SEGMENT)
    assert end % 8 == 0
    headers = 24 * ((end - lsn) // 8192 + 1) + 16 * ((end - lsn) // SEGMENT + 1)
    assert lsn + total <= end <= lsn + total + 7 + headers


def test_pages_are_counted_up_to_the_first_that_is_not_of_this_segment() -> None:
    def page(address: int) -> bytes:
        header = (0xD116).to_bytes(2, "little") + bytes(6) + address.to_bytes(8, "little")
        return header.ljust(8192, b"\1")

    start = 0x3000000
    good = page(start) + page(start + 8192)
    assert pg.valid_pages(good, start) == 2
    assert pg.valid_pages(good + bytes(8192) + page(start + 3 * 8192), start) == 2
    assert pg.valid_pages(good + page(0x1004000), start) == 2
    assert pg.valid_pages(page(0x1000000), start) == 0


@given(st.integers(1, 2**31), st.integers(0, 2**63))
def test_a_segments_name_says_where_it_begins(timeline: int, lsn: int) -> None:
    name = segment_name(timeline, lsn, SEGMENT)
    assert segment_start(name, SEGMENT) == (timeline, lsn // SEGMENT * SEGMENT)
    assert parse_lsn(show_lsn(lsn)) == lsn
    assert pg.is_segment(name)
    assert pg.is_segment(name + ".partial")
    assert not pg.is_segment(name + ".backup")


def test_an_error_is_told_by_its_sqlstate() -> None:
    assert pg.sqlstate("psql:<stdin>:8: ERROR:  42710\n") == "42710"
    assert pg.sqlstate("psql: error: connection to server failed") == ""


def test_a_password_file_escapes_what_divides_its_fields() -> None:
    assert pg.pgpass_line("*", 5433, "*", "a:b", "c\\d") == "*:5433:*:a\\:b:c\\\\d\n"
    with pytest.raises(ValueError, match="one line"):
        pg.pgpass_line("*", "*", "*", "u", "a\nb")


def test_the_programs_are_called_with_these_words() -> None:
    assert pg.postmaster("/b", "/d", "/c") == ("/b/postgres", "-D", "/d", "-c", "config_file=/c")
    assert pg.waldump("/b", "/w", timeline=2, start=0x1000028, limit=1) == (
        *("/b/pg_waldump", "--path", "/w", "--timeline", "2", "--start", "0/1000028"),
        *("--limit", "1"),
    )
    assert "--slot" not in pg.basebackup("/b", "/t", connection="c", slot=None)
    assert pg.basebackup("/b", "/t", connection="c", slot="s")[-2:] == ("--slot", "s")
    assert pg.rewind("/b", "/d", config="/c", connection="x", dry_run=True)[-1] == "--dry-run"
    assert pg.receivewal("/b", "/d", connection="c", slot="s")[-4:] == (
        "--synchronous",
        "--no-loop",
        "--no-password",
        "--status-interval=1",
    )


def test_a_verifier_is_that_of_the_rfc() -> None:
    # RFC 7677, section 3: user "user", password "pencil".
    import base64

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert verifier("pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_saslprep_does_as_its_rfc_shows() -> None:
    # RFC 4013, section 3.
    assert saslprep("I\u00adX") == "IX"
    assert saslprep("\u00aa") == "a"
    assert saslprep("\u2168") == "IX"
    for prohibited in ("\u0007", "\u0627\u0031"):
        with pytest.raises(ValueError, match="password"):
            saslprep(prohibited)


def test_passwords_that_cannot_be_sent_are_refused() -> None:
    for password in ("", "a\0b"):
        with pytest.raises(ValueError, match="password"):
            verifier(password, bytes(16))


def test_the_configuration_never_lets_a_primary_run_without_its_quorum() -> None:
    lines = postgresql_conf("c").splitlines()
    assert lines[-1] == "include 'role.conf'"
    assert "synchronous_commit = on" in lines
    assert "allow_alter_system = off" in lines
    assert not any(line.startswith("synchronous_standby_names") for line in lines)


def test_nobody_comes_in_without_a_password_over_the_network() -> None:
    rules = [r for r in pg_hba_conf("10.0.0.0/24").splitlines() if r.startswith("host")]
    assert rules
    assert {rule.split()[-1] for rule in rules} == {"scram-sha-256", "reject"}
