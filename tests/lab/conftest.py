"""A lab of three hosts for the whole session, and what is asked of its hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.chaos.world import NIGHTLY
from tests.client.engine import ship
from tests.integration.image import IMAGE, PREFIX
from tests.integration.real_cluster import ROOT
from tests.lab.cluster import LabCluster, engine_of, four_hosts
from tests.lab.hosts import Hosts

# What others of these tests do as well, with clients at work, or what is long: for the night, so
# that the suite of the day is done in its time.
_AT_NIGHT = frozenset(
    {
        "test_the_primary_moves_and_comes_home",
        "test_it_stops_and_starts",
        "test_a_host_that_reboots_comes_back_by_itself",
        "test_a_host_that_lost_its_power_comes_back_by_itself",
        "test_all_hosts_lose_their_power_at_once_and_the_cluster_comes_back",
        "test_a_users_own_swarm_is_used_as_it_is",
        "test_the_backend_is_encrypted_or_it_is_said_why_it_cannot_be",
        "test_hosts_join_the_swarm_that_one_of_them_is_in",
        "test_a_host_that_lost_the_name_alone_is_sent_nothing",
        "test_who_speaks_https_only_is_told_what_to_do_and_it_helps",
        "test_a_host_that_is_lost_in_the_middle_is_named_and_the_other_has_the_image",
        "test_a_host_that_is_away_from_the_beginning_is_named_and_the_others_have_it",
        "test_a_published_image_is_pulled_everywhere_and_is_the_same",
        "test_a_killed_host_is_dead_until_it_is_healed",
        "test_in_a_paused_host_no_container_goes_on",
        "test_an_isolated_host_is_gone_for_others_and_has_its_address_again_when_healed",
        "test_a_one_way_cut_is_one_way",
        "test_a_cut_parts_containers_on_the_overlay_too",
        "test_a_reboot_is_in_order_and_brings_the_host_back",
        "test_up_starts_what_stopped",
        "test_two_labs_live_side_by_side_and_down_leaves_nothing",
    }
)
_MODULES_AT_NIGHT = frozenset({"test_four_hosts.py"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """By day without those; asked for by name (`-k`) they are run."""
    if NIGHTLY or config.getoption("keyword"):
        return
    here = Path(__file__).parent

    def waits(item: pytest.Item) -> bool:
        name = item.name.partition("[")[0]
        asleep = name in _AT_NIGHT or item.path.name in _MODULES_AT_NIGHT
        return asleep and here in item.path.parents

    config.hook.pytest_deselected(items=[item for item in items if waits(item)])
    items[:] = [item for item in items if not waits(item)]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts, all well. Who breaks one heals it (`healed`)."""
    made = Lab(f"{PREFIX}-lab")
    try:
        subprocess.run(("bin/lab", "up", "--name", made.name), cwd=ROOT, check=True)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def four() -> Iterator[Lab]:
    """Four hosts with the image, for clusters with clients."""
    with four_hosts("four") as made:
        yield made


@pytest.fixture
def healed(lab: Lab) -> Iterator[Lab]:
    """The lab, for a test that breaks it: healed afterwards, however the test ends."""
    try:
        yield lab
    finally:
        lab.heal()


@pytest.fixture(scope="session")
def fresh(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The lab's hosts with the image, and nothing else of ours: for a cluster that `init` makes.

    One host has it from here, since that is quicker than to build it there; the others by `build`.
    """
    hosts = Hosts(LabCluster(lab, "init", tmp_path_factory.mktemp("init")))
    try:
        ship(IMAGE, engine_of(lab, "node-0"))
        hosts.cluster.inv("build")
        yield hosts
    finally:
        lab.heal()
        hosts.wipe()
