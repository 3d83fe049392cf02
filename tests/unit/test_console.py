"""What people and programs see: rendered from states and plans, without a cluster."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pgha.commands.base import Command, Secret
from pgha.console import (
    Printer,
    outcome_document,
    plan_document,
    plan_lines,
    rich_console,
    seconds_shown,
)
from pgha.errors import Failed, Locked, PghaError, Refused
from pgha.execute import Outcome, StepDone
from pgha.node.report import Assignment, Backend, Door, Follower, Postgres, Report, Role, Wal
from pgha.plan import Plan, Run, Step, stages, verb
from pgha.progress import Progress
from pgha.settings import parse
from pgha.state import ClusterState, ContainerStatus, NodeState, anything
from pgha.status import Status, status_of
from pgha.status_view import print_status, row, size_shown
from pgha.tasks.invocation import Invocation
from pgha.topology import LOCAL_HOST, Kind, topology

TOPOLOGY = topology(parse("WITNESS_NODE=node-2\nREAD_BALANCE=on", source="test.env", environ={}))
LSN = 0x3_000148


class Terminal(io.StringIO):
    """A stream that says it is a terminal, as seen from within."""

    def isatty(self) -> bool:
        return True


def door(*up: str, running: bool = True) -> Door:
    names = ("node-0", "node-1")
    roles = {"node-0": "primary", "node-1": "standby"}
    backends = tuple(Backend(n, "up" if n in up else "down", roles[n]) for n in names)
    return Door(running, backends)


def node(name: str, report: Report | None = None, **changed: object) -> NodeState:
    kind = TOPOLOGY.node(name).kind
    made = NodeState(name, kind, LOCAL_HOST, ContainerStatus.RUNNING, report)
    return replace(made, **changed)  # type: ignore[arg-type]


def primary(name: str, *followers: Follower, host: str = LOCAL_HOST) -> NodeState:
    postgres = Postgres(True, True, False, 3, LSN, followers=followers, opened=True)
    report = Report(
        name, Assignment(3, Role.PRIMARY), True, postgres=postgres, door=door("node-0", "node-1")
    )
    return node(name, report, host=host)


def standby(name: str, host: str = LOCAL_HOST) -> NodeState:
    postgres = Postgres(True, True, True, 3, LSN - 512)
    report = Report(
        name, Assignment(3, Role.STANDBY), True, postgres=postgres, door=door("node-0", "node-1")
    )
    return node(name, report, host=host)


def witness(name: str, host: str = LOCAL_HOST) -> NodeState:
    report = Report(
        name,
        Assignment(3, Role.WITNESS),
        True,
        wal=Wal(True, 3, LSN),
        door=door("node-0", "node-1"),
    )
    return node(name, report, host=host)


def follows(name: str, lag_bytes: int = 0, state: str = "streaming") -> Follower:
    return Follower(name, state, "quorum", LSN - lag_bytes, lag_bytes)


def cluster(*nodes: NodeState) -> ClusterState:
    return ClusterState(TOPOLOGY, nodes)


HEALTHY = cluster(
    primary("node-0", follows("node-1", 512), follows("node-2")),
    standby("node-1"),
    witness("node-2"),
)
STOPPED = cluster(
    primary("node-0", follows("node-2")),
    node("node-1", container=ContainerStatus.STOPPED),
    node("node-2", container=ContainerStatus.UNKNOWN, error="connection timed out"),
)


def plan(loses: str = "") -> Plan:
    secret = {"password": Secret("hunter2")}
    fence = Step("Fence node-0", "node-0", anything(), verb("fence", reason="a b"), anything())
    create = Step(
        "Create bob", "node-1", anything(), verb("sql_user_create", secrets=secret), anything()
    )
    run = Step(
        "Start node-2", "node-2", anything(), Run((Command(("docker", "start", "x")),)), anything()
    )
    return Plan("Move the primary", stages(fence, (create, run)), loses, ("Then `inv status`.",))


def caller(**flags: object) -> Invocation:
    return Invocation("failover", flags, "inv", "failover")


def printed(status: Status, columns: int, env: str | None = None) -> str:
    stream = io.StringIO()
    console = rich_console(stream)
    console.width = columns
    print_status(status, caller(env=env).typed, console)
    return stream.getvalue()


def streams(**flags: object) -> tuple[Printer, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Printer(caller(**flags), out=out, err=err), out, err


# status


def test_the_table_of_a_healthy_cluster_fits_80_columns() -> None:
    text = printed(status_of(HEALTHY), 80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "timeline" in text
    assert "Pgpool-II" in text
    assert text.endswith("\npostgres-cluster on localhost: healthy\n")


def test_a_table_for_three_hosts_keeps_their_names_and_shortens_headers_where_it_is_narrow() -> (
    None
):
    hosts = ("db-frankfurt-1", "db-amsterdam-1", "db-paris-1")
    nodes = (
        primary("node-0", follows("node-1"), host=hosts[0]),
        standby("node-1", host=hosts[1]),
        witness("node-2", host=hosts[2]),
    )
    wide, narrow = (printed(status_of(cluster(*nodes)), columns) for columns in (120, 80))
    for host in hosts:
        assert host in wide
    assert "timeline" in wide
    assert " TL " in narrow
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 80


def test_hosts_that_are_called_like_their_nodes_are_left_out_where_there_is_no_room() -> None:
    nodes = (
        primary("node-0", follows("node-1", 3 << 20), host="node-0"),
        standby("node-1", host="node-1"),
        witness("node-2", host="node-2"),
    )
    assert "host" in printed(status_of(cluster(*nodes)), 120).splitlines()[0]
    assert "host" not in printed(status_of(cluster(*nodes)), 80).splitlines()[0]


@pytest.mark.parametrize("columns", [30, 40, 48, 60, 72])
def test_a_terminal_that_is_too_narrow_loses_whole_columns_and_never_who_is_what(
    columns: int,
) -> None:
    table = printed(status_of(HEALTHY), columns).splitlines()[:4]
    assert max(len(line.rstrip()) for line in table) <= columns
    assert [line.split()[:2] for line in table[1:]] == [
        ["node-0", "primary"],
        ["node-1", "standby"],
        ["node-2", "witness"],
    ]


def test_cells_say_what_is_known_and_mark_what_is_not() -> None:
    assert row(HEALTHY, HEALTHY.node("node-1")) == {
        "node": "node-1",
        "host": "localhost",
        "role": "standby",
        "container": "running",
        "timeline": "3",
        "LSN": "0/2FFFF48",
        "lag": "512 B",
        "replication": "quorum",
        "Pgpool-II": "→ node-0 +1",
    }
    unknown = row(STOPPED, STOPPED.node("node-2"))
    assert (unknown["timeline"], unknown["LSN"], unknown["Pgpool-II"]) == ("?", "?", "?")


def test_a_standby_that_catches_up_says_so_instead_of_how_it_counts() -> None:
    state = cluster(
        primary("node-0", follows("node-1", 1 << 20, "catchup")),
        standby("node-1"),
        witness("node-2"),
    )
    cells = row(state, state.node("node-1"))
    assert (cells["replication"], cells["lag"]) == ("catchup", "1.0 MB")
    assert row(state, state.node("node-2"))["replication"] == "none"


def test_each_problem_has_its_remedy_with_the_operators_own_environment() -> None:
    text = printed(status_of(STOPPED), 80, env="my prod")
    assert "node-1's container is stopped." in text
    assert "    → inv recovery --node node-1 -e 'my prod'" in text.splitlines()


def test_a_long_remedy_is_never_broken_into_two_lines() -> None:
    text = printed(
        status_of(STOPPED), 40, env="a/very/long/path/to/an/environment/of/production.env"
    )
    assert any(
        line.endswith("node-1 -e a/very/long/path/to/an/environment/of/production.env")
        for line in text.splitlines()
    )


def test_the_json_of_status_is_one_document_with_remedies_as_they_are_typed() -> None:
    printer, out, err = streams(json=True, env="prod")
    printer.status(status_of(STOPPED))
    document = json.loads(out.getvalue())
    assert "inv recovery --node node-1 -e prod" in {p["remedy"] for p in document["problems"]}
    assert err.getvalue() == ""


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (16 << 20, "16.0 MB"), (5 << 40, "5120.0 GB")],
)
def test_sizes_are_shown_in_the_unit_that_people_read(size_bytes: int, text: str) -> None:
    assert size_shown(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (12.34, "12.3 s"), (75, "75.0 s"), (605, "10 min 05 s")],
)
def test_durations_are_shown_as_people_read_them(seconds: float, text: str) -> None:
    assert seconds_shown(seconds) == text


# Plans


def test_a_dry_run_shows_stages_with_their_commands_and_no_secret() -> None:
    assert list(plan_lines(plan(), HEALTHY, caller(env="prod"))) == [
        "Move the primary",
        "  1. Fence node-0",
        "       node-0$ pgha-node fence 'reason=a b'",
        "  2. at once:",
        "     - Create bob",
        "         node-1$ pgha-node sql_user_create < ***",
        "     - Start node-2",
        "         localhost$ docker start x",
        "Then `inv status -e prod`.",
        "Nothing was changed.",
    ]


def test_a_dry_run_with_nothing_to_do_says_why() -> None:
    lines = list(plan_lines(Plan("node-1 is the primary already."), HEALTHY, caller()))
    assert lines == ["node-1 is the primary already.", "Nothing was changed."]


def test_what_may_be_lost_is_part_of_the_dry_run() -> None:
    assert "Writes may be lost." in list(plan_lines(plan("Writes may be lost"), HEALTHY, caller()))


def test_the_json_of_a_dry_run_has_the_commands_and_no_secret() -> None:
    document = plan_document(plan(), HEALTHY, caller())
    text = json.dumps(document)
    assert document["dry_run"] is True
    assert "hunter2" not in text
    assert "sql_user_create < ***" in text
    assert [s["stage"] for s in steps_of(document)] == [1, 2, 2]


def steps_of(document: Mapping[str, object]) -> list[dict[str, object]]:
    steps = document["steps"]
    assert isinstance(steps, list)
    return steps


def outcome(seconds: float = 0.5) -> Outcome:
    made = plan()
    return Outcome(made, tuple(StepDone(s, 0.25) for s in made.steps), HEALTHY, seconds)


def test_the_json_of_an_outcome_has_each_step_with_its_seconds() -> None:
    document = outcome_document(outcome(), caller())
    assert document["ok"] is True
    assert steps_of(document)[0] == {"title": "Fence node-0", "node": "node-0", "seconds": 0.25}
    assert document["seconds"] == 0.5


def test_a_command_that_had_nothing_to_do_says_so_in_a_sentence() -> None:
    printer, out, err = streams()
    printer.outcome(Outcome(Plan("The cluster is stopped already"), (), HEALTHY, 0.0))
    assert (out.getvalue(), err.getvalue()) == ("", "The cluster is stopped already.\n")


# Progress


def test_without_a_terminal_progress_is_plain_lines() -> None:
    stream = io.StringIO()
    progress, made = Progress(stream), plan()
    progress.planned(made)
    for step in made.steps:
        progress.started(step)
        progress.said("Step 3/7 : RUN apt-get\n")
        progress.finished(StepDone(step, 0.25))
    progress.close()
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.splitlines()[:3] == [
        "Move the primary",
        "    Step 3/7 : RUN apt-get",
        "  ✓ Fence node-0    0.25 s",
    ]


def test_bytes_under_way_are_no_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.moved("node-1", 1 << 20, None)
    progress.close()
    assert stream.getvalue() == ""


def test_bytes_under_way_are_a_bar_a_host_until_all_of_them_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(Terminal())
    progress.moved("node-1", 1 << 20, 4 << 20)
    progress.moved("node-2", 1 << 20, None)
    progress.moved("node-3", 4 << 20, 4 << 20)
    console = rich_console(io.StringIO())
    with console.capture() as shown:
        console.print(progress.view())
    progress.close()
    lines = [" ".join(re.sub("[━╸╺]", " ", line).split()) for line in shown.get().splitlines()]
    assert lines == ["node-1 1.0 MB of 4.0 MB", "node-2 1.0 MB"]


def test_a_step_that_failed_is_marked_and_remembered_as_running() -> None:
    stream = io.StringIO()
    progress, (fence, create, _) = Progress(stream), tuple(plan().steps)
    progress.started(fence)
    progress.finished(StepDone(fence, 0.1))
    progress.started(create)
    progress.close(failed=True)
    assert (progress.done, progress.running) == (("Fence node-0",), ("Create bob",))
    assert stream.getvalue().splitlines()[-1] == "  ✗ Create bob"


def test_no_colour_keeps_the_marks_and_drops_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Printer(caller(), err=stream).error(Refused("No."))
    assert stream.getvalue() == "No.\n"
    monkeypatch.delenv("NO_COLOR")
    Printer(caller(), err=stream).error(Refused("No."))
    assert "\x1b[31;1mNo." in stream.getvalue()


def test_no_animation_without_a_terminal_whatever_force_color_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    rich_console(stream).print("x", style="bold red")
    assert stream.getvalue() == "x\n"


def test_debug_shows_each_command_once_with_its_secret_masked() -> None:
    from pgha.hosts import Result

    stream = io.StringIO()
    progress = Progress(stream)
    progress.debug = True
    command = Command(("psql", "-c", "x y"), Secret("hunter2"))
    progress.ran("node-0", command, None)
    progress.ran("node-0", command, Result(3, "", "", 0.1))
    assert stream.getvalue() == "    node-0$ psql -c 'x y' < ***\n    node-0: psql ended with 3\n"


# Errors and questions


def test_an_error_is_a_sentence_with_details_and_the_next_command() -> None:
    printer, out, err = streams(env="prod")
    printer.error(Failed("It broke.", next="inv status", details=("Done before: a.", "b")))
    assert err.getvalue() == "It broke.\n  Done before: a.\n  b\n→ inv status -e prod\n"
    assert out.getvalue() == ""


def test_with_json_an_error_is_the_one_document_on_stdout() -> None:
    printer, out, err = streams(json=True, env="prod")
    printer.error(Locked("Somebody is at work.", next="inv status", details=("bob",)))
    assert json.loads(out.getvalue()) == {
        "ok": False,
        "error": "Somebody is at work.",
        "next": "inv status -e prod",
        "exit_code": 6,
        "details": ["bob"],
    }
    assert err.getvalue() == ""


def test_interrupted_before_anything_was_done_says_that_nothing_was_changed() -> None:
    printer, _, err = streams(env="prod")
    printer.interrupted()
    assert err.getvalue() == "Interrupted: nothing was changed.\n"


def test_interrupted_in_the_middle_says_what_was_done_and_the_command_that_finishes_it() -> None:
    printer, _, err = streams(env="prod", to="node-1", force=True)
    progress, (fence, create, _) = printer.progress(), tuple(plan().steps)
    progress.started(fence)
    progress.finished(StepDone(fence, 0.1))
    progress.started(create)
    printer.interrupted()
    assert err.getvalue().splitlines()[1:] == [
        "  ✗ Create bob",
        "Interrupted: the same command again finishes the work.",
        "  Done before: Fence node-0.",
        "  Cut off: Create bob.",
        "→ inv failover --to node-1 -f -e prod",
    ]


def test_a_defect_names_the_file_to_report_and_shows_no_traceback() -> None:
    printer, _, err = streams()
    printer.unexpected("/tmp/pgha-error-x.txt", KeyError("boom"))
    expected = "A defect of pgha (KeyError); please report it with /tmp/pgha-error-x.txt.\n"
    assert err.getvalue() == expected


def test_without_a_terminal_what_may_be_lost_is_refused_and_the_next_command_says_yes() -> None:
    printer, _, _ = streams(env="prod", force=True)
    with pytest.raises(Refused, match="no terminal") as refusal:
        printer.confirm(plan("Writes may be lost"))
    assert refusal.value.next == "inv failover -f -e prod --yes"
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(
    ("answer", "goes_on"),
    [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("no\n", False)],
)
def test_at_a_terminal_only_a_yes_goes_on(
    answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = Terminal(answer)
    monkeypatch.setattr("sys.stdin", stdin)
    printer = Printer(caller(), out=io.StringIO(), err=Terminal())
    if goes_on:
        assert printer.confirm(plan("Writes may be lost"))
    else:
        with pytest.raises(Refused):
            printer.confirm(plan("Writes may be lost"))


# How the next command is typed


@pytest.mark.parametrize(
    ("program", "called_as", "env", "text", "typed"),
    [
        ("inv", "failover", None, "inv recovery --node node-0", "inv recovery --node node-0"),
        (
            "inv",
            "failover",
            "prod",
            "inv recovery --node node-0",
            "inv recovery --node node-0 -e prod",
        ),
        ("inv", "failover", "a b", "inv init -f", "inv init -f -e 'a b'"),
        ("inv", "failover", "prod", "inv status -e other", "inv status -e other"),
        ("pgha", "failover", None, "inv status", "pgha status"),
        ("fab", "db.failover", "prod", "inv user.delete", "fab db.user.delete -e prod"),
        ("inv", "failover", "prod", "ssh node-0 docker ps", "ssh node-0 docker ps"),
        (
            "inv",
            "failover",
            "p",
            "inv stop, then inv start: so.",
            "inv stop -e p, then inv start -e p: so.",
        ),
        (
            "inv",
            "failover",
            "p",
            "until `inv recovery --node n-1`.",
            "until `inv recovery --node n-1 -e p`.",
        ),
        ("inv", "failover", "p", "It needs inv start.", "It needs inv start -e p."),
        ("inv", "failover", "p", "inventory start", "inventory start"),
        ("inv", "failover", "p", "", ""),
    ],
)
def test_a_command_is_shown_as_this_operator_types_it(
    program: str, called_as: str, env: str | None, text: str, typed: str
) -> None:
    assert Invocation("failover", {"env": env}, program, called_as).typed(text) == typed


def test_the_same_command_again_has_no_password() -> None:
    flags = {"name": "bob", "password": "hunter2", "env": "prod", "password_file": None}
    again = Invocation("user.create", flags, "inv", "user.create").again()
    assert again == "inv user.create bob -e prod"


def test_the_same_command_again_undoes_what_it_was_to_undo() -> None:
    flags = {"remove": True, "dry_run": False, "yes": True, "json": True, "env": "prod"}
    assert Invocation("units", flags, "inv", "units").again() == "inv units --remove -e prod"


def test_the_fakes_are_what_they_stand_for() -> None:
    assert HEALTHY.node("node-2").kind is Kind.WITNESS
    assert isinstance(Failed("x"), PghaError)
