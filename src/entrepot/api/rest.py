"""The control plane: storage REST (protocol 2), health, and the published OpenAPI document."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from entrepot import wire
from entrepot.api import auth, jsonbody, openapi, users
from entrepot.api.bytes import multipart
from entrepot.api.bytes.uploads import uploaded
from entrepot.api.front import context_of
from entrepot.api.http_context import ClientGone, HttpContext
from entrepot.api.responses import as_problem, cut_short, no_route
from entrepot.api.services import Services
from entrepot.domain.errors import Code, Problem
from entrepot.domain.names import quote_segment
from entrepot.domain.uploads import Intent
from entrepot.domain.version import __version__
from entrepot.service.access import MAX_TOKEN_LIFETIME

log = logging.getLogger("entrepot.api")

_READING = ["GET", "HEAD"]
PUBLIC = frozenset({"/healthz", "/readyz", "/openapi.json"})
# A good key gets a token whatever else its request says: what is longer than the one is passed over, up to the other.
MAX_TOKEN_BODY, MAX_PASSED_OVER = 4 * 1024, 128 * 1024


class InitiateUploadRequest(BaseModel):
    """What `/storage/upload/initiate` takes. Unknown fields are ignored, as other people's clients send some."""

    model_config = ConfigDict(extra="ignore", strict=True)

    file_name: str = Field(min_length=1, max_length=4096)
    content_type: str | None = Field(default=None, max_length=255)


def build(services: Services) -> FastAPI:
    """The FastAPI app. Paths are taken as they come: no redirect to a cleaned one (protocol A11)."""

    app = FastAPI(
        title="Entrepot",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=None,
        dependencies=[Depends(_right(services))],
    )
    kinds: list[type[Exception]] = [Problem, *services.failures, Exception]
    for kind in kinds:
        app.add_exception_handler(kind, _failure(services))
    app.add_exception_handler(HTTPException, _http_failure)
    app.add_exception_handler(ClientGone, _cut_body)

    @app.post(wire.TOKEN)
    async def token(request: Request) -> Response:
        return await _token(request, services)

    @app.post(wire.INITIATE)
    async def initiate(request: Request) -> Response:
        return await _initiate(request, services)

    @app.post(wire.OLD_INITIATE_MULTIPART)
    async def old_initiate_multipart(request: Request) -> Response:
        return await _old_initiate_multipart(request, services)

    @app.post(wire.INITIATE_MULTIPART)
    async def initiate_multipart(request: Request) -> Response:
        return await _initiate_multipart(request, services)

    @app.post(wire.GCS_MULTIPART + "/complete")
    async def gcs_complete(request: Request, key: str, upload_id: str) -> Response:
        return await _gcs_complete(request, services, _object_path(key, upload_id))

    @app.post(wire.GCS_MULTIPART + "/{number}")
    async def gcs_part(request: Request, key: str, upload_id: str, number: str) -> Response:
        return await _gcs_part(request, services, _object_path(key, upload_id), number)

    _add_reads(app, services)
    return app


def _add_reads(app: FastAPI, services: Services) -> None:
    """The routes that only tell something."""

    @app.api_route(wire.CURRENT_USER, methods=_READING)
    async def current_user(request: Request) -> Response:
        return _json(await users.current(context_of(request.scope), services))

    @app.api_route(wire.TEAMS, methods=_READING)
    async def teams(request: Request) -> Response:
        return _json(await users.teams(context_of(request.scope), services))

    @app.api_route("/healthz", methods=_READING)
    async def healthz() -> Response:
        return _json({"status": "ok", "version": __version__})

    @app.api_route("/readyz", methods=_READING)
    async def readyz() -> Response:
        return _json({"status": "ready", "writable": await services.health.check()})

    @app.api_route("/openapi.json", methods=_READING)
    async def document() -> Response:
        return _json(openapi.document(services.api_origin))


def _right(services: Services) -> Callable[[Request], Awaitable[None]]:
    """What is checked before any handler: a credential, on all routes but the public ones."""

    async def check(request: Request) -> None:
        if request.scope["path"] not in PUBLIC:
            ctx = context_of(request.scope)
            ctx.principal = await auth.account(ctx, services.access)

    return check


async def _token(request: Request, services: Services) -> Response:
    """POST /storage/auth/token: whatever else the request says, a good key gets a token (protocol C2)."""
    ctx = context_of(request.scope)
    lifetime = _asked_lifetime(await ctx.read_body(MAX_PASSED_OVER, services.stall_timeout))
    token = await services.access.issue_token(ctx.principal, wire.CDN_TOKEN, lifetime)
    return _json(
        {
            "token": token.text,
            "token_type": "Bearer",
            "base_url": services.cdn_origin,
            "base_upload_url": services.cdn_origin,
            "created_at": wire.timestamp(token.created_at),
            "expires_at": wire.timestamp(token.expires_at),
        }
    )


def _asked_lifetime(raw: bytes) -> float | None:
    """`expiration_seconds` of the body, the longest possible for more than that; None when it says nothing."""
    if len(raw) > MAX_TOKEN_BODY:
        return None
    try:
        seconds = wire.strict_json(raw or b"{}").get("expiration_seconds")
    except (ValueError, AttributeError):
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
        return None
    return float(min(seconds, MAX_TOKEN_LIFETIME))


async def _initiate(request: Request, services: Services) -> Response:
    """POST /storage/upload/initiate: a URL to PUT the bytes to, and the one to read them from (protocol 2.3)."""
    ctx = context_of(request.scope)
    _storage_type(ctx)
    begun = await services.uploads.begin(ctx.principal, await _intent(ctx, services))
    file_url = services.cdn_origin + begun.upload.draft.path
    return _json({"file_url": file_url, "upload_url": f"{file_url}?{wire.SIGNATURE_PARAMETER}={begun.signature}"})


async def _initiate_multipart(request: Request, services: Services) -> Response:
    """POST /storage/upload/initiate-multipart: clients put the part number between path and query (protocol 2.5); in
    the GCS style they ask for each part's URL (2.6)."""
    ctx = context_of(request.scope)
    in_gcs_style = _storage_type(ctx) == "gcs"
    begun = await services.multipart.begin(ctx.principal, await _intent(ctx, services))
    file_url = services.cdn_origin + begun.upload.draft.path
    signed = f"{file_url}/multipart/{begun.upload.id}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    key = begun.upload.draft.path.removeprefix(wire.OBJECTS)
    by_parts = f"{services.api_origin}/storage/files/{key}/multipart/{begun.upload.id}"
    return _json({"file_url": file_url, "upload_url": by_parts if in_gcs_style else signed})


async def _old_initiate_multipart(request: Request, services: Services) -> Response:
    """POST /upload/initiate-multipart: toolkits `fal` 1.5 to 1.75 with the repository fal_v2 append `&part_number=1`
    to the URL."""
    ctx = context_of(request.scope)
    begun = await services.multipart.begin(ctx.principal, await _intent(ctx, services))
    path = begun.upload.draft.path
    signed = f"{path}/multipart/{begun.upload.id}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    return _json({"file_url": services.cdn_origin + path, "upload_url": services.cdn_origin + wire.OLD_UPLOAD + signed})


async def _gcs_part(request: Request, services: Services, path: str, number: str) -> Response:
    """POST {upload_url}/{n}: the URL to PUT this part to (protocol 2.6)."""
    who = context_of(request.scope).principal
    begun = await services.multipart.grant(who, path, multipart.part_number(number))
    url = f"{services.cdn_origin}{path}/{number}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    return _json({"upload_url": url})


async def _gcs_complete(request: Request, services: Services, path: str) -> Response:
    """POST {upload_url}/complete in the GCS style."""
    ctx = context_of(request.scope)
    obj = await services.multipart.finish(ctx.principal, path, *await multipart.cited_parts(ctx, services))
    return _json(uploaded(services, obj))


def _object_path(key: str, upload_id: str) -> str:
    """The multipart path of an upload; `key` is `<store>/<name>`, decoded."""
    store, _, name = key.partition("/")
    return f"{wire.OBJECTS}{store}/{quote_segment(name)}/multipart/{upload_id}"


def _storage_type(ctx: HttpContext) -> str:
    storage_type = (ctx.queries("storage_type") or [""])[-1] or wire.STORAGE_TYPES[0]
    if storage_type not in wire.STORAGE_TYPES:
        known = ", ".join(wire.STORAGE_TYPES)
        raise Problem(Code.VALIDATION_FAILED, f"It must be one of {known}.", where=("query", "storage_type"))
    return storage_type


async def _intent(ctx: HttpContext, services: Services) -> Intent:
    asked = _validated(await ctx.read_body(jsonbody.MAX_FIELDS, services.stall_timeout))
    return Intent(
        lifecycle=ctx.lifecycle(),
        file_name=asked.file_name,
        content_type=asked.content_type or None,
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )


def _validated(body: bytes) -> InitiateUploadRequest:
    try:
        return InitiateUploadRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Problem(Code.VALIDATION_FAILED, first["msg"], where=("body", *first["loc"])) from None


def _json(value: dict[str, Any] | list[dict[str, Any]], status: int = 200) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(wire.compact(value), status, headers, media_type="application/json")


class _Sent(Response):
    """Tells the framework that the reply is out: errors are sent past it, as it would not read what the client still
    sends."""

    async def __call__(self, *_: Any) -> None:
        pass


def _failure(services: Services) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        ctx, problem = context_of(request.scope), as_problem(error, services.failures)
        if problem is not error:
            log.error("request %s: %r", ctx.request_id, error)
        await ctx.send_error(problem or Problem(Code.INTERNAL, "The server failed to handle this request."))
        return _Sent()

    return handle


async def _cut_body(request: Request, error: Exception) -> Response:
    """The connection ended within the request; a client that only closed its sending half reads this."""
    await context_of(request.scope).send_error(cut_short())
    return _Sent()


async def _http_failure(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: no such route, or another method."""
    assert isinstance(error, HTTPException)
    ctx = context_of(request.scope)
    if error.status_code != 405:
        await ctx.send_error(no_route())
        return _Sent()
    allowed = ", ".join(filter(None, [(error.headers or {}).get("Allow"), "OPTIONS"]))
    problem = Problem(Code.METHOD_NOT_ALLOWED, f"{request.method} is not possible here.")
    await ctx.send_error(problem, [(b"allow", allowed.encode())])
    return _Sent()
