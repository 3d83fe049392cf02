"""One image on every host of a lab: by the registry, over SSH, and whatever happens meanwhile.

The image is a small one of random bytes that says of itself what `build` would say of a real one:
so each test moves an image that no host has yet, and none waits for a real build.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from pgha.commands.base import Command
from pgha.image_inputs import BUILD_LABEL, build_inputs, image_name, node_files
from pgha.settings import Settings, load
from pgha.waiting import wait_until
from tests.integration.real_cluster import INVOKE, ROOT, Done, environment

NODES = ("node-0", "node-1", "node-2")
LIMIT_S = 180.0
WAYS = pytest.mark.parametrize("way", ["registry", "ssh"])


class Images:
    """The hosts' images of a name of the tests' own. No base of it is anywhere."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.env = folder / "images.env"
        text = lab.files.env.read_text()
        self.env.write_text(
            text.replace(f"COMPOSE_PROJECT_NAME={lab.name}", "COMPOSE_PROJECT_NAME=images")
            + "DOCKER_HUB_IMAGE_NAME=pgha/images\nBASE_IMAGE=pgha/none:1\n"
        )
        self.settings: Settings = load(str(self.env), environ={}, cwd=folder)
        self.registry = self.settings.docker_registry_host
        self.name = image_name(self.settings)

    def make_on(self, node: str, size_bytes: int = 3_000_000, name: str = "") -> str:
        """A new image, up to date, on this host alone; its id."""
        digest = build_inputs(self.settings, node_files()).digest
        label = f"LABEL {BUILD_LABEL}={digest}"
        words = ("docker", "image", "import", "--change", label, "-", name or self.name)
        host = self.lab.host(node)
        try:
            made = host.run(Command(words, _archive(size_bytes)), timeout_s=LIMIT_S)
        finally:
            host.close()
        return made.stdout.strip()

    def ids(self, name: str = "") -> dict[str, str]:
        """Which image each host has under the name; hosts without it are not in it."""
        words = ("docker", "image", "inspect", "--format", "{{.Id}}", name or self.name)
        answers = {node: self.lab.on(node, *words, check=False) for node in NODES}
        return {node: a.stdout.strip() for node, a in answers.items() if a.status == 0}

    def build(self, *words: str, check: int = 0, **variables: str) -> Done:
        """`inv build` of it; check: the exit code that it must have."""
        done = subprocess.run(
            self._line(*words),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=environment(variables),
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        assert result.code == check, result
        return result

    def begin(self, **variables: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(
            self._line("--json"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(variables),
        )

    def _line(self, *words: str) -> tuple[str, ...]:
        return (*INVOKE, "build", *words, "-e", str(self.env))

    def loading(self, node: str) -> bool:
        """Whether an image arrives at this host just now."""
        return self.lab.on(node, "pgrep", "-f", "docker image load", check=False).status == 0


def _archive(size_bytes: int) -> bytes:
    """A root file system with one file of random bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = size_bytes
        archive.addfile(entry, io.BytesIO(os.urandom(size_bytes)))
    return buffer.getvalue()


def document(process: subprocess.Popen[str]) -> Any:
    """What `--json` said, once it has ended."""
    out, _ = process.communicate(timeout=LIMIT_S)
    return json.loads(out)


@pytest.fixture(scope="module")
def images(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(lab, tmp_path_factory.mktemp("images"))


def steps(done: Done) -> list[str]:
    return [step["title"] for step in done.json["steps"]]


@WAYS
def test_every_host_ends_with_the_same_image_and_a_second_run_does_nothing(
    images: Images, way: str
) -> None:
    made = images.make_on("node-0")
    said = images.build("--dry-run", IMAGE_DISTRIBUTION=way).stdout
    done = images.build("--json", IMAGE_DISTRIBUTION=way)
    assert images.ids() == dict.fromkeys(NODES, made)
    assert steps(done)
    assert all(title in said for title in steps(done))
    again = images.build("--json", IMAGE_DISTRIBUTION=way)
    assert again.json["title"] == f"The image {images.name} is up to date."
    assert steps(again) == []


def test_only_a_host_that_lacks_it_gets_it(images: Images) -> None:
    made = images.make_on("node-0")
    images.build(IMAGE_DISTRIBUTION="ssh")
    images.lab.on("node-2", "docker", "image", "rm", "--force", made)
    done = images.build("--json", IMAGE_DISTRIBUTION="ssh")
    assert images.ids() == dict.fromkeys(NODES, made)
    assert [title for title in steps(done) if "node-1" in title] == []


def test_a_host_that_lost_the_name_alone_is_sent_nothing(images: Images) -> None:
    made = images.make_on("node-0")
    images.build()
    images.lab.on("node-1", "docker", "image", "tag", images.name, "kept:1")
    images.lab.on("node-1", "docker", "image", "rm", images.name)
    assert steps(images.build("--json", IMAGE_DISTRIBUTION="ssh")) == ["Name it on node-1"]
    assert images.ids() == dict.fromkeys(NODES, made)


@pytest.fixture
def unknown(images: Images) -> Iterator[str]:
    """A name for the registry by which no engine knows that it speaks HTTP."""
    name = "registry.lab"
    for node in NODES:
        images.lab.on(node, "sh", "-c", f"echo '{images.registry} {name}' >> /etc/hosts")
        images.lab.on(node, "cp", "/etc/docker/daemon.json", "/root/daemon.json")
    try:
        yield name
    finally:
        for node in NODES:
            images.lab.on(node, "sh", "-c", f"sed '/{name}$/d' /etc/hosts > /root/hosts")
            images.lab.on(node, "cp", "/root/hosts", "/etc/hosts")
            images.lab.on(node, "cp", "/root/daemon.json", "/etc/docker/daemon.json")
            images.lab.on(node, "systemctl", "reload", "docker")


def follow_the_advice(images: Images, node: str, details: str) -> None:
    """Do what the error says: add its JSON to the file, and reload."""
    advice, _ = json.JSONDecoder().raw_decode(details[details.index("{") :])
    file = "/etc/docker/daemon.json"
    there = json.loads(images.lab.on(node, "cat", file).stdout)
    there["insecure-registries"] += advice["insecure-registries"]
    images.lab.on(node, "sh", "-c", f"cat > {file}", stdin=json.dumps(there))
    assert file in details
    assert details.endswith("systemctl reload docker")
    images.lab.on(node, "systemctl", "reload", "docker")


def advice_in(done: Done) -> str:
    lines: list[str] = done.json["details"]
    return next(line for line in lines if "daemon.json" in line)


def test_who_speaks_https_only_is_told_what_to_do_and_it_helps(
    images: Images, unknown: str
) -> None:
    made = images.make_on("node-0")
    refused = images.build("--json", check=1, DOCKER_REGISTRY_HOST=unknown)
    assert refused.json["error"] == f"node-0 could not push to {unknown}:5000."
    assert refused.json["next"].startswith("IMAGE_DISTRIBUTION=ssh inv build")
    for node in ("node-0", "node-2"):
        follow_the_advice(images, node, advice_in(refused))
    refused = images.build("--json", check=1, DOCKER_REGISTRY_HOST=unknown)
    assert refused.json["error"] == f"node-1 could not pull from {unknown}:5000."
    assert images.ids()["node-2"] == made
    follow_the_advice(images, "node-1", advice_in(refused))
    images.build(DOCKER_REGISTRY_HOST=unknown)
    assert images.ids() == dict.fromkeys(NODES, made)


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_host_that_is_lost_in_the_middle_is_named_and_the_other_has_the_image(
    images: Images, healed: Lab, fault: str
) -> None:
    made = images.make_on("node-0", 60_000_000)
    building = images.begin(IMAGE_DISTRIBUTION="ssh", COMPOSE_HTTP_TIMEOUT="8")
    wait_until(lambda: images.loading("node-1"), timeout_s=30, what="it arrives", pause_s=0.02)
    getattr(healed, fault)("node-1")
    said = document(building)
    assert said["exit_code"] == 1
    assert "node-1" in said["error"]
    assert any(line.endswith("is on node-0 and node-2.") for line in said["details"])
    healed.heal()
    assert images.ids()["node-2"] == made
    assert images.ids().get("node-1") != made
    done = images.build("--json", IMAGE_DISTRIBUTION="ssh")
    assert not any("node-2" in title for title in steps(done))
    assert images.ids() == dict.fromkeys(NODES, made)


def test_a_host_that_is_away_from_the_beginning_is_named_and_the_others_have_it(
    images: Images, healed: Lab
) -> None:
    made = images.make_on("node-0")
    healed.kill("node-2")
    done = images.build("--json", check=1, SSH_CONNECT_TIMEOUT="2")
    assert "node-2" in done.json["error"]
    # Nothing is left to be done, and yet it is not known whether all is well.
    done = images.build("--json", check=3, SSH_CONNECT_TIMEOUT="2")
    assert "node-2" in done.json["error"]
    healed.heal()
    images.build()
    assert images.ids() == dict.fromkeys(NODES, made)


def test_ctrl_c_leaves_nothing_running_and_the_next_run_does_it_all(images: Images) -> None:
    made = images.make_on("node-0", 60_000_000)
    building = images.begin(IMAGE_DISTRIBUTION="ssh")
    wait_until(lambda: images.loading("node-1"), timeout_s=30, what="it arrives", pause_s=0.02)
    building.send_signal(signal.SIGINT)
    assert document(building)["error"].startswith("Interrupted")
    looking = ("pgrep", "-f", "docker image (load|save)")
    running = [n for n in NODES if images.lab.on(n, *looking, check=False).status == 0]
    assert running == []
    images.build(IMAGE_DISTRIBUTION="ssh")
    assert images.ids() == dict.fromkeys(NODES, made)


def test_a_published_image_is_pulled_everywhere_and_is_the_same(images: Images) -> None:
    name = f"{images.registry}:5000/pgha/published:1"
    made = images.make_on("node-1", name=name)
    images.lab.on("node-1", "docker", "image", "push", name)
    images.lab.on("node-1", "docker", "image", "rm", name)
    done = images.build(
        "--json",
        DOCKER_HUB_IMAGE="true",
        DOCKER_HUB_IMAGE_NAME=name.rpartition(":")[0],
        DOCKER_HUB_IMAGE_VERSION="1",
    )
    assert len(steps(done)) == len(NODES)
    assert images.ids(name) == dict.fromkeys(NODES, made)
