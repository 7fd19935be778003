"""`/v1/assets` of the Platform API: a URL becomes a file of the CDN. No library of assets is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from entrepot import wire
from entrepot.api import auth
from entrepot.api.json.plane import Caller, Ctx, JsonRoutes, Svc
from entrepot.api.models import Timestamp, Uri
from entrepot.api.parameters import IDEMPOTENCY_KEY, LIFECYCLE
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.service.uploads import object_id_of

assets = JsonRoutes("Storage")

AssetType = Literal["image", "video", "audio", "3d"]
# Fields of the library, which have no effect here.
_LIBRARY = ("prompt", "collection_id", "favorite", "tag_ids")


class AssetUploadRequest(BaseModel):
    """The URL of a future asset. It is fetched, unless it is one of this server."""

    model_config = ConfigDict(strict=True, extra="forbid")

    url: Uri = Field(max_length=8192)
    type: AssetType
    prompt: str | None = Field(default=None, max_length=2000)
    collection_id: str | None = Field(default=None, max_length=255)
    favorite: bool = False
    tag_ids: list[str] | None = None


class Asset(BaseModel):
    """An asset as fal describes it, null where only a library knows the value."""

    vector_id: str = Field(description="Id of the file.")
    request_id: None = None
    url: Uri
    type: AssetType
    title: str | None
    endpoint: None = None
    created_at: Timestamp
    source: Literal["upload"]
    prompt: str | None
    width: None = None
    height: None = None
    content_type: str
    is_favorited: bool
    similarity: None = None


class AssetUploaded(BaseModel):
    asset: Asset


@assets.post(
    wire.ASSET_UPLOADS,
    right=auth.key_holder,
    errors="400 401 404 412 413 424 429 507",
    parameters=(IDEMPOTENCY_KEY, LIFECYCLE),
)
async def assets_upload(ctx: Ctx, caller: Caller, services: Svc, body: AssetUploadRequest) -> AssetUploaded:
    """Make a file of the CDN from a URL.

    The URL is fetched, unless it is one of this server: then its file is the asset. No library of assets is kept:
    `prompt`, `collection_id`, `favorite` and `tag_ids` have no effect, and are named in X-Entrepot-Warning.
    """
    ctx.warnings += [f"body: {field} is not kept here" for field in _LIBRARY if getattr(body, field)]
    intent = Intent(
        ctx.lifecycle(),
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
    obj = await ctx.unless_disconnected(services.assets.add(caller, body.url, intent))
    return AssetUploaded(asset=_asset(services.cdn_origin, obj, body))


def _asset(origin: str, obj: Object, body: AssetUploadRequest) -> Asset:
    return Asset(
        vector_id=object_id_of(obj.path),
        request_id=None,
        url=origin + obj.path,
        type=body.type,
        title=obj.name or None,
        endpoint=None,
        created_at=wire.timestamp(obj.published_at),
        source="upload",
        prompt=body.prompt,
        width=None,
        height=None,
        content_type=obj.content_type,
        is_favorited=False,
        similarity=None,
    )
