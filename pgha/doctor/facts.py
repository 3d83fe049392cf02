"""Everything that one look found, as values; `examine` gathers it, `checks` judges it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgha.commands.docker_answers import EngineInfo
from pgha.doctor.drift import Held
from pgha.doctor.vitals import Vitals
from pgha.problem import Problem


@dataclass(frozen=True)
class Failure:
    """Why something was not found out, and the command that helps."""

    message: str
    next: str = ""


@dataclass(frozen=True)
class HostFacts:
    """One host. reached: or why not; then nothing else is known. offset_s: its clock less ours,
    known to uncertain_s on either side.

    image_id: of the tag that nodes are made of; "" where the engine has none.
    units: the nodes here whose container a systemd unit starts.
    """

    name: str
    reached: Failure | None = None
    vitals: Vitals | Failure | None = None
    offset_s: float = 0.0
    uncertain_s: float = 0.0
    engine: EngineInfo | Failure | None = None
    image_id: str = ""
    units: frozenset[str] = frozenset()


@dataclass(frozen=True)
class NodeFacts:
    """One node. exists: it has a container; None: that could not be seen.

    held: its files; a Failure: they could not be read; None: it does not run. wanted: the digest
    that each file should have.
    """

    name: str
    host: str
    exists: bool | None = None
    held: Held | Failure | None = None
    wanted: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Facts:
    """All of it. now_s: when, by our clock. verdict: of `status`; problem, remedy: its first.

    drifted: containers of another image, as `status` tells of them.
    networks: what is in the way of networks over all hosts, in sentences; None: nobody has looked.
    """

    cluster: str
    image: str
    single: bool
    now_s: float
    hosts: tuple[HostFacts, ...]
    nodes: tuple[NodeFacts, ...]
    verdict: str = ""
    problem: str = ""
    remedy: str = ""
    drifted: tuple[Problem, ...] = ()
    networks: tuple[str, ...] | Failure | None = None

    @property
    def exists(self) -> bool:
        """Whether any node has a container, or may have one."""
        return any(node.exists is not False for node in self.nodes)
