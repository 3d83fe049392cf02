"""The wheel has everything that a checkout has, and works where there is no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("pgha", "templates", "env", "setup.cfg", "pyproject.toml", "README.md")


def run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: setuptools writes beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    for part in filter(lambda name: (ROOT / name).exists(), PARTS):
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / part, source)
    # Somebody's own: his passwords must not travel.
    (source / "env" / "mine.env").write_text("POSTGRES_PASSWORD=mine\n")
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", "dist", ".", cwd=source)
    (built,) = (source / "dist").glob("pgha-*.whl")
    return built


def test_the_wheel_has_every_template_every_environment_and_the_types_marker(
    wheel: Path, source: Path
) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"pgha/templates/{path.name}" for path in (source / "templates").iterdir()}
    wanted |= {"pgha/env/default.env", "pgha/env/ha.env"}
    assert "pgha/templates/Dockerfile.j2" in wanted
    assert wanted | {"pgha/py.typed"} <= names
    assert "pgha/env/mine.env" not in names


def test_the_wheel_has_every_module(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(source).as_posix() for path in (source / "pgha").rglob("*.py")}
    assert modules <= names


def test_an_installed_wheel_mounts_in_anybodys_tasks_without_a_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    run(python, "-m", "pip", "install", "--quiet", str(wheel), cwd=tmp_path)
    (tmp_path / "tasks.py").write_text("from pgha.tasks import namespace\n")

    listed = run(str(tmp_path / "venv/bin/inv"), "--list", cwd=tmp_path)
    assert {"failover", "init", "status"} <= set(listed.split())

    script = (
        "from pgha.settings import parse\n"
        "from pgha.image_inputs import build_inputs, node_files\n"
        "settings = parse('', source='-', environ={'DOCKER_HUB_IMAGE': 'false'})\n"
        "print(sorted(node_files())[0], build_inputs(settings, node_files()).tag)\n"
    )
    assert run(python, "-c", script, cwd=tmp_path) == (
        "commands/__init__.py pgha/postgres-cluster:built-17\n"
    )
