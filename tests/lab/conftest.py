"""A lab of three hosts for the whole session, and what is asked of its hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.integration.image import PREFIX


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts, all well. Who breaks one heals it (`healed`)."""
    made = Lab(f"{PREFIX}-lab")
    try:
        made.up(3)
        yield made
    finally:
        made.down()


@pytest.fixture
def healed(lab: Lab) -> Iterator[Lab]:
    """The lab, for a test that breaks it: healed afterwards, however the test ends."""
    try:
        yield lab
    finally:
        lab.heal()
