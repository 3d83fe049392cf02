"""The arithmetic of connections and memory: what must hold for every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.operations.provision import Provision
from pgha.render import node_sizing
from pgha.settings import parse
from pgha.sizing import MEGABYTE, Sizing, sizing
from pgha.topology import topology

GIGABYTE = 1024 * MEGABYTE

memories = st.integers(min_value=512 * MEGABYTE, max_value=2048 * GIGABYTE)
data_nodes = st.integers(min_value=1, max_value=4)
pools = st.integers(min_value=1, max_value=7)


@given(memories, data_nodes, pools)
def test_all_pools_together_never_exhaust_a_servers_connections(
    memory: int, nodes: int, pgpools: int
) -> None:
    size = sizing(memory, nodes, pgpools)
    through_doors = pgpools * size.num_init_children * size.max_pool
    left = size.max_connections - size.superuser_reserved - through_doors
    # What is left for the direct door and for our own: a fifth, and two a pool.
    assert left >= size.max_connections // 5 + 2 * pgpools


@given(memories, data_nodes, pools)
def test_shared_buffers_take_no_more_than_a_quarter_of_the_memory(
    memory: int, nodes: int, pgpools: int
) -> None:
    size = sizing(memory, nodes, pgpools)
    assert size.shared_buffers_mb * nodes <= memory // MEGABYTE // 4 + nodes
    assert size.shared_buffers_mb < size.effective_cache_size_mb
    assert size.effective_cache_size_mb * nodes < memory // MEGABYTE


@given(memories, data_nodes, pools)
def test_work_mem_of_every_connection_at_once_fits_a_quarter_of_the_share(
    memory: int, nodes: int, pgpools: int
) -> None:
    size = sizing(memory, nodes, pgpools)
    share_mb = memory // MEGABYTE // nodes
    at_least_1_mb = size.max_connections
    assert size.work_mem_mb * size.max_connections <= max(share_mb // 4, at_least_1_mb)


@given(memories, data_nodes, pools)
def test_every_number_is_one_that_the_servers_take(memory: int, nodes: int, pgpools: int) -> None:
    size = sizing(memory, nodes, pgpools)
    assert 8 <= size.num_init_children <= 100
    assert 1 <= size.work_mem_mb <= 64
    assert 1 <= size.wal_buffers_mb <= 16
    assert size.superuser_reserved < size.max_connections <= 1000


@given(memories, memories, data_nodes, pools)
def test_more_memory_never_gives_less(one: int, other: int, nodes: int, pgpools: int) -> None:
    small, big = sorted((one, other))
    less, more = sizing(small, nodes, pgpools), sizing(big, nodes, pgpools)
    assert less.num_init_children <= more.num_init_children
    assert less.max_connections <= more.max_connections
    assert less.shared_buffers_mb <= more.shared_buffers_mb


def test_half_a_gigabyte_for_two_servers_and_three_doors_is_small_but_works() -> None:
    size = sizing(512 * MEGABYTE, 2, 3)
    assert (size.num_init_children, size.max_connections) == (8, 57)
    assert (size.shared_buffers_mb, size.work_mem_mb) == (64, 1)


def test_a_big_host_with_one_server_is_used_and_stays_within_the_limits() -> None:
    size = sizing(256 * GIGABYTE, 1, 3)
    assert (size.num_init_children, size.max_connections) == (100, 500)
    assert size.shared_buffers_mb == 16 * 1024
    assert size.work_mem_mb == 64


# --- hosts of unequal memory ---------------------------------------------------------------------


def sizes(memory: dict[str, int], text: str = "") -> dict[str, Sizing]:
    """Of each node of a cluster over three hosts; node-2 is the witness."""
    settings = parse(f"MODE=ha\nWITNESS_NODE=node-2\n{text}", source="t", environ={})
    provision = Provision(settings, topology(settings), "pgha:test")
    return {n.name: node_sizing(provision, n, memory) for n in provision.topology.nodes}


def test_hosts_of_unequal_memory_get_one_max_connections_that_of_the_least_with_data() -> None:
    found = sizes({"node-0": 8 * GIGABYTE, "node-1": 4 * GIGABYTE, "node-2": GIGABYTE})
    least = sizing(4 * GIGABYTE, 1, 3)
    assert {size.max_connections for size in found.values()} == {least.max_connections}
    assert least.max_connections < sizing(8 * GIGABYTE, 1, 3).max_connections
    assert found["node-1"] == least
    assert found["node-0"].shared_buffers_mb == 2 * found["node-1"].shared_buffers_mb
    assert found["node-0"].work_mem_mb > found["node-1"].work_mem_mb


def test_memory_that_is_set_is_that_of_all_hosts() -> None:
    found = sizes({}, "MEMORY_MB=2048\n")
    assert set(found.values()) == {sizing(2 * GIGABYTE, 1, 3)}


@given(memories, memories, memories)
def test_the_pools_of_unequal_hosts_together_fit_the_one_max_connections(
    one: int, other: int, witness: int
) -> None:
    found = sizes({"node-0": one, "node-1": other, "node-2": witness})
    (connections,) = {size.max_connections for size in found.values()}
    assert connections == sizing(min(one, other), 1, 3).max_connections
    through_doors = sum(size.num_init_children * size.max_pool for size in found.values())
    reserved = found["node-0"].superuser_reserved
    assert connections - reserved - through_doors >= connections // 5 + 2 * len(found)
    for name, memory in (("node-0", one), ("node-1", other)):
        at_once = found[name].work_mem_mb * connections
        assert at_once <= max(memory // MEGABYTE // 4, connections)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (GIGABYTE, 0, 1), (GIGABYTE, 1, 0)])
def test_nothing_to_divide_is_an_error(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sizing(*arguments)
