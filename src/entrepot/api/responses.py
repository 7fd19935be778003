"""The error table on HTTP, and the headers that every reply shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrepot import wire
from entrepot.domain.errors import Code, Problem

Header = tuple[bytes, bytes]
Headers = list[Header]

STATUS: Mapping[Code, int] = {
    Code.INVALID_REQUEST: 400,
    Code.VALIDATION_FAILED: 422,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.GONE: 410,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.TIMED_OUT: 408,
    # 412, not 409: the stock Python client repeats a 409 ten times.
    Code.ALREADY_PUBLISHED: 412,
    Code.CONFLICT: 409,
    Code.PRECONDITION_FAILED: 412,
    Code.RANGE_NOT_SATISFIABLE: 416,
    Code.TOO_LARGE: 413,
    Code.INVALID_PARTS: 422,
    Code.EMPTY_PART: 422,
    Code.SIZE_MISMATCH: 422,
    Code.QUOTA_EXCEEDED: 413,
    Code.DIGEST_MISMATCH: 400,
    Code.UNSUPPORTED_DIGEST: 400,
    Code.MISDIRECTED: 421,
    Code.BLOCKED_ADDRESS: 422,
    Code.FETCH_FAILED: 424,
    Code.RATE_LIMITED: 429,
    Code.INTEGRITY_FAILED: 500,
    Code.UNAVAILABLE: 503,
    Code.INSUFFICIENT_STORAGE: 507,
    Code.INTERNAL: 500,
}

EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Link, Location, "
    "Repr-Digest, Retry-After, X-Entrepot-Expires-At, X-Entrepot-Next-Cursor, X-Entrepot-Warning, X-Fal-Request-Id, "
    "X-Fal-Request-Timeout-Type, X-Request-Id"
)
# `*` and no credentials: every right is in a header or in the URL, never in a cookie (docs/threats.md C11).
CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED.encode()),
]
NO_STORE = (b"cache-control", b"no-store")
NOSNIFF = (b"x-content-type-options", b"nosniff")


V1 = wire.PLATFORM.encode()
# The types of the Platform API by status (docs/protocol.md 6.1). All other refusals are validation errors, all other
# failures are the server's.
_V1_TYPES = {
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    410: "not_found",
    429: "rate_limited",
}


def refusal(problem: Problem, request_id: str, raw_path: bytes) -> tuple[int, bytes]:
    """Status and body of an error in the words of the API that the path belongs to."""
    status = STATUS[problem.code]
    if not raw_path.startswith(V1):
        return status, error_body(problem, request_id)
    if status == 422:  # the Platform API knows 400 only
        status = 400
    kind = _V1_TYPES.get(status, "server_error" if status >= 500 else "validation_error")
    told = {
        "type": kind,
        "message": _sentence(problem),
        "request_id": request_id,
        "code": problem.code.code,
        "fix": problem.fix,
    }
    return status, wire.compact({"error": told})


def error_body(problem: Problem, request_id: str) -> bytes:
    """`detail` for fal's clients (a list for a field error, docs/protocol.md 1.5), `message` for JavaScript's, and our
    own code, fix and request id."""
    detail: Any = problem.message
    if problem.where:
        detail = [{"loc": list(problem.where), "msg": problem.message, "type": problem.code.code}]
    return wire.compact(
        {
            "detail": detail,
            "message": _sentence(problem),
            "code": problem.code.code,
            "fix": problem.fix,
            "request_id": request_id,
        }
    )


def error_headers(problem: Problem, body: bytes) -> Headers:
    """Headers of an error reply: never stored by a cache."""
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        NOSNIFF,
        NO_STORE,
        *CORS,
    ]
    if problem.code is Code.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Key realm="entrepot", Bearer realm="entrepot"'))
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(problem.retry_after).encode()))
    return headers


def no_route() -> Problem:
    return Problem(Code.NOT_FOUND, "There is no such route.", fix="See /openapi.json for what there is.")


def cut_short() -> Problem:
    return Problem(Code.INVALID_REQUEST, "The connection ended before the request was over, or its framing is wrong.")


def _sentence(problem: Problem) -> str:
    return f"{'.'.join(map(str, problem.where))}: {problem.message}" if problem.where else problem.message
