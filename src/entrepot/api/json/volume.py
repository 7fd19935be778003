"""What the volume's JSON functions share: the collections of their routes, and the request that they are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

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
