"""Multipart uploads through the CDN's routes (docs/protocol.md 2.5, 3.2-3.4): create, part, complete, and our list and
abort.

| Path                                       | Method | Handler  |
|--------------------------------------------|--------|----------|
| /files/upload/multipart                    | POST   | create   |
| <object path>/multipart/<upload>/<number>  | PUT    | part     |
| <object path>/multipart/<upload>/complete  | POST   | complete |
| <object path>/multipart/<upload>           | GET    | listing  |
| <object path>/multipart/<upload>           | DELETE | abort    |
| /upload<object path>/multipart/<upload>    | PUT    | old_part |
| /upload<object path>/multipart/<upload>    | POST   | old_complete |

All but create take the signature of the upload or the credential of its account (see app.py).
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.bytes.uploads import body_of, declared_type, intent_of, uploaded
from entrepot.api.http_context import HttpContext
from entrepot.api.models import CompleteMultipart
from entrepot.api.responses import CORS, NO_STORE
from entrepot.api.services import Services
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Part

_COMPLETE = TypeAdapter(CompleteMultipart)


async def create(ctx: HttpContext, services: Services) -> None:
    """POST /files/upload/multipart: no body; Content-Type is that of the future file."""
    upload = (await services.multipart.begin(ctx.principal, intent_of(ctx, declared_type(ctx)))).upload
    url = services.cdn_origin + upload.draft.path
    await ctx.send_json(
        200, {"access_url": url, "uploadId": upload.id, "expires_at": wire.timestamp(upload.expires_at)}
    )


async def part(ctx: HttpContext, services: Services) -> None:
    """PUT a part: both an ETag header (Python) and JSON with partNumber and etag (JavaScript)."""
    base, _, last = ctx.canonical_path().rpartition("/")
    await _store_part(ctx, services, base, last)


async def old_part(ctx: HttpContext, services: Services) -> None:
    """PUT a part whose number is in the query, `&part_number=1`: toolkits `fal` 1.5 to 1.75 with the repository
    fal_v2."""
    await _store_part(ctx, services, _old_base(ctx), ctx.query("part_number") or "")


async def _store_part(ctx: HttpContext, services: Services, base: str, number: str) -> None:
    done = await services.multipart.write(ctx.principal, base, part_number(number), body_of(ctx, services))
    await ctx.send_json(
        200,
        {"partNumber": done.number, "etag": done.etag, "size": done.size},
        [(b"etag", f'"{done.etag}"'.encode())],
    )


async def complete(ctx: HttpContext, services: Services) -> None:
    """POST complete, of any content type (docs/protocol.md C11). Retried completes get the same reply."""
    await _complete(ctx, services, ctx.canonical_path().rpartition("/")[0])


async def old_complete(ctx: HttpContext, services: Services) -> None:
    """POST complete to the URL of the upload itself, as the toolkits of `old_part` do."""
    await _complete(ctx, services, _old_base(ctx))


def _old_base(ctx: HttpContext) -> str:
    return ctx.canonical_path().removeprefix(wire.OLD_UPLOAD)


async def _complete(ctx: HttpContext, services: Services, base: str) -> None:
    obj = await services.multipart.finish(
        ctx.principal,
        base,
        *(await jsonbody.read(ctx, _COMPLETE, jsonbody.MAX_PARTS_LIST, services.stall_timeout)).cited(),
    )
    await ctx.send_json(200, uploaded(services, obj).model_dump())


async def listing(ctx: HttpContext, services: Services) -> None:
    """GET the upload: which parts are held, for a client that goes on after a break."""
    found = await services.multipart.list(ctx.principal, ctx.canonical_path())
    await ctx.send_json(
        200,
        {
            "uploadId": found.upload.id,
            "access_url": services.cdn_origin + found.upload.draft.path,
            "state": found.upload.state.value,
            "expires_at": wire.timestamp(found.upload.expires_at),
            "parts": [_described(each) for each in found.parts],
        },
    )


async def abort(ctx: HttpContext, services: Services) -> None:
    """DELETE the upload: its parts are freed."""
    await services.multipart.abort(ctx.principal, ctx.canonical_path())
    await ctx.reply(204, [NO_STORE, *CORS])


def part_number(text: str) -> int:
    """The number of a part in a path; its bounds are the service's. Raises Problem."""
    number = wire.whole_number(text)
    if number is None:
        raise Problem(Code.VALIDATION_FAILED, wire.NO_NUMBER, where=("path", "part_number"))
    return number


def _described(part: Part) -> dict[str, Any]:
    return {
        "partNumber": part.number,
        "etag": part.etag,
        "size": part.size,
        "digest": f"sha256:{part.sha256.hex()}",
        "received_at": wire.timestamp(part.received_at),
    }
