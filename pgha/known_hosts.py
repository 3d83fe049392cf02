"""Files of known host keys, as OpenSSH reads them; sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

Paramiko's own reading stops at a line with a marker, and takes wildcards for names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A line. names: patterns, or one hashed name. key: its public half."""

    names: str
    kind: str
    key: bytes
    revoked: bool = False

    def means(self, entry: str) -> bool:
        """Whether this line is about a host; `entry` is `name` or `[name]:port`."""
        if self.names.startswith("|1|"):
            return _hashed(self.names, entry)
        patterns = self.names.lower().split(",")
        if any(each.startswith("!") and _fits(each[1:], entry) for each in patterns):
            return False
        return any(_fits(each, entry) for each in patterns)


def _fits(pattern: str, entry: str) -> bool:
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, entry.lower()) is not None


def _hashed(names: str, entry: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in names.split("|")[2:])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, entry.encode(), hashlib.sha1), digest)


def parse(text: str) -> Iterator[Known]:
    """The lines of a file; those of certificate authorities are passed over.

    Raises ValueError with the number of a line that is broken.
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0] == "@cert-authority":
            continue
        revoked = words[0] == "@revoked"
        words = words[revoked:]
        try:
            yield Known(words[0], words[1], base64.b64decode(words[2], validate=True), revoked)
        except (IndexError, binascii.Error):
            raise ValueError(f"line {number} is no known key") from None


def keys_of(lines: tuple[Known, ...], entry: str) -> tuple[Known, ...]:
    """The keys by which a host is known. A revoked key is nobody's, whatever host its line names.

    lines: of all the files.
    """
    revoked = {each.key for each in lines if each.revoked}
    return tuple(each for each in lines if each.means(entry) and each.key not in revoked)
