"""A db_ctl.sh user's `env.sh` becomes an env file, or a list of every mistake with its line."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke.context import Context
from invoke.exceptions import Exit

from pgha.commands.base import Secret
from pgha.commands.pgpool import password_problem
from pgha.errors import Refused, Usage
from pgha.import_env import Imported, imported
from pgha.placing import Occupied, place
from pgha.settings import Mode, parse
from pgha.shellfile import read_shell
from pgha.tasks import namespace
from tests.unit.test_settings import CONTRACT

SECRET = "Geheim-4711"
PLAIN = "".join(f"{name}={value}\n" for name, value in CONTRACT.items())


def values(text: str) -> dict[str, str]:
    """What a shell file sets; it must have no mistakes."""
    found, mistakes = read_shell(text)
    assert mistakes == ()
    return {each.name: each.value for each in found}


def refusal(text: str) -> str:
    """The mistakes of a file, line by line."""
    with pytest.raises(Usage) as caught:
        imported(text, source="etc/env.sh")
    assert SECRET not in "".join((caught.value.message, *caught.value.details))
    return "\n".join(caught.value.details)


def read_back(found: Imported) -> dict[str, str]:
    """The settings of the file that is written: all of them must be those that were imported."""
    assert parse(found.text(), source="written", environ={}) == found.settings
    return found.values


# What a shell makes of a line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=1", "1"),
        ("  export A=1  # one", "1"),
        ("export\tA=1;", "1"),
        ("A=1; export A", "1"),
        ("A=", ""),
        ("A=''", ""),
        ("A='x y # $B `c`'", "x y # $B `c`"),
        ('A="x y # z"', "x y # z"),
        ('A="a\\"b\\\\c\\$d\\e"', 'a"b\\c$d\\e'),
        ("A=a'b c'd\"e f\"", "ab cde f"),
        ("A=a#b", "a#b"),
        ("A=10.0.0.0/24", "10.0.0.0/24"),
        ("A=x=y", "x=y"),
        ("A=жук", "жук"),
        ("B=1\nA=$B", "1"),
        ("B=1\nA=x${B}y$B", "x1y1"),
        ('B="1 2"\nA="<$B>"', "<1 2>"),
        ("B=1\nA=${B:-2}", "1"),
        ("A=${B:-/data/x}", "/data/x"),
        ("B=\nA=${B:-2}", "2"),
        ("B=\nA=${B-2}", ""),
        ("A=cost$", "cost$"),
        ('A="5$ or less$"', "5$ or less$"),
        ("A=1\r", "1"),
        ("\ufeffA=1", "1"),
        ("#!/bin/sh\n\n  # A=2\nA=1", "1"),
        ("A=2\nA=1", "1"),
        ("A=a{b,c}*?[d]!", "a{b,c}*?[d]!"),
    ],
)
def test_a_line_means_what_it_means_to_a_shell(text: str, value: str, tmp_path: Path) -> None:
    assert values(text)["A"] == value
    if "\ufeff" in text or "\r" in text:
        return
    script = tmp_path / "env.sh"
    script.write_text(f"{text}\nprintf '<%s>' \"$A\"\n")
    told = subprocess.run((shutil.which("sh") or "sh", script), capture_output=True, text=True)
    assert told.stdout == f"<{value}>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=$(id)", "a command in it would have to be run"),
        ("A=`id`", "a command in it would have to be run"),
        ('A="$(id)"', "a command in it would have to be run"),
        ("A=$((1+1))", "a command in it would have to be run"),
        ("A=$B", "names nothing that is set above"),
        ("A=$B\nB=1", "names nothing that is set above"),
        ("A=pa$$word", "only a shell can tell"),
        ("A=$1", "only a shell can tell"),
        ("B=1\nA=${B%x}", "only a shell can tell"),
        ("A=$'x'", "only a shell can tell"),
        ("A=a\\b", "a backslash in it needs a shell"),
        ("A=a&b", "a & in it needs a shell"),
        ("A=(1 2)", "a ( in it needs a shell"),
        ("A=1 | tee x", "a | in it needs a shell"),
        ("A=~/x", "what ~ is, only a shell can tell"),
        ("A=x y", "one NAME=value was expected"),
        ("A=1 B=2", "one NAME=value was expected"),
        ("A=1;rm", "one NAME=value was expected"),
        ("if true; then", "one NAME=value was expected"),
        ("source other.sh", "one NAME=value was expected"),
        ("export B", "one NAME=value was expected"),
        ("A+=1", "one NAME=value was expected"),
        ("A =1", "one NAME=value was expected"),
        ("'A'=1", "one NAME=value was expected"),
        ("A='x", "the end of a quote was expected on its line"),
        ('A="x\ny"', "the end of a quote was expected on its line"),
        ("A=a\x00b", "without control characters"),
        ("A=a\rb", "without control characters"),
    ],
)
def test_what_needs_a_shell_is_a_mistake(text: str, why: str) -> None:
    assert why in refusal(text)


def test_nothing_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    refusal(f"PGPORT=$(touch {made})\nPGDATA=`touch {made}`\ntouch {made}\n. {made}")
    assert not made.exists()


def test_a_value_that_cannot_be_read_is_one_mistake_and_not_one_more_for_each_use_of_it() -> None:
    assert refusal("ROOT=$(pwd)\nVOLUME_ROOT=$ROOT/x").count("\n") == 0


@pytest.mark.parametrize("sign", ["$", "`", "\\", "&", "'", '"', " x", "$(", ":~", ";"])
def test_no_mistake_shows_a_password(sign: str) -> None:
    for password in (SECRET + sign, sign + SECRET):
        assert refusal(f"POSTGRES_PASSWORD={password}x\nPGPORT=x")


# What it comes to


def test_a_plain_file_comes_over_as_it_is() -> None:
    found = imported(PLAIN, source="etc/env.sh")
    assert read_back(found) == {**CONTRACT, "MODE": "ha"}
    assert (found.unknown, found.quoted, found.source) == ((), (), "env.sh")


def test_the_nodes_are_hosts_unless_one_says_otherwise() -> None:
    assert imported("", source="x").settings.mode is Mode.HA
    assert imported("", source="x", single=True).settings.mode is Mode.SINGLE
    assert imported("MODE=single", source="x").settings.mode is Mode.SINGLE
    assert imported("MODE=ha", source="x", single=True).values == {"MODE": "single"}


def test_variables_of_others_are_named_and_left_out_with_what_was_perhaps_meant() -> None:
    found = imported(f"export PGPROT=1\nFOO={SECRET}\nPGPORT=5555", source="x")
    assert read_back(found) == {"MODE": "ha", "PGPORT": "5555"}
    first, second = list(found.notes())[:2]
    assert first == "Line 1: PGPROT is no variable of ours, and left out; did you mean PGPORT?"
    assert second == "Line 2: FOO is no variable of ours, and left out."
    assert "#   FOO (2)\n" in found.text()
    assert SECRET not in found.text()


def test_a_variable_of_others_may_stand_in_ours() -> None:
    found = imported("DATA=/srv/pg\nVOLUME_ROOT=$DATA/${NONE:-a}", source="x")
    assert read_back(found)["VOLUME_ROOT"] == "/srv/pg/a"


def test_quotes_that_were_letters_to_db_ctl_are_told() -> None:
    notes = " ".join(imported(f"PCP_PASSWORD='{SECRET}'", source="x").notes())
    assert "Line 1: the quotes of PCP_PASSWORD are no part of its value" in notes
    assert SECRET not in notes


def test_all_mistakes_come_at_once_each_with_its_line() -> None:
    told = refusal("PGPORT=x\n\nA=$(id)\nMASTER_IP=1.2.3.4\nexport POSTGRES_BACKEND_SUBNET=1\n")
    assert [line.split(": ")[0] for line in told.splitlines()] == [
        "etc/env.sh:1",
        "etc/env.sh:3",
        "etc/env.sh:5",
    ]


def test_variables_that_do_not_go_together_are_a_mistake_where_they_stand() -> None:
    assert "etc/env.sh:2: PGPORT=1" in refusal("PGPOOL_PORT=1\nPGPORT=1")


def test_the_process_environment_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "7777")
    assert imported("PGPORT=5555", source="x").settings.pgport == 5555


def test_passwords_are_masked_where_people_see_the_file() -> None:
    text = imported(f"POSTGRES_PASSWORD={SECRET}\nPGPORT=5555", source="x").text(masked=True)
    assert "\nPOSTGRES_PASSWORD=***\n" in text
    assert "\nPGPORT=5555\n" in text
    assert SECRET not in text


ANY_LINE = st.characters(exclude_categories=("Cc", "Cs"), include_characters="$\\'\"`{}#= -:")


@given(st.text(ANY_LINE, min_size=1, max_size=40).filter(lambda p: not password_problem(Secret(p))))
def test_any_password_survives_quoting_for_a_shell_and_for_us(password: str) -> None:
    quoted = "'" + password.replace("'", "'\\''") + "'" if "'" not in password else None
    if quoted is None:
        quoted = '"' + "".join(f"\\{c}" if c in '\\"$`' else c for c in password) + '"'
    found = imported(f"POSTGRES_PASSWORD={quoted}", source="x")
    assert read_back(found)["POSTGRES_PASSWORD"] == password


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_a_file_or_mistakes(text: str) -> None:
    try:
        found = imported(text, source="x")
    except Usage:
        return
    read_back(found)


# The file in its place


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "env" / "a.env"
    assert place(target, "x", stamp="1", force=False, dry_run=False).changed
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("x", 0o600)
    target.chmod(0o644)
    assert not place(target, "x", stamp="1", force=False, dry_run=False).changed
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_another_file_is_refused_or_moved_aside(tmp_path: Path) -> None:
    target = tmp_path / "a.env"
    target.write_text("old")
    with pytest.raises(Occupied):
        place(target, "new", stamp="1", force=False, dry_run=False)
    placed = place(target, "new", stamp="1", force=True, dry_run=False)
    assert (placed.aside, target.read_text()) == (tmp_path / "a.env.1", "new")
    assert (tmp_path / "a.env.1").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.env", "a.env.1"]


def test_a_run_that_is_cut_off_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.env"
    target.write_text("old")
    rename = os.rename

    def cut_off(source: str | Path, to: Path) -> None:
        if to == target and Path(source).name.startswith("."):
            raise KeyboardInterrupt
        rename(source, to)

    monkeypatch.setattr("pgha.placing.os.rename", cut_off)
    with pytest.raises(KeyboardInterrupt):
        place(target, "new", stamp="1", force=True, dry_run=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_where_nothing_can_be_written_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written: "):
        place(tmp_path / "file" / "a.env", "x", stamp="1", force=False, dry_run=False)
    (tmp_path / "a.env").mkdir()
    with pytest.raises(Occupied):
        place(tmp_path / "a.env", "x", stamp="1", force=False, dry_run=False)


# The task


def run(*words: str, **flags: object) -> int:
    """`inv import-env` in this process: its exit code."""
    try:
        namespace["import-env"](Context(), *words, **flags)
    except Exit as end:
        return end.code
    return 0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with db_ctl.sh's file, where the command is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "env.sh").write_text(PLAIN.replace("=secret", f"={SECRET}"))
    return tmp_path


def written_at(file: Path) -> tuple[int, int, int]:
    """Other where the file was replaced, written or changed in any way. (Reading it changes the
    rest of what stat(2) tells.)"""
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def test_it_writes_the_file_once_and_then_nothing_more(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("etc/env.sh") == 0
    written = desk / "env" / "postgres-cluster.env"
    first = written_at(written)
    said = capsys.readouterr().err
    assert said.startswith("env/postgres-cluster.env is written.\n")
    assert "MODE=ha: node-0 and node-1 are two Docker hosts" in said
    assert said.endswith("→ inv init --dry-run -e postgres-cluster\n")
    assert parse(written.read_text(), source="", environ={}).postgres_password.reveal() == SECRET

    assert run("etc/env.sh") == 0
    assert written_at(written) == first
    captured = capsys.readouterr()
    assert "is there already, as it should be." in captured.err
    assert SECRET not in said + captured.out + captured.err


def test_another_file_is_refused_with_3_unless_it_is_forced(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "env").mkdir()
    (desk / "env" / "prod.env").write_text("PGPORT=1\n")
    assert run("etc/env.sh", into="prod") == 3
    assert "→ inv import-env etc/env.sh --into prod -f\n" in capsys.readouterr().err
    assert run("etc/env.sh", into="prod", force=True, single=True) == 0
    (aside,) = (path for path in (desk / "env").iterdir() if path.name != "prod.env")
    assert aside.read_text() == "PGPORT=1\n"
    assert f"what was there moved to env/{aside.name}." in capsys.readouterr().err


def test_a_dry_run_shows_the_file_and_writes_nothing(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("etc/env.sh", dry_run=True) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("# Imported from env.sh")
    assert "\nPCP_PASSWORD=***\n" in captured.out
    assert "would be written. Nothing was changed." in captured.err
    assert SECRET not in captured.out + captured.err
    assert not (desk / "env").exists()


def test_json_is_one_document(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (desk / "etc" / "env.sh").open("a") as file:
        file.write("FOO=1\n")
    assert run("etc/env.sh", json=True, into="prod.env") == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert (document["ok"], document["file"], document["changed"]) == (True, "env/prod.env", True)
    assert document["unknown"] == [{"name": "FOO", "line": len(CONTRACT) + 1}]
    assert SECRET not in captured.out


def test_a_file_without_a_project_has_a_name_all_the_same(desk: Path) -> None:
    (desk / "etc" / "env.sh").write_text("PGPORT=5555\n")
    assert run("etc/env.sh") == 0
    assert (desk / "env" / "imported.env").exists()


@pytest.mark.parametrize(
    ("content", "flags", "code", "says"),
    [
        (b"PGPORT=x", {}, 2, "etc/env.sh:1: PGPORT=x: a port"),
        (b"\xff\xfe", {}, 2, "text in UTF-8 was expected"),
        (b"A=1\n" * 300_000, {}, 2, "too large"),
        (None, {}, 2, "cannot be read: No such file"),
        (b"", {"into": "../x"}, 2, "--into takes the NAME"),
        (b"", {"into": ""}, 2, "--into takes the NAME"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    content: bytes | None,
    flags: dict[str, str],
    code: int,
    says: str,
    desk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (desk / "etc" / "env.sh").unlink()
    if content is not None:
        (desk / "etc" / "env.sh").write_bytes(content)
    assert run("etc/env.sh", **flags) == code
    assert says in capsys.readouterr().err
    assert not (desk / "env").exists()
