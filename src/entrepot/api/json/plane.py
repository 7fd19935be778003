"""JSON routes on FastAPI: the declaration of a route, and the way of a request to its function.

The front finds the route by the raw path and checks its right; then the body is read within the route's bound, parsed
and validated (in a thread when it is large); only then FastAPI resolves the function's parameters and calls it. Errors
leave FastAPI as they are raised, and the front sends them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import Match

from entrepot import wire
from entrepot.api import auth, jsonbody
from entrepot.api.http_context import HttpContext, Message
from entrepot.api.responses import CORS, NO_STORE, NOSNIFF
from entrepot.api.routing import Handler, Operation, Route, Schema
from entrepot.api.services import Services
from entrepot.domain.acl import Principal

Function = TypeVar("Function", bound=Callable[..., Any])

_CONTEXT, _SERVICES, _ROUTE = "entrepot.context", "entrepot.services", "entrepot.route"


async def _context(request: Request) -> HttpContext:
    found: HttpContext = request.scope[_CONTEXT]
    return found


async def _services(request: Request) -> Services:
    found: Services = request.scope[_SERVICES]
    return found


# Parameters of a route's function: the request, the services, and the caller, whose right was checked.
Ctx = Annotated[HttpContext, Depends(_context)]
Svc = Annotated[Services, Depends(_services)]


async def _caller(ctx: Ctx) -> Principal:
    return ctx.principal


Caller = Annotated[Principal, Depends(_caller)]


class JsonReply(JSONResponse):
    """JSON in the spelling of all replies."""

    def render(self, content: Any) -> bytes:
        return wire.compact(content)


class _ReadRequest(Request):
    """A request whose body was read and validated: FastAPI is given the model."""

    def __init__(self, request: Request, model: Any) -> None:
        super().__init__(request.scope)
        self._model = model

    async def body(self) -> bytes:
        return b"{}"

    async def json(self) -> Any:
        return self._model


class JsonRoute(APIRoute):
    """A function of the JSON plane. `max_body` is in bytes."""

    def __init__(
        self,
        method: str,
        template: str,
        function: Callable[..., Any],
        right: auth.Right,
        max_body: int,
        operation: Operation | None,
        extra: Schema | None,
    ) -> None:
        self.method = method
        self.right = right
        self.max_body = max_body
        self.operation = operation
        super().__init__(
            template,
            function,
            methods=[method],
            openapi_extra=extra,
            response_class=JsonReply,
            response_model_exclude_unset=True,
            strict_content_type=False,
        )

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Whether this is the route that the front found."""
        if scope[_ROUTE] is not self:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "route": self}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        kind: Any = self.body_field.field_info.annotation
        model: TypeAdapter[Any] = TypeAdapter(kind)

        async def read_and_handle(request: Request) -> Response:
            ctx, services = await _context(request), await _services(request)
            value = await jsonbody.read(ctx, model, self.max_body, services.stall_timeout)
            return await handle(_ReadRequest(request, value))

        return read_and_handle


class JsonRoutes:
    """The JSON routes of one tag of the OpenAPI document. A function becomes a route by a decorator: its name is the
    operation's id, the first line of its docstring the summary, its parameters and its result are the schemas."""

    def __init__(self, tag: str, errors: str = "", right: auth.Right = auth.account) -> None:
        """`errors` are statuses that all of them may answer; `right` is that of those that name no other."""
        self._tag = tag
        self._errors = errors
        self._right = right
        self.routes: list[JsonRoute] = []

    def get(self, template: str, **about: Any) -> Callable[[Function], Function]:
        """A GET route, and its HEAD; see `post`."""
        return self._route("GET", template, **about)

    def post(self, template: str, **about: Any) -> Callable[[Function], Function]:
        """A POST route. `right` is that of all unless given, `max_body` is in bytes, `errors`, `parameters`
        and `deprecated` are those of `Operation`, `extra` is merged into what the document says, and without
        `documented` the document says nothing."""
        return self._route("POST", template, **about)

    def delete(self, template: str, **about: Any) -> Callable[[Function], Function]:
        """A DELETE route; see `post`."""
        return self._route("DELETE", template, **about)

    def _route(
        self,
        method: str,
        template: str,
        *,
        right: auth.Right | None = None,
        max_body: int = jsonbody.MAX_FIELDS,
        errors: str = "",
        parameters: tuple[Schema, ...] = (),
        deprecated: bool = False,
        documented: bool = True,
        extra: Schema | None = None,
    ) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            summary, _, more = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
            operation = Operation(
                _camel_case(function.__name__),
                self._tag,
                _one_line(summary).rstrip("."),
                f"{self._errors} {errors}",
                _one_line(more),
                parameters,
                deprecated=deprecated,
            )
            allowed = right or self._right
            route = JsonRoute(method, template, function, allowed, max_body, operation if documented else None, extra)
            self.routes.append(route)
            return function

        return add


def _camel_case(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(each.capitalize() for each in more)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def routes_of(routes: Sequence[JsonRoute]) -> list[Route]:
    """The routes of the JSON plane for the router."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_exception_handler(RequestValidationError, _raise_problem)
    app.router.routes[:] = routes
    return [Route(each.method, each.path, _handler(app, each), each.right, each.operation) for each in routes]


def _handler(app: FastAPI, route: JsonRoute) -> Handler:
    async def handle(ctx: HttpContext, services: Services) -> None:
        scope = {
            **ctx.scope,
            "method": route.method,  # of a HEAD it is GET
            "headers": [each for each in ctx.scope["headers"] if each[0] != b"content-type"],  # any is taken for JSON
            "path_params": {name: ctx.decoded(raw) for name, raw in ctx.path_params.items()},
            _CONTEXT: ctx,
            _SERVICES: services,
            _ROUTE: route,
        }
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope, _no_body, send)
        start, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
        await ctx.reply(start["status"], [*start["headers"], NOSNIFF, NO_STORE, *CORS], body)

    return handle


async def _no_body() -> Message:
    raise AssertionError("the body of a JSON route is read before FastAPI")


async def _raise_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    raise jsonbody.invalid(error.errors())
