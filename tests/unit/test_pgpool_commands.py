"""Pgpool-II's commands, the lines of its files, and what its programs print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.commands import pgpool
from pgha.commands.base import Secret
from pgha.node.report import Backend
from pgha.templating import render

NODE_INFO = """\
10.0.0.11 5433 2 0.500000 up unknown primary unknown 0 none none 2026-11-24 14:03:14
10.0.0.12 5433 1 0.500000 waiting unknown standby unknown 0 none none 2026-11-24 14:04:00
10.0.0.13 5433 3 0.333333 down unknown standby unknown 0 none none 2026-11-24 14:04:00
10.0.0.14 5433 0 0.333333 unused unknown standby unknown 0 none none 2026-11-24 14:04:00
"""


def config(read_balance: bool = False) -> pgpool.PgpoolConfig:
    return pgpool.PgpoolConfig(
        nodes=(
            pgpool.PgpoolNode(0, "node-0", "10.0.0.11"),
            pgpool.PgpoolNode(1, "node-1", "10.0.0.12"),
        ),
        port=5432,
        backend_port=5433,
        replication_user="replication",
        pcp_user="postgres",
        num_init_children=32,
        read_balance=read_balance,
    )


def settings(read_balance: bool = False) -> dict[str, str]:
    return pgpool.parse_config(render("pgpool.conf.j2", config=config(read_balance)))


# --- Commands ------------------------------------------------------------------------------------


def test_it_runs_in_the_foreground_with_our_files() -> None:
    assert pgpool.start().quoted == (
        "pgpool -n -f /etc/pgpool2/pgpool.conf -F /etc/pgpool2/pcp.conf"
        " -a /etc/pgpool2/pool_hba.conf -k /etc/pgpool2/pgpoolkey"
    )


def test_control_commands_never_ask_for_a_password() -> None:
    assert pgpool.node_info("postgres").quoted == (
        "pcp_node_info -h /var/run/postgresql -p 9898 -U postgres -w -a"
    )
    assert pgpool.attach_node(1, "an admin", 9899).quoted == (
        "pcp_attach_node -h /var/run/postgresql -p 9899 -U 'an admin' -w -n 1"
    )


def test_a_password_reaches_pg_enc_by_standard_input_only() -> None:
    command = pgpool.encrypt(Secret("se:cret"))
    assert command.quoted == "pg_enc -k /etc/pgpool2/pgpoolkey -i /dev/stdin"
    assert command.stdin_bytes == b"x:se:cret\n"
    assert "se:cret" not in command.shown


# --- What its programs print ---------------------------------------------------------------------


def test_node_info_tells_who_is_attached_and_who_is_primary() -> None:
    names = {0: "node-0", 1: "node-1", 2: "node-2"}
    assert pgpool.parse_node_info(NODE_INFO, names) == (
        Backend("node-0", "up", "primary"),
        Backend("node-1", "up", "standby"),
        Backend("node-2", "down", "standby"),
        Backend("10.0.0.14", "unused", "standby"),
    )


@pytest.mark.parametrize("output", ["ERROR: connection failed\n", "\n"])
def test_what_is_no_node_info_is_an_error(output: str) -> None:
    with pytest.raises(ValueError, match="not a line of pcp_node_info"):
        pgpool.parse_node_info(output, {})


def test_pg_encs_entry_is_found_among_its_chatter() -> None:
    output = (
        "trying to read key from file /etc/pgpool2/pgpoolkey\n\nqQ==\npool_passwd string: AESqQ==\n"
    )
    assert pgpool.parse_encrypted(output) == "AESqQ=="
    with pytest.raises(ValueError, match="no pool_passwd string"):
        pgpool.parse_encrypted("trying to read key from file /etc/pgpool2/pgpoolkey\n")


# --- Files ---------------------------------------------------------------------------------------


def test_the_configuration_names_the_nodes_by_address() -> None:
    made = settings()
    assert (made["backend_hostname0"], made["backend_hostname1"]) == ("10.0.0.11", "10.0.0.12")
    assert (made["backend_port0"], made["port"]) == ("5433", "5432")
    assert pgpool.names_in(made) == {0: "node-0", 1: "node-1"}


def test_pgpool_decides_nothing() -> None:
    made = settings()
    off = (
        *("use_watchdog", "failover_on_backend_error", "failover_on_backend_shutdown"),
        *("detach_false_primary", "auto_failback", "memory_cache_enabled"),
    )
    assert {made[name] for name in off} == {"off"}
    assert made["health_check_period"] == "0"
    assert made["failover_command"] == made["follow_primary_command"] == ""


def test_reads_go_to_standbys_only_where_that_is_wanted() -> None:
    assert (settings()["load_balance_mode"], settings()["sr_check_period"]) == ("off", "0")
    balanced = settings(read_balance=True)
    assert (balanced["load_balance_mode"], balanced["sr_check_period"]) == ("on", "1")
    # A temporary table must not be looked for on a standby.
    assert "check_temp_table" not in balanced


def test_everybody_needs_a_password_by_scram() -> None:
    lines = [
        line.split()
        for line in render("pool_hba.conf.j2", config=config()).splitlines()
        if line and not line.startswith("#")
    ]
    assert [line[-1] for line in lines] == ["scram-sha-256", "scram-sha-256"]


def test_the_status_file_has_one_node_up() -> None:
    assert pgpool.status_file(1, 3) == "down\nup\ndown\n"


def test_files_of_the_control_user() -> None:
    # echo -n secret | md5sum
    assert pgpool.pcp_conf("postgres", Secret("secret")).reveal() == (
        "postgres:5ebe2294ecd0e0f08eab7690d2a6ee69\n"
    )
    assert pgpool.pcppass("po:st", Secret("a\\b:c")).reveal() == "*:*:po\\:st:a\\\\b\\:c\n"


def test_a_roles_entry_is_replaced_where_it_stands() -> None:
    before = "a:AES1\nb\\:c:AES2\nd:AES3\n"
    assert pgpool.with_user(before, "b:c", "AES9") == "a:AES1\nb\\:c:AES9\nd:AES3\n"
    assert pgpool.with_user(before, "b", "AES9") == before + "b:AES9\n"


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(
    lambda name: not pgpool.name_problem(name)
)


@given(st.dictionaries(names, st.from_regex(r"AES[A-Za-z0-9+/]{24}", fullmatch=True)), names)
def test_setting_and_dropping_a_role_touches_no_other(entries: dict[str, str], name: str) -> None:
    entries.pop(name, None)
    passwd = ""
    for other, entry in entries.items():
        passwd = pgpool.with_user(passwd, other, entry)
    with_it = pgpool.with_user(passwd, name, "AESx")
    assert pgpool.with_user(with_it, name, "AESx") == with_it
    assert pgpool.without_user(with_it, name) == passwd
    assert pgpool.without_user(passwd, name) == passwd


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b", "o'brien", 'say "hi"', "münchen", "back\\s", "x" * 63])
def test_names_that_postgresql_takes_are_taken(name: str) -> None:
    assert pgpool.name_problem(name) == ""


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "\x7f", "x" * 64, "é" * 32])
def test_names_that_nobody_could_log_in_with_are_refused(name: str) -> None:
    assert pgpool.name_problem(name).endswith(".")


def test_a_password_that_pgpool_cannot_read_back_is_refused() -> None:
    assert pgpool.password_problem(Secret("p" * 79)) == ""
    problem = pgpool.password_problem(Secret("p" * 80))
    assert problem == "The password has 80 bytes in UTF-8; Pgpool-II takes 79."
    assert "80 bytes" in pgpool.password_problem(Secret("é" * 40))


@pytest.mark.parametrize("password", ["", "a\nb", "a\rb", "a\0b"])
def test_a_password_of_more_or_less_than_a_line_is_refused(password: str) -> None:
    assert "line breaks" in pgpool.password_problem(Secret(password))


def test_a_password_is_encrypted_as_scram_hashes_it() -> None:
    # A soft hyphen is mapped to nothing, a no-break space to a space, a ligature to its letters.
    command = pgpool.encrypt(Secret("a\u00adb\u00a0\ufb01n"))
    assert command.stdin_bytes == b"x:ab fin\n"
    # What SASLprep forbids (here: directions mixed) goes as it is, with clients too.
    assert pgpool.encrypt(Secret("\u06271")).stdin_bytes == "x:\u06271\n".encode()
