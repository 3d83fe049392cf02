"""What `status` answers: the state, its verdict, the problems, the `--json` document. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgha.commands.lsn import show_lsn
from pgha.state import ClusterState, NodeState
from pgha.verdict import Problem, Verdict, judge


@dataclass(frozen=True)
class Status:
    """One look at a cluster."""

    state: ClusterState
    verdict: Verdict
    problems: tuple[Problem, ...]

    @property
    def exit_code(self) -> int:
        """0 healthy, 4 degraded, 5 down or split brain."""
        return self.verdict.exit_code

    def as_dict(self) -> dict[str, Any]:
        """The document of `status --json` (docs/tasks.md)."""
        primary = self.state.primary
        return {
            "cluster": self.state.topology.cluster,
            "verdict": self.verdict.value,
            "problems": [
                {"code": p.code, "node": p.node, "message": p.message, "remedy": p.remedy}
                for p in self.problems
            ],
            "primary": primary.name if primary else None,
            "nodes": [_node(self.state, node) for node in self.state.nodes],
        }


def status_of(state: ClusterState) -> Status:
    """Judge a state."""
    verdict, problems = judge(state)
    return Status(state, verdict, problems)


def _node(state: ClusterState, node: NodeState) -> dict[str, Any]:
    report = node.report
    postgres = report.postgres if report else None
    door = report.door if report else None
    agent = report.agent if report else None
    follower = state.follower(node.name)
    position = node.position if node.answers else None
    followers = postgres.followers if postgres else ()
    return {
        "name": node.name,
        "host": node.host,
        "role": node.role.value,
        "container": node.container.value,
        "image_id": node.image_id or None,
        "error": node.error or None,
        "postgres": {
            "running": bool(postgres and postgres.running),
            "in_recovery": postgres.in_recovery if postgres else None,
            "timeline": node.timeline if node.answers else None,
            "lsn": show_lsn(position) if position is not None else None,
            "lag_bytes": follower.lag_bytes if follower else None,
            "sync_state": follower.sync_state if follower else None,
            "replication": [
                {
                    "name": f.name,
                    "state": f.state,
                    "sync_state": f.sync_state,
                    "flush_lsn": show_lsn(f.flush_lsn),
                    "lag_bytes": f.lag_bytes,
                }
                for f in followers
            ],
        },
        "pgpool": {
            "running": bool(door and door.running),
            "backends": [
                {"name": b.name, "status": b.status, "role": b.role}
                for b in (door.backends if door else ())
            ],
        },
        "agent": {
            "running": bool(agent and agent.running and node.answers),
            "term": report.assignment.term if report else None,
            "leader": agent.leader if agent else None,
            "hears": list(agent.hears) if agent else [],
        },
    }
