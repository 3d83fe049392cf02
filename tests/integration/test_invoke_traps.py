"""Every trap of Invoke and Fabric, closed, shown by real `inv`, `fab` and `pgha` processes.

None of them reaches a cluster: there is no Docker client in their PATH, or one that hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pgha.tasks import namespace
from tests.integration import terminal
from tests.integration.terminal import read_until

CHECKOUT = Path(__file__).resolve().parents[2]
VENV_BIN = Path(sys.executable).parent
LIMIT_S = 30.0

PGHA = f"""#!{sys.executable}
from pgha.tasks.program import main
main()
"""
MOUNTED = """
from invoke import Collection, task
from pgha.tasks import namespace as cluster

@task
def mine(c):
    print("mine ran")

namespace = Collection(mine)
namespace.add_collection(cluster, name="db")
"""
HEAVY = ("fabric", "paramiko", "rich", "jinja2", "cryptography")


class Desk:
    """An operator's directory and environment: our tasks, two environments, and no Docker."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root / "desk", root / "bin"
        (self.root / "env").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("default", "prod"):
            text = f"COMPOSE_PROJECT_NAME=traps-{os.getpid()}-{name}\n"
            (self.root / "env" / f"{name}.env").write_text(text)
        for name in ("tasks.py", "fabfile.py"):
            (self.root / name).write_text("from pgha.tasks import namespace as namespace\n")
        (self.bin / "pgha").write_text(PGHA)
        (self.bin / "pgha").chmod(0o755)
        self.environ = {
            "PATH": str(self.bin),
            "PYTHONPATH": str(CHECKOUT),
            "HOME": str(root),
            "TMPDIR": str(root),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "DOCKER_HOST": f"unix://{root}/no-engine",
        }

    def mount(self) -> None:
        """Our collection as a part of somebody else's."""
        for name in ("tasks.py", "fabfile.py"):
            (self.root / name).write_text(MOUNTED)

    def hanging_docker(self) -> Path:
        """A Docker client that never answers; the file that exists once it was started."""
        started = self.root / "docker-started"
        docker = self.bin / "docker"
        docker.write_text(f"#!/bin/sh\n: > {started}\nexec /bin/sleep 300\n")
        docker.chmod(0o755)
        return started

    def argv(self, words: Sequence[str]) -> list[str]:
        program = self.bin / words[0]
        return [str(program if program.exists() else VENV_BIN / words[0]), *words[1:]]

    def run(
        self, *words: str, stdin: str = "", cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(words),
            cwd=cwd or self.root,
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(words),
            cwd=self.root,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)
    for name in ("default", "prod"):
        Path(f"/tmp/pgha-traps-{os.getpid()}-{name}.lock").unlink(missing_ok=True)


def refused_as_usage(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


# Where Invoke's flags and ours meet


def test_e_before_the_commands_name_is_refused_and_says_where_it_goes(desk: Desk) -> None:
    refused_as_usage(desk.run("inv", "-e", "init", "-f"), "→ inv init -f -e NAME")
    refused_as_usage(desk.run("inv", "-e", "prod", "init"), "→ inv init -e NAME")
    refused_as_usage(desk.run("fab", "-e", "stop"), "→ fab stop -e NAME")
    refused_as_usage(desk.run("pgha", "-e", "init", "-f"), "→ pgha init -e NAME")
    refused_as_usage(desk.run("inv", "--env=prod", "init"), "→ inv init --env NAME")


def test_e_before_and_behind_is_what_stands_behind(desk: Desk) -> None:
    done = desk.run("inv", "-e", "status", "-e", "nowhere")
    refused_as_usage(done, "There is no file env/nowhere.env")


def test_echo_by_invokes_configuration_is_seen_as_well(desk: Desk) -> None:
    refused_as_usage(desk.run("inv", "stop", INVOKE_RUN_ECHO="1"), "→ inv stop -e NAME")


@pytest.mark.parametrize("dry", ["--dry", "-R"])
def test_invokes_dry_run_is_ours(desk: Desk, dry: str) -> None:
    # A dry run needs no password; the command itself is wrong usage without one.
    refused_as_usage(desk.run("inv", "user.create", "bob"), "No password was given")
    for words in (
        ("inv", dry, "user.create", "bob"),
        ("inv", "user.create", "bob", dry),
        ("fab", dry, "user.create", "bob"),
        ("pgha", dry, "user.create", "bob"),
    ):
        done = desk.run(*words)
        assert done.returncode in (1, 3)
        assert "password" not in done.stderr.lower()


def test_f_that_a_command_lacks_is_not_a_configuration_of_invoke(desk: Desk) -> None:
    (desk.root / "evil.yaml").write_text("run: {echo: true}\n")
    refused_as_usage(desk.run("inv", "stop", "-f", "evil.yaml"), "stop takes no --config")
    refused_as_usage(desk.run("inv", "stop", "-f"))
    refused_as_usage(desk.run("pgha", "stop", "-f", "evil.yaml"))


# Positionals


@pytest.mark.parametrize("name", ["--help", "-h", "--bogus", "-f"])
def test_a_flag_is_not_taken_for_the_name_of_a_user(desk: Desk, name: str) -> None:
    for program in ("inv", "pgha", "fab"):
        done = desk.run(program, "user.delete", name)
        refused_as_usage(done, f"A name does not begin with «-»: {name}")


def test_wrong_words_of_user_commands_are_not_repeated(desk: Desk) -> None:
    done = desk.run("inv", "user.create", "bob", "hunter2", "hunter3", "--json")
    refused_as_usage(done)
    assert "hunter" not in done.stderr + done.stdout


# Two commands in one call


def test_two_commands_of_which_one_lacks_its_environment_are_refused_before_anything_ran(
    desk: Desk,
) -> None:
    desk.mount()
    for program in ("inv", "fab"):
        done = desk.run(program, "mine", "db.init", "db.status", "-e", "prod")
        refused_as_usage(done, "db.init on default (no -e), db.status on prod")
        assert done.stdout == ""


# Exit codes


@pytest.mark.parametrize("program", ["inv", "pgha", "fab"])
@pytest.mark.parametrize(
    "words",
    [
        ("failover", "--bogus"),
        ("failver",),
        ("failover", "--to"),
        ("failover", "node-1"),
        ("--bogus", "failover"),
        ("user.create",),
        ("failover", "-e", "a", "-e", "b"),
        ("status", "-e", "nowhere"),
        ("status", "--watch", "--json"),
        ("failover", "--to", "nobody"),
    ],
)
def test_wrong_usage_is_2_everywhere(desk: Desk, program: str, words: tuple[str, ...]) -> None:
    refused_as_usage(desk.run(program, *words))


def test_wrong_usage_before_a_task_is_2_in_our_own_program(desk: Desk) -> None:
    refused_as_usage(desk.run("pgha", "--list-depth", "x", "--list"))
    refused_as_usage(desk.run("pgha", "--print-completion-script", "nosh"))
    refused_as_usage(desk.run("pgha", "--list", "nowhere"))
    refused_as_usage(desk.run("pgha", "--help", "nowhere"))


def test_a_wrong_configuration_is_2_with_every_mistake(desk: Desk) -> None:
    (desk.root / "env" / "bad.env").write_text("PGPORT=x\nNOBODY=1\n")
    refused_as_usage(desk.run("inv", "status", "-e", "bad"), "bad.env:1", "bad.env:2")


def test_somebody_elses_tasks_keep_their_codes_and_ours_have_theirs(desk: Desk) -> None:
    desk.mount()
    for program in ("inv", "fab"):
        assert desk.run(program, "mine").returncode == 0
        assert desk.run(program, "mine", "--bogus").returncode == 1
        done = desk.run(program, "db.status", "-e", "nowhere")
        refused_as_usage(done)
        refused_as_usage(
            desk.run(program, "db.failover", "--bogus"), f"→ {program} --help db.failover"
        )


def test_status_without_an_engine_is_5_and_names_what_helps(desk: Desk) -> None:
    for program in ("inv", "pgha", "fab"):
        done = desk.run(program, "status", "-e", "prod")
        assert done.returncode == 5, done
        assert "localhost: down" in done.stdout
        assert done.stderr == ""


def test_a_changing_command_without_an_engine_fails_in_a_sentence(desk: Desk) -> None:
    for words in (("inv", "failover"), ("pgha", "start"), ("fab", "recovery"), ("inv", "init")):
        done = desk.run(*words)
        assert done.returncode in (1, 3), done
        assert "Traceback" not in done.stderr
        assert "defect" not in done.stderr
        assert done.stderr.strip()


def test_stop_does_not_call_stopped_what_it_cannot_see(desk: Desk) -> None:
    done = desk.run("inv", "stop")
    assert done.returncode in (1, 3), done


def test_a_defect_is_one_sentence_and_a_file_with_the_traceback(desk: Desk) -> None:
    (desk.root / "tasks.py").write_text(
        "import pgha.cluster\n"
        "from pgha.tasks import namespace\n"
        "def load(*a, **k): raise KeyError('boom')\n"
        "pgha.cluster.Cluster.load = load\n"
    )
    done = desk.run("inv", "stop")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    kept = Path(line.rpartition(" ")[2].rstrip("."))
    assert "KeyError: 'boom'" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert "Traceback" in desk.run("inv", "stop", DEBUG="1").stderr


def test_a_reader_that_has_enough_makes_no_noise(desk: Desk) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            desk.argv(("inv", "status")),
            cwd=desk.root,
            env=desk.environ,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == b""


def test_closed_streams_and_a_terminal_without_unicode_are_no_defect(desk: Desk) -> None:
    for redirected in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        line = f"{VENV_BIN}/inv user.create bob {redirected}"
        shell = ["/bin/sh", "-c", line]
        ended = subprocess.run(shell, cwd=desk.root, env=desk.environ, timeout=LIMIT_S, check=False)
        assert ended.returncode == 2, redirected
    for words, code in ((("failover", "--bogus", "--json"), 2), (("status", "-e", "nö"), 2)):
        done = desk.run("inv", *words, PYTHONIOENCODING="ascii")
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_words_that_are_no_utf8_are_wrong_usage(desk: Desk) -> None:
    for words in (("user.delete", "\udcff"), ("user.create", "bob", "\udcff")):
        refused_as_usage(desk.run("inv", *words), "is no text in UTF-8")
    refused_as_usage(desk.run("inv", "status", "-e", "\udcff"))


# JSON


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "-e", "nowhere", "--json"), 2),
        (("failover", "--bogus", "--json"), 2),
        (("user.create", "bob", "--json"), 2),
        (("user.delete", "--json", "--json"), 2),
    ],
)
def test_with_json_an_error_is_the_one_document_on_stdout(
    desk: Desk, words: tuple[str, ...], code: int
) -> None:
    for program in ("inv", "pgha"):
        done = desk.run(program, *words)
        document = json.loads(done.stdout)
        assert (done.returncode, document["exit_code"], document["ok"]) == (code, code, False)
        assert document["error"]


def test_with_json_a_refusal_and_a_status_are_one_document(desk: Desk) -> None:
    refusal = desk.run("inv", "failover", "--json")
    assert json.loads(refusal.stdout)["exit_code"] == refusal.returncode
    status = desk.run("inv", "status", "--json")
    assert json.loads(status.stdout)["verdict"] == "down"
    assert (status.returncode, status.stderr) == (5, "")


# Fabric


def test_fab_with_hosts_is_refused_since_it_would_run_once_for_each(desk: Desk) -> None:
    desk.mount()
    for words in (
        ("-H", "a,b", "db.failover"),
        ("-H", "a", "db.status"),
        ("db.init", "-f", "-H", "a,b"),
    ):
        refused_as_usage(desk.run("fab", *words), "is about a whole cluster")


def test_fab_without_hosts_works(desk: Desk) -> None:
    desk.mount()
    done = desk.run("fab", "db.status", "-e", "prod")
    assert (done.returncode, done.stderr) == (5, "")


# What is loaded


def loaded(desk: Desk, *words: str) -> set[str]:
    program = desk.argv(words)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *program],
        cwd=desk.root,
        env=desk.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("program", ["inv", "pgha"])
@pytest.mark.parametrize(
    "words",
    [
        ("--list",),
        ("--help", "failover"),
        ("status", "-e", "nowhere"),
        ("failover", "--bogus"),
        ("failover", "--to", "nobody"),
        ("user.delete", "--help"),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(
    desk: Desk, program: str, words: tuple[str, ...]
) -> None:
    modules = loaded(desk, program, *words)
    assert "pgha.tasks" in modules
    assert not modules.intersection(HEAVY)


def test_in_a_subdirectory_the_environments_beside_the_tasks_file_count(desk: Desk) -> None:
    below = desk.root / "below"
    below.mkdir()
    done = desk.run("inv", "status", "--json", "-e", "prod", cwd=below)
    assert json.loads(done.stdout)["cluster"].endswith("-prod")
    done = desk.run("inv", "status", "--json", cwd=below)
    assert json.loads(done.stdout)["cluster"].endswith("-default")


# Help and completion


@pytest.mark.parametrize("program", ["inv", "pgha", "fab"])
def test_list_is_one_line_for_each_command(desk: Desk, program: str) -> None:
    done = desk.run(program, "--list")
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    # user is a collection of its own, with three commands.
    assert done.returncode == 0
    assert len(lines) == len(namespace.task_names)
    assert all(line.rstrip().endswith(".") for line in lines)


@pytest.mark.parametrize("words", [("--help", "failover"), ("failover", "--help")])
def test_help_explains_every_flag(desk: Desk, words: tuple[str, ...]) -> None:
    for program in ("inv", "pgha"):
        done = desk.run(program, *words)
        assert done.returncode == 0
        for flag in ("-e STRING", "--to=STRING", "-f, --force", "--dry-run", "--yes", "--json"):
            assert flag in done.stdout


def test_bash_completes_commands_and_flags(desk: Desk) -> None:
    done = desk.run("pgha", "--print-completion-script", "bash")
    assert done.returncode == 0
    script = desk.root / "completion.bash"
    script.write_text(done.stdout)
    ask = (
        f"source {script};"
        "COMP_WORDS=(pgha failo); _complete_pgha pgha failo; echo ${COMPREPLY[@]};"
        "COMP_WORDS=(pgha failover --d); _complete_pgha pgha --d; echo ${COMPREPLY[@]}"
    )
    answer = subprocess.run(
        ["/bin/bash", "-c", ask],
        env=desk.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert answer.stdout.splitlines() == ["failover", "--dry-run"]
    assert answer.stderr == ""
    half_typed = desk.run("pgha", "--complete", "--", "pgha 'failo")
    assert (half_typed.returncode, half_typed.stderr) == (0, "")


# Signals


def wait_for(condition: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("program", ["inv", "pgha", "fab"])
def test_a_signal_ends_a_command_in_a_sentence(desk: Desk, program: str, number: int) -> None:
    started = desk.hanging_docker()
    process = desk.start(program, "stop")
    wait_for(started, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert (out, err) == ("", "Interrupted: nothing was changed.\n")


def test_with_json_an_interruption_is_a_document(desk: Desk) -> None:
    started = desk.hanging_docker()
    process = desk.start("inv", "stop", "--json")
    wait_for(started, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=LIMIT_S)
    assert json.loads(out)["error"] == "Interrupted: nothing was changed."
    assert err == ""


def test_no_lock_is_left_behind_by_an_interrupted_command(desk: Desk) -> None:
    started = desk.hanging_docker()
    process = desk.start("inv", "stop")
    wait_for(started, process)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    (desk.bin / "docker").unlink()
    assert desk.run("inv", "stop").returncode != 6


def test_who_comes_second_is_told_at_once_that_somebody_is_at_work(desk: Desk) -> None:
    started = desk.hanging_docker()
    first = desk.start("inv", "stop")
    wait_for(started, first)
    first.send_signal(signal.SIGSTOP)
    second = desk.run("inv", "stop", "--json")
    first.kill()
    first.communicate(timeout=LIMIT_S)
    assert (second.returncode, json.loads(second.stdout)["exit_code"]) == (6, 6)


def test_a_second_signal_waits_for_nothing(desk: Desk) -> None:
    (desk.root / "tasks.py").write_text(
        "import pgha.cluster, pathlib, threading\n"
        "from pgha.tasks import namespace\n"
        "def close(self):\n"
        "    pathlib.Path('closing').touch()\n"
        "    threading.Event().wait(300)\n"
        "pgha.cluster.Cluster.close = close\n"
    )
    process = desk.start("inv", "status", "--watch")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    wait_for(desk.root / "closing", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1


def test_a_signal_that_nohup_ignores_stays_ignored(desk: Desk) -> None:
    process = subprocess.Popen(
        ["/usr/bin/nohup", *desk.argv(("inv", "status", "--watch"))],
        cwd=desk.root,
        env=desk.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        while "localhost: down" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_without_a_terminal_prints_again_and_ends_with_the_last_exit_code(
    desk: Desk, number: int
) -> None:
    process = desk.start("inv", "status", "--watch")
    assert process.stdout is not None
    seen = ""
    while seen.count("localhost: down") < 2:
        line = process.stdout.readline()
        assert line, process.communicate()
        seen += line
    process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (5, "")


# A terminal


def at_a_terminal(
    desk: Desk, *words: str
) -> contextlib.AbstractContextManager[tuple[int, subprocess.Popen[bytes]]]:
    return terminal.at_a_terminal(desk.argv(words), desk.root, desk.environ)


def test_at_a_terminal_a_password_is_asked_for_twice_and_not_shown(desk: Desk) -> None:
    with at_a_terminal(desk, "inv", "user.create", "bob") as (screen, process):
        read_until(screen, b"Password: ")
        os.write(screen, b"hunter2\n")
        read_until(screen, b"The same again: ")
        os.write(screen, b"hunter3\n")
        rest = read_until(screen, b"")
        assert process.wait(LIMIT_S) == 2
        assert b"The two passwords differ" in rest
        assert b"hunter" not in rest


def test_at_a_terminal_ctrl_c_at_the_question_for_a_password_changes_nothing(desk: Desk) -> None:
    with at_a_terminal(desk, "pgha", "user.password", "bob") as (screen, process):
        read_until(screen, b"Password: ")
        os.write(screen, b"\x03")
        rest = read_until(screen, b"")
        assert process.wait(LIMIT_S) == 1
        assert b"Interrupted: nothing was changed." in rest
        assert b"Traceback" not in rest


def test_at_a_terminal_watch_refreshes_in_place_and_gives_the_cursor_back(desk: Desk) -> None:
    with at_a_terminal(desk, "inv", "status", "--watch") as (screen, process):
        read_until(screen, b"Ctrl-C ends it")
        read_until(screen, b"Ctrl-C ends it")
        os.write(screen, b"\x03")
        rest = read_until(screen, b"")
        assert process.wait(LIMIT_S) == 5
        assert b"\x1b[?25h" in rest
        assert b"Traceback" not in rest
        assert b"Interrupted" not in rest


def test_a_terminal_that_goes_away_ends_a_watch_without_noise_or_a_defect(desk: Desk) -> None:
    words = desk.argv(("inv", "status", "--watch"))
    ours, process = terminal.begin(words, desk.root, desk.environ)
    read_until(ours, b"Ctrl-C ends it")
    os.close(ours)
    assert process.wait(LIMIT_S) in (1, 5)
    assert list(desk.root.parent.glob("pgha-error-*")) == []
