"""The tasks as Invoke sees them, names and passwords, and where env/ is looked for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from pgha.errors import Usage
from pgha.tasks import namespace
from pgha.tasks.parsing import WrongUsage, task_of
from pgha.tasks.passwords import MAX_BYTES, named, secret_from
from pgha.tasks.session import root_of
from pgha.tasks.task import ClusterTask

NAMES = (
    "build",
    "doctor",
    "failback",
    "failover",
    "history",
    "import-env",
    "init",
    "recovery",
    "start",
    "status",
    "stop",
    "units",
    "user.create",
    "user.delete",
    "user.password",
)
CHANGING = tuple(
    name for name in NAMES if name not in ("status", "doctor", "history", "import-env")
)


def flags_of(name: str) -> set[str]:
    context = next(c for c in namespace.to_contexts() if c.name == name)
    return set(context.flag_names())


def parse(*argv: str) -> list[ParserContext]:
    """What Invoke's own parser makes of a command line, less the initial context."""
    initial = ParserContext(
        args=[
            Argument(names=("config", "f")),
            Argument(names=("help", "h"), optional=True),
            Argument(names=("dry", "R"), kind=bool, default=False),
        ]
    )
    return list(Parser(namespace.to_contexts(), initial).parse_argv(list(argv)))[1:]


def value(context: ParserContext, flag: str) -> object:
    found: object = context.args[flag].value
    return found


def test_the_collection_has_every_command_and_no_other() -> None:
    assert tuple(sorted(namespace.task_names)) == NAMES


@pytest.mark.parametrize("name", CHANGING)
def test_every_changing_command_has_the_flags_that_mean_the_same_everywhere(name: str) -> None:
    assert {"-e", "--env", "--dry-run", "--yes", "--json"} <= flags_of(name)


def test_status_has_neither_a_dry_run_nor_yes() -> None:
    assert flags_of("status") == {"-e", "--env", "--json", "--watch"}


def test_history_has_neither_a_dry_run_nor_yes() -> None:
    for command in ("history", "doctor"):
        assert flags_of(command) == {"-e", "--env", "--json"}


def test_import_env_asks_no_cluster() -> None:
    ours = {"--file", "--into", "--single", "-f", "--force", "--dry-run", "--yes", "--json"}
    assert flags_of("import-env") == ours


@pytest.mark.parametrize("name", NAMES)
def test_no_short_flags_but_e_and_f(name: str) -> None:
    assert {f for f in flags_of(name) if not f.startswith("--")} <= {"-e", "-f"}


@pytest.mark.parametrize("name", ["init", "failover", "failback", "recovery"])
def test_force_has_its_short_flag(name: str) -> None:
    assert {"-f", "--force"} <= flags_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_list_is_one_sentence_that_fits(name: str) -> None:
    task = namespace[name]
    assert isinstance(task, ClusterTask)
    first = (task.__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 62


@pytest.mark.parametrize("name", NAMES)
def test_help_explains_every_flag_also_when_it_is_read_twice(name: str) -> None:
    for _ in range(2):
        context = next(c for c in namespace.to_contexts() if c.name == name)
        assert [flag for flag, text in context.help_tuples() if not text] == []


# Parsing


def test_a_wrong_flag_is_wrong_usage_with_the_help_to_type() -> None:
    with pytest.raises(WrongUsage) as wrong:
        parse("failover", "--bogus")
    assert isinstance(wrong.value, ParseError)
    assert isinstance(wrong.value, Exit)
    assert (wrong.value.code, wrong.value.next) == (2, "inv --help failover")


def test_a_file_that_is_missing_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match=r"import-env needs FILE\."):
        parse("import-env", "--dry-run")


def test_a_parse_error_of_user_commands_repeats_no_word_that_may_be_a_password() -> None:
    with pytest.raises(WrongUsage) as wrong:
        parse("user.create", "bob", "hunter2", "hunter3")
    assert "hunter" not in str(wrong.value)


def test_somebody_elses_tasks_keep_invokes_own_errors() -> None:
    other = Parser([ParserContext("theirs")])
    with pytest.raises(ParseError) as error:
        other.parse_argv(["theirs", "--bogus"])
    assert not isinstance(error.value, WrongUsage)


def test_a_password_may_follow_the_name_without_a_flag() -> None:
    (context,) = parse("user.create", "-e", "prod", "bob", "hunter2", "--yes")
    assert [value(context, f) for f in ("name", "password", "env", "yes")] == [
        "bob",
        "hunter2",
        "prod",
        True,
    ]


def test_no_other_command_takes_a_word_without_a_flag() -> None:
    for name in ("failover", "start", "recovery"):
        with pytest.raises(WrongUsage):
            parse(name, "node-1")
    with pytest.raises(WrongUsage):
        parse("user.delete", "bob", "alice")


def test_flags_behind_the_command_are_ours() -> None:
    (context,) = parse("init", "-f", "-e", "prod")
    assert (value(context, "force"), value(context, "env")) == (True, "prod")
    assert task_of(context) == "init"


def test_a_short_flag_that_a_command_lacks_does_not_read_a_configuration_of_invoke() -> None:
    with pytest.raises(WrongUsage, match="start takes no --config"):
        parse("start", "-f", "file.yaml")


@pytest.mark.parametrize(
    "argv",
    [
        ("init", "status"),
        ("init", "-e", "a", "status", "-e", "b"),
        ("init", "-e", "default", "status"),
        ("import-env", "etc/env.sh", "init", "-e", "prod"),
    ],
)
def test_two_commands_with_their_environments_are_fine(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGHA_ENV", raising=False)
    assert len(parse(*argv)) == 2


@pytest.mark.parametrize("argv", [("init", "status", "-e", "prod"), ("init", "-e", "x", "status")])
def test_two_commands_of_which_one_has_its_environment_by_default_are_refused(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGHA_ENV", raising=False)
    with pytest.raises(WrongUsage, match="Each command needs its own -e"):
        parse(*argv)


def test_pgha_env_is_the_default_with_which_environments_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHA_ENV", "prod")
    assert len(parse("init", "status", "-e", "prod")) == 2


def test_the_collection_mounts_under_any_name_beside_others() -> None:
    root = Collection()
    root.add_collection(namespace, name="db")
    assert "db.user.create" in root.task_names
    assert {c.name for c in root.to_contexts() if task_of(c)} == {f"db.{n}" for n in NAMES}


# Names and passwords


@pytest.mark.parametrize("name", ["--help", "-e", "-", ""])
def test_a_name_that_is_a_flag_or_empty_is_wrong_usage(name: str) -> None:
    with pytest.raises(Usage):
        named(name)


@pytest.mark.parametrize("name", ["bob", "o'brien", 'a "b"', "жанна", "a b", "x-y"])
def test_other_names_go_on_as_they_are(name: str) -> None:
    assert named(name) == name


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\n\n", "secret\n"),
        (b"secret\r\n", "secret"),
        (b" two words \n", " two words "),
        ("пароль\n".encode(), "пароль"),
    ],
)
def test_a_password_file_loses_exactly_one_newline(
    content: bytes, password: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert secret_from(None, str(file), dry_run=False).reveal() == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * (MAX_BYTES + 1)])
def test_a_password_file_without_a_usable_password_is_wrong_usage(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(Usage):
        secret_from(None, str(file), dry_run=False)


def test_a_password_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="No such file"):
        secret_from(None, str(tmp_path / "nowhere"), dry_run=False)
    with pytest.raises(Usage, match="directory"):
        secret_from(None, str(tmp_path), dry_run=False)


def test_an_empty_password_or_two_of_them_is_wrong_usage() -> None:
    with pytest.raises(Usage, match="empty"):
        secret_from("", None, dry_run=False)
    with pytest.raises(Usage, match="twice"):
        secret_from("a", "b", dry_run=False)


def test_without_a_terminal_and_a_password_it_is_wrong_usage_and_never_a_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(Usage, match="no terminal"):
        secret_from(None, None, dry_run=False)


def test_a_dry_run_asks_for_no_password() -> None:
    assert secret_from(None, None, dry_run=True)


# Where env/ is


def test_env_is_looked_for_here_then_beside_the_tasks_file(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    assert root_of(None, below, str(tmp_path)) == below
    (tmp_path / "env").mkdir()
    assert root_of(None, below, str(tmp_path)) == tmp_path
    assert root_of("prod", below, str(tmp_path)) == tmp_path
    assert root_of("./prod.env", below, str(tmp_path)) == below
    (below / "prod.env").touch()
    assert root_of("prod.env", below, str(tmp_path)) == below
    (below / "env").mkdir()
    assert root_of(None, below, str(tmp_path)) == below
