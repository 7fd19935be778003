"""GET and HEAD of object URLs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from email.utils import formatdate
from functools import lru_cache

from entrepot import wire
from entrepot.api.bytes.conditional import Representation, evaluate_preconditions
from entrepot.api.bytes.sending import guards, send_file, send_small
from entrepot.api.http_context import HttpContext
from entrepot.api.responses import Header, Headers
from entrepot.api.services import Services
from entrepot.domain import disposition
from entrepot.domain.objects import Object, is_public


async def get_object(ctx: HttpContext, services: Services) -> None:
    """GET or HEAD /files/b/<store>/<id>_<name>."""
    obj = await services.objects.open(ctx.principal, ctx.path())
    headers = _headers(ctx, services, obj)
    file = Representation(obj.etag, obj.published_at, obj.size, obj.content_type)
    decided = await evaluate_preconditions(ctx, file, headers)
    if decided is None:
        return
    status, ranges = decided
    if len(ranges) == 1 and (small := await services.objects.small(obj)) is not None:
        return await send_small(ctx, status, headers, small[ranges[0].start : ranges[0].end], services.replies)

    def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
        return services.objects.read(obj, start, end)

    await send_file(ctx, file, status, ranges, headers, read, services.stall_timeout, services.replies)


def _headers(ctx: HttpContext, services: Services, obj: Object) -> Headers:
    headers = [
        *_facts(obj.content_type, obj.etag, obj.published_at, obj.sha256, obj.expires_at),
        (b"cache-control", _cache_control(services, obj).encode()),
    ]
    if ctx.scope["query_string"] and ctx.query("download") == "1":
        headers.append((b"content-disposition", disposition.make("attachment", obj.name or obj.id).encode()))
    elif not obj.inline:
        # The name is for who looks at a page: stock downloaders would save under it, and mix up two files of one name.
        name = disposition.make("attachment", obj.name if _navigates(ctx) else "")
        headers.append((b"content-disposition", name.encode()))
        headers.append((b"vary", b"Accept, Sec-Fetch-Mode"))
    return headers


def _navigates(ctx: HttpContext) -> bool:
    """Whether a person opened the URL in a browser, which then asks where to save it (Fetch Metadata, RFC 9110 section
    12.5.1). Browsers tell the mode to https and to this machine alone."""
    mode = ctx.header("sec-fetch-mode")
    return mode == "navigate" if mode else "text/html" in (ctx.header("accept") or "")


@lru_cache(maxsize=4096)
def _facts(
    content_type: str, etag: str, published_at: float, sha256: bytes | None, expires_at: float | None
) -> tuple[Header, ...]:
    """The headers that follow from these facts alone."""
    modified = formatdate(published_at, usegmt=True)
    headers = [*guards(content_type), (b"etag", etag.encode()), (b"last-modified", modified.encode())]
    if sha256 is not None:
        headers.append((b"repr-digest", wire.repr_digest(sha256).encode()))
    if expires_at is not None:
        headers.append((wire.EXPIRES_AT.encode(), wire.timestamp(expires_at).encode()))
    return tuple(headers)


def _cache_control(services: Services, obj: Object) -> str:
    """A cache may keep what everybody may see, and never beyond its life."""
    if not is_public(obj):
        return "private, no-store"
    age = services.max_age if obj.expires_at is None else min(services.max_age, int(obj.expires_at - services.clock()))
    return f"public, max-age={max(age, 0)}, immutable"
