"""What variables must be to one another. Pure: Settings in, clashes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import combinations

from pgha.commands.pgpool import MAX_PASSWORD_BYTES, password_problem
from pgha.kinds import nested
from pgha.variables import LocaleProvider, Mode, Settings, births, used_volumes

# A label of the DNS has 63 characters at most; `-frontend` comes behind the project's name.
_MOST_IN_A_SWARM = 63 - len("-frontend")


@dataclass(frozen=True)
class Clash:
    """Variables that do not go together; `expected` is the end of a sentence about all of them."""

    names: tuple[str, ...]
    expected: str


def clashes(settings: Settings) -> Iterator[Clash]:
    """Everything that does not go together, each pair once."""
    yield from _ports(settings)
    yield from _networks(settings)
    yield from _names(settings)
    yield from _network_names(settings)
    yield from _users(settings)
    yield from _passwords(settings)
    yield from _container_directories(settings)
    yield from _host_directories(settings)
    yield from _locale(settings)


def _ports(settings: Settings) -> Iterator[Clash]:
    if settings.pgport == settings.pgpool_port:
        yield Clash(("PGPORT", "PGPOOL_PORT"), "two different ports were expected")


def addresses(settings: Settings) -> dict[str, IPv4Address]:
    """The address of each node that there is, by its variable's name."""
    return {f"{each}_IP": getattr(settings, f"{each.lower()}_ip") for each in births(settings)}


def node_names(settings: Settings) -> dict[str, str]:
    """The name of each node that there is, by its variable's name."""
    return {f"{each}_NODE": getattr(settings, f"{each.lower()}_node") for each in births(settings)}


def _networks(settings: Settings) -> Iterator[Clash]:
    backend, frontend = settings.postgres_backend_subnet, settings.postgres_frontend_subnet
    if backend.overlaps(frontend):
        yield Clash(
            ("POSTGRES_BACKEND_SUBNET", "POSTGRES_FRONTEND_SUBNET"),
            "two subnets that do not overlap were expected",
        )
    found = addresses(settings)
    # Docker gives the first address after the network's own to the gateway.
    taken = (backend[0], backend[1], backend[-1])
    for name, address in found.items():
        if address not in backend:
            expected = "an address inside the subnet was expected"
        elif address in taken:
            expected = "an address other than the subnet's first two and its last was expected"
        else:
            continue
        yield Clash((name, "POSTGRES_BACKEND_SUBNET"), expected)
    for one, other in combinations(found, 2):
        if found[one] == found[other]:
            yield Clash((one, other), "two different addresses were expected")


def _names(settings: Settings) -> Iterator[Clash]:
    # Names are looked up without regard to case.
    found = {**node_names(settings), "PGPOOL_ALIAS": settings.pgpool_alias}
    for one, other in combinations(found, 2):
        if found[one].casefold() == found[other].casefold():
            yield Clash((one, other), "two different names were expected")


def _network_names(settings: Settings) -> Iterator[Clash]:
    """A Swarm wants its networks' names to be labels of the DNS; a bridge may have any."""
    project = settings.compose_project_name
    if settings.mode is Mode.HA and ("." in project or len(project) > _MOST_IN_A_SWARM):
        yield Clash(
            ("MODE", "COMPOSE_PROJECT_NAME"),
            f"a Swarm's name (without '.', {_MOST_IN_A_SWARM} characters at most) was expected",
        )


def _users(settings: Settings) -> Iterator[Clash]:
    if settings.postgres_user == settings.replication_user:
        yield Clash(("POSTGRES_USER", "REPLICATION_USER"), "two different users were expected")


def _passwords(settings: Settings) -> Iterator[Clash]:
    """Those that Pgpool-II is told as well."""
    for name in ("POSTGRES_PASSWORD", "REPLICATION_PASSWORD"):
        if password_problem(getattr(settings, name.lower())):
            yield Clash((name,), f"a password of {MAX_PASSWORD_BYTES} bytes at most was expected")


def _container_directories(settings: Settings) -> Iterator[Clash]:
    if nested(settings.pgdata, settings.cluster_archive):
        yield Clash(
            ("PGDATA", "CLUSTER_ARCHIVE"),
            "two different directories, neither inside the other, were expected",
        )


def _host_directories(settings: Settings) -> Iterator[Clash]:
    volumes = used_volumes(settings)
    hosts = list(volumes.values())
    if settings.mode is Mode.SINGLE:
        hosts = [{name: path for paths in hosts for name, path in paths.items()}]
    for paths in hosts:
        for one, other in combinations(paths, 2):
            if nested(paths[one], paths[other]):
                yield Clash(
                    (one, other),
                    "two different directories, neither inside the other, were expected",
                )


def _locale(settings: Settings) -> Iterator[Clash]:
    # PostgreSQL 17, "Locale Support", "Locale Providers": what the builtin provider has.
    # PG_UNICODE_FAST came with 18.
    if settings.postgres_locale_provider is not LocaleProvider.BUILTIN:
        return
    if settings.postgres_locale == "PG_UNICODE_FAST":
        if settings.postgres_version < 18:
            yield Clash(
                ("POSTGRES_LOCALE", "POSTGRES_VERSION"), "PostgreSQL 18 or newer was expected"
            )
    elif settings.postgres_locale not in ("C", "C.UTF-8"):
        yield Clash(
            ("POSTGRES_LOCALE", "POSTGRES_LOCALE_PROVIDER"),
            "C, C.UTF-8 or PG_UNICODE_FAST was expected, or the provider libc or icu",
        )
