"""`Cluster`: every operation as a method, for tasks and for people's own scripts.

Nothing in here prints or exits: methods return results and raise the errors of `pgha.errors`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pgha.account import user_name
from pgha.commands.base import Secret
from pgha.credentials import Ask, Credentials
from pgha.errors import Failed, Refused
from pgha.settings import Settings, load
from pgha.topology import Topology, topology

if TYPE_CHECKING:
    from pgha.doctor.findings import Checkup
    from pgha.execute import Listener, Outcome
    from pgha.history import History
    from pgha.hosts import Observer
    from pgha.operations.provision import Provision
    from pgha.plan import Plan
    from pgha.remote import Reach
    from pgha.site import Site
    from pgha.state import ClusterState
    from pgha.status import Status
    from pgha.world import RealWorld

Confirm = Callable[["Plan"], bool]
Operation = Callable[["ClusterState"], "Plan"]


class Cluster:
    """One cluster, by its settings. Connections are opened when they are needed, and kept.

    listener: told about each step of what changes something.
    observer: told about each command that is run (DEBUG=1).
    ask: asks for a key's passphrase or sudo's password; None: nobody can be asked.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        listener: Listener | None = None,
        observer: Observer | None = None,
        by: str = "",
        ask: Ask | None = None,
    ) -> None:
        self.settings = settings
        self.topology: Topology = topology(settings)
        self.by = by or _who()
        self._listener = listener
        self._observer = observer
        self._ask = ask
        self._credentials = Credentials(settings.ssh_passphrase, settings.sudo_password)
        self._reach: Reach | None = None
        self._world: RealWorld | None = None

    @classmethod
    def load(
        cls,
        env: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        listener: Listener | None = None,
        observer: Observer | None = None,
        ask: Ask | None = None,
    ) -> Cluster:
        """The cluster of `env/NAME.env`, or of a file's path; None: PGHA_ENV, else the default.

        Raises Usage with every mistake of the file and the environment.
        """
        settings = load(
            env, environ=os.environ if environ is None else environ, cwd=cwd or Path.cwd()
        )
        return cls(settings, listener=listener, observer=observer, ask=ask)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        if self._world is not None:
            self._world.nodes.close()
        if self._reach is not None:
            self._reach.close()
        self._world = self._reach = None

    def status(self) -> Status:
        """What is true right now, within 3 s, whatever hangs."""
        from pgha.status import status_of

        self._open()
        return status_of(self._whole())

    def history(self) -> History:
        """What happened to the cluster, from the nodes' own records, oldest first.

        Raises Refused where no node's record can be read.
        """
        from pgha.history import history
        from pgha.records import read_records

        self._admitted()
        assert self._reach is not None
        return history(self.topology.cluster, read_records(self._reach, self._provision()))

    def doctor(self) -> Checkup:
        """What stands between this configuration and a healthy cluster; nothing is changed."""
        from pgha.doctor.checks import checkup
        from pgha.doctor.examine import examine

        self._admitted()
        assert self._reach is not None
        return checkup(examine(self._reach, self._provision(), self._whole()))

    def units(self, *, remove: bool = False, dry_run: bool = False) -> Outcome:
        """Systemd units that start the nodes with their hosts. remove: take them away.

        Raises Refused where systemd does not run a host, or we are not root there.
        """
        from pgha.units import units

        self._admitted()
        assert self._reach is not None
        with contextlib.nullcontext() if dry_run else self._locked("units"):
            return units(
                self._reach,
                self._provision(),
                self._listening(),
                remove=remove,
                dry_run=dry_run,
            )

    def build(self, *, dry_run: bool = False) -> Outcome:
        """The image on every host; a no-op where it is there as it would be built."""
        from pgha.building import build

        self._admitted()
        assert self._reach is not None
        with contextlib.nullcontext() if dry_run else self._locked("build"):
            return build(self._reach, self.settings, self.topology, self._listening(), dry_run)

    def init(
        self, *, force: bool = False, dry_run: bool = False, confirm: Confirm | None = None
    ) -> Outcome:
        """Make the cluster. force: what is there is moved aside.

        Raises Refused with everything that is in the way.
        """
        from pgha.keys import make_birth
        from pgha.operations.init import init
        from pgha.operations.obstacles import cut_off
        from pgha.survey import survey

        self._open()
        assert self._reach is not None
        reach, provision = self._reach, self._provision()

        def operation(state: ClusterState) -> Plan:
            birth, site = make_birth(self.settings, self.topology), survey(reach, provision)
            if any(cut_off(site, node) for node in self.topology.nodes):
                # What it left may have been in use: nodes that do not run tell at rest.
                state = self._whole(rest=True, patient=True)
            return init(state, site, provision, birth, force=force)

        return self._change("init", operation, dry_run=dry_run, confirm=confirm)

    def start(self, *, dry_run: bool = False) -> Outcome:
        """Start what does not run, the last primary first."""
        from pgha.operations.networks import lost_networks
        from pgha.operations.replacing import lost_nodes
        from pgha.operations.startstop import NOT_RUNNING, start
        from pgha.survey import survey_networks

        self._open()
        assert self._reach is not None
        reach, provision = self._reach, self._provision()

        def operation(state: ClusterState) -> Plan:
            if not any(node.container in NOT_RUNNING for node in state.nodes):
                return start(state, provision)
            gone = lost_networks(survey_networks(reach, provision), provision)
            lost = lost_nodes(state, self._unread_site(state))
            return start(state, provision, gone, lost)

        return self._change("start", operation, rest=True, dry_run=dry_run)

    def stop(self, *, dry_run: bool = False) -> Outcome:
        """Stop everything in the safe order."""
        from pgha.operations.startstop import stop

        return self._change("stop", stop, dry_run=dry_run)

    def failover(
        self,
        to: str | None = None,
        *,
        force: bool = False,
        dry_run: bool = False,
        confirm: Confirm | None = None,
    ) -> Outcome:
        """Move the primary to `to` (None: the best standby), or promote it where there is none.

        force: also where acknowledged writes may be lost; `confirm` is asked then.
        """
        from pgha.operations.failover import failover

        if to is not None:
            self.topology.node(to)
        return self._change(
            "failover",
            lambda s: failover(s, to, force=force),
            rest=True,
            dry_run=dry_run,
            confirm=confirm,
        )

    def failback(
        self, *, force: bool = False, dry_run: bool = False, confirm: Confirm | None = None
    ) -> Outcome:
        """Move the primary home, to MASTER_NODE."""
        from pgha.operations.failover import failback

        return self._change(
            "failback",
            lambda s: failback(s, force=force),
            rest=True,
            dry_run=dry_run,
            confirm=confirm,
        )

    def recovery(
        self, node: str | None = None, *, force: bool = False, dry_run: bool = False
    ) -> Outcome:
        """Bring `node` (None: every node that needs it) back. force: by a whole new copy; where its
        directories are gone it is made anew."""
        from pgha.operations.recovery import recovery
        from pgha.operations.replacing import is_to_be_made, lost_nodes

        if node is not None:
            self.topology.node(node)

        def operation(state: ClusterState) -> Plan:
            site = self._unread_site(state)
            if node is not None and force and is_to_be_made(state, site, node):
                return self._replacement(state, site, node)
            return recovery(state, node, force=force, lost=lost_nodes(state, site))

        return self._change("recovery", operation, rest=True, dry_run=dry_run)

    def _replacement(self, state: ClusterState, site: Site, name: str) -> Plan:
        from pgha.heritage import read_heritage
        from pgha.keys import with_new_keys
        from pgha.operations.recovery import primary_of
        from pgha.operations.replacing import replacement
        from pgha.port_check import look_at_ports

        assert self._reach is not None
        reach, provision = self._reach, self._provision()
        heritage = read_heritage(reach, self.topology, primary_of(state).name)
        heir = replace(heritage, birth=with_new_keys(heritage.birth, name))
        return replacement(state, look_at_ports(reach, provision, site), provision, heir, name)

    def _unread_site(self, state: ClusterState) -> Site:
        """The hosts, where a node does not run and tells nothing at rest; else none of them."""
        from pgha.operations.replacing import unread
        from pgha.site import Site
        from pgha.survey import survey

        assert self._reach is not None
        if not unread(state):
            return Site(())
        return survey(self._reach, self._provision(), ports=False)

    def user_create(self, name: str, password: Secret, *, dry_run: bool = False) -> Outcome:
        """A role that may log in, with its password at every door."""
        from pgha.operations.users import user_create

        plan = user_create(self.settings, name, password)
        return self._change("user.create", plan, dry_run=dry_run, hold=False)

    def user_password(self, name: str, password: Secret, *, dry_run: bool = False) -> Outcome:
        """Another password for a role, at every door."""
        from pgha.operations.users import user_password

        plan = user_password(self.settings, name, password)
        return self._change("user.password", plan, dry_run=dry_run, hold=False)

    def user_delete(self, name: str, *, dry_run: bool = False) -> Outcome:
        """Drop a role that owns nothing."""
        from pgha.operations.users import user_delete

        plan = user_delete(self.settings, name)
        return self._change("user.delete", plan, dry_run=dry_run, hold=False)

    def _change(
        self,
        command: str,
        operation: Operation,
        *,
        rest: bool = False,
        dry_run: bool,
        confirm: Confirm | None = None,
        hold: bool = True,
    ) -> Outcome:
        """Observe, plan, ask, act, verify; under the lock, unless nothing will be changed.

        hold: the agents leave the cluster to us meanwhile, but not while somebody is asked: it is
        theirs as long as he thinks, and looked at again afterwards.
        """
        from pgha.execute import Outcome

        self._open()
        with contextlib.nullcontext() if dry_run else self._locked(command):
            with self._held(command, hold and not dry_run):
                state, plan = self._planned(command, operation, rest)
                if dry_run or not plan.stages:
                    return Outcome(plan, (), state, 0.0)
                if not plan.loses:
                    return self._carried_out(command, plan, state)
            if not (confirm and confirm(plan)):
                raise Refused(f"{plan.loses} It was not confirmed: nothing was changed.")
            with self._held(command, hold):
                state, now = self._planned(command, operation, rest)
                if (now.title, now.loses) != (plan.title, plan.loses):
                    raise Refused(
                        "Since you were asked the cluster has become another one: nothing was "
                        "changed.",
                        next="inv status",
                    )
                return self._carried_out(command, now, state)

    def _planned(self, command: str, operation: Operation, rest: bool) -> tuple[ClusterState, Plan]:
        """What is true, and what an operation makes of it. Raises Refused."""
        from pgha.operations.membership import require_a_host, require_members

        state = self._whole(rest=rest, patient=True)
        require_a_host(state)
        if command not in ("init", "stop"):
            require_members(state)
        return state, operation(state).within(self.settings.compose_http_timeout)

    def _carried_out(self, command: str, plan: Plan, state: ClusterState) -> Outcome:
        from pgha.counting import Counting
        from pgha.execute import Outcome, execute
        from pgha.nodes import VerbError

        world, listener = self._open(), Counting(self._listening(), self._require_locks)
        world.by = f"{self.by}: {command}"
        listener.planned(plan)
        try:
            outcome = execute(plan, state, world, listener)
        except VerbError as error:
            if error.refused and listener.untouched:
                raise Refused(f"{error.message} Nothing was changed.", next=error.next) from error
            raise
        final = outcome.state.with_nodes(*world.observe())
        return Outcome(plan, outcome.done, final, outcome.seconds)

    def _open(self) -> RealWorld:
        from pgha.hosts import unobserved
        from pgha.remote import Reach
        from pgha.unlocking import unlock
        from pgha.world import RealWorld

        if self._world is None:
            observer = self._observer or unobserved
            if self._ask is not None:
                unlock(self.settings, self.topology, self._credentials, self._ask)
            self._reach = Reach(self.settings, self.topology, observer, self._credentials)
            self._world = RealWorld(self._reach, self._provision(), observer)
        return self._world

    def _whole(self, *, rest: bool = False, patient: bool = False) -> ClusterState:
        """Every node; once more where a host wanted sudo's password and somebody knew it."""
        world = self._open()
        state = world.whole(rest=rest, patient=patient)
        return world.whole(rest=rest, patient=patient) if self._told_the_password() else state

    def _admitted(self) -> None:
        """Every host that answers lets us use Docker, if somebody knows the password for it."""
        from pgha.unlocking import try_docker

        self._open()
        if self._ask is not None and self._reach is not None:
            try_docker(self._reach, self.settings)
            self._told_the_password()

    def _told_the_password(self) -> bool:
        refused = self._credentials.refused
        if self._ask is None or not refused or self._credentials.sudo:
            return False
        self._credentials.sudo = self._ask(f"sudo's password on {', '.join(sorted(refused))}: ")
        return bool(self._credentials.sudo)

    def _provision(self) -> Provision:
        from pgha.image_inputs import image_name
        from pgha.operations.provision import Provision

        return Provision(self.settings, self.topology, image_name(self.settings))

    def _listening(self) -> Listener:
        from pgha.execute import Listener

        return self._listener or Listener()

    @contextlib.contextmanager
    def _held(self, command: str, hold: bool) -> Iterator[None]:
        """No agent changes the cluster meanwhile."""
        if not hold:
            yield
            return
        with self._open().nodes.held(f"{self.by}: {command}"):
            yield

    def _require_locks(self) -> None:
        """Raises Failed where this command stood still (Ctrl-Z, a laptop that slept) for so long
        that somebody else may be at work."""
        for host in self._reach.hosts() if self._reach is not None else ():
            if host.lock_lost:
                raise Failed(f"The lock on {host.name} was lost meanwhile.", next="inv status")

    def _locked(self, command: str) -> AbstractContextManager[None]:
        """Hold the lock of every host that answers. Raises Locked; Refused if none answers."""
        from pgha.locking import lock_all

        assert self._reach is not None
        return lock_all(self._reach.hosts(), self.topology.cluster, f"{self.by}: {command}")


def _who() -> str:
    """`user@host` of whoever runs this: nodes write it into their journals."""
    return f"{user_name()}@{socket.gethostname()}"
