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
from entrepot.api.json import plane
from entrepot.api.json.assets import assets
from entrepot.api.json.health import health
from entrepot.api.json.storage import storage
from entrepot.api.json.users import users
from entrepot.api.routing import Methods, Route, Router, Schema
from entrepot.api.services import Services
from entrepot.api.volume import document as volume_document
from entrepot.api.volume import routes as volume
from entrepot.api.volume.schemas import SCHEMAS as VOLUME_SCHEMAS

JSON_ROUTES = (*storage.routes, *assets.routes, *users.routes, *health.routes)


def published(origin: str) -> Schema:
    """The OpenAPI document of a server that answers at `origin`."""
    found = document(ROUTES, JSON_ROUTES, origin)
    found["paths"].update(volume_document.paths())
    found["components"]["schemas"].update(VOLUME_SCHEMAS)
    return found


@lru_cache(maxsize=4)
def _spelled(origin: str) -> bytes:
    return wire.compact(published(origin))


async def _openapi(ctx: HttpContext, services: Services) -> None:
    """GET /openapi.json."""
    await ctx.send_json_bytes(200, await asyncio.to_thread(_spelled, services.api_origin))


ROUTES = (*table.ROUTES, *plane.routes_of(JSON_ROUTES), Route("GET", "/openapi.json", _openapi, auth.anybody))


_ROUTER = Router(ROUTES)


def find(raw_path: bytes) -> Methods:
    """The routes of a URL; none when there is no such route."""
    return _ROUTER.find(raw_path) or volume.find(raw_path)


def build(services: Services, lifespan: App, *, as_json: bool = True) -> Front:
    """The app; its access lines are JSON objects or lines to read."""
    return Front(services, find, lifespan, as_json=as_json)
