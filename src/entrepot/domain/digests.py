"""Digests that a client may declare of what it sends (RFC 9530, RFC 1864): verified, never ignored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.domain.errors import Code, Problem

# Names as in the HTTP Digest Algorithm Values registry. MD5 guards against accidents only, as Content-MD5 always did.
SHA_256 = "sha-256"
ALGORITHMS = {SHA_256: "sha256", "sha-512": "sha512", "md5": "md5"}


class Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """A digest that the body must have; `value` is raw bytes."""

    algorithm: str
    value: bytes

    def hasher(self) -> Hasher:
        return hashlib.new(ALGORITHMS[self.algorithm], usedforsecurity=False)


def hashers_beside(expected: Sequence[Expected]) -> dict[str, Hasher]:
    """Hashers of the declared algorithms but SHA-256: that is computed of every body anyway, and costs the most."""
    return {each.algorithm: each.hasher() for each in expected if each.algorithm != SHA_256}


def check(expected: Sequence[Expected], sha256: bytes, beside: Mapping[str, Hasher]) -> None:
    """Raise Problem(DIGEST_MISMATCH) when a body is not what was declared of it."""
    for each in expected:
        found = sha256 if each.algorithm == SHA_256 else beside[each.algorithm].digest()
        if not hmac.compare_digest(found, each.value):
            raise Problem(Code.DIGEST_MISMATCH, f"The {each.algorithm} of the body is not the declared one.")


def parse_digest_field(header: str, value: str) -> tuple[Expected, ...]:
    """Read Content-Digest or Repr-Digest: `sha-256=:<base64>:, ...`.

    Raises Problem: UNSUPPORTED_DIGEST naming the known algorithms, INVALID_REQUEST for bad syntax.
    """
    members = tuple(_member(header, member.strip()) for member in value.split(",") if member.strip())
    if not members:
        raise Problem(Code.INVALID_REQUEST, f"{header} names no digest.")
    return members


def parse_content_md5(value: str) -> tuple[Expected, ...]:
    """Read Content-MD5: 16 bytes in base64."""
    return (_expected("content-md5", "md5", value.strip()),)


def _member(header: str, member: str) -> Expected:
    algorithm, equals, text = member.partition("=")
    algorithm, text = algorithm.strip().lower(), text.strip()
    if algorithm not in ALGORITHMS:
        known = ", ".join(sorted(ALGORITHMS))
        raise Problem(Code.UNSUPPORTED_DIGEST, f"{header}: {algorithm[:40]!r} is not supported; supported are {known}.")
    if not equals or len(text) < 2 or text[0] != ":" or text[-1] != ":":
        raise Problem(Code.INVALID_REQUEST, f"{header} must have the form {algorithm}=:<base64>:")
    return _expected(header, algorithm, text[1:-1])


def _expected(header: str, algorithm: str, text: str) -> Expected:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False).digest_size:
        raise Problem(Code.INVALID_REQUEST, f"{header}: the value is not a {algorithm} in base64.")
    return Expected(algorithm, value)
