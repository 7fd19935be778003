"""The front that every request passes: it gives the request its id, refuses what is malformed or has no right, calls
the route's handler, turns every error into a reply, and writes the one log line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TextIO

from entrepot.api import wellformed
from entrepot.api.http_context import ClientGone, HttpContext, Receive, Scope, Send
from entrepot.api.responses import CORS, cut_short, no_route
from entrepot.api.routing import Methods
from entrepot.api.services import Services
from entrepot.domain.errors import Code, Problem, as_problem
from entrepot.logs import clock, iso, printable

log = logging.getLogger("entrepot.api")

App = Callable[[Scope, Receive, Send], Awaitable[None]]


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
    """An ASGI app; `find` gives the routes of a raw path."""

    def __init__(
        self,
        services: Services,
        find: Callable[[bytes], Methods],
        lifespan: App,
        out: TextIO = sys.stderr,
        as_json: bool = True,
    ) -> None:
        self._services = services
        self._find = find
        self._lifespan = lifespan
        self._out = out
        self._as_json = as_json
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        ctx = HttpContext(scope, receive, send, secrets.token_hex(8), self._services.min_rate)
        try:
            await self._answer(ctx)
        except ClientGone:
            # Who closed only its sending half, or framed a chunk wrong, reads why. When a reply has begun, returning
            # without its last message cuts the connection: a body never ends short as if it were whole.
            await ctx.send_error(cut_short())
            self._log(ctx, "client_gone")
        except Exception as error:
            await self._fail(ctx, error)
        else:
            self._log(ctx)

    async def _answer(self, ctx: HttpContext) -> None:
        wellformed.check(ctx, self._services.accepted_hosts)
        if ctx.method == "OPTIONS":
            return await _preflight(ctx)
        methods = self._find(ctx.raw_path)
        if not methods:
            ctx.path()  # raises for a path that is not UTF-8
            raise no_route()
        found = methods.get(ctx.method)
        if found is None:
            problem = Problem(Code.METHOD_NOT_ALLOWED, f"{ctx.method} is not possible here.")
            return await ctx.send_error(problem, [(b"allow", ", ".join([*methods, "OPTIONS"]).encode())])
        route, ctx.path_params = found
        ctx.principal = await route.right(ctx, self._services)
        await route.handler(ctx, self._services)

    async def _fail(self, ctx: HttpContext, error: Exception) -> None:
        problem = as_problem(error, self._services.failures)
        if problem is None:
            log.exception("defect in request %s", ctx.request_id)
            problem = Problem(Code.INTERNAL, "The server failed to handle this request.")
        elif problem is not error:
            log.error("request %s: %s: %s", ctx.request_id, type(error).__name__, error)
        await ctx.send_error(problem)
        self._log(ctx, problem.code.code)

    def _log(self, ctx: HttpContext, outcome: str = "") -> None:
        line = (_json_line if self._as_json else _text_line)(ctx, outcome)
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


def _json_line(ctx: HttpContext, outcome: str) -> str:
    """The access line as JSON; the path without its query: signatures and tokens stay out of the log."""
    return _LINE % (
        iso(time.time()),
        ctx.request_id,
        _quoted((ctx.scope.get("client") or ("",))[0]),
        _quoted(ctx.method),
        _quoted(ctx.raw_path.decode("latin-1")),
        ctx.status,
        ctx.sent,
        (time.perf_counter() - ctx.started) * 1000,
        f', "key": {_quoted(ctx.key_id)}' if ctx.key_id else "",
        f', "outcome": "{outcome}"' if outcome else "",
    )


def _text_line(ctx: HttpContext, outcome: str) -> str:
    """The access line for a person at a terminal, with the same facts but the client's address and the key."""
    asked = printable(f"{ctx.method} {ctx.raw_path.decode('latin-1')}")
    took = (time.perf_counter() - ctx.started) * 1000
    said = f" {outcome} (request {ctx.request_id})" if outcome else ""
    return f"{clock(time.time())} {ctx.status} {asked} {ctx.sent} bytes in {took:.0f} ms{said}\n"


async def _preflight(ctx: HttpContext) -> None:
    """CORS preflight, and plain OPTIONS. What is asked for is granted: rights hang on credentials, not on origins."""
    asked = (ctx.header("access-control-request-headers") or "")[:_MAX_ASKED].lower().split(",")
    named = (each.strip() for each in asked)
    headers = ", ".join(h for h in named if h and set(h) <= _TOKEN)[:2000] or "authorization, content-type, range"
    await ctx.reply(
        204,
        [
            *CORS,
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"access-control-allow-headers", headers.encode()),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
            (b"vary", b"Access-Control-Request-Headers, Access-Control-Request-Method"),
        ],
    )
