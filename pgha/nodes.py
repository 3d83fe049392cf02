"""Asks the nodes' verbs: one kept session a node, a command of its own where there is none."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pgha.at_once import at_once
from pgha.commands.base import Command, Secret
from pgha.errors import CommandFailed, Failed, Refused, Unreachable
from pgha.hosts import Observer, unobserved
from pgha.limits import HOLD_S
from pgha.node.report import Report, from_json
from pgha.remote import Reach, Session
from pgha.waiting import Deadline


@dataclass(frozen=True)
class Answer:
    """What a verb answered: what it did, in a sentence, and what is true on the node afterwards."""

    did: str
    report: Report


class Nodes:
    """The verbs of all nodes of a cluster. Thread-safe; one verb at a time on a node's session.

    observer: told about each verb as the command that it is, secrets masked.
    """

    def __init__(self, reach: Reach, observer: Observer = unobserved) -> None:
        self._reach = reach
        self._observer = observer
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._holding = ""

    @contextlib.contextmanager
    def held(self, reason: str) -> Iterator[None]:
        """Meanwhile the nodes' agents leave the cluster to us: those that answer now, and those
        that are reached later. A node that does not answer is held by nobody."""
        self._holding = reason
        self._tell_all("hold", {"reason": reason})
        try:
            yield
        finally:
            self._holding = ""
            self._tell_all("release", {})

    def _tell_all(self, verb: str, args: Mapping[str, str]) -> None:
        """To every session that there is; one that is broken holds nobody any more.

        Not by this thread: a signal that came while it was inside Paramiko leaves a lock there that
        nobody gives back, and the command would never end.
        """
        line = json.dumps({"verb": verb, "args": dict(args)})

        def job(node: str, session: Session) -> Callable[[], str]:
            def tell() -> str:
                with self._lock_of(node):
                    return session.ask(line, timeout_s=HOLD_S)

            return tell

        jobs = {node: job(node, session) for node, session in tuple(self._sessions.items())}
        at_once(jobs, timeout_s=HOLD_S + 1.0)

    def ask(
        self,
        node: str,
        verb: str,
        args: Mapping[str, str],
        *,
        timeout_s: float,
        secrets: Mapping[str, Secret] | None = None,
    ) -> Answer:
        """Call a verb on a node.

        Raises Unreachable where the node did not answer in time (what was asked may have been
        done), VerbError where the verb refused or failed.
        """
        hidden = {key: value.reveal() for key, value in (secrets or {}).items()}
        request = {"verb": verb, "args": {**args, **hidden}}
        with self._lock_of(node):
            words = (f"{key}={value}" for key, value in args.items())
            self._observer(node, Command(("pgha-node", verb, *words), _masked(secrets)), None)
            status, line = None, self._through_session(node, request, timeout_s)
            if line is None:
                status, line = self._by_command(node, verb, args, secrets, timeout_s)
        return _understood(node, verb, line, status)

    def close(self) -> None:
        # Where we were interrupted, threads that nobody waits for may still be opening sessions.
        sessions, self._sessions = self._sessions, {}
        for session in tuple(sessions.values()):
            session.close()

    def _lock_of(self, node: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(node, threading.Lock())

    def _through_session(
        self, node: str, request: Mapping[str, object], timeout_s: float
    ) -> str | None:
        """The answer's line; None where there is no session to be had (nothing was asked then)."""
        session, limit = self._sessions.get(node), Deadline(timeout_s)
        if session is not None:
            try:
                return session.ask(json.dumps(request), timeout_s=limit.left_s)
            except Unreachable:
                self._sessions.pop(node, None)
                # Its container may have been started again meanwhile. A look is had by a new
                # session; anything else may have been done.
                if request["verb"] != "probe" or limit.passed:
                    raise
        try:
            session = self._reach.container(node).session(("pgha-node", "session"))
        except Unreachable:
            return None
        try:
            if self._holding:
                holding = {"verb": "hold", "args": {"reason": self._holding}}
                session.ask(json.dumps(holding), timeout_s=HOLD_S)
            line = session.ask(json.dumps(request), timeout_s=limit.left_s)
        except Unreachable:
            session.close()
            raise
        self._sessions[node] = session
        return line

    def _by_command(
        self,
        node: str,
        verb: str,
        args: Mapping[str, str],
        secrets: Mapping[str, Secret] | None,
        timeout_s: float,
    ) -> tuple[int, str]:
        words = ("pgha-node", verb, *(f"{key}={value}" for key, value in args.items()))
        container = self._reach.container(node)
        command = Command(words, _masked(secrets), "postgres")
        result = container.run(command, timeout_s=timeout_s, check=False)
        if not result.stdout.strip():
            raise CommandFailed(
                f"{node}: `pgha-node {verb}` ended with {result.status} and told nothing.",
                status=result.status,
                stderr=result.stderr,
                details=tuple(result.stderr.strip().splitlines()[-3:]),
            )
        return result.status, result.stdout


def _masked(secrets: Mapping[str, Secret] | None) -> Secret | None:
    """Secrets as a command's standard input, which nobody is shown."""
    if not secrets:
        return None
    return Secret(json.dumps({key: value.reveal() for key, value in secrets.items()}))


def _understood(node: str, verb: str, line: str, status: int | None) -> Answer:
    """status: the command's own; None: a session's line says it."""
    try:
        document = json.loads(line)
        report = from_json(document["report"]) if document.get("report") is not None else None
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            f"{node}: `pgha-node {verb}` answered something else than a report."
        ) from error
    if document.get("ok") and report is not None:
        return Answer(str(document.get("did", "")), report)
    refused = (document.get("exit") if status is None else status) == Refused.exit_code
    raise VerbError(node, document, report, refused=refused)


# What helps when a verb refuses, by its code.
NEXT = {
    "diverged": "inv recovery --node {node}",
    "cannot-rewind": "inv recovery --node {node} --force",
    "wal-gone": "inv recovery --node {node} --force",
    "rewind": "inv recovery --node {node} --force",
    "behind": "inv status",
    "passed-over": "inv recovery --node {node}",
    "old-term": "inv status",
    "voted": "inv status",
    "waiting": "inv status",
    "busy": "inv status",
}


class VerbError(Failed):
    """A verb refused or failed on a node. code: the verb's own; report: the node as it is now.

    refused: it changed nothing. In the middle of a plan that is a failure on the way all the same
    (exit 1), since something was done before.
    """

    def __init__(
        self,
        node: str,
        document: Mapping[str, object],
        report: Report | None,
        *,
        refused: bool = False,
    ) -> None:
        self.code = str(document.get("code") or "failed")
        sentence = str(document.get("error") or "it failed without a reason")
        super().__init__(f"{node}: {sentence}", next=NEXT.get(self.code, "").format(node=node))
        self.node = node
        self.report = report
        self.refused = refused
