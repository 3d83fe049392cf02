"""Which image the tests' containers are made of: what `inv build` makes in this checkout."""

from __future__ import annotations

import os

from pgha.image_inputs import image_name
from pgha.settings import parse

PREFIX = os.environ.get("PGHA_TEST_PREFIX", "pgha-test")
VERSION = os.environ.get("PGHA_TEST_POSTGRES_VERSION", "17")
IMAGE = image_name(
    parse("", source="-", environ={"DOCKER_HUB_IMAGE": "false", "POSTGRES_VERSION": VERSION})
)
