"""SCRAM-SHA-256 verifiers as PostgreSQL stores them, so that no password travels in an SQL text.

RFC 5802 and RFC 7677; RFC 4013 (SASLprep). PostgreSQL 17, "pg_authid", says the stored form. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import stringprep
import unicodedata

ITERATIONS = 4096


def saslprep(text: str) -> str:
    """RFC 4013 with the rules for stored strings; raises ValueError for what it prohibits."""
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal:
        raise ValueError("The password is empty.")
    prohibited = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    if any(test(c) for test in prohibited for c in normal):
        raise ValueError("The password has a character that SASLprep prohibits.")
    if any(map(stringprep.in_table_d1, normal)) and (
        any(map(stringprep.in_table_d2, normal))
        or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1]))
    ):
        raise ValueError("The password mixes directions of writing.")
    return normal


def prepared(password: str) -> bytes:
    """The bytes that PostgreSQL and libpq hash: SASLprep's, or the password as it is where SASLprep
    refuses it (src/common/saslprep.c is used so by both)."""
    try:
        return saslprep(password).encode()
    except ValueError:
        return password.encode()


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """`SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`; salt: 16 random bytes.

    Raises ValueError for a password that is empty, holds a zero byte, or that libpq cannot send.
    """
    if not password:
        raise ValueError("The password is empty.")
    if "\0" in password:
        raise ValueError("A password must not hold a zero byte.")
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    parts = (base64.b64encode(part).decode() for part in (salt, stored, server_key))
    text_salt, text_stored, text_server = parts
    return f"SCRAM-SHA-256${iterations}:{text_salt}${text_stored}:{text_server}"
