"""`build` against a model of engines: one image on every host, whatever some of them do."""

from __future__ import annotations

import pytest

from pgha.building import build
from pgha.errors import Failed, PghaError, Refused
from pgha.execute import Listener, Outcome, StepDone
from pgha.image_inputs import BASE_LABEL, BUILD_LABEL, build_inputs, node_files
from pgha.settings import Settings, parse
from pgha.topology import topology
from tests.unit.engines import Engine, Image, Registry

NAMES = ("node-0", "node-1", "node-2")
NAME = "pgha/postgres-cluster:built-17"
BASE = Image("sha256:base")


def settings(**values: str) -> Settings:
    ours = {
        "MODE": "ha",
        "WITNESS_NODE": "node-2",
        "DOCKER_HUB_IMAGE": "false",
        "DOCKER_REGISTRY_HOST": "registry",
        **values,
    }
    return parse("", source="-", environ=ours)


def built(image_id: str = "sha256:built") -> Image:
    digest = build_inputs(settings(), node_files()).digest
    return Image(image_id, {BUILD_LABEL: digest, BASE_LABEL: BASE.id})


class Heard(Listener):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.finished_steps: list[str] = []
        self.sent: dict[str, int] = {}

    def finished(self, done: StepDone) -> None:
        self.finished_steps.append(done.step.title)

    def moved(self, name: str, sent_bytes: int, total_bytes: int | None) -> None:
        self.sent[name] = sent_bytes


class Site:
    """Three hosts, a registry, and one way to build on them."""

    def __init__(self, **values: str) -> None:
        self.settings = settings(**values)
        self.registry = Registry()
        self.engines = {name: Engine(name, self.registry) for name in NAMES}
        self.engines["node-0"].images["pgha-base:trixie"] = BASE
        self.heard = Heard()

    def host(self, node: str) -> Engine:
        return self.engines[node]

    def build(self, *, dry_run: bool = False) -> Outcome:
        nodes = topology(self.settings)
        return build(self, self.settings, nodes, self.heard, dry_run)

    def failure(self) -> PghaError:
        with pytest.raises(PghaError) as caught:
            self.build()
        return caught.value

    @property
    def ids(self) -> dict[str, str]:
        """Which image each host has under our name."""
        return {n: e.images[NAME].id for n, e in self.engines.items() if NAME in e.images}

    @property
    def ran(self) -> int:
        return sum(len(engine.ran) for engine in self.engines.values())


WAYS = pytest.mark.parametrize("way", ["registry", "ssh"])


@WAYS
def test_the_image_is_made_once_and_every_host_ends_with_the_same(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    outcome = site.build()
    assert site.ids == dict.fromkeys(NAMES, "sha256:made-on-node-0")
    assert sum("docker build" in line for e in site.engines.values() for line in e.ran) == 1
    assert set(site.heard.finished_steps) == set(outcome.plan.titles)


@WAYS
def test_a_second_run_asks_and_does_nothing(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    site.build()
    before = site.ran
    outcome = site.build()
    assert outcome.plan.title == f"The image {NAME} is up to date."
    assert site.ran == before


@WAYS
def test_only_the_host_that_lacks_it_gets_it(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    for name in ("node-0", "node-1"):
        site.engines[name].images[NAME] = built()
    site.build()
    assert site.ids == dict.fromkeys(NAMES, "sha256:built")
    assert site.engines["node-1"].ran == []
    assert not any("docker build" in line for e in site.engines.values() for line in e.ran)


@WAYS
def test_hosts_that_built_it_each_for_itself_get_that_of_the_first(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    for name in NAMES:
        site.engines[name].images[NAME] = built(f"sha256:{name}")
    site.build()
    assert set(site.ids.values()) == {"sha256:node-0"}


@WAYS
def test_a_host_that_has_the_image_by_another_name_gets_nothing(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    for name, tag in (("node-0", NAME), ("node-1", NAME), ("node-2", "another:1")):
        site.engines[name].images[tag] = built()
    outcome = site.build()
    assert outcome.plan.titles == ("Name it on node-2",)
    assert site.ids == dict.fromkeys(NAMES, "sha256:built")


def test_it_is_made_where_the_base_is() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh")
    site.engines["node-1"].images["pgha-base:trixie"] = site.engines["node-0"].images.popitem()[1]
    site.build()
    assert set(site.ids.values()) == {"sha256:made-on-node-1"}


@WAYS
def test_a_silent_host_holds_nobody_up_and_is_named_in_the_end(way: str) -> None:
    site = Site(IMAGE_DISTRIBUTION=way)
    site.engines["node-0"].silent = True
    site.engines["node-1"].images["pgha-base:trixie"] = BASE
    failure = site.failure()
    assert isinstance(failure, Failed)
    assert "node-0 did not answer" in failure.message
    assert f"The image {NAME} is on node-1 and node-2." in failure.details
    assert site.ids == dict.fromkeys(("node-1", "node-2"), "sha256:made-on-node-1")


def test_where_the_others_are_up_to_date_a_silent_host_is_a_refusal() -> None:
    site = Site()
    for name in ("node-0", "node-1"):
        site.engines[name].images[NAME] = built()
    site.engines["node-2"].silent = True
    failure = site.failure()
    assert isinstance(failure, Refused)
    assert (failure.exit_code, site.ran) == (3, 0)


def test_where_no_host_answers_nothing_is_changed() -> None:
    site = Site()
    for engine in site.engines.values():
        engine.silent = True
    failure = site.failure()
    assert isinstance(failure, Refused)
    assert "node-2 did not answer within 20 s." in failure.details


def test_an_engine_that_speaks_https_only_is_told_what_to_do() -> None:
    site = Site()
    for engine in site.engines.values():
        engine.insecure = []
    failure = site.failure()
    assert failure.message == "node-0 could not push to registry:5000."
    assert failure.next == "IMAGE_DISTRIBUTION=ssh inv build"
    told = " ".join(failure.details)
    assert '{"insecure-registries": ["registry:5000"]} in /etc/docker/daemon.json' in told
    assert "no luck" in failure.details


def test_one_host_that_cannot_pull_is_named_and_the_others_have_it() -> None:
    site = Site()
    site.engines["node-2"].insecure = []
    failure = site.failure()
    assert failure.message == "node-2 could not pull from registry:5000."
    assert site.ids == dict.fromkeys(("node-0", "node-1"), "sha256:made-on-node-0")


def test_a_registry_that_fails_though_http_is_allowed_is_to_be_looked_at() -> None:
    site = Site()
    site.engines["node-0"].broken = {"push"}
    told = " ".join(site.failure().details)
    assert "curl http://registry:5000/v2/" in told
    assert "daemon.json" not in told


def test_a_host_that_stalls_in_the_middle_is_given_up_and_the_other_has_it() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh", COMPOSE_HTTP_TIMEOUT="1")
    site.engines["node-1"].stalls_after = 2000
    failure = site.failure()
    assert failure.message == "node-1 took nothing for 1 s."
    assert site.ids == dict.fromkeys(("node-0", "node-2"), "sha256:made-on-node-0")
    assert "Load it on node-2" in site.heard.finished_steps


def test_a_host_whose_engine_does_not_take_it_says_why() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh")
    site.engines["node-2"].broken = {"load"}
    failure = site.failure()
    assert "On node-2 «docker image load" in failure.message
    assert "unexpected EOF" in failure.details


def test_a_source_that_breaks_off_leaves_nobody_with_half_an_image() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh")
    site.engines["node-0"].broken = {"save"}
    failure = site.failure()
    assert "On node-0" in failure.message
    assert set(site.ids) == {"node-0"}


def test_two_failures_are_one_sentence_and_a_line_each() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh")
    for name in ("node-1", "node-2"):
        site.engines[name].broken = {"load"}
    failure = site.failure()
    assert failure.message == f"The image {NAME} did not come to node-1 and node-2."
    assert sum("ended with status 1" in line for line in failure.details) == 2


def test_a_dry_run_shows_every_command_and_runs_none() -> None:
    site = Site(IMAGE_DISTRIBUTION="ssh")
    outcome = site.build(dry_run=True)
    assert site.ran == 0
    shown = [c.shown for step in outcome.plan.steps for c in step.commands()]
    assert shown[0].startswith("docker build")
    assert shown[1:] == [
        f"sh -c '{{ \"$@\" || kill $$; }} | gzip -1' sh docker image save {NAME}",
        "docker image load --quiet < stdin",
        "docker image load --quiet < stdin",
    ]


def test_where_a_base_is_made_the_plan_says_so() -> None:
    site = Site()
    site.engines["node-0"].images.clear()
    plan = site.build(dry_run=True).plan
    assert plan.notes == ("A base is made on this machine, for node-0.",)
    assert next(plan.steps).commands()[0].words[0] == "mmdebstrap"


def published() -> Site:
    site = Site(DOCKER_HUB_IMAGE="true")
    site.registry.images["pgha/postgres-cluster:latest"] = Image("sha256:published")
    return site


def test_a_published_image_is_pulled_on_every_host() -> None:
    site = published()
    site.build()
    tags = {n: e.images["pgha/postgres-cluster:latest"].id for n, e in site.engines.items()}
    assert tags == dict.fromkeys(NAMES, "sha256:published")


def test_a_tag_that_was_moved_between_two_pulls_is_said() -> None:
    site = published()
    other = Registry({"pgha/postgres-cluster:latest": Image("sha256:newer")})
    site.engines["node-2"].registry = other
    failure = site.failure()
    assert "different images" in failure.message
    assert "sha256:newer on node-2" in failure.details
    assert "sha256:published on node-0 and node-1" in failure.details


def test_a_host_without_the_published_image_names_the_variable() -> None:
    site = published()
    site.engines["node-1"].broken = {"pull"}
    failure = site.failure()
    assert "could not be pulled on node-1" in failure.message
    assert failure.next == "DOCKER_HUB_IMAGE=false inv build"


def test_machines_of_two_kinds_are_refused() -> None:
    site = Site()
    site.engines["node-1"].architecture = "aarch64"
    failure = site.failure()
    assert isinstance(failure, Refused)
    assert "aarch64" in failure.message


def test_on_one_machine_nothing_is_sent() -> None:
    site = Site(MODE="single", IMAGE_DISTRIBUTION="ssh")
    site.engines = dict.fromkeys(NAMES, site.engines["node-0"])
    outcome = site.build()
    assert outcome.plan.titles == (f"Make the image {NAME} on localhost",)
