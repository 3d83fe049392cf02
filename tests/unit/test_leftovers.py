"""Which of a machine's containers and networks the tests may sweep away."""

from __future__ import annotations

import pytest

from tests.integration.leftovers import of_a_dead_run


@pytest.mark.parametrize(
    ("name", "swept"),
    [
        ("pgha-test-7-bad-node-0", True),
        ("pgha-test-7", True),
        ("pgha-chaos-7-run-backend", True),
        ("pgha-test-7-lab-node-0", True),
        ("pgha-test-8-bad-node-0", False),
        ("pgha-test-78-bad-node-0", False),
        ("pgha-test-client", False),
        ("my-pgha-test-7-node-0", False),
        ("postgres-cluster-node-0", False),
    ],
)
def test_only_what_a_dead_run_of_tests_left_is_swept(name: str, swept: bool) -> None:
    """Run 7 is dead, 8 and 78 live."""
    assert of_a_dead_run(name, lambda process: process != 7) is swept
