"""`/v1/assets` of the Platform API: a URL becomes a file of the CDN. The library of assets itself is not kept here."""

from __future__ import annotations

from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.front import Methods, Route
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.domain.errors import Code, Problem
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.service.uploads import object_id_of

TYPES = ("image", "video", "audio", "3d")
MAX_URL = 8192
MAX_PROMPT = 2000
# Fields of the library, which say nothing here.
_LIBRARY = ("prompt", "collection_id", "favorite", "tag_ids")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


async def upload(ctx: HttpContext, services: Services) -> None:
    """POST /v1/assets/uploads: `url` and `type`; the reply comes when the file can be read."""
    given = await asking.read_object(ctx, services, "url", "type", *_LIBRARY, closed=True, most=jsonbody.MAX_FIELDS)
    url = asking.text(given, "url")
    if len(url) > MAX_URL:
        raise Problem(Code.VALIDATION_FAILED, f"It is longer than {MAX_URL} characters.", where=("body", "url"))
    if given.get("type") not in TYPES:
        raise Problem(Code.VALIDATION_FAILED, f"It must be one of {', '.join(TYPES)}.", where=("body", "type"))
    prompt = asking.optional_text(given, "prompt", MAX_PROMPT)
    asking.optional_text(given, "collection_id", 255)
    asking.flag(given, "favorite")
    if given.get("tag_ids") is not None:
        asking.texts(given, "tag_ids")
    ctx.warnings += [f"body: {field} is not kept here" for field in _LIBRARY if given.get(field)]
    intent = Intent(
        ctx.lifecycle(),
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
    obj = await ctx.unless_disconnected(services.assets.add(ctx.principal, url, intent))
    await ctx.send_json(200, {"asset": _asset(services, obj, given["type"], prompt)})


async def absent(ctx: HttpContext, services: Services) -> None:
    """All else below /v1/assets."""
    message = f"This server keeps no library of assets; of /v1/assets it has POST {wire.ASSET_UPLOADS} only."
    raise Problem(Code.NOT_FOUND, message, fix="Keep the URLs of files yourself; see /openapi.json for what there is.")


ABSENT: Methods = dict.fromkeys(_METHODS, Route(absent))


def _asset(services: Services, obj: Object, kind: str, prompt: str | None) -> dict[str, Any]:
    """What fal tells of an asset, null where it is known to a library alone."""
    return {
        "vector_id": object_id_of(obj.path),
        "request_id": None,
        "url": services.cdn_origin + obj.path,
        "type": kind,
        "title": obj.name or None,
        "endpoint": None,
        "created_at": wire.timestamp(obj.published_at),
        "source": "upload",
        "prompt": prompt,
        "width": None,
        "height": None,
        "content_type": obj.content_type,
        "is_favorited": False,
        "similarity": None,
    }
