"""`pgha-node VERB key=value … [< JSON]`: one verb, one JSON answer; exit 0 done, 3 refused, 1 not.

`pgha-node session` reads {"verb": …, "args": {…}} a line and answers a line each, until the end of
its input: several verbs cost one start of Python.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import Any

from pgha.node import verbs
from pgha.node.errors import Failed, VerbError

STDIN_S = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words say; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.umask(0o077)
    if not words or words[0].startswith("-"):
        print("usage: pgha-node VERB key=value … [< JSON]", file=sys.stderr)
        return 1
    if words[0] == "session":
        return _session()
    try:
        values = {**arguments(words[1:]), **_stdin_values()}
    except VerbError as error:
        return _say(1, {"ok": False, "code": error.code, "error": error.message})
    raw = verbs.RAW.get(words[0])
    if raw is None:
        return _say(*verbs.run(words[0], values))
    try:
        sys.stdout.write(raw(verbs.Args(values)))
    except VerbError as error:
        answer = {"ok": False, "code": error.code, "error": error.message}
        # hand_out's reader takes standard output for WAL; its first line says what is wrong.
        return _say(error.exit_code, answer)
    return 0


def arguments(words: Sequence[str]) -> dict[str, str]:
    """`key=value` words → their values. Raises Failed("usage")."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failed("usage", f"{word!r} is no key=value.")
        found[key] = value
    return found


def _stdin_values() -> dict[str, Any]:
    """More arguments from standard input, where something is fed to it: secrets come that way."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return {}
    fed = stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
    # Where nothing comes and nobody closes it, it is not waited for: the verb says what it lacks.
    text = sys.stdin.read() if fed and select.select([0], [], [], STDIN_S)[0] else ""
    if not text.strip():
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise Failed("usage", "Standard input holds no JSON.") from error
    if not isinstance(values, dict):
        raise Failed("usage", "Standard input holds no JSON object.")
    return values


def _session() -> int:
    for line in sys.stdin:
        try:
            request = json.loads(line)
            verb, values = str(request["verb"]), dict(request.get("args") or {})
        except (ValueError, KeyError, TypeError):
            _say(1, {"ok": False, "code": "usage", "error": "A line is no request."})
            continue
        code, answer = verbs.run(verb, values)
        _say(code, {**answer, "exit": code})
    return 0


def _say(code: int, answer: dict[str, Any]) -> int:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
