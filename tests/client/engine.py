"""A Docker engine for tests: this machine's, or that of a lab's host, past its SSH server."""

from __future__ import annotations

import subprocess

from lab.lab import NOT_FROZEN, STALLS_S
from pgha.waiting import wait_until


class Engine:
    """Called with a docker command's words, it runs them and returns the output."""

    def __init__(self, *way: str) -> None:
        """way: the words with which a command comes to the engine's host; nothing: it is here."""
        self._docker = (*way, "docker")

    def words(self, *words: str) -> tuple[str, ...]:
        """The whole command, for who runs it himself."""
        return (*self._docker, *words)

    def __call__(
        self, *words: str, stdin: str = "", check: bool = True, timeout_s: float = 120.0
    ) -> str:
        """Raises AssertionError with what it complained about."""
        done = subprocess.run(
            self.words(*words), input=stdin, capture_output=True, text=True, timeout=timeout_s
        )
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout


docker = Engine()


def stall(container: str, engine: Engine = docker) -> None:
    """`docker pause`, told again where runc gave up: with control groups of version 1 it cannot
    always freeze a container in which processes begin meanwhile (`Lab.pause`)."""

    def frozen() -> bool:
        try:
            engine("pause", container)
        except AssertionError as complaint:
            if NOT_FROZEN not in str(complaint):
                raise
            return False
        return True

    wait_until(frozen, timeout_s=STALLS_S, what=f"{container} is frozen", pause_s=0.02)


def ship(image: str, engine: Engine) -> None:
    """An image of this machine's engine is on another one too."""
    if engine is docker or engine("image", "ls", "-q", image).strip():
        return
    saving = subprocess.Popen(docker.words("save", image), stdout=subprocess.PIPE)
    loading = subprocess.run(engine.words("load", "--quiet"), stdin=saving.stdout, timeout=600.0)
    assert saving.wait() == 0
    assert loading.returncode == 0
