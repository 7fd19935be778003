"""The front door: every request passes here. It gives the request its id, keeps out what is not well formed and who has
no right, sends it to the byte path or the control plane, turns what went wrong into one kind of error body, and writes
the one log line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from entrepot.api import auth, wellformed
from entrepot.api.doors import Doors
from entrepot.api.exchange import ClientGone, Exchange, Message, Receive, Scope, Send
from entrepot.api.responses import CORS, as_problem, cut_short, no_route
from entrepot.domain.errors import Code, Problem
from entrepot.logs import clock, iso, printable

log = logging.getLogger("entrepot.api")

Handler = Callable[[Exchange, Doors], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and the right that is checked before it sees the request; it finds who asks in `Exchange.principal`.

    A route that names no right asks for a credential, so that one which forgets it is closed and not open.
    """

    handler: Handler
    right: auth.Right = auth.account


Methods = Mapping[str, Route]

# Written by hand: to build a dict and dump it costs a fifth of a small read.
_LINE = (
    '{"time": "%s", "level": "info", "logger": "entrepot.access", "request_id": "%s", "client": %s, "method": %s, '
    '"path": %s, "status": %d, "bytes": %d, "ms": %.2f%s%s}\n'
)
_quoted = json.encoder.encode_basestring_ascii
_PREFLIGHT_SECONDS = b"86400"
_MAX_ASKED = 4000  # characters of the headers that a preflight asks for; more are not looked at
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


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
        as_json: bool = True,
    ) -> None:
        self._doors = doors
        self._byte_path = byte_path
        self._control = control
        self._lifespan = lifespan
        self._out = out
        self._as_json = as_json
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        x = Exchange(scope, receive, send, secrets.token_hex(8), self._doors.min_rate)
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
        wellformed.check(x, self._doors.accepted_hosts)
        if x.method == "OPTIONS":
            return await _preflight(x)
        methods = self._byte_path(x.raw_path)
        if methods is None:
            return await self._control(_marked(x), receive, _stamped(x, send))
        if not methods:
            raise no_route()
        route = methods.get(x.method)
        if route is None:
            problem = Problem(Code.METHOD_NOT_ALLOWED, f"{x.method} is not possible here.")
            return await x.refuse(problem, [(b"allow", ", ".join([*methods, "OPTIONS"]).encode())])
        x.principal = await route.right(x, self._doors.access)
        await route.handler(x, self._doors)

    async def _fail(self, x: Exchange, error: Exception) -> None:
        problem = as_problem(error, self._doors.failures)
        if problem is None:
            log.exception("defect in request %s", x.request_id)
            problem = Problem(Code.INTERNAL, "The server failed to handle this request.")
        elif problem is not error:
            log.error("request %s: %s: %s", x.request_id, type(error).__name__, error)
        await x.refuse(problem)
        self._log(x, problem.code.code)

    def _log(self, x: Exchange, outcome: str = "") -> None:
        line = (_json_line if self._as_json else _text_line)(x, outcome)
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


def _json_line(x: Exchange, outcome: str) -> str:
    """The access line as JSON; the path without its query: signatures and tokens stay out of the log."""
    return _LINE % (
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


def _text_line(x: Exchange, outcome: str) -> str:
    """The access line for a person at a terminal, with the same facts but the client's address and the key."""
    asked = printable(f"{x.method} {x.raw_path.decode('latin-1')}")
    took = (time.perf_counter() - x.started) * 1000
    said = f" {outcome} (request {x.request_id})" if outcome else ""
    return f"{clock(time.time())} {x.status} {asked} {x.sent} bytes in {took:.0f} ms{said}\n"


async def _preflight(x: Exchange) -> None:
    """CORS preflight, and plain OPTIONS. What is asked for is granted: rights hang on credentials, not on origins."""
    asked = (x.text("access-control-request-headers") or "")[:_MAX_ASKED].lower().split(",")
    named = (each.strip() for each in asked)
    headers = ", ".join(h for h in named if h and set(h) <= _TOKEN)[:2000] or "authorization, content-type, range"
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
