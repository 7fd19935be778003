"""API keys and the type that keeps secrets out of logs, tracebacks and reprs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

Random = Callable[[int], bytes]


class Secret:
    """A string that shows itself only when asked by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Every call of this is a place to review."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(_utf8(self), _utf8(other))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its holder knows it: `id:secret` on the wire (docs/protocol.md 1.5)."""

    id: str
    secret: Secret

    def reveal(self) -> str:
        return f"{self.id}:{self.secret.reveal()}"


def new_key(random: Random) -> ApiKey:
    """A key of 128 random bits for the id and 256 for the secret."""
    return ApiKey(random(16).hex(), Secret(random(32).hex()))


def parse_key(text: str) -> ApiKey | None:
    """Read `id:secret`; None when it is not of that form."""
    key_id, colon, secret = text.partition(":")
    return ApiKey(key_id, Secret(secret)) if colon and key_id and secret else None


def secret_hash(secret: Secret) -> bytes:
    """What is stored: one SHA-256, enough for 256 random bits, where a slow hash would cost every request."""
    return hashlib.sha256(_utf8(secret)).digest()


def _utf8(secret: Secret) -> bytes:
    # Total: an encoding error would carry the whole secret among its arguments.
    return secret.reveal().encode("utf-8", "surrogatepass")


_NO_HASH = bytes(32)


def matches(secret: Secret, stored: bytes | None) -> bool:
    """Compare in constant time; an unknown key (None) costs what a wrong secret costs."""
    return hmac.compare_digest(secret_hash(secret), stored or _NO_HASH) and stored is not None
