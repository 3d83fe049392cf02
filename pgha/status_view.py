"""`status` for people: a table, a verdict, and each problem with the command that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgha.commands.lsn import show_lsn
from pgha.node.report import Door, Role
from pgha.state import ClusterState, ContainerStatus, NodeState
from pgha.verdict import Problem, Verdict

ROLE_STYLES = {
    Role.PRIMARY: "bold green",
    Role.STANDBY: "green",
    Role.WITNESS: "green",
    Role.FENCED: "yellow",
    Role.DOWN: "red",
    Role.UNKNOWN: "red",
}
VERDICT_STYLES = {Verdict.HEALTHY: "bold green", Verdict.DEGRADED: "bold yellow"}

# What was not observed; never zero.
UNKNOWN = "?"
GAP = 2


class StatusLike(Protocol):
    """What `Cluster.status` returns."""

    @property
    def state(self) -> ClusterState: ...

    @property
    def verdict(self) -> Verdict: ...

    @property
    def problems(self) -> Sequence[Problem]: ...

    @property
    def exit_code(self) -> int: ...

    def as_dict(self) -> Mapping[str, object]:
        """The document of `status --json`."""


def print_status(status: StatusLike, typed: Callable[[str], str], console: Console) -> None:
    """Print the whole answer. typed: a command as this operator types it."""
    for part in _parts(status, typed, console.width):
        # A command that is broken into two lines cannot be copied; the terminal itself may wrap it.
        console.print(part, soft_wrap=isinstance(part, _Command) or not console.is_terminal)


def status_view(status: StatusLike, typed: Callable[[str], str], *, columns: int) -> RenderableType:
    """The whole answer as one thing, to be drawn in place."""
    return Group(*_parts(status, typed, columns))


class _Command(Text):
    """A command to type."""


def _parts(
    status: StatusLike, typed: Callable[[str], str], columns: int
) -> Iterator[RenderableType]:
    cluster, hosts = status.state.topology.cluster, {n.host for n in status.state.nodes}
    on_one = len(hosts) == 1
    where = f" on {hosts.pop()}" if on_one else ""
    style = VERDICT_STYLES.get(status.verdict, "bold red")
    yield _table(status.state, columns, with_host=not on_one)
    yield Text()
    yield Text.assemble(f"{cluster}{where}: ", (status.verdict.value, style))
    for problem in status.problems:
        yield _indented(problem.message, 2)
        if problem.remedy:
            yield _Command(f"    → {typed(problem.remedy)}", style="bold")


def _indented(message: str, indent: int) -> RenderableType:
    return Padding(Text(message), (0, 0, 0, indent), expand=False)


def _table(state: ClusterState, columns: int, *, with_host: bool) -> Table:
    rows = [row(state, node) for node in state.nodes]
    # A node has its host's name, where each has a host of its own: it says nothing new.
    same = all(node.host == node.name for node in state.nodes)
    names, short = _fitting(rows, columns, with_host=with_host, host_says_more=not same)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(
            SHORT_HEADERS.get(name, name) if short else name,
            justify="right" if name in ("timeline", "lag") else "left",
            no_wrap=name != "host",
            overflow="fold",
        )
    for node, cells in zip(state.nodes, rows, strict=True):
        table.add_row(*(Text(cells[n], style=_style(n, node)) for n in names))
    return table


def _fitting(
    rows: Sequence[Mapping[str, str]], columns: int, *, with_host: bool, host_says_more: bool
) -> tuple[tuple[str, ...], bool]:
    """The headers that fit into the terminal, and whether they have to be the short ones."""
    names = tuple(name for name in HEADERS if with_host or name != "host")
    if _width(names, rows) > columns and not host_says_more:
        names = tuple(n for n in names if n != "host")
    short = _width(names, rows) > columns
    for name in FIRST_TO_GO:
        if short and _width(names, rows, short=True) > columns:
            names = tuple(n for n in names if n != name)
    return names, short


HEADERS = (
    "node",
    "host",
    "role",
    "container",
    "timeline",
    "LSN",
    "lag",
    "replication",
    "Pgpool-II",
)
# What a terminal that is too narrow goes without, in this order; `--json` always has it.
FIRST_TO_GO = ("LSN", "Pgpool-II", "container", "host", "timeline")
FOLDED_HOST = 8
SHORT_HEADERS = {"timeline": "TL", "replication": "repl.", "Pgpool-II": "pgpool"}


def row(state: ClusterState, node: NodeState) -> dict[str, str]:
    """A node's cells, by header. `?` is what was not observed, "" what it does not have."""
    follower = state.follower(node.name)
    primary = node.role is Role.PRIMARY
    unseen = "" if node.container is ContainerStatus.MISSING else UNKNOWN
    lag = "" if primary or follower is None else size_shown(follower.lag_bytes)
    if follower is None:
        replication = "" if primary or state.primary is None else "none"
    else:
        # Streaming is how it should be: then how it counts for the quorum is worth the room.
        streams = follower.state == "streaming"
        replication = follower.sync_state if streams else follower.state
    return {
        "node": node.name,
        "host": node.host,
        "role": node.role.value,
        "container": node.container.value,
        "timeline": unseen if node.timeline is None else str(node.timeline),
        "LSN": unseen if node.position is None else show_lsn(node.position),
        "lag": lag,
        "replication": replication,
        "Pgpool-II": _door_shown(node),
    }


def _door_shown(node: NodeState) -> str:
    if node.container in (ContainerStatus.STOPPED, ContainerStatus.MISSING):
        return ""
    door: Door | None = node.report.door if node.report else None
    if door is None:
        return UNKNOWN
    if not door.running:
        return "stopped"
    if door.primary is None:
        return "no primary"
    others = len(door.up) - 1
    return f"→ {door.primary}" + (f" +{others}" if others else "")


def size_shown(size_bytes: int) -> str:
    """Bytes in the unit that people read."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _style(name: str, node: NodeState) -> str:
    if name == "role":
        return ROLE_STYLES[node.role]
    if name == "container" and node.container is not ContainerStatus.RUNNING:
        return "red"
    return ""


def _width(
    names: tuple[str, ...], rows: Sequence[Mapping[str, str]], *, short: bool = False
) -> int:
    """The columns that the table takes. short: with short headers, and hosts folded."""
    widest = []
    for name in names:
        header = SHORT_HEADERS.get(name, name) if short else name
        width = max(len(header), *(len(cells[name]) for cells in rows))
        widest.append(min(width, FOLDED_HOST) if short and name == "host" else width)
    return sum(widest) + GAP * (len(names) - 1)
