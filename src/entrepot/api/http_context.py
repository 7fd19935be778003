"""One request and its reply over ASGI: what the byte path needs of HTTP, and no more.

Facts about the server that this rests on (checked in tests/protocol): a body is complete only when a message with
`more_body` false arrives, a cut one ends with `http.disconnect`; a sender is not told that its client has gone. Trailer
fields are not shown; where they were there comes an empty message that is not the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote_to_bytes

from entrepot import wire
from entrepot.api.responses import CORS, NO_STORE, NOSNIFF, Headers, error_headers, refusal
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.headers import text_of
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.names import quote_segment

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# After an early answer the rest of a body is read up to these bounds, so that clients which write first and read
# later (urllib) see the answer instead of a broken pipe.
DRAIN_BYTES = 128 * 1024 * 1024
DRAIN_SECONDS = 10.0
MAX_STORED_HEADER = 255
MAX_QUERY_FIELDS = 100


class ClientGone(Exception):
    """The connection ended before the request's body did, or before the reply's."""


def no_trailers() -> Problem:
    """Trailer fields are lost on the way to us, so what they say would be passed over in silence."""
    message = "Trailer fields after a chunked body are not taken."
    return Problem(Code.INVALID_REQUEST, message, fix="Send them as headers, before the body.")


@dataclass(frozen=True, slots=True)
class MinRate:
    """The least rate of a request body: `bytes_per_second` on average (0: none) once `grace` seconds are over."""

    bytes_per_second: int = 0
    grace: float = 30.0


class HttpContext:
    """A request being answered. Header names are lower case; repeated ones are joined with a comma."""

    __slots__ = (
        "_body_done",
        "_gone",
        "_min_rate",
        "_receive",
        "_send",
        "_spare",
        "finished",
        "headers",
        "key_id",
        "method",
        "path_params",
        "principal",
        "raw_path",
        "request_id",
        "scope",
        "sent",
        "started",
        "status",
        "warnings",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, min_rate: MinRate = MinRate()
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.raw_path = raw.partition(b"?")[0]
        self.path_params: Mapping[str, bytes] = {}  # raw values of the names in the route's template
        self.request_id = request_id
        self.started = time.perf_counter()
        self.status = 0
        self.sent = 0
        self.finished = False  # the whole reply is out
        self.key_id = ""  # the key id, for the log
        self.principal: Principal = ANONYMOUS  # who asks, once the route's right was checked
        self.warnings: list[str] = []  # what the reply tells beside its answer
        self.headers: dict[str, bytes] = {}
        for raw_name, value in scope["headers"]:
            name = raw_name.decode("latin-1")
            self.headers[name] = self.headers[name] + b", " + value if name in self.headers else value
        self._receive = receive
        self._send = send
        self._body_done = False
        self._gone: asyncio.Future[Message] | None = None
        self._min_rate = min_rate
        self._spare = min_rate.grace  # seconds that the client may still let us wait for its body

    def path(self) -> str:
        """The request's path, percent-decoded once. Raises Problem when it is not UTF-8."""
        return self.decoded(self.raw_path)

    def canonical_path(self) -> str:
        """The path as the URL was given out, whatever way the client escaped it: each segment on its own."""
        return "/".join(quote_segment(self.decoded(each)) for each in self.raw_path.split(b"/"))

    @staticmethod
    def decoded(raw: bytes) -> str:
        """Percent-decode once, strictly as UTF-8. Raises Problem."""
        try:
            return unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            raise Problem(Code.VALIDATION_FAILED, "The path is not UTF-8.", where=("path",)) from None

    def path_param(self, name: str) -> str:
        """A name of the route's template, percent-decoded once. Raises Problem when it is not UTF-8."""
        return self.decoded(self.path_params[name])

    def query(self, name: str) -> str | None:
        """The one value of a query parameter; None when it is missing or given twice."""
        values = self.queries(name)
        return values[0] if len(values) == 1 else None

    def single_query(self, name: str) -> str | None:
        """The value of a query parameter. Raises Problem(VALIDATION_FAILED) when it is given twice."""
        values = self.queries(name)
        if len(values) > 1:
            raise Problem(Code.VALIDATION_FAILED, "It is given more than once.", where=("query", name))
        return values[0] if values else None

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter. Raises Problem: anybody's query is parsed, so it is bounded."""
        raw: bytes = self.scope.get("query_string") or b""
        if not raw:
            return []
        try:
            parsed = parse_qs(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            message = f"It has more than {MAX_QUERY_FIELDS} parameters."
            raise Problem(Code.VALIDATION_FAILED, message, where=("query",)) from None
        return parsed.get(name, [])

    def header(self, name: str) -> str | None:
        """A header as text, without blanks around it; None when missing or empty."""
        value = self.headers.get(name)
        return (text_of(value).strip(" \t") or None) if value is not None else None

    def stored_header(self, name: str) -> str | None:
        """A header that is stored, so it must be short. Raises Problem(VALIDATION_FAILED)."""
        value = self.header(name)
        if value is not None and len(value) > MAX_STORED_HEADER:
            message = f"It is longer than {MAX_STORED_HEADER} characters."
            raise Problem(Code.VALIDATION_FAILED, message, where=("header", name))
        return value

    def lifecycle(self) -> Lifecycle:
        """What the headers say of lifetime and access. Raises Problem."""
        return wire.parse_lifecycle(self.headers, self.warnings)

    def common_headers(self) -> Headers:
        """The headers that every reply to this request has."""
        headers = [(b"x-request-id", self.request_id.encode())]
        if self.warnings:
            told = "; ".join(self.warnings[: wire.MAX_WARNINGS])
            headers.append((wire.WARNING.encode(), told.encode("ascii", "replace")))
        return headers

    def content_length(self) -> int | None:
        text = self.header("content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    async def body(self, stall_timeout: float, *, watch: bool = False) -> AsyncIterator[bytes]:
        """The request's body as it arrives. Raises ClientGone when it is cut, Problem(TIMED_OUT) when it stalls.

        With `watch`, what happens to the connection after its end is known to `check_client`.
        """
        while not self._body_done:
            message = await self.receive(stall_timeout)
            if message["type"] != "http.request":
                self._body_done = True
                raise ClientGone
            self._body_done = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk
            elif not self._body_done and "transfer-encoding" in self.headers:
                raise no_trailers()
        if watch:
            self._gone = asyncio.ensure_future(self._receive())

    def check_client(self) -> None:
        """Raise ClientGone when the client has closed the connection, or its half of it, since the end of its body: the
        ASGI server sends no reply then, so nothing is to be published that nobody is told of."""
        if self._gone is not None and self._gone.done():
            raise ClientGone

    async def read_body(self, limit: int, stall_timeout: float) -> bytes:
        """The whole body; one that says that it is larger than `limit` is not read. Raises as `body` does, and
        Problem(TOO_LARGE)."""
        beyond = Problem(Code.TOO_LARGE, f"The body is larger than the limit of {limit} bytes.")
        if (self.content_length() or 0) > limit:
            raise beyond
        received = bytearray()
        async for chunk in self.body(stall_timeout):
            received += chunk
            if len(received) > limit:
                raise beyond
        return bytes(received)

    async def receive(self, stall_timeout: float) -> Message:
        """The next message of the body. Raises Problem(TIMED_OUT) when none comes in time, or the body is too slow.

        Only the time that we wait here counts against the client, not that in which we are busy with what came. What it
        is ahead of the least rate is kept, up to the length of a stall.
        """
        least = self._min_rate.bytes_per_second
        patience = min(stall_timeout, self._spare) if least else stall_timeout
        begun = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                message = await self._receive()
        except TimeoutError:
            if patience == stall_timeout:
                raise Problem(Code.TIMED_OUT, f"No byte of the body came for {stall_timeout:g} seconds.") from None
            raise Problem(Code.TIMED_OUT, f"The body came slower than {least} bytes a second.") from None
        if least:
            earned = self._spare - (time.monotonic() - begun) + len(message.get("body", b"")) / least
            self._spare = min(max(earned, 0.0), self._min_rate.grace + stall_timeout)
        return message

    async def start(self, status: int, headers: Headers) -> None:
        """Begin a reply. After one to a body that was not read the server closes the connection, so the client is told:
        else it loses the next request on it."""
        self.status = status
        if self._gone is not None:
            self._gone.cancel()
        headers += self.common_headers()
        if self._may_have_body():
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.sent += len(data)
        self.finished = not more

    async def reply(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole reply. A HEAD gets the same headers without the body."""
        await self.start(status, headers)
        await self.send(b"" if self.method == "HEAD" else body)

    async def send_json(self, status: int, value: wire.Json, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        await self.send_json_bytes(status, wire.compact(value), extra)

    async def send_json_bytes(self, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Reply with JSON that is spelled out already."""
        await self.reply(
            status,
            [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                NOSNIFF,
                NO_STORE,
                *CORS,
                *extra,
            ],
            body,
        )

    async def send_error(self, problem: Problem, extra: Headers | None = None) -> None:
        """Send an error, then read what the client still sends, within bounds. Nothing is sent once a reply began."""
        if self.status:
            return
        status, body = refusal(problem, self.request_id, self.raw_path)
        await self.reply(status, error_headers(problem, body) + (extra or []), body)
        if self._may_have_body():
            await self._drain()

    async def disconnected(self) -> None:
        """Return when the client has gone. Used beside a long reply."""
        while (await self._receive())["type"] == "http.request":
            pass

    async def unless_disconnected(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that only this client waits for: it is cancelled when the client goes. Raises
        ClientGone."""
        doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.disconnected())
        try:
            await asyncio.wait([doing, gone], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ClientGone
            return doing.result()
        finally:
            gone.cancel()
            doing.cancel()
            await asyncio.wait([doing])  # until it has freed what it held

    def announces_body(self) -> bool:
        return self.content_length() not in (None, 0) or "transfer-encoding" in self.headers

    def _may_have_body(self) -> bool:
        return not self._body_done and self.announces_body()

    async def _drain(self) -> None:
        if self.header("expect"):
            return  # the client waits for a 100 that never comes; it has our answer
        left = DRAIN_BYTES
        with contextlib.suppress(ClientGone, Problem, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for chunk in self.body(DRAIN_SECONDS):
                    left -= len(chunk)
                    if left < 0:
                        return
