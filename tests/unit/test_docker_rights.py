"""A Docker command is run by whoever may; also one whose output is compressed on its way."""

from __future__ import annotations

import shlex
from dataclasses import replace

from pgha.commands import docker, swarm
from pgha.commands.base import Command, Secret
from pgha.docker_rights import Permitted, permitted

PASSWORD = Secret("Geheim-4711")


def test_what_is_not_dockers_stays_as_it_is() -> None:
    command = Command(("sh", "-c", "docker ps"))
    assert permitted(command, PASSWORD) is command


def test_a_password_goes_before_what_the_command_reads() -> None:
    ours = permitted(docker.load(), PASSWORD)
    assert ours.stdin_bytes == b"Geheim-4711\n"
    assert "Geheim" not in ours.quoted + ours.shown


def test_of_a_save_docker_alone_is_sudos_and_the_compression_is_ours() -> None:
    ours = permitted(docker.save("x:1"), PASSWORD)
    assert isinstance(ours, Permitted)
    words = shlex.split(ours.quoted)
    assert tuple(words[:4]) == docker.COMPRESSED
    assert words[4:6] == ["sh", "-c"]
    assert words[7:] == ["docker", "docker", "image", "save", "x:1"]
    assert ours.shown == docker.save("x:1").shown


def test_what_takes_its_last_word_from_its_input_is_sudos_too() -> None:
    join = replace(swarm.join("10.0.9.2", "10.0.9.1:2377"), stdin=Secret("token"))
    ours = permitted(join, PASSWORD)
    assert isinstance(ours, Permitted)
    assert ours.shown == join.shown
    assert ours.stdin_bytes.endswith(b"\ntoken")
