"""A Swarm of model hosts: what Docker does with the commands of `pgha.commands.swarm`."""

from __future__ import annotations

from pgha.commands.base import Command, Secret
from pgha.commands.swarm_answers import SwarmInfo, SwarmNode
from pgha.errors import CommandFailed

ADDRESSES = {"node-0": "192.168.56.10", "node-1": "192.168.56.11", "node-2": "192.168.56.12"}


def require(holds: bool, words: tuple[str, ...]) -> None:
    """What Docker refuses to do."""
    if not holds:
        raise CommandFailed(f"docker {' '.join(words[:2])} failed", status=1)


class Swarm:
    """None to begin with. exposed: roles whose token stood in a process list and is still good."""

    def __init__(self) -> None:
        self.managers: list[str] = []
        self.workers: list[str] = []
        self.networks: dict[str, str] = {}
        self.labels: dict[str, set[str]] = {}
        self.tokens = {"manager": 0, "worker": 0}
        self.exposed: set[str] = set()

    @property
    def members(self) -> list[str]:
        return [*self.managers, *self.workers]

    def info(self, host: str) -> SwarmInfo:
        if host not in self.members:
            return SwarmInfo()
        return SwarmInfo(
            "active",
            manager=host in self.managers,
            managers=len(self.managers) if host in self.managers else 0,
            node=f"id-{host}",
            address=ADDRESSES[host],
            remotes={f"id-{m}": f"{ADDRESSES[m]}:2377" for m in self.managers},
        )

    def listed(self, host: str) -> tuple[SwarmNode, ...]:
        if host not in self.managers:
            return ()
        return tuple(
            SwarmNode(f"id-{m}", m, "Ready", "Active", "Reachable" if m in self.managers else "")
            for m in self.members
        )

    def run(self, host: str, command: Command) -> str:
        """What it prints. Raises CommandFailed."""
        words = command.words[command.words.index("docker") + 1 :]
        fed = command.stdin.reveal() if isinstance(command.stdin, Secret) else ""
        match words:
            case ("swarm", "init", *_):
                require(host not in self.members, words)
                self.managers.append(host)
            case ("swarm", "join-token", "--quiet", role):
                require(host in self.managers, words)
                return f"SWMTKN {role} {self.tokens[role]}\n"
            case ("swarm", "join-token", "--rotate", "--quiet", role):
                require(host in self.managers, words)
                self.tokens[role] += 1
                self.exposed.discard(role)
            case ("swarm", "join", *_, remote, "--token"):
                role = fed.split()[1]
                remotes = [f"{ADDRESSES[m]}:2377" for m in self.managers]
                good = fed.strip() == f"SWMTKN {role} {self.tokens[role]}"
                require(good and remote in remotes and host not in self.members, words)
                (self.managers if role == "manager" else self.workers).append(host)
                self.exposed.add(role)
            case ("info", *_):
                return f"id-{host}\n"
            case ("node", "update", *labels):
                named = fed.strip().removeprefix("id-")
                require(host in self.managers and named in self.members, words)
                self.labels[named] = set(labels[1::2])
            case ("network", "create", *_):
                name, subnet = words[-1], words[words.index("--subnet") + 1]
                require(host in self.managers and name not in self.networks, words)
                self.networks[name] = subnet
            case _:
                raise AssertionError(words)
        return ""

    def fault(self, hosts: tuple[str, ...]) -> str:
        """What is missing in the Swarm that `init` promises for three hosts; "" for nothing."""
        if sorted(self.managers) != sorted(hosts) or len(self.networks) != 2:
            return f"managers={self.managers} networks={self.networks}"
        strange = [h for h in hosts if len(self.labels.get(h, ())) != 2]
        return f"labels={self.labels}" if strange else ""
