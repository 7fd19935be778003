"""What the volume's JSON functions share: the collections of their routes, and the request that they are given."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends

from entrepot.api.json.jobs import accepted
from entrepot.api.json.plane import Ctx, JsonRoutes
from entrepot.api.parameters import LEGACY_VOLUME_ERRORS, VOLUME_ERRORS
from entrepot.api.volume_request import VolumeRequest, volume_request, volume_user


def platform_routes() -> JsonRoutes:
    """Volume routes of the Platform API."""
    return JsonRoutes("Volume", VOLUME_ERRORS, volume_user)


def legacy_routes() -> JsonRoutes:
    """Legacy volume routes."""
    return JsonRoutes("Volume, legacy", LEGACY_VOLUME_ERRORS, volume_user)


async def _request(ctx: Ctx) -> VolumeRequest:
    return volume_request(ctx)


Call = Annotated[VolumeRequest, Depends(_request)]


async def import_url(call: VolumeRequest, url: str) -> bool:
    """Fetch a URL into the file of a request: true when it is there, or the job with `wait=false`."""
    when = call.conditions()
    if not call.flag("wait", True):
        job = await call.services.imports.start(call.who, call.target, url, when)
        return cast(bool, accepted(job))  # a ready reply is sent as it is
    await call.ctx.unless_disconnected(call.services.imports.run(call.who, call.target, url, when))
    return True
