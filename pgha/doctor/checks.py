"""What the facts come to, check by check. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

from pgha.doctor.drift import KEYS, Held, drifted
from pgha.doctor.facts import Facts, Failure, HostFacts, NodeFacts
from pgha.doctor.findings import Checkup, Finding, fine, warning, wrong
from pgha.doctor.vitals import Disk, Vitals
from pgha.drift import short_id
from pgha.verdict import DISK_WARNING_BYTES, DISK_WARNING_SHARE

# Clocks decide nothing here (docs/safety.md); logs and histories of two hosts are read side by
# side, and so are certificates' dates.
CLOCK_WARNING_S = 1.0
# How long a key is used before people renew it; NIST SP 800-57 has one to two years.
KEY_WARNING_DAYS = 730
DAY_S = 86_400
MEGABYTE = 1024 * 1024
# What stat(1) calls file systems that lose everything, and those that PostgreSQL has trouble with.
_VOLATILE = frozenset({"tmpfs", "ramfs"})
_DOUBTFUL = frozenset({"nfs", "cifs", "smb2", "fuseblk", "fuse", "overlayfs", "v9fs"})
# PostgreSQL 17, "Managing Kernel Resources", "Linux Memory Overcommit".
_ALWAYS = 1
_SWAPPINESS = 10


def checkup(facts: Facts) -> Checkup:
    """Every finding: hosts first, then what lies between them, then nodes."""
    return Checkup(
        facts.cluster,
        (
            *(finding for host in facts.hosts for finding in _host(facts, host)),
            *_between(facts),
            *(warning("image", p.node or "", p.message, p.remedy) for p in facts.drifted),
            *(finding for node in facts.nodes for finding in _node(facts, node)),
            *_cluster(facts),
        ),
    )


# --- one host ------------------------------------------------------------------------------------


def _host(facts: Facts, host: HostFacts) -> Iterator[Finding]:
    if host.reached is not None:
        yield wrong("reach", host.name, host.reached.message, host.reached.next or "inv doctor")
        return
    if isinstance(host.vitals, Vitals):
        if not facts.single:
            yield fine("reach", host.name, f"It answers, as user {host.vitals.user}.")
        yield from _memory(host.name, host.vitals)
        yield from _disks(host.name, host.vitals)
    elif host.vitals is not None:
        yield wrong("reach", host.name, host.vitals.message, host.vitals.next)
    yield from _docker(host)
    if host.engine is not None and not isinstance(host.engine, Failure) and not host.image_id:
        yield wrong("image", host.name, f"There is no image {facts.image}.", "inv build")


def _docker(host: HostFacts) -> Iterator[Finding]:
    engine = host.engine
    if engine is None:
        return
    if isinstance(engine, Failure):
        yield wrong("docker", host.name, engine.message, engine.next or "docker info")
        return
    told = f"Docker {engine.version}, {engine.storage_driver}"
    if engine.too_old:
        message = f"{told}: older than {engine.too_old}, before which nothing was tried."
        remedy = f"Install Docker {engine.too_old} or later there."
        yield wrong("docker", host.name, message, remedy)
    elif engine.storage_driver == "vfs":
        message = f"{told}: every container is a copy of its whole image."
        yield warning("docker", host.name, message, "Have Docker use overlay2 there.")
    else:
        yield fine("docker", host.name, f"{told}.")


def _memory(name: str, vitals: Vitals) -> Iterator[Finding]:
    total, free = (each // MEGABYTE for each in (vitals.memory_bytes, vitals.available_bytes))
    if vitals.overcommit == _ALWAYS:
        yield warning(
            "memory",
            name,
            "vm.overcommit_memory is 1: nothing is refused until the kernel kills somebody.",
            "sysctl -w vm.overcommit_memory=2 (or 0), and in /etc/sysctl.d",
        )
    if vitals.swap_bytes and vitals.swappiness > _SWAPPINESS:
        yield warning(
            "memory",
            name,
            f"There is swap, and vm.swappiness is {vitals.swappiness}: a database that is swapped "
            "out answers late, and looks dead.",
            f"sysctl -w vm.swappiness={_SWAPPINESS}, and in /etc/sysctl.d",
        )
    yield fine("memory", name, f"{total} MB, {free} MB of them available.")


def _disks(name: str, vitals: Vitals) -> Iterator[Finding]:
    seen: set[tuple[str, int]] = set()
    for disk in vitals.disks:
        # Directories of one file system say the same thing once.
        if (disk.kind, disk.total_bytes) not in seen:
            seen.add((disk.kind, disk.total_bytes))
            yield _disk(name, disk)


def _disk(name: str, disk: Disk) -> Finding:
    told = f"{disk.path}: {disk.kind}, {disk.free_bytes // MEGABYTE} MB free"
    if disk.kind in _VOLATILE:
        lost = f"{told}: it is gone when the host restarts."
        return wrong("disk", name, lost, "Name a directory on a disk in *_VOLUME_*.")
    low = disk.free_bytes < DISK_WARNING_SHARE * disk.total_bytes
    if low or disk.free_bytes < DISK_WARNING_BYTES:
        return warning("disk", name, f"{told}: little is left.", "Make room, or give it more.")
    if disk.kind in _DOUBTFUL:
        message = f"{told}: whether what is synced there is safe is for you to know."
        return warning("disk", name, message, "Prefer ext4 or xfs on a disk of the host's own.")
    return fine("disk", name, f"{told}.")


# --- between hosts -------------------------------------------------------------------------------


def _between(facts: Facts) -> Iterator[Finding]:
    yield from _clocks(facts)
    yield from _images(facts)
    yield from _networks(facts)


def _clocks(facts: Facts) -> Iterator[Finding]:
    told = [h for h in facts.hosts if isinstance(h.vitals, Vitals)]
    for host in told:
        assert isinstance(host.vitals, Vitals)
        if host.vitals.synchronised is False:
            yield warning(
                "clock",
                host.name,
                "Its clock is not synchronised.",
                "timedatectl set-ntp true (or chrony)",
            )
    if len(told) < 2:
        return
    middle = statistics.median(h.offset_s for h in told)
    apart = [(h, h.offset_s - middle) for h in told]
    far = [(h, s) for h, s in apart if abs(s) - h.uncertain_s > CLOCK_WARNING_S]
    for host, seconds in far:
        how = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the others'"
        yield warning("clock", host.name, f"Its clock is {how}.", "timedatectl status")
    if not far:
        most = max(abs(s) + h.uncertain_s for h, s in apart)
        yield fine("clock", "", f"The hosts' clocks differ by {most:.2f} s at most.")


def _images(facts: Facts) -> Iterator[Finding]:
    ids = {h.name: h.image_id for h in facts.hosts if h.image_id}
    if len(set(ids.values())) > 1:
        told = ", ".join(f"{short_id(each)} on {name}" for name, each in ids.items())
        yield wrong("image", "", f"The hosts have different images: {told}.", "inv build")
    elif ids:
        each = next(iter(ids.values()))
        where = "" if facts.single else " on every host that has it"
        yield fine("image", "", f"{facts.image} is {short_id(each)}{where}.")


def _networks(facts: Facts) -> Iterator[Finding]:
    if facts.networks is None:
        return
    if isinstance(facts.networks, Failure):
        yield wrong("networks", "", facts.networks.message, facts.networks.next or "inv doctor")
        return
    for sentence in facts.networks:
        yield wrong("networks", "", sentence, "See docs/networks.md.")
    if not facts.networks:
        message = "Swarm is in order, or can be made, and the hosts reach one another at its ports."
        yield fine("networks", "", message)


# --- nodes ---------------------------------------------------------------------------------------


def _node(facts: Facts, node: NodeFacts) -> Iterator[Finding]:
    host = next(h for h in facts.hosts if h.name == node.host)
    if not node.exists:
        return
    if isinstance(host.vitals, Vitals) and host.vitals.systemd and node.name not in host.units:
        message = f"Nothing starts it when {host.name} starts."
        yield warning("units", node.name, message, "inv units")
    if isinstance(node.held, Failure):
        yield wrong("configuration", node.name, node.held.message, node.held.next or "inv status")
    elif node.held is not None:
        yield _configuration(node.name, node.held, node.wanted or {})
        yield from _keys(facts, node.name, node.held)


def _configuration(name: str, held: Held, wanted: Mapping[str, str]) -> Finding:
    files = drifted(held, wanted)
    if not files:
        return fine("configuration", name, "Its files are what the settings make of them.")
    return warning(
        "configuration",
        name,
        f"These files are not what the settings make of them: {', '.join(files)}.",
        "Set what `init` was told, or change the files by hand (docs/doctor.md).",
    )


def _keys(facts: Facts, name: str, held: Held) -> Iterator[Finding]:
    written = [held.written_s[path] for path in KEYS if path in held.written_s]
    missing = [path for path in KEYS if path not in held.written_s]
    if missing:
        message = f"These keys are not there: {', '.join(missing)}."
        yield wrong("keys", name, message, "inv status")
    if not written:
        return
    days = int((facts.now_s - min(written)) // DAY_S)
    if days > KEY_WARNING_DAYS:
        message = f"Its oldest key is {days} days old."
        yield warning("keys", name, message, "Plan to renew it (docs/doctor.md).")
    else:
        yield fine("keys", name, f"Its oldest key is {days} days old.")


def _cluster(facts: Facts) -> Iterator[Finding]:
    if not facts.exists:
        again = "inv start, where its directories are still there"
        yield fine("cluster", "", f"There is none yet: inv init makes it ({again}).")
    elif facts.verdict == "healthy":
        yield fine("cluster", "", "It is healthy.")
    elif facts.verdict == "degraded":
        yield warning("cluster", "", f"It is degraded: {facts.problem}", facts.remedy)
    elif facts.verdict:
        yield wrong("cluster", "", f"It is {facts.verdict}: {facts.problem}", facts.remedy)
