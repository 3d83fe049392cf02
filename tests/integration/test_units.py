"""The units on a machine that systemd runs: boots, crashes, and what an operator stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgha.errors import Refused, Unreachable
from pgha.execute import Listener, Outcome
from pgha.operations.provision import CLUSTER_LABEL, Provision
from pgha.remote import Reach
from pgha.settings import parse
from pgha.topology import Topology, topology
from pgha.units import unit_name, units
from pgha.waiting import wait_until
from tests.integration.systemd_machine import BASE, Machine, make_image

SETTINGS = parse("COMPOSE_PROJECT_NAME=site\nWITNESS_NODE=node-2", source="-", environ={})
TOPOLOGY = topology(SETTINGS)
NODES = [node.container for node in TOPOLOGY.nodes]
# Ends in order at SIGTERM, as a node's main process does.
PROGRAM = 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'
SOON_S = 30.0


class On(Reach):
    """Every node on one machine."""

    def __init__(self, machine: Machine, of: Topology) -> None:
        super().__init__(SETTINGS, of)
        self._host_of = dict.fromkeys(of.names, machine)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    missing = make_image()
    if missing:
        pytest.skip(missing)
    made = Machine("units")
    try:
        made.boot()
        for name in NODES:
            label = f"{CLUSTER_LABEL}={TOPOLOGY.cluster}"
            words = ("--name", name, "--label", label, "--restart", "no", BASE, "sh", "-c", PROGRAM)
            made.run_here("docker", "create", "--init=true", *words)
            made.run_here("docker", "start", name)
        yield made
    finally:
        made.remove()


@pytest.fixture(autouse=True)
def _all_run(machine: Machine) -> None:
    for name in NODES:
        machine.run_here("docker", "start", name)
    install(machine)


def install(machine: Machine, *, remove: bool = False, dry_run: bool = False) -> Outcome:
    reach = On(machine, TOPOLOGY)
    provision = Provision(SETTINGS, TOPOLOGY, BASE)
    return units(reach, provision, Listener(), remove=remove, dry_run=dry_run)


def running(machine: Machine) -> set[str]:
    return set(machine.run_here("docker", "ps", "--format", "{{.Names}}").split())


def started(machine: Machine, name: str) -> str:
    return machine.run_here("docker", "inspect", "-f", "{{.State.StartedAt}}", name)


def active(machine: Machine) -> list[str]:
    names = [unit_name(node) for node in TOPOLOGY.nodes]
    return machine.run_here("systemctl", "is-active", *names, check=False).split()


def become(machine: Machine, *names: str) -> None:
    def look() -> bool:
        if running(machine) != set(names):
            raise Unreachable(f"{running(machine)} run")
        return True

    wait_until(look, timeout_s=SOON_S, what=f"{names} run")


def test_all_are_there_at_once_and_the_second_time_nothing_happens(machine: Machine) -> None:
    assert active(machine) == ["active"] * 3
    enabled = machine.run_here("systemctl", "is-enabled", *(unit_name(n) for n in TOPOLOGY.nodes))
    assert enabled.split() == ["enabled"] * 3
    before = [started(machine, name) for name in NODES]
    assert install(machine).done == ()
    assert [started(machine, name) for name in NODES] == before


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    assert install(machine, remove=True, dry_run=True).plan.stages
    assert active(machine) == ["active"] * 3


def test_a_container_that_dies_is_started_again(machine: Machine) -> None:
    before = started(machine, NODES[0])
    machine.run_here("docker", "kill", NODES[0])

    def again() -> bool:
        if started(machine, NODES[0]) == before or running(machine) != set(NODES):
            raise Unreachable("it was not started again")
        return True

    wait_until(again, timeout_s=SOON_S, what="It is started again")


def test_what_docker_stop_stopped_stays_stopped_and_is_followed_when_it_is_started(
    machine: Machine,
) -> None:
    machine.run_here("docker", "stop", "-t", "10", NODES[0])
    # A process that ignores everything: `docker stop` has to kill it, and that was meant as well.
    pid = machine.run_here("docker", "inspect", "-f", "{{.State.Pid}}", NODES[1]).strip()
    machine.signal("STOP", pid)
    machine.run_here("docker", "stop", "-t", "1", NODES[1])
    # Longer than the units wait before they start what died.
    machine.run_here("sleep", "8")
    assert running(machine) == {NODES[2]}
    for name in NODES[:2]:
        machine.run_here("docker", "start", name)
    # Longer than they wait to see that it runs again.
    machine.run_here("sleep", "6")
    machine.run_here("docker", "kill", *NODES[:2])
    become(machine, *NODES)


def test_an_engine_that_dies_is_waited_for_also_by_what_is_stopped(machine: Machine) -> None:
    machine.run_here("docker", "stop", "-t", "10", NODES[0])
    pid = machine.run_here("systemctl", "show", "--property=MainPID", "--value", "docker").strip()
    machine.signal("KILL", pid)
    machine.is_up()

    def back() -> bool:
        if not machine.run_here("docker", "version", check=False):
            raise Unreachable("no engine")
        return True

    wait_until(back, timeout_s=SOON_S, what="The engine is back")
    become(machine, *NODES)


def test_stopping_a_unit_stops_its_container_in_order(machine: Machine) -> None:
    machine.run_here("systemctl", "stop", unit_name(TOPOLOGY.nodes[0]))
    assert running(machine) == set(NODES[1:])
    assert machine.run_here("docker", "inspect", "-f", "{{.State.ExitCode}}", NODES[0]) == "0\n"


def test_a_boot_starts_every_node(machine: Machine) -> None:
    machine.reboot()
    become(machine, *NODES)
    machine.power_cut()
    become(machine, *NODES)
    assert install(machine).done == ()


def test_what_somebody_changed_is_put_right(machine: Machine) -> None:
    name = unit_name(TOPOLOGY.nodes[0])
    machine.run_here("sh", "-c", f"echo '# mine' >> /etc/systemd/system/{name}")
    machine.run_here("systemctl", "disable", "-q", unit_name(TOPOLOGY.nodes[1]))
    assert len(install(machine).done) == 2
    assert install(machine).done == ()


def test_a_machine_without_systemd_is_refused(machine: Machine) -> None:
    # As if another init had booted it: sd_booted(3).
    machine.run_here("mv", "/run/systemd/system", "/run/systemd/away")
    try:
        machine.run_here("rm", f"/etc/systemd/system/{unit_name(TOPOLOGY.nodes[0])}")
        with pytest.raises(Refused, match="not run by systemd"):
            install(machine)
    finally:
        machine.run_here("mv", "/run/systemd/away", "/run/systemd/system")


def test_without_their_units_the_containers_go_on_and_a_boot_starts_none(machine: Machine) -> None:
    before = [started(machine, name) for name in NODES]
    install(machine, remove=True)
    assert [started(machine, name) for name in NODES] == before
    assert running(machine) == set(NODES)
    assert install(machine, remove=True).done == ()
    machine.reboot()
    assert running(machine) == set()
