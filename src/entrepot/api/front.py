"""The front door: every request passes here. It gives the request its id, keeps foreign hosts out, sends it to the byte
path or the control plane, turns what went wrong into one kind of error body, and writes the one log line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TextIO

from entrepot.api.doors import Doors
from entrepot.api.exchange import ClientGone, Exchange, Message, Receive, Scope, Send
from entrepot.api.responses import CORS, as_problem, cut_short, no_route
from entrepot.domain.errors import Code, Problem
from entrepot.logs import iso

log = logging.getLogger("entrepot.api")

Handler = Callable[[Exchange, Doors], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Methods = Mapping[str, Handler]

# Written by hand: to build a dict and dump it costs a fifth of a small read.
_LINE = (
    '{"time": "%s", "level": "info", "logger": "entrepot.access", "request_id": "%s", "client": %s, "method": %s, '
    '"path": %s, "status": %d, "bytes": %d, "ms": %.2f%s%s}\n'
)
_quoted = json.encoder.encode_basestring_ascii
_PREFLIGHT_SECONDS = b"86400"
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
MAX_CONTROL_BODY = 1024 * 1024


class Front:
    """An ASGI app. `byte_path` gives the handlers of a raw path: none where nothing is, None for the control plane's
    paths."""

    def __init__(
        self,
        doors: Doors,
        byte_path: Callable[[bytes], Methods | None],
        control: App,
        lifespan: App,
        out: TextIO = sys.stderr,
    ) -> None:
        self._doors = doors
        self._byte_path = byte_path
        self._control = control
        self._lifespan = lifespan
        self._out = out
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        x = Exchange(scope, receive, send, secrets.token_hex(8))
        try:
            await self._answer(x, receive, send)
        except ClientGone:
            # Who closed only its sending half, or framed a chunk wrong, reads why. When a reply has begun, returning
            # without its last message cuts the connection: a body never ends short as if it were whole.
            await x.refuse(cut_short())
            self._log(x, "client_gone")
        except Exception as error:
            await self._fail(x, error)
        else:
            self._log(x)

    async def _answer(self, x: Exchange, receive: Receive, send: Send) -> None:
        self._check_host(x)
        if x.method == "OPTIONS":
            return await _preflight(x)
        methods = self._byte_path(x.raw_path)
        if methods is None:
            return await self._control(_marked(x), _bounded(receive, self._doors.stall_timeout), _stamped(x, send))
        if not methods:
            raise no_route()
        handler = methods.get(x.method)
        if handler is None:
            problem = Problem(Code.METHOD_NOT_ALLOWED, f"{x.method} is not possible here.")
            return await x.refuse(problem, [(b"allow", ", ".join([*methods, "OPTIONS"]).encode())])
        await handler(x, self._doors)

    async def _fail(self, x: Exchange, error: Exception) -> None:
        problem = as_problem(error, self._doors.failures)
        if problem is None:
            log.exception("defect in request %s", x.request_id)
            problem = Problem(Code.INTERNAL, "The server failed to handle this request.")
        elif problem is not error:
            log.error("request %s: %s: %s", x.request_id, type(error).__name__, error)
        await x.refuse(problem)
        self._log(x, problem.code.code)

    def _check_host(self, x: Exchange) -> None:
        accepted = self._doors.accepted_hosts
        if accepted and _host_of(x) not in accepted:
            raise Problem(Code.MISDIRECTED, "This server does not answer for that host name.")

    def _log(self, x: Exchange, outcome: str = "") -> None:
        """The path without its query: signatures and tokens stay out of the log."""
        line = _LINE % (
            iso(time.time()),
            x.request_id,
            _quoted((x.scope.get("client") or ("",))[0]),
            _quoted(x.method),
            _quoted(x.raw_path.decode("latin-1")),
            x.status,
            x.sent,
            (time.perf_counter() - x.started) * 1000,
            f', "key": {_quoted(x.who)}' if x.who else "",
            f', "outcome": "{outcome}"' if outcome else "",
        )
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write_lines)
        self._lines.append(line)

    def _write_lines(self) -> None:
        """Write what this turn of the event loop has gathered: one system call for all that ended in it."""
        lines, self._lines = "".join(self._lines), []
        # A full disk under the log must not fail a request.
        with contextlib.suppress(OSError):
            self._out.write(lines)
            self._out.flush()


def _host_of(x: Exchange) -> str:
    host = (x.text("host") or "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


async def _preflight(x: Exchange) -> None:
    """CORS preflight, and plain OPTIONS. What is asked for is granted: rights hang on credentials, not on origins."""
    asked = [h.strip().lower() for h in (x.text("access-control-request-headers") or "").split(",")]
    headers = ", ".join(h for h in asked if h and set(h) <= _TOKEN)[:2000] or "authorization, content-type, range"
    await x.reply(
        204,
        [
            *CORS,
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"access-control-allow-headers", headers.encode()),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
            (b"vary", b"Access-Control-Request-Headers, Access-Control-Request-Method"),
        ],
    )


def _marked(x: Exchange) -> Scope:
    """The control plane's scope: it knows the request's exchange, and paths keep their own spelling."""
    scope = dict(x.scope)
    scope["entrepot.exchange"] = x
    scope["path"] = x.path()
    return scope


def _bounded(receive: Receive, stall_timeout: float) -> Receive:
    """The control plane takes small JSON only, and without long pauses: a body never fills the memory (I9), and one
    that stands still does not keep its connection (I12)."""
    received = 0
    done = False

    async def bounded() -> Message:
        nonlocal received, done
        if done:
            return await receive()  # waits for the end of the connection
        try:
            async with asyncio.timeout(stall_timeout):
                message = await receive()
        except TimeoutError:
            raise Problem(Code.TIMED_OUT, f"No byte of the body came for {stall_timeout:g} seconds.") from None
        done = not message.get("more_body", False)
        received += len(message.get("body", b""))
        if received > MAX_CONTROL_BODY:
            raise Problem(Code.TOO_LARGE, f"The body is larger than the limit of {MAX_CONTROL_BODY} bytes.")
        return message

    return bounded


def _stamped(x: Exchange, send: Send) -> Send:
    """Note the control plane's reply for the log, and give it the request id and CORS headers."""

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            x.status = message["status"]
            headers = list(message.get("headers", []))
            if not any(name == b"access-control-allow-origin" for name, _ in headers):
                headers += CORS
            headers += x.own_headers()
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            x.sent += 0 if x.method == "HEAD" else len(message.get("body", b""))
            x.finished = not message.get("more_body", False)
        await send(message)

    return stamped


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange of a request in the control plane."""
    found: Exchange = scope["entrepot.exchange"]
    return found
