"""Runs commands, on hosts and in containers: the one place that touches Fabric.

Fabric opens connections and goes through gateways; which ones, `machines` has found out. What it
lacks is added here: host keys are checked, everything has a deadline, and a command costs 3 ms and
not 47 (see `_transport`). Its runner is not used: it adds 9 ms to each command, and knows no
deadline for opening a channel.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pgha.channels import SshChannel
from pgha.commands.base import Command
from pgha.container_keys import ContainerKeys, KeyCache, cache_directory
from pgha.containers import Container, Door, NotRunning
from pgha.credentials import Credentials
from pgha.errors import Unreachable
from pgha.hosts import Channel, Host, LostWire, Observer, Result, Session, Wire, unobserved
from pgha.known_hosts import Known
from pgha.local_host import LocalHost
from pgha.machines import Machine, machine_of, shell_of, way_to
from pgha.processes import GRACE_S
from pgha.proxying import proxied
from pgha.raw_channel import part
from pgha.remote.dials import Dial, WrongKey, belief, explained, known_keys, prefer_known
from pgha.ssh_host import SshHost
from pgha.waiting import Deadline

if TYPE_CHECKING:
    import paramiko

    from pgha.settings import Settings
    from pgha.topology import Topology

__all__ = ["Container", "Host", "LocalHost", "NotRunning", "Observer", "Reach", "Result"]
__all__ += ["Session", "SshHost", "container_on", "host_of"]

# Something goes over an idle connection this often, so that no router on the way forgets it.
_KEEPALIVE_S = 10
# Ending what overran its deadline; more means that nobody listens there.
_KILL_S = 1.5

# For containers, where both ends are ours: what is strong and costs least.
_KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")


class Reach:
    """The hosts and containers of a cluster. Connections are opened when they are first needed."""

    def __init__(
        self,
        settings: Settings,
        topology: Topology,
        observer: Observer = unobserved,
        credentials: Credentials | None = None,
    ) -> None:
        self._hosts: dict[str, Host] = {}
        self._host_of: dict[str, Host] = {}
        self._shells: dict[str, str] = {}
        self._containers: dict[str, Container] = {}
        # Meanwhile the engines are asked: 0.1 s that `status` need not wait for.
        threading.Thread(target=_load, daemon=True, name="import of Fabric").start()
        for node in topology.nodes:
            machine = machine_of(settings, node.host)
            if machine.name not in self._hosts:
                self._hosts[machine.name] = host_of(machine, observer, credentials)
            host = self._host_of[node.name] = self._hosts[machine.name]
            self._shells[node.name] = shell_of(machine)
            self._containers[node.name] = container_on(host, node.container, observer)

    def host(self, node: str) -> Host:
        """The host on which this node's container is."""
        return self._host_of[node]

    def shell(self, node: str) -> str:
        """What people type in front of a command to have it run on that host; "": nothing."""
        return self._shells[node]

    def container(self, node: str) -> Container:
        """This node's container, which need not exist."""
        return self._containers[node]

    def hosts(self) -> tuple[Host, ...]:
        """Each host once, in the order of the nodes."""
        return tuple(self._hosts.values())

    def close(self) -> None:
        """Close every connection; the next use opens it again."""
        for container in self._containers.values():
            container.close()
        for host in self._hosts.values():
            host.close()

    def __enter__(self) -> Reach:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def host_of(
    machine: Machine, observer: Observer = unobserved, credentials: Credentials | None = None
) -> LocalHost | SshHost:
    """The host that a machine is. credentials: what it may ask for beside a key."""
    if machine.local:
        return LocalHost(observer)
    given = credentials or Credentials()
    return SshHost(machine.name, lambda at: _dial_host(machine, given, at), observer, given)


def container_on(host: Host, name: str, observer: Observer = unobserved) -> Container:
    """A container of this name on a host; it need not exist."""
    keys = KeyCache(cache_directory(), host.name, name)
    return Container(
        name, host, lambda door, limit: _dial_container(host, door, limit), keys, observer
    )


# Everything below speaks Paramiko. It is imported where a connection is opened: 0.1 s.


class _Wire:
    """An open SSH connection."""

    def __init__(self, name: str, connection: Any) -> None:
        self._name = name
        self._client: paramiko.SSHClient = connection.client
        self._transport: paramiko.Transport = connection.transport
        self._transport.set_keepalive(_KEEPALIVE_S)

    def channel(self, deadline: Deadline) -> Channel:
        return self._channel(deadline, self._end_group)

    def tunnel(self, port: int, deadline: Deadline) -> object:
        return self._opened("direct-tcpip", deadline, dest_addr=("127.0.0.1", port))

    def close(self) -> None:
        def hang_up() -> None:
            _hang_up(self._transport)
            self._client.close()

        part(hang_up)

    def _channel(self, deadline: Deadline, kill: Callable[[int], None]) -> Channel:
        opened = self._opened("session", deadline)
        return SshChannel(
            self._name, opened, lambda line, limit: _start(self._name, opened, line, limit), kill
        )

    def _opened(
        self, kind: str, deadline: Deadline, dest_addr: tuple[str, int] | None = None
    ) -> paramiko.Channel:
        import paramiko

        source = ("", 0) if dest_addr else None
        try:
            return self._transport.open_channel(kind, dest_addr, source, timeout=deadline.left_s)
        except paramiko.ChannelException as refusal:
            # Nobody listens at that port; or it is one session more than sshd's MaxSessions.
            raise Unreachable(f"{self._name} refuses a channel: {refusal.text}.") from None
        except (paramiko.SSHException, EOFError, OSError):
            raise LostWire(f"The connection to {self._name} is lost.") from None

    def _end_group(self, pid: int) -> None:
        """Give a process group GRACE_S to end; as far as the server is still heard."""
        looks = " ".join("x" * round(GRACE_S / 0.1))
        line = (
            f"kill -TERM -{pid}; for _ in {looks}; do kill -0 -{pid} || exit 0; sleep 0.1; done;"
            f" kill -KILL -{pid}"
        )
        limit = Deadline(_KILL_S)
        with contextlib.suppress(Unreachable):
            killer = self._channel(limit, lambda pid: None)
            killer.run(Command(("sh", "-c", line)), limit, None)


def _start(name: str, channel: paramiko.Channel, line: str, deadline: Deadline) -> None:
    """Have the user's shell run this line. Raises Unreachable."""
    import paramiko

    try:
        # Paramiko waits for the server's yes without a limit.
        with _ending(deadline, channel.close):
            channel.exec_command(line)
    except (paramiko.SSHException, EOFError, OSError):
        why = (
            f"did not start a command within {deadline}"
            if deadline.passed
            else "did not start a command"
        )
        raise Unreachable(f"{name} {why}.") from None


def _dial_host(machine: Machine, credentials: Credentials, deadline: Deadline) -> _Wire:
    """Connect to a host. Raises Unreachable, with what to look at."""
    _load()
    import fabric  # type: ignore[import-untyped]
    import paramiko

    from pgha.remote.sign_on import SignOn

    way = way_to(machine, Deadline(min(deadline.left_s, machine.connect_timeout_s)))
    # A slow `Match exec` takes nothing from the server's time to answer.
    limit = Deadline(min(deadline.left_s, machine.connect_timeout_s))
    # Lazy, and an empty SSH configuration: nothing else may say anything about our connections.
    config = fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
    gateway, dials = None, list[Dial]()
    for hop in reversed(way.hops):
        connection = fabric.Connection(
            hop.address, user=hop.user, port=hop.port, gateway=gateway, config=config
        )
        dial = Dial(connection.client, hop.address, hop.port, hop.user, hop)
        known = known_keys(hop)
        factory = functools.partial(_host_transport, known)
        sign_on = SignOn(hop, limit, credentials)
        _prepare(connection, dial, known, factory, limit, {"auth_strategy": sign_on})
        if hop.proxy:
            connection.connect_kwargs["sock"] = proxied(hop.proxy)
        dials.insert(0, dial)
        gateway = connection
    return _open(machine.name, gateway, dials, limit, way.look.quoted)


def _dial_container(host: Host, door: Door, deadline: Deadline) -> Wire:
    """Connect to a container's own SSH server, on a port of its host's loopback address.

    The host's connection is the gateway. Fabric's argument of that name opens the channel as well,
    but knows no deadline for it.
    """
    _load()
    import fabric
    import paramiko

    host_key, key = _keys(door.container, door.keys)
    how: dict[str, object] = {"pkey": key, "allow_agent": False, "look_for_keys": False}
    if isinstance(host, SshHost):
        how["sock"] = host.kept.use(deadline, lambda wire, limit: wire.tunnel(door.port, limit))
    connection = fabric.Connection(
        "127.0.0.1",
        user=door.user,
        port=door.port,
        # An empty configuration: what the user's says about 127.0.0.1 is not meant for containers.
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
    )
    connection.client.get_host_keys().add(f"[127.0.0.1]:{door.port}", "ssh-ed25519", host_key)
    dial = Dial(connection.client, "127.0.0.1", door.port, door.user)
    _prepare(connection, dial, (), _container_transport, deadline, how)
    return _open(door.container, connection, [dial], deadline, "")


def _keys(container: str, keys: ContainerKeys) -> tuple[paramiko.PKey, paramiko.PKey]:
    import paramiko

    try:
        public = paramiko.Ed25519Key(data=base64.b64decode(keys.host_key.split()[1]))
        return public, paramiko.Ed25519Key.from_private_key(io.StringIO(keys.private.reveal()))
    except (paramiko.SSHException, ValueError):
        raise Unreachable(f"The keys of {container} cannot be read.") from None


def _prepare(
    connection: Any,
    dial: Dial,
    known: tuple[Known, ...],
    factory: Callable[..., paramiko.Transport],
    limit: Deadline,
    how: dict[str, object],
) -> None:
    """What Fabric leaves open: whom to believe, and how long to wait for what."""
    dial.client.set_missing_host_key_policy(belief(dial, known))
    # Not an argument: Fabric makes a whole number of it there, and 0 means no limit.
    connection.connect_timeout = max(limit.left_s, 0.01)
    connection.connect_kwargs = {
        **connection.connect_kwargs,
        **how,
        "transport_factory": factory,
        "banner_timeout": limit.timeout_s,
        "auth_timeout": limit.timeout_s,
        "channel_timeout": limit.timeout_s,
    }


def _open(name: str, connection: Any, dials: list[Dial], limit: Deadline, look: str) -> _Wire:
    """Open a connection; `dials` has it first, then those on the way. Raises Unreachable."""
    import paramiko

    def give_up() -> None:
        for dial in dials:
            transport = dial.client.get_transport()
            if transport is not None:
                _hang_up(transport)

    try:
        # Each phase has a limit of its own; together they must not take longer than one.
        with _ending(limit, give_up):
            connection.open()
    except (paramiko.SSHException, WrongKey, EOFError, OSError) as error:
        give_up()
        raise explained(error, name, dials, limit, look) from None
    except BaseException:
        give_up()
        raise
    return _Wire(name, connection)


def _transport(sock: Any, **options: Any) -> paramiko.Transport:
    """Paramiko's, without Nagle's algorithm: it waits 40 ms for an acknowledgement, each time."""
    import paramiko

    if isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return paramiko.Transport(sock, **options)


def _host_transport(known: tuple[Known, ...], sock: Any, **options: Any) -> paramiko.Transport:
    transport = _transport(sock, **options)
    prefer_known(transport, known)
    return transport


def _container_transport(sock: Any, **options: Any) -> paramiko.Transport:
    """With our own choice of algorithms, as far as this Paramiko has them."""
    transport = _transport(sock, **options)
    security = transport.get_security_options()
    security.kex = tuple(name for name in _KEX if name in security.kex)
    security.ciphers = tuple(name for name in _CIPHERS if name in security.ciphers)
    return transport


def _hang_up(transport: paramiko.Transport) -> None:
    """Close at once. By itself Paramiko's reading thread takes up to 0.1 s to notice."""
    sock = transport.sock
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    transport.close()


@contextlib.contextmanager
def _ending(deadline: Deadline, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` from another thread where the block is not done at the deadline."""
    timer = threading.Timer(deadline.left_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _load() -> None:
    """Import Fabric. Its Paramiko prints tracebacks, unless its log has somewhere to go."""
    import fabric  # noqa: F401

    log = logging.getLogger("paramiko")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
