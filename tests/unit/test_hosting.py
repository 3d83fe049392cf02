"""What is done on hosts again and again, and what is passed from one to another unseen."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import pytest

from pgha import hosting
from pgha.commands import docker, swarm
from pgha.commands.base import Command, Secret
from pgha.errors import CommandFailed, Failed
from pgha.hosts import Host, Result, Stream
from pgha.locking import Note
from pgha.plan import Relay, Run
from pgha.processes import OnLine
from pgha.waiting import Deadline

START = docker.start("pg-node-0")
INFO = {
    "Name": "h",
    "ServerVersion": "26.1",
    "OperatingSystem": "Debian",
    "Architecture": "x86_64",
    "NCPU": 2,
    "MemTotal": 1,
    "Driver": "overlay2",
    "DockerRootDir": "/d",
}


class Played(Host):
    """A host that answers as a test says; all that it was asked, and all that was shown."""

    def __init__(self, answers: Callable[[Command], tuple[int, str]]) -> None:
        self.name = "node-0"
        self.answers = answers
        self.asked: list[Command] = []
        self.shown: list[str] = []
        self.observer = self._observe

    def _observe(self, place: str, command: Command, result: Result | None) -> None:
        self.shown.append(f"{command.shown} {result}")

    def answer(self, command: Command, deadline: Deadline, on_line: OnLine | None = None) -> Result:
        self.asked.append(command)
        status, said = self.answers(command)
        return Result(status, said, "why" if status else "", 0.0)

    def stream(self, command: Command, deadline: Deadline) -> Stream:
        raise NotImplementedError

    @contextlib.contextmanager
    def lock(self, cluster: str, note: Note) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass

    def count(self, command: Command) -> int:
        return self.asked.count(command)


def info(**seen: object) -> str:
    return json.dumps(INFO | {"Swarm": {"LocalNodeState": "active", **seen}})


def test_what_need_not_be_tried_again_fails_at_once() -> None:
    host = Played(lambda command: (1, ""))
    with pytest.raises(CommandFailed):
        hosting.run(host, Run((START,)))
    assert host.asked == [START]


def test_a_container_is_started_again_until_its_swarm_is_there() -> None:
    tries = iter((1, 1, 0))

    def answers(command: Command) -> tuple[int, str]:
        return (next(tries), "") if command == START else (0, info(LocalNodeState="pending"))

    host = Played(answers)
    hosting.run(host, Run((START,), again_s=30.0))
    assert host.count(START) == 3


def test_a_swarm_that_does_not_come_back_is_what_the_error_says() -> None:
    lost = info(ControlAvailable=True, Error="no leader")
    host = Played(lambda command: (1, "") if command == START else (0, lost))
    with pytest.raises(
        Failed, match=r"has lost the majority of its managers \(no leader\)"
    ) as seen:
        hosting.run(host, Run((START,), again_s=0.6))
    assert seen.value.next == "inv status"
    assert "container start" in seen.value.details[0]


def test_where_the_swarm_is_in_order_the_commands_own_error_is_told() -> None:
    host = Played(lambda command: (1, "") if command == START else (0, info()))
    with pytest.raises(CommandFailed):
        hosting.run(host, Run((START,), again_s=0.6))
    assert host.count(START) > 1


def test_a_worker_whose_container_does_not_start_is_told_who_must_answer() -> None:
    remotes = [{"NodeID": "a", "Addr": "10.0.9.3:2377"}]
    host = Played(
        lambda command: (1, "") if command == START else (0, info(RemoteManagers=remotes))
    )
    with pytest.raises(CommandFailed) as seen:
        hosting.run(host, Run((START,), again_s=0.6))
    assert seen.value.details[-1] == (
        "node-0 is a worker: its Swarm starts nothing unless its managers answer (10.0.9.3:2377)."
    )


def test_a_token_goes_from_one_host_to_the_other_and_is_shown_nowhere() -> None:
    token = "SWMTKN-1-secret"
    source, joiner = Played(lambda command: (0, f"{token}\n")), Played(lambda command: (0, ""))
    join = swarm.join("10.0.9.2", "10.0.9.1:2377")
    hosting.relay(source, joiner, Relay("node-0", swarm.join_token("manager"), join, 5.0))
    assert joiner.asked[0].stdin == Secret(token)
    assert joiner.asked[0].words == join.words
    assert not any(token in line for line in (*source.shown, *joiner.shown))


def test_a_new_token_is_shown_nowhere() -> None:
    host = Played(lambda command: (0, "SWMTKN-1-new\n"))
    rotate = swarm.rotate_token("manager")
    hosting.run(host, Run((rotate,), hidden=True))
    assert host.asked == [rotate]
    assert len(host.shown) == 2
    assert not any("SWMTKN" in line for line in host.shown)


def test_who_has_no_token_to_give_is_told_of_and_nobody_joins() -> None:
    source, joiner = Played(lambda command: (1, "SWMTKN")), Played(lambda command: (0, ""))
    relay = Relay("node-0", swarm.join_token("manager"), swarm.join("a", "b"), 5.0)
    with pytest.raises(CommandFailed, match="join-token") as seen:
        hosting.relay(source, joiner, relay)
    assert joiner.asked == []
    assert "SWMTKN" not in str(seen.value.details)
