"""README and docs/ are true: their commands run, and what they mention exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgha.node.verbs import RAW, VERBS
from pgha.settings import VARIABLES
from pgha.tasks import namespace
from tests.integration.real_cluster import INVOKE, ROOT, RealCluster, environment

DOCUMENTS = tuple(
    sorted((ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")))
)

# test_packaging.py installs the package; bin/demo and bin/test are run by whoever runs these.
SET_UP = ("python3 -m venv .venv && .venv/bin/pip install -e .", ". .venv/bin/activate")

# Flags before the command's name, which docs/tasks.md speaks of too.
INVOKES_OWN = ("--help", "--list", "--list-depth", "--dry", "-e", "-R")

# Variables that the documents speak of and no environment file has.
FOREIGN_VARIABLES = {
    "PGHA_ENV",
    "NO_COLOR",
    "PGHA_CHAOS_KEEP",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "CONFIG_INET_ESP",
}
# Benchmarks that make a cluster of their own, since they break it.
ON_THEIR_OWN = ("bench.faults",)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def commands(self) -> tuple[str, ...]:
        """A shell block's lines, their comments taken off."""
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in self.text.splitlines())
        return tuple(line for line in lines if line)


def blocks(language: str) -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            if match[1] == language:
                found.append(Block(document, line, match[1], match[2]))
    return found


def spans() -> Iterator[tuple[Path, str, str]]:
    """Every `code` outside of blocks: the document, the code, and the whole line around it."""
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        for line in text.splitlines():
            for code in re.findall(r"`([^`]+)`", line):
                yield document, code, line


def mentioned(program: str) -> list[str]:
    """Every command of a program in spans and shell blocks, once."""
    lines = [code for _, code, _ in spans()]
    lines += [command for block in blocks("sh") for command in block.commands]
    return sorted({line for line in lines if line.startswith(f"{program} ")})


def flags_of(task: str) -> set[str]:
    """All flags that a task takes, long and short."""
    names = (name for a in namespace[task].get_arguments() for name in a.names)
    return {f"-{name}" if len(name) == 1 else f"--{name}" for name in names} | {"--help"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    made = RealCluster("docs", tmp_path_factory.mktemp("docs"))
    try:
        yield made
    finally:
        made.tear_down()


def test_the_commands_run_in_the_order_in_which_one_reads_them(cluster: RealCluster) -> None:
    # Those about the lab are tried on a lab.
    here = (block for block in blocks("sh") if "bin/lab up" not in block.text)
    for block in here:
        for command in block.commands:
            program, *words = command.split()
            if program == "inv":
                cluster.inv(*words)
            else:
                assert command in SET_UP or program.startswith("bin/"), (
                    f"{block}: nobody runs {command!r}"
                )
    assert cluster.status()["verdict"] == "healthy"


def test_a_python_block_runs_as_it_stands(cluster: RealCluster, tmp_path: Path) -> None:
    if not cluster.status()["primary"]:
        cluster.inv("init")
    cluster.inv("failback")
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "prod.env").write_text(cluster.env.read_text())
    for block in blocks("python"):
        source = block.text
        compile(source, str(block), "exec")
        name = "fabfile.py" if "namespace" in source else "script.py"
        (tmp_path / name).write_text(source)
        words = ("-m", "fabric", "--list") if name == "fabfile.py" else (name,)
        done = subprocess.run(
            (sys.executable, *words),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment({"PYTHONPATH": str(ROOT)}),
        )
        assert (done.returncode, done.stderr) == (0, ""), block
        assert "pgha.failover" in done.stdout or done.stdout.startswith("node-1 "), block


@pytest.mark.parametrize("command", mentioned("inv") + mentioned("pgha"))
def test_a_mentioned_command_exists_with_its_flags(command: str) -> None:
    program, *words = command.split()
    tasks = [word for word in words if word in namespace.task_names]
    if words[0].startswith("-"):
        # Invoke's own: `inv --help failover`, `inv --list`.
        assert words[0] in INVOKES_OWN, command
        return
    if words[0] not in namespace.task_names:
        # A task of somebody else's, in a sentence about mounting.
        assert words[0].rpartition(".")[2] in ("…", *namespace.task_names), command
        return
    flags = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    known = set().union(*(flags_of(task) for task in tasks))
    assert set(flags) <= known, f"{program}: {command}"


def test_a_flag_in_a_command_s_row_is_that_command_s() -> None:
    rows = 0
    for document, code, line in spans():
        row = re.match(r"\| `inv ([\w.-]+)", line)
        if row is None or not re.match(r"--?[a-z]", code):
            continue
        rows += 1
        assert code.split()[0] in flags_of(row[1]), f"{document.name}: {row[1]} {code}"
    assert rows > 3


@pytest.mark.parametrize("task", sorted(namespace.task_names))
def test_help_explains_every_flag(task: str) -> None:
    done = subprocess.run(
        (*INVOKE, "--help", task), cwd=ROOT, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0
    for flag in flags_of(task) - {"--help"}:
        assert re.search(rf"{flag}\b", done.stdout), f"{task} {flag}"
    # Each flag's line goes on with words about it.
    for line in re.findall(r"^ +-.*$", done.stdout, re.MULTILINE):
        assert re.search(r"\S {2,}\S", line) or len(line) > 30, line


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for task in namespace.task_names:
        assert f"`inv {task}" in readme, task


def test_a_mentioned_benchmark_answers_to_help() -> None:
    texts = "\n".join(document.read_text() for document in DOCUMENTS)
    modules = sorted(set(re.findall(r"python -m (bench\.\w+)", texts)))
    assert modules
    for module in modules:
        done = subprocess.run(
            (sys.executable, "-m", module, "--help"), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{module}: {done.stderr}"
        assert ("-e" in done.stdout) is (module not in ON_THEIR_OWN), module


def test_a_mentioned_program_is_there() -> None:
    texts = "\n".join(document.read_text() for document in DOCUMENTS)
    programs = sorted(set(re.findall(r"(?<![\w/.])(bin/[\w-]+)(?: (--[a-z]+))?", texts)))
    assert programs
    for program, flag in programs:
        path = ROOT / program
        assert path.stat().st_mode & 0o111, program
        assert flag in path.read_text(), f"{program} {flag}"


def test_a_mentioned_variable_exists() -> None:
    known = {variable.name for variable in VARIABLES} | FOREIGN_VARIABLES
    for document, code, _ in spans():
        for name in re.findall(r"^\*?(\w+)(?:=\S*)?$", code):
            if not re.fullmatch(r"_?[A-Z]+(_[A-Z0-9]+)+", name):
                continue
            fits = {each for each in known if each == name or each.endswith(name)}
            exact = name in known if not code.startswith("*") else bool(fits)
            assert exact, f"{document.name}: {code}"


def test_the_table_of_verbs_has_every_verb() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| verb |")[1].split("\n\n")[0]
    cells = (line.split("|")[1] for line in table.splitlines()[2:])
    named = {span.split()[0] for cell in cells for span in re.findall(r"`([^`]+)`", cell)}
    assert named == {*VERBS, *RAW}


def test_a_link_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
