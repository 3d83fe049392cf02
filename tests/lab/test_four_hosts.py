"""The tests of three nodes with data and a witness once more, each node on a host of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.client.engine import ship
from tests.integration.image import IMAGE
from tests.integration.real_cluster import RealCluster
from tests.integration.test_four_nodes import (  # noqa: F401
    healthy,
    test_a_commit_waits_for_two_of_the_three_others,
    test_a_role_is_let_in_at_all_seven_doors,
    test_a_standby_that_is_copied_anew_follows,
    test_all_follow_wherever_the_primary_goes_and_nothing_is_lost,
    test_settings_that_name_other_nodes_than_were_made_change_nothing,
    test_what_was_stopped_starts_with_every_follower,
    test_with_two_of_four_gone_a_failover_starts_one_of_them_for_its_word,
)
from tests.lab.cluster import LabCluster, engine_of, running


@pytest.fixture(scope="module")
def cluster(four: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    ship(IMAGE, engine_of(four, "node-3"))
    made = LabCluster(four, "wide", tmp_path_factory.mktemp("wide"), STANDBY_2_NODE="node-3")
    with running(made, units=False):
        yield made
