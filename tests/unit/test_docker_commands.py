"""Whole command lines of `docker`, and what is read out of answers that an engine really gave."""

from __future__ import annotations

import json

from pgha.commands import docker, docker_answers, swarm
from pgha.commands.base import Command, Secret
from pgha.commands.docker import Attachment, ContainerSpec, Mount

LABELS = {"io.pgha.cluster": "pg", "io.pgha.node": "node-0"}


def test_a_nodes_container_is_created_with_all_that_it_needs_and_is_not_started() -> None:
    spec = ContainerSpec(
        name="pg-node-0",
        image="pgha/postgres-cluster:built-17",
        hostname="node-0",
        labels=LABELS,
        attachment=Attachment("pg-backend", "10.0.0.11", ("node-0",)),
        mounts=(Mount("/data/etc", "/etc/pgpool2"), Mount("/data/x", "/x", read_only=True)),
        shm_size_mb=512,
        stop_timeout_s=90,
        log_max_mb=20,
    )
    assert docker.container_create(spec).quoted == (
        "docker container create --pull never --name pg-node-0 --hostname node-0"
        " --label io.pgha.cluster=pg --label io.pgha.node=node-0"
        " --network pg-backend --ip 10.0.0.11 --network-alias node-0"
        " --publish 127.0.0.1::22"
        " --cap-add SYS_NICE"
        " --mount type=bind,source=/data/etc,target=/etc/pgpool2"
        " --mount type=bind,source=/data/x,target=/x,readonly"
        " --shm-size 512m --stop-timeout 90 --init=false --restart no"
        " --log-driver local --log-opt max-size=5120k --log-opt max-file=4"
        " pgha/postgres-cluster:built-17"
    )


def test_a_comma_in_a_directorys_name_does_not_end_the_mount_option() -> None:
    assert Mount('/a,b"c', "/x").words == (
        "--mount",
        'type=bind,"source=/a,b""c",target=/x',
    )


def test_a_mount_whose_directory_may_be_missing_is_made_by_the_engine() -> None:
    assert Mount("/a", "/x", must_exist=False).words == ("--volume", "/a:/x")
    assert Mount("/a", "/x", read_only=True, must_exist=False).words == ("--volume", "/a:/x:ro")


def test_networks() -> None:
    lines = [
        docker.network_create("pg-backend", "10.0.0.0/24", {"io.pgha.cluster": "pg"}),
        swarm.overlay_create("pg-backend", "10.0.0.0/24", {"a": "b"}),
        swarm.overlay_create(
            "pg-backend", "10.0.0.0/24", {}, encrypted=True, chosen="10.0.0.128/25"
        ),
        docker.network_connect(Attachment("pg-frontend", None, ("node-0", "db")), "pg-node-0"),
        docker.network_connect(Attachment("pg-frontend", "10.0.1.5"), "pg-node-0"),
        docker.network_remove("pg-backend", "pg-frontend"),
        docker.network_list(),
    ]
    assert [line.quoted for line in lines] == [
        "docker network create --driver bridge --subnet 10.0.0.0/24"
        " --label io.pgha.cluster=pg pg-backend",
        "docker network create --driver overlay --attachable --subnet 10.0.0.0/24 --label a=b"
        " pg-backend",
        "docker network create --driver overlay --attachable --opt encrypted --subnet 10.0.0.0/24"
        " --ip-range 10.0.0.128/25 pg-backend",
        "docker network connect --alias node-0 --alias db pg-frontend pg-node-0",
        "docker network connect --ip 10.0.1.5 pg-frontend pg-node-0",
        "docker network rm pg-backend pg-frontend",
        "docker network ls --no-trunc --format '{{.Name}}'",
    ]


def test_a_containers_life() -> None:
    lines = [
        docker.start("a", "b"),
        docker.stop("a", "b", timeout_s=90),
        docker.kill("a"),
        docker.kill("a", signal="HUP"),
        docker.remove("a"),
        docker.remove("a", "b", force=True),
    ]
    assert [line.quoted for line in lines] == [
        "docker container start a b",
        "docker container stop -t 90 a b",
        "docker container kill --signal KILL a",
        "docker container kill --signal HUP a",
        "docker container rm a",
        "docker container rm --force a b",
    ]


def test_images() -> None:
    built = docker.build(b"tar", "x:1", labels={"io.pgha.build": "abc"})
    assert built.quoted == "docker build --label io.pgha.build=abc --force-rm --tag x:1 -"
    assert built.stdin == b"tar"
    assert (
        docker.build(b"", "x:1", cached=False).quoted
        == "docker build --no-cache --force-rm --tag x:1 -"
    )
    assert docker.import_image(b"tar", "base:1") == Command(
        ("docker", "image", "import", "-", "base:1"), b"tar"
    )
    lines = [docker.pull("x:1"), docker.push("x:1"), docker.image_tag("x:1", "y:1")]
    assert [line.quoted for line in lines] == [
        "docker image pull x:1",
        "docker image push x:1",
        "docker image tag x:1 y:1",
    ]


def test_a_helper_container_reads_what_is_fed_to_it_and_is_gone_afterwards() -> None:
    helper = docker.run_helper(
        "x:1",
        ("pgha-node", "prepare", "node=a b"),
        name="pg-node-0-prepare",
        labels=LABELS,
        mounts=(Mount("/data", "/volume", must_exist=False),),
        stdin=Secret("{}"),
    )
    assert helper.shown == (
        "docker run --rm --interactive --pull never --name pg-node-0-prepare"
        " --label io.pgha.cluster=pg --label io.pgha.node=node-0 --network none --user root"
        " --volume /data:/volume --init=false --entrypoint /usr/bin/tini"
        " x:1 -- pgha-node prepare 'node=a b' < ***"
    )


def test_a_command_keeps_its_user_and_its_input_inside_a_container() -> None:
    command = Command(("psql", "-c", "select 1"), stdin=Secret("s"), user="postgres")
    inside = docker.exec_in("pg-node-0", command)
    assert inside.shown == (
        "docker exec --interactive --user postgres pg-node-0 psql -c 'select 1' < ***"
    )
    assert docker.exec_in("c", Command(("id",))).quoted == (
        "docker exec --interactive --user root c id"
    )


def test_ps_asks_for_all_labels_at_once() -> None:
    assert docker.ps(LABELS).words[:-1] == (
        *("docker", "container", "ls", "--all", "--no-trunc"),
        *("--filter", "label=io.pgha.cluster=pg", "--filter", "label=io.pgha.node=node-0"),
        "--format",
    )


RUNNING: dict[str, object] = {
    "id": "aeae",
    "name": "/pg-node-0",
    "image": "sha256:2566",
    "tag": "x:1",
    "state": {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": "2026-11-24T13:59:07.658946565Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "labels": LABELS,
    "ports": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32771"}], "80/tcp": None},
    "mounts": [{"Type": "bind", "Source": "/data", "Destination": "/x", "RW": True}],
    "networks": {"pg-backend": {"IPAddress": "10.0.0.11", "Aliases": ["node-0"]}},
}


def test_a_running_container_says_where_its_ssh_server_is() -> None:
    found = docker_answers.parse_inspect(json.dumps(RUNNING) + "\n")
    container = found["pg-node-0"]
    assert container.running
    assert container.ssh_port == 32771
    assert container.mounts == {"/x": "/data"}
    assert container.addresses == {"pg-backend": "10.0.0.11"}
    assert (container.started_at, container.finished_at) == ("2026-11-24T13:59:07.658946565Z", None)


def test_a_container_that_was_never_started_has_no_port_and_no_start() -> None:
    created: dict[str, object] = RUNNING | {
        "state": {
            "Status": "created",
            "ExitCode": 0,
            "OOMKilled": False,
            "StartedAt": "0001-01-01T00:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "labels": None,
        "ports": {},
        "mounts": [],
    }
    container = docker_answers.parse_inspect(json.dumps(created))["pg-node-0"]
    assert not container.running
    assert (container.ssh_port, container.started_at, container.labels) == (None, None, {})


def test_who_is_missing_in_an_answer_does_not_exist() -> None:
    assert docker_answers.parse_inspect("") == {}
    assert docker_answers.parse_images("") == ()
    assert docker_answers.parse_networks("") == {}


def test_ps_lines_are_read_in_the_order_of_names() -> None:
    def line(name: str, ports: str) -> str:
        fields = {"id": "1", "name": name, "state": "running", "image": "x:1", "networks": "b,f"}
        return json.dumps(fields | {"ports": ports, "cluster": "pg", "node": name[3:]})

    text = "\n".join(
        [
            line("pg-node-1", ""),
            line("pg-node-0", "0.0.0.0:80->80/tcp, 127.0.0.1:32768->22/tcp, 5432/tcp"),
        ]
    )
    found = docker_answers.parse_ps(text)
    assert [(each.name, each.node, each.ssh_port) for each in found] == [
        ("pg-node-0", "node-0", 32768),
        ("pg-node-1", "node-1", None),
    ]
    assert found[0].networks == ("b", "f")


def test_networks_without_a_subnet_and_without_members_are_read() -> None:
    host: dict[str, object] = {
        "id": "1",
        "name": "host",
        "driver": "host",
        "labels": {},
        "ipam": None,
    }
    ours = {
        "id": "2",
        "name": "pg-backend",
        "driver": "bridge",
        "labels": {"io.pgha.cluster": "pg"},
        "ipam": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}],
        "containers": {"f1": {"Name": "pg-node-1"}, "f0": {"Name": "pg-node-0"}},
    }
    text = json.dumps(host | {"containers": {}}) + "\n" + json.dumps(ours)
    found = docker_answers.parse_networks(text)
    assert found["host"].subnets == ()
    assert found["pg-backend"].subnets == ("10.0.0.0/24",)
    assert found["pg-backend"].members == ("pg-node-0", "pg-node-1")


def test_an_engine_that_does_not_answer_is_none() -> None:
    assert docker_answers.parse_info('{"ServerVersion":"","ClientInfo":{}}') is None
    assert docker_answers.parse_info("") is None


def test_an_engine_says_what_the_machine_has() -> None:
    document = {
        "Name": "vm",
        "ServerVersion": "20.10.24",
        "OperatingSystem": "Debian GNU/Linux 12",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 25276514304,
        "Driver": "overlay2",
        "DockerRootDir": "/var/lib/docker",
        "Swarm": {"LocalNodeState": "active", "ControlAvailable": True},
    }
    engine = docker_answers.parse_info(json.dumps(document))
    assert engine is not None
    assert (engine.cores, engine.memory_bytes) == (2, 25276514304)
    assert (engine.swarm.state, engine.swarm.manager) == ("active", True)
