"""The units: their text, and what is done to which host to have them there or gone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pgha.errors import Refused
from pgha.operations.provision import Provision
from pgha.plan import Plan
from pgha.settings import parse
from pgha.topology import LOCAL_HOST, topology
from pgha.units import HostUnits, Unit, plan_units, unit_name, unit_text

SETTINGS = parse("WITNESS_NODE=node-2", source="test.env", environ={})
TOPOLOGY = topology(SETTINGS)
PROVISION = Provision(SETTINGS, TOPOLOGY, "image")
NODE = TOPOLOGY.node("node-1")
NAME = "pgha-postgres-cluster-node-1.service"

EXPECTED = r"""
# Node node-1 of the pgha cluster postgres-cluster: its container is started at boot, and again
# when it dies. Written by pgha: `inv units` overwrites it, `inv units --remove` takes it away. What
# you change belongs into a drop-in (systemctl edit pgha-postgres-cluster-node-1.service).

[Unit]
Description=pgha node node-1 of postgres-cluster
Requires=docker.service
After=docker.service
# An engine or a network that comes late is tried until it is there.
StartLimitIntervalSec=0

[Service]
ExecStartPre=/usr/bin/docker container start postgres-cluster-node-1
# Docker itself never starts it (--restart no). Which of its endings was meant is told by Docker's
# own record: `docker stop` (inv stop, too) leaves the event «stop», also where it had to kill. What
# was stopped on purpose stays stopped, and is followed again once somebody has started it. Its
# output is not copied into the journal: the engine keeps it, bounded (docker logs).
ExecStart=/bin/sh -c '\
    docker=/usr/bin/docker; name=postgres-cluster-node-1; \
    while :; do \
        begun=$$($$docker container inspect -f "{{.State.StartedAt}}" $$name) || exit 1; \
        code=$$($$docker container wait $$name) || exit 1; \
        if [ "$$code" != 0 ]; then \
            stop=$$($$docker events --since "$$begun" --until "$$(($$(date +%%s) + 2))" \
                --filter container=$$name --filter event=stop) || exit 1; \
            [ -n "$$stop" ] || exit "$$code"; \
        fi; \
        until [ "$$($$docker container inspect -f "{{.State.Running}}" $$name)" = true ]; do \
            sleep 5; \
        done; \
    done'
# Of an engine that has died nothing is asked: docker.socket would have it wait for the next one,
# which systemd starts only when this has ended.
ExecStop=/bin/sh -c '! systemctl --quiet is-active docker.service \
    || exec /usr/bin/docker container stop -t 120 postgres-cluster-node-1'
Restart=on-failure
RestartSec=2
# `docker stop` has 120 s for a shutdown with a checkpoint.
TimeoutStopSec=140

[Install]
WantedBy=multi-user.target
""".removeprefix("\n")


def text(name: str = "node-1") -> str:
    node = TOPOLOGY.node(name)
    return unit_text(node, TOPOLOGY.cluster, "/usr/bin/docker", SETTINGS.stop_timeout)


def installed(name: str, **changed: object) -> Unit:
    unit = Unit(text(name), enabled=True, active=True)
    return replace(unit, **changed)  # type: ignore[arg-type]


def host(**units: Unit) -> HostUnits:
    """A host that systemd runs, where we are root and every container runs; node_1=…: its unit."""
    return HostUnits(
        LOCAL_HOST,
        booted=True,
        as_root=(),
        docker="/usr/bin/docker",
        containers=tuple((n.container, True) for n in TOPOLOGY.nodes),
        units=tuple(
            (unit_name(n), units.get(n.name.replace("-", "_"), installed(n.name)))
            for n in TOPOLOGY.nodes
        ),
    )


def stopped(facts: HostUnits, name: str) -> HostUnits:
    container = TOPOLOGY.node(name).container
    return replace(facts, containers=tuple((n, r and n != container) for n, r in facts.containers))


def planned(facts: HostUnits, *, remove: bool = False) -> Plan:
    return plan_units(PROVISION, (facts,), remove=remove)


def commands(facts: HostUnits, *, remove: bool = False) -> list[str]:
    steps = planned(facts, remove=remove).steps
    return [command.shown for step in steps for command in step.commands()]


def test_the_whole_unit() -> None:
    assert text() == EXPECTED


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    # `verify` looks whether the programs are there.
    (tmp_path / NAME).write_text(text().replace("/usr/bin/docker", "/bin/true"))
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ("systemd-analyze", "verify", str(tmp_path / NAME)), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_where_no_unit_is_all_of_it_is_done() -> None:
    assert commands(host(node_1=Unit())) == [
        f"install -m 0644 /dev/stdin /etc/systemd/system/{NAME} < stdin",
        "systemctl daemon-reload",
        f"systemctl enable {NAME}",
        f"systemctl start {NAME}",
    ]


def test_where_all_is_there_nothing_is_done() -> None:
    plan = planned(host())
    assert plan.stages == ()
    assert "nothing to do" in plan.title


def test_another_text_is_replaced_and_no_running_unit_is_restarted() -> None:
    assert commands(host(node_1=installed("node-1", text="# mine\n"))) == [
        f"install -m 0644 /dev/stdin /etc/systemd/system/{NAME} < stdin",
        "systemctl daemon-reload",
    ]


def test_a_call_that_was_cut_off_before_the_reload_is_finished() -> None:
    assert commands(host(node_1=installed("node-1", stale=True))) == ["systemctl daemon-reload"]


def test_what_an_operator_stopped_is_not_started() -> None:
    facts = stopped(host(node_1=Unit()), "node-1")
    assert not any("systemctl start" in command for command in commands(facts))
    assert "node-1's container does not run" in planned(facts).notes[0]


def test_the_file_goes_before_the_unit_stops_so_that_its_container_goes_on() -> None:
    only = host(node_0=Unit(), node_2=Unit())
    assert commands(only, remove=True) == [
        f"systemctl disable {NAME}",
        f"rm /etc/systemd/system/{NAME}",
        "systemctl daemon-reload",
        f"systemctl stop {NAME}",
    ]
    # Cut off before the reload: systemd would still run ExecStop.
    cut_off = host(node_0=Unit(), node_1=Unit(active=True), node_2=Unit())
    assert commands(cut_off, remove=True) == ["systemctl daemon-reload", f"systemctl stop {NAME}"]


def test_removing_what_is_not_there_is_nothing() -> None:
    gone = host(node_0=Unit(), node_1=Unit(), node_2=Unit())
    assert planned(gone, remove=True).stages == ()


def test_a_host_without_systemd_is_refused() -> None:
    facts = replace(host(node_1=Unit()), booted=False)
    with pytest.raises(Refused, match="not run by systemd"):
        planned(facts)


def test_without_root_the_next_command_is_said_and_looking_needs_none() -> None:
    facts = replace(host(node_1=Unit()), as_root=None)
    with pytest.raises(Refused) as refused:
        planned(facts)
    assert refused.value.next == 'sudo env "PATH=$PATH" inv units'
    assert planned(replace(host(), as_root=None)).stages == ()


def test_where_sudo_asks_nothing_it_is_used() -> None:
    facts = replace(host(node_1=Unit()), as_root=("sudo", "-n"))
    assert all(command.startswith("sudo -n ") for command in commands(facts))


def test_before_init_there_is_nothing_to_start() -> None:
    with pytest.raises(Refused) as refused:
        planned(replace(host(node_1=Unit()), containers=()))
    assert refused.value.next == "inv init"
