"""How requests become those of the HTTP library, and its failures ours: shared by both drivers."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx2

from entrepot import __version__
from entrepot.client.commands import Reply, Request
from entrepot.client.errors import ConfigurationError, ConnectionFailed, EntrepotError, Stalled, TlsFailed

# A host that does not answer at all is given up sooner than one that is busy.
CONNECT_SECONDS = 10.0
# A listing of 10,000 parts takes 3 MB.
MAX_REPLY = 16 * 1024 * 1024
_START = "Check ENTREPOT_URL, and that the server runs: entrepot serve"
_TRUST = "Check the URL and the clock of this machine; name a private CA with SSL_CERT_FILE."


def settings(stall_seconds: float) -> dict[str, Any]:
    """Arguments of the library's clients. Times bound how long no byte moves, never a whole body; redirects are not
    followed, because they would turn an upload into something else."""
    return {
        "timeout": httpx2.Timeout(stall_seconds, connect=min(CONNECT_SECONDS, stall_seconds), pool=None),
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20.0),
        "headers": {"user-agent": f"entrepot/{__version__}", "accept-encoding": "identity"},
        "follow_redirects": False,
    }


def headers_of(request: Request) -> dict[str, str]:
    """The headers with the body's length: a body whose end is not announced could end short unnoticed."""
    body = request.body
    return {**request.headers, "content-length": str(len(body) if isinstance(body, bytes) else body.size)}


def take(body: bytearray, chunk: bytes, request: Request) -> None:
    """Add a piece of a reply. Raises EntrepotError for one without end."""
    body += chunk
    if len(body) > MAX_REPLY:
        raise EntrepotError(f"{_origin(request)} sends more than {MAX_REPLY} bytes as a reply.", _START)


def reply_of(status: int, headers: Mapping[str, str], body: bytearray) -> Reply:
    """The reply, its header names in lower case."""
    return Reply(status, {name.lower(): value for name, value in headers.items()}, bytes(body))


def failure(error: Exception, request: Request) -> EntrepotError:
    """What the library raised, as ours."""
    place = _origin(request)
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return ConfigurationError(f"{place}: {error}.", "Check ENTREPOT_URL.")
    if certificate := _distrust(error):
        return TlsFailed(f"{place} cannot be trusted: {certificate}.", _TRUST)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return ConnectionFailed(f"{place} cannot be reached: {error or 'no answer'}.", _START)
    if isinstance(error, httpx2.TimeoutException):
        return Stalled(f"{place} stalled: no byte moved in time.", "Try again; for a slow line raise default_timeout.")
    return ConnectionFailed(f"The connection to {place} broke: {error or type(error).__name__}.", "Try again.")


def _distrust(error: BaseException | None) -> str:
    """Why a certificate, or the other side's TLS, is not accepted. A connection that was cut is not that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or str(error)
        if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "it does not speak TLS; is the URL http:// and not https://?"
        error = error.__cause__ or error.__context__
    return ""


def _origin(request: Request) -> str:
    return "/".join(request.url.split("/", 3)[:3]).rpartition("@")[2]
