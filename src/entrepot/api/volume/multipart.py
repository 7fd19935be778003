"""Files in parts on both APIs (docs/protocol.md 6.5, 6.7), and our list of what is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from entrepot import wire
from entrepot.api import forms, jsonbody
from entrepot.api.bytes.multipart import Completed, read_complete
from entrepot.api.bytes.uploads import body_of
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import platform_entry
from entrepot.api.volume.writing import file_of_form
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.volume.registry import AccountVolume

_PART_FIELDS = {"part_number", "partNumber", "etag"}


async def initiate(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: a name for the upload; nothing is at the path until it is complete."""
    who, mine = asking.account_volume(ctx, services)
    with _no_conflict(place):
        upload_id = await mine.parts.begin(who, place.target, asking.conditions(ctx), md5=asking.wants_md5(ctx))
    ends = wire.timestamp_ms(services.clock() + mine.volume.limits.upload_ttl)
    await ctx.send_json(200, {"upload_id": upload_id} if place.legacy else {"upload_id": upload_id, "expires_at": ends})


async def part(ctx: HttpContext, services: Services, place: Place) -> None:
    """PUT one part: durable when it is acknowledged."""
    who, mine = asking.account_volume(ctx, services)
    path, upload_id, number = place.path, place.upload_id, place.part_number
    stream, length, expected = await bytes_of(ctx, services, mine, place)
    with _no_conflict(place):
        held = await mine.parts.write(who, path, upload_id, number, stream, length=length, expected=expected)
    told: dict[str, Any] = {"part_number": held.number, "etag": held.etag}
    await ctx.send_json(200, told if place.legacy else {**told, "size": held.size})


async def complete(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST the list of parts: the file is there. `etag` is its MD5 in hex, or empty when it is not known: anything else
    fails in the stock client."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    given = await asking.fields(ctx, services, place, "parts", "size", "digest", most=jsonbody.MAX_PARTS_LIST)
    cited, size, sha256 = await asyncio.to_thread(_completed, place, given)
    with _no_conflict(place):
        done = await mine.parts.finish(who, path, place.upload_id, cited, size=size, sha256=sha256)
    told: dict[str, Any] = {"etag": done.md5 or ""}
    await ctx.send_json(200, told if place.legacy else {**told, "entry": platform_entry(done.entry)})


async def listing(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET which parts are held, for a client that goes on after a break."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    found = await mine.parts.list(who, path, place.upload_id)
    await ctx.send_json(
        200,
        {
            "upload_id": found.upload_id,
            "path": str(path),
            "expires_at": wire.timestamp_ms(found.expires_at),
            "parts": [{"part_number": each.number, "etag": each.etag, "size": each.size} for each in found.parts],
        },
    )


async def cancel(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST or DELETE: the parts are freed."""
    who, mine = asking.account_volume(ctx, services)
    await mine.parts.abort(who, place.path, place.upload_id)
    await ctx.send_json(200, True)


@contextmanager
def _no_conflict(place: Place) -> Iterator[None]:
    """The stock client takes 409 in a multipart upload for success: the file exists already (docs/protocol.md 6.7). So
    it is never told that."""
    try:
        yield
    except Problem as problem:
        if not place.legacy or problem.code is not Code.CONFLICT:
            raise
        raise Problem(Code.VALIDATION_FAILED, problem.message, fix=problem.fix) from None


def _completed(place: Place, given: dict[str, Any]) -> Completed:
    """What the body of a complete says. On the Platform API the parts of its list are closed objects too
    (docs/protocol.md 6.1). Raises Problem."""
    told, parts = read_complete(given), given["parts"]
    if not place.legacy and not all(each.keys() <= _PART_FIELDS for each in parts):
        raise Problem(Code.VALIDATION_FAILED, "A part has part_number and etag only.", where=("body", "parts"))
    return told


async def bytes_of(
    ctx: HttpContext, services: Services, mine: AccountVolume, place: Place
) -> tuple[AsyncIterator[bytes], int | None, tuple[Expected, ...]]:
    """The bytes of a part, as a form, or raw on the Platform API; with their length and digests where declared. The
    conditions of the whole are those that it was begun with."""
    asking.unconditional(ctx)
    if place.legacy or forms.is_form(ctx.header("content-type")):
        stream, expected = await file_of_form(ctx, services, mine)
        return stream, None, expected
    body = body_of(ctx, services)
    return body.stream, body.length, body.expected
