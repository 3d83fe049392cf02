"""Which image the tests' containers are made of: what `inv build` makes in this checkout."""

from __future__ import annotations

import os

from pgha.image_inputs import image_name
from pgha.settings import parse

# `leftovers` knows by the number whether the run still lives.
PREFIX = os.environ.get("PGHA_TEST_PREFIX", f"pgha-test-{os.getpid()}")
VERSION = os.environ.get("PGHA_TEST_POSTGRES_VERSION", "17")
IMAGE = image_name(
    parse("", source="-", environ={"DOCKER_HUB_IMAGE": "false", "POSTGRES_VERSION": VERSION})
)
