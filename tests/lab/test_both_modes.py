"""The operations' own tests once more, on hosts: `MODE=ha` is a way to reach a node, and no other
program. The tests are those of the one machine; the cluster is another one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.integration.real_cluster import BY_HAND, RealCluster
from tests.integration.test_operations import (  # noqa: F401
    test_a_new_cluster_is_healthy_and_clients_write_and_read_through_db,
    test_nothing_that_was_acknowledged_is_lost_through_all_of_it,
    test_on_a_busy_machine_the_agent_and_who_watches_it_come_first,
)
from tests.integration.test_twice import (  # noqa: F401
    healthy,
    test_build,
    test_failback,
    test_failover_to_the_same_node,
    test_init,
    test_recovery,
    test_start,
    test_stop,
)
from tests.lab.cluster import LabCluster, running


@pytest.fixture(scope="module")
def cluster(four: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    place = tmp_path_factory.mktemp("modes")
    with running(LabCluster(four, "modes", place, **BY_HAND), units=False) as made:
        yield made
