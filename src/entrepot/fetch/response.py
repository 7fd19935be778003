"""A reply whose head has come and whose body is read by the caller, within limits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from entrepot.domain.headers import text_of
from entrepot.fetch.body import Body, Chunked, Counted, Empty, Short, UntilEnd
from entrepot.fetch.call import Call, Dripping, Over
from entrepot.fetch.connection import Connection
from entrepot.fetch.errors import (
    BadReply,
    BadStatus,
    Cancelled,
    ConnectionFailed,
    FetchError,
    Stalled,
    TooLarge,
    TooSlow,
    Truncated,
)
from entrepot.fetch.head import Head, Malformed
from entrepot.fetch.urls import Target, legible

CHUNK = 1024 * 1024
_BROKEN = (OSError, EOFError, ValueError)
_BODILESS = frozenset({204, 205, 304})
_ADVICE = {
    401: "Give credentials in the request headers.",
    403: "Check the credentials in the request headers, or whether the URL has expired.",
    404: "Check the URL.",
    410: "The file is gone; ask who made the URL for a new one.",
    429: "The server wants fewer requests: try again later.",
}
_SERVERS_FAULT = "The server has trouble: try again later."


class Response:
    """Use it in a `with` block: that closes the connection, read to the end or not.

    `status`, `headers` (lower-case names), `url` (the final one, as it may be shown), `length` of the body in bytes
    (None: not announced), `media_type` without parameters. Redirects are over: a 3xx here is one without meaning.
    """

    def __init__(
        self, method: str, target: Target, head: Head, connection: Connection, call: Call, max_bytes: int | None
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        self.url = target.shown
        self.length = head.length
        self._connection = connection
        self._call = call
        self._max_bytes = max_bytes
        self._received = 0
        self._body = _body(method, head, connection)

    @property
    def media_type(self) -> str:
        return text_of(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def _shown_type(self) -> str:
        return legible(self.media_type)

    @property
    def sha256(self) -> bytes | None:
        """The SHA-256 of the whole file, when the server tells it (Repr-Digest, RFC 9530)."""
        for member in self.headers.get("repr-digest", "").split(","):
            name, _, value = member.strip().partition("=")
            if name.lower() == "sha-256":
                return _binary(value.strip().partition(";")[0])
        return None

    @property
    def etag(self) -> str:
        """The entity tag as it was sent, `W/` included; empty without one."""
        return self.headers.get("etag", "")

    @property
    def strong_etag(self) -> str:
        """The entity tag, if it changes whenever a byte does (RFC 9110 section 8.8.1); else empty."""
        return self.etag if self.etag.startswith('"') and self.etag.endswith('"') and len(self.etag) > 1 else ""

    def expect(self, *statuses: int) -> None:
        """Raises BadStatus for any other one."""
        if self.status not in statuses:
            kind = f" ({self._shown_type})" if self.media_type else ""
            advice = _ADVICE.get(self.status, _SERVERS_FAULT if self.status >= 500 else "")
            reason = f"the server answered {self.status}{kind}"
            raise BadStatus(self.url, self.status, reason, advice, self.headers.get("retry-after", ""))

    def check_size(self) -> None:
        """Raises TooLarge when more bytes are announced than are allowed."""
        if self._max_bytes is not None and self.length is not None and self.length > self._max_bytes:
            raise TooLarge(self.url, f"the file has {self.length} bytes, over the limit of {self._max_bytes}")

    def readinto(self, buffer: memoryview) -> int:
        """Put the next bytes at the front of `buffer`; 0 at the end of the body, which is then whole.

        Raises TooLarge, Truncated, Stalled, TooSlow, ConnectionFailed, BadReply, Cancelled.
        """
        self.check_size()
        if self._max_bytes is not None:
            # One byte more than is allowed tells that there is more.
            buffer = buffer[: self._max_bytes - self._received + 1]
        try:
            got = self._body.readinto(buffer)
        except _BROKEN as error:  # as `translated`, which would cost a tenth of reading from TLS
            raise _told(error, self.url, self._call) from error
        self._received += got
        if self._max_bytes is not None and self._received > self._max_bytes:
            raise TooLarge(self.url, f"the file has more than {self._max_bytes} bytes, the limit")
        return got

    def chunks(self, size: int = CHUNK) -> Iterator[memoryview]:
        """The body in pieces of at most `size` bytes. Each is good until the next one is asked for. Raises as
        `readinto`."""
        view = memoryview(bytearray(min(size, max(self.length or size, 1))))
        while got := self.readinto(view):
            yield view[:got]

    def close(self) -> None:
        """End the connection, whatever has been read. Repeatable."""
        self._call.drops(self._connection.socket)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def translated(shown: str, call: Call) -> Iterator[None]:
    """What goes wrong on a connection, as errors of ours."""
    try:
        yield
    except _BROKEN as error:
        raise _told(error, shown, call) from error


def _told(error: Exception, shown: str, call: Call) -> FetchError:
    if call.cancelled:
        return Cancelled(shown, "the download was cancelled")
    if isinstance(error, Malformed):
        return BadReply(shown, str(error))
    if isinstance(error, Short) or type(error).__name__ == "SSLEOFError":
        return Truncated(shown, f"the connection ended early: {error}")
    if isinstance(error, Dripping):
        return TooSlow(shown, f"the server is too slow: {error}")
    if isinstance(error, TimeoutError):
        return Stalled(shown, str(error) if isinstance(error, Over) else "no byte moved in time")
    return ConnectionFailed(shown, f"the connection broke: {error}")


def _body(method: str, head: Head, connection: Connection) -> Body:
    if method == "HEAD" or head.status in _BODILESS:
        return Empty()
    if head.chunked:
        return Chunked(connection)
    return UntilEnd(connection) if head.length is None else Counted(connection, head.length)


def _binary(text: str) -> bytes | None:
    """The value of a digest, `:base64:`; None when it is none of 32 bytes."""
    try:
        value = base64.b64decode(text.strip(":"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == 32 else None
