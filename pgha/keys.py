"""What `init` makes by chance: SSH keys, the key of Pgpool-II's password file, a time stamp."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pgha.commands.base import Secret
from pgha.commands.scram import verifier
from pgha.settings import Settings
from pgha.topology import Topology

_SALT_BYTES = 16


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key: OpenSSH's armoured private text, and `ssh-ed25519 AAAA…`."""

    private: Secret
    public: str


@dataclass(frozen=True)
class Birth:
    """All that is decided once in a cluster's life.

    operator: the key with which operators come into the containers. host and node: each container's
    own, by the node's name; with the latter nodes fetch WAL from one another. agents: proves that a
    message is of this cluster's agent. pgpool: encrypts passwords in Pgpool-II's password file.
    stamp: when, in UTC, fit for a directory's name. superuser, replication: what PostgreSQL stores
    of these passwords.
    """

    stamp: str
    operator: KeyPair
    host: Mapping[str, KeyPair]
    node: Mapping[str, KeyPair]
    agents: Secret
    pgpool: Secret
    superuser: Secret
    replication: Secret


def make_birth(settings: Settings, topology: Topology) -> Birth:
    """New keys for all of a cluster's nodes."""
    return Birth(
        stamp=_stamp_now(),
        operator=_key_pair(),
        host={name: _key_pair() for name in topology.names},
        node={name: _key_pair() for name in topology.names},
        agents=Secret(secrets.token_hex(32)),
        pgpool=Secret(secrets.token_urlsafe(32)),
        superuser=new_verifier(settings.postgres_password),
        replication=new_verifier(settings.replication_password),
    )


def with_new_keys(birth: Birth, name: str) -> Birth:
    """The same, now, with new keys of one node."""
    return replace(
        birth,
        stamp=_stamp_now(),
        host={**birth.host, name: _key_pair()},
        node={**birth.node, name: _key_pair()},
    )


def _stamp_now() -> str:
    """The time, in UTC, as a directory's name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def new_verifier(password: Secret) -> Secret:
    """What PostgreSQL stores of a password (SCRAM-SHA-256), with a new salt."""
    return Secret(verifier(password.reveal(), secrets.token_bytes(_SALT_BYTES)))


def _key_pair() -> KeyPair:
    """An ed25519 key."""
    # Paramiko reads ed25519 keys but makes none; it brings this library.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return KeyPair(Secret(private.decode()), public.decode())
