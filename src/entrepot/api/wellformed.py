"""What every request must be before anything else is asked of it (RFC 9112 sections 3.2 and 6): framed in one way, and
meant for one host. What another server on the way may read otherwise is refused, and the connection is closed.

The ASGI server answers some of this itself, and hides some: docs/architecture.md says what.
"""

from __future__ import annotations

import re
from functools import lru_cache

from entrepot.api.http_context import HttpContext, no_trailers
from entrepot.domain.errors import Code, Problem

_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+(?:%25[0-9A-Za-z._~-]+)?\]|(?:[0-9A-Za-z._~-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)


def check(ctx: HttpContext, accepted: frozenset[str]) -> None:
    """Raise Problem for a request that is not well formed, or for another host than the `accepted` ones; any is
    accepted when none is named."""
    raw = ctx.headers.get("host", b"")
    if accepted and not _names(raw) & accepted:
        raise Problem(Code.MISDIRECTED, "This server does not answer for that host name.")
    if not _is_host(raw) and (raw or not _is_old(ctx)):
        raise _malformed("Its Host is missing, given twice or no host name.", "Send one Host header.")
    if not ctx.raw_path.startswith(b"/") and (ctx.method, ctx.raw_path) != ("OPTIONS", b"*"):
        raise _malformed("Its target is not a path.", "Send a path that begins with a slash.")
    if "transfer-encoding" not in ctx.headers:
        return
    if "content-length" in ctx.headers:
        raise _malformed("It has both a Content-Length and a Transfer-Encoding.", "Send one of them.")
    if (ctx.header("transfer-encoding") or "").lower() != "chunked":
        raise _malformed("The only Transfer-Encoding is chunked, once.", "Send the bytes as they are.")
    if "trailer" in ctx.headers:
        raise no_trailers()


@lru_cache(maxsize=256)
def _is_host(raw: bytes) -> bool:
    match = _HOST.fullmatch(raw)
    return match is not None and int(match[1] or 0) <= 65_535


def _names(raw: bytes) -> set[str]:
    """A host as it came, and without its port."""
    host = raw.decode("latin-1").lower()
    return {host, host.rpartition(":")[0]}


def _is_old(ctx: HttpContext) -> bool:
    """Whether it is of a version without Host headers."""
    return str(ctx.scope.get("http_version", "1.1")) in ("1", "1.0")


def _malformed(message: str, fix: str) -> Problem:
    return Problem(Code.INVALID_REQUEST, f"The request cannot be taken. {message}", fix=fix)
