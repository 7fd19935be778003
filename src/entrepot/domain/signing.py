"""Tokens and signatures: claims under an HMAC, bound to the key that made them.

One form for all: `base64url(JSON claims) "." base64url(HMAC-SHA256)`. What is signed never holds a host or scheme, so a
signature lives through any reverse proxy. The claims carry the key's id: a revoked key takes them with it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass

MIN_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. `subject` is the path it is good for, or empty for any; `expires_at` in epoch seconds."""

    purpose: str
    key_id: str
    expires_at: int
    subject: str = ""


class Signer:
    """Makes and checks tokens with one secret of at least 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES or len(set(secret)) < 8:
            raise ValueError("the signing secret must be at least 32 random bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "Signer(***)"

    def sign(self, claims: Claims) -> str:
        """Return the token. Equal claims give an equal token, so that a repeated call gives an equal reply."""
        payload = _encode(json.dumps([claims.key_id, claims.expires_at], separators=(",", ":")).encode())
        return f"{payload}.{_encode(self._mac(claims.purpose, claims.subject, payload))}"

    def verify(self, token: str, purpose: str, now: float, subject: str = "") -> Claims | None:
        """Return the claims of a valid token for this purpose and subject, else None.

        Any change of a bit, another purpose or another path fails the same way; the compare takes constant time.
        """
        payload, _, mac_text = token.partition(".")
        mac = _decode(mac_text)
        if mac is None or not hmac.compare_digest(mac, self._mac(purpose, subject, payload)):
            return None
        raw = _decode(payload)
        if raw is None:
            return None
        key_id, expires_at = json.loads(raw)
        return Claims(purpose, key_id, expires_at, subject) if now < expires_at else None

    def _mac(self, purpose: str, subject: str, payload: str) -> bytes:
        # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
        fields = (purpose.encode(), subject.encode("utf-8", "surrogatepass"), payload.encode("utf-8", "surrogatepass"))
        return hmac.digest(self._secret, b"".join(b"%d:%s" % (len(f), f) for f in fields), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """Strict: only the one spelling that `_encode` gives is taken, so a token has no second form."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None
