"""What the volume's JSON functions share: the collections of their routes, and the request that they are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from entrepot.api import auth
from entrepot.api.http_context import HttpContext
from entrepot.api.json.jobs import accepted
from entrepot.api.json.plane import Ctx, JsonReply, JsonRoutes
from entrepot.api.parameters import LEGACY_VOLUME_ERRORS, VOLUME_ERRORS
from entrepot.api.services import Services
from entrepot.api.volume_request import VolumeRequest

_REQUEST = "entrepot.volume_request"


def _before(ctx: HttpContext, services: Services) -> None:
    """Of an account without a volume, or for an invalid path, the body is not read."""
    ctx.scope[_REQUEST] = VolumeRequest(ctx, services)


def platform_routes() -> JsonRoutes:
    """Volume routes of the Platform API."""
    return JsonRoutes("Volume", right=auth.key_holder, errors=VOLUME_ERRORS, before=_before)


def legacy_routes() -> JsonRoutes:
    """Legacy volume routes."""
    return JsonRoutes("Volume, legacy", right=auth.key_holder, errors=LEGACY_VOLUME_ERRORS, before=_before)


async def _request(ctx: Ctx) -> VolumeRequest:
    found: VolumeRequest = ctx.scope[_REQUEST]
    return found


Call = Annotated[VolumeRequest, Depends(_request)]


async def import_url(call: VolumeRequest, url: str) -> JsonReply:
    """Fetch a URL into the file of a request: true when it is there, or the job with `wait=false`."""
    when = call.conditions()
    if not call.flag("wait", True):
        return accepted(await call.services.imports.start(call.who, call.target, url, when))
    await call.ctx.unless_disconnected(call.services.imports.run(call.who, call.target, url, when))
    return JsonReply(True)
