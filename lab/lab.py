"""`Lab`: a lab's verbs, for `bin/lab` and for tests. Nothing in here prints or exits."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lab import engine, faults, files
from lab.engine import ANSWER_S, STOP_S, WORK_S, Found, Seen
from lab.layout import USER, Files, Layout, Place, checked_name, checked_size
from lab.up import await_hosts, bring_up, reach, require_ours, together
from pgha.account import user_name
from pgha.base_image import Report
from pgha.commands import docker
from pgha.commands.base import Command
from pgha.errors import CommandFailed, Refused, Unreachable, Usage
from pgha.hosts import Host, Result
from pgha.local_host import LocalHost
from pgha.locking import lock_here, note_now
from pgha.topology import LOCAL_HOST
from pgha.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
# Newer ones of runc try for half a minute before they give up.
STALLS_S = 60.0
# With which runc gives a pause up.
NOT_FROZEN = "unable to freeze"


def unreported(line: str) -> None:
    """The report where nobody reads."""


@dataclass(frozen=True)
class Standing:
    """How a host or the registry is. state: as Docker has it; faults: for people, "": none."""

    host: str
    state: str
    address: str
    faults: str


class Lab:
    """Docker hosts on this machine, by their lab's name. It keeps nothing: all is looked up."""

    def __init__(
        self, name: str = "lab", *, root: Path = ROOT, report: Report = unreported
    ) -> None:
        """root: the checkout, where its files are. Raises Usage where it can be no name."""
        self.files = Files(root, checked_name(name))
        self.name = name
        self._report = report
        self._here: Host = LocalHost()

    # What there is

    def up(self, size: int = 3) -> bool:
        """All hosts run and answer over SSH; whether there was anything to do."""
        checked_size(size)
        with self._locked():
            return bring_up(self._here, self.files, size, self._report)

    def down(self) -> bool:
        """Nothing of it is left: containers, volumes, network, files; whether anything was there.

        Raises Refused where it belongs to another checkout.
        """
        with self._locked():
            engine.require(self._here)
            found = engine.find(self._here, self.name)
            require_ours(found, self.files)
            if found.containers:
                names = (seen.container for seen in found.containers)
                self._docker("rm", "--force", "--volumes", *names)
            if found.subnet is not None:
                self._docker("network", "rm", self.name)
            return self._forget() or found.anything

    def status(self) -> tuple[Standing, ...]:
        """How each host is, and the registry. Raises Refused where there is no such lab."""
        found, layout = self._look()
        places = {place.name: place for place in layout.places}
        return tuple(
            Standing(
                host=seen.host,
                state=seen.state,
                address=str(
                    places[seen.host].address if seen.host in places else layout.registry_address
                ),
                faults=self._faults(seen, tuple(places)) if seen.host in places else "",
            )
            for seen in found.containers
        )

    def host(self, name: str) -> Host:
        """A host as the tool reaches it, over SSH. Whoever asks for it closes it."""
        return reach(self.files, name)

    def ssh(self, name: str, *words: str) -> Command:
        """With which people sign on to a host, or run a command there."""
        _, layout = self._look()
        place = self._place(layout, name)
        known = ("-o", f'UserKnownHostsFile="{self.files.known_hosts}"')
        key = ("-o", "IdentitiesOnly=yes", "-i", str(self.files.key))
        return Command(("ssh", "-F", "none", *known, *key, f"{USER}@{place.address}", *words))

    def on(self, name: str, *words: str, check: bool = True, stdin: str = "") -> Result:
        """Run a command on a host as root, past its SSH server: it works while that is unheard."""
        _, layout = self._look()
        return self._exec(self._place(layout, name), Command(words, stdin or None), check=check)

    # What breaks it, and heals it

    def kill(self, name: str) -> None:
        """The host is dead at once, as without power; what it had written stays."""
        seen, _, _ = self._standing(name)
        if seen.state in ("running", "paused"):
            self._docker("kill", seen.container)

    def pause(self, name: str) -> None:
        """The host stalls: it is there, its kernel answers pings, none of its processes does."""
        seen, place, _ = self._standing(name)
        if seen.state != "paused":
            self._require_running(seen, place)
            wait_until(
                lambda: self._stalls(seen), timeout_s=STALLS_S, what=f"{name} stalls", pause_s=0.02
            )

    def isolate(self, name: str) -> None:
        """The host has no link: its address is gone, and others learn that nobody has it."""
        seen, _, _ = self._standing(name)
        if seen.linked:
            self._docker("network", "disconnect", self.name, seen.container)

    def silence(self, name: str) -> None:
        """The host has its link, and every packet of it vanishes, to and from anybody."""
        seen, place, _ = self._standing(name)
        self._filter(seen, place, faults.silence(place.address))

    def cut(self, name: str, other: str, *, one_way: bool = False) -> None:
        """Packets between two hosts vanish; one_way: only those from `name` to `other`."""
        if name == other:
            raise Usage("A host cannot be cut from itself.")
        pairs = [(name, other)] if one_way else [(name, other), (other, name)]
        ends = {each: self._standing(each) for each in (name, other)}
        for seen, place, _ in ends.values():
            self._require_linked(seen, place)
        for sender, receiver in pairs:
            source = ends[sender][1]
            seen, place, _ = ends[receiver]
            self._filter(seen, place, faults.unhear(place.address, source.number, source.address))

    def restart(self, name: str, *, wait: bool = True) -> None:
        """The host reboots, in order. Its cuts are gone then, but not its isolation."""
        seen, place, layout = self._standing(name)
        if seen.state == "paused":
            raise Refused(f"{name} is paused: it cannot reboot.", next=self._typed("fault heal"))
        # The engine waits for a host's own end; so do we, and some more.
        command = Command(("docker", "restart", "-t", str(STOP_S), seen.container))
        self._here.run(command, timeout_s=STOP_S + WORK_S)
        if wait and seen.linked:
            await_hosts(layout, (place,))

    def heal(self, name: str | None = None, *, wait: bool = True) -> None:
        """Undo every fault of a host, or of all: it runs, and is linked to all others.

        wait: until its engine answers over SSH.
        """
        found, layout = self._look()
        places = layout.places if name is None else (self._place(layout, name),)
        together(
            {place.name: self._healing(self._of(found, place), place) for place in places},
            timeout_s=WORK_S,
        )
        # What others do not hear of it.
        for place in layout.places if name is not None else ():
            seen = self._of(found, place)
            if place.name != name and seen.state == "running":
                self._mend(place, only=places[0].number)
        if wait:
            await_hosts(layout, places)

    def _healing(self, seen: Seen, place: Place) -> Callable[[], None]:
        def heal() -> None:
            if seen.state == "paused":
                self._docker("unpause", seen.container)
            # Before it boots: its engine shall find its network.
            if not seen.linked:
                link = engine.link(self.name, seen.container, place.address)
                self._here.run(link, timeout_s=WORK_S)
            if seen.state not in ("running", "paused"):
                self._docker("start", seen.container)
            self._mend(place)

        return heal

    def _mend(self, place: Place, only: int | None = None) -> None:
        """Take a host's rules away; only: those against the host of this number."""
        cuts = self._cuts(place)
        if only is not None:
            cuts = faults.Cuts(False, tuple(n for n in cuts.unheard if n == only))
        command = faults.mend(cuts)
        if command is not None:
            self._exec(place, command)

    def _filter(self, seen: Seen, place: Place, command: Command) -> None:
        self._require_linked(seen, place)
        self._exec(place, command)

    def _cuts(self, place: Place) -> faults.Cuts:
        return faults.parse(self._exec(place, faults.look()).stdout)

    def _faults(self, seen: Seen, names: tuple[str, ...]) -> str:
        words = () if seen.linked else ("isolated",)
        if seen.state == "running":
            answer = self._here.run(
                docker.exec_in(seen.container, faults.look()), timeout_s=ANSWER_S, check=False
            )
            words = (*words, *filter(None, (faults.said(faults.parse(answer.stdout), names),)))
        return ", ".join(words)

    # How it is found

    def _look(self) -> tuple[Found, Layout]:
        """The lab as it is. Raises Refused where there is none."""
        engine.require(self._here)
        found = engine.find(self._here, self.name)
        if not found.hosts or found.subnet is None:
            raise Refused(f"There is no lab «{self.name}».", next=self._typed("up"))
        return found, Layout(self.name, self.files.root, found.subnet, found.size)

    def _standing(self, name: str) -> tuple[Seen, Place, Layout]:
        found, layout = self._look()
        place = self._place(layout, name)
        return self._of(found, place), place, layout

    def _of(self, found: Found, place: Place) -> Seen:
        seen = found.of(place.name)
        if seen is None:
            raise Refused(f"The lab «{self.name}» lacks {place.name}.", next=self._typed("up"))
        return seen

    def _place(self, layout: Layout, name: str) -> Place:
        for place in layout.places:
            if place.name == name:
                return place
        names = ", ".join(place.name for place in layout.places)
        raise Usage(f"The lab «{self.name}» has no host {name!r}; it has {names}.")

    def _require_running(self, seen: Seen, place: Place) -> None:
        if seen.state != "running":
            raise Refused(
                f"{place.name} does not run: it is {seen.state}.",
                next=self._typed(f"fault heal {place.name}"),
            )

    def _require_linked(self, seen: Seen, place: Place) -> None:
        self._require_running(seen, place)
        if not seen.linked:
            raise Refused(
                f"{place.name} is isolated: there is no link to cut.",
                next=self._typed(f"fault heal {place.name}"),
            )

    def _typed(self, words: str) -> str:
        """What to type: `bin/lab` with these words, for this lab."""
        return f"bin/lab {words}" + ("" if self.name == "lab" else f" --name {self.name}")

    # How it is done

    def _stalls(self, seen: Seen) -> bool:
        """Whether it is frozen now. A control group of version 1 cannot always be frozen while
        processes begin in it: runc (libcontainer/cgroups/fs/freezer.go) tries, gives up, and thaws.
        """
        pause = Command(("docker", "pause", seen.container))
        try:
            self._here.run(pause, timeout_s=WORK_S)
        except CommandFailed as error:
            if not any(NOT_FROZEN in line for line in error.details):
                raise
            raise Unreachable(" ".join(error.details)) from error
        return True

    def _docker(self, *words: str) -> None:
        self._here.run(Command(("docker", *words)), timeout_s=WORK_S)

    def _exec(self, place: Place, command: Command, *, check: bool = True) -> Result:
        words = docker.exec_in(place.container, command)
        return self._here.run(words, timeout_s=ANSWER_S, check=check)

    def _locked(self) -> AbstractContextManager[None]:
        return lock_here(f"lab-{self.name}", LOCAL_HOST, note_now(user_name()))

    def _forget(self) -> bool:
        """Remove the lab's files; whether there were any. Another one's env file is left alone."""
        env, folder = self.files.env, self.files.folder
        ours = env.exists() and env.read_text(errors="replace").startswith(files.MARK)
        if ours:
            env.unlink()
        if folder.exists():
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):
                # Other labs' folders may be in it.
                folder.parent.rmdir()
            return True
        return ours
