"""The ASGI app of a server: the routes of both planes behind the front."""

from __future__ import annotations

import asyncio
from functools import lru_cache

from entrepot import wire
from entrepot.api import auth
from entrepot.api.bytes import table
from entrepot.api.document import document
from entrepot.api.front import App, Front
from entrepot.api.http_context import HttpContext
from entrepot.api.json import legacy_files, plane, platform_files, volume_uploads
from entrepot.api.json.app_files import app_files
from entrepot.api.json.assets import assets
from entrepot.api.json.health import health
from entrepot.api.json.jobs import jobs
from entrepot.api.json.storage import storage
from entrepot.api.json.users import users
from entrepot.api.routing import Route, Router, Schema
from entrepot.api.services import Services

JSON_ROUTES = (
    *storage.routes,
    *assets.routes,
    *users.routes,
    *health.routes,
    *jobs.routes,
    *platform_files.files.routes,
    *legacy_files.files.routes,
    *app_files.routes,
    *volume_uploads.platform.routes,
    *volume_uploads.legacy.routes,
)


def published(origin: str) -> Schema:
    """The OpenAPI document of a server that answers at `origin`."""
    return document(ROUTES, JSON_ROUTES, origin)


@lru_cache(maxsize=4)
def _spelled(origin: str) -> bytes:
    return wire.compact(published(origin))


async def _openapi(ctx: HttpContext, services: Services) -> None:
    """GET /openapi.json."""
    await ctx.send_json_bytes(200, await asyncio.to_thread(_spelled, services.api_origin))


ROUTES = (*table.ROUTES, *plane.routes_of(JSON_ROUTES), Route("GET", "/openapi.json", _openapi, auth.anybody))
find = Router(ROUTES).find


def build(services: Services, lifespan: App, *, as_json: bool = True) -> Front:
    """The app; its access lines are JSON objects or lines to read."""
    return Front(services, find, lifespan, as_json=as_json)
