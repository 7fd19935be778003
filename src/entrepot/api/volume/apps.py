"""Files of apps by their hash, which come in parts (docs/protocol.md 6.5, 6.7). Here 409 says what the stock client
takes it for: the file is there already."""

from __future__ import annotations

import asyncio

from entrepot.api import jsonbody
from entrepot.api.bytes.multipart import read_complete
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume.multipart import bytes_of
from entrepot.api.volume.place import Place


async def missing(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST hashes: those under which nothing is kept."""
    who, mine = asking.account_volume(ctx, services)
    given = await asking.fields(ctx, services, place, "hashes", most=asking.MAX_HASHES)
    await ctx.send_json(200, await mine.apps.missing(who, asking.texts(given, "hashes")))


async def initiate(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST what the file is: `size`, `mtime`, `mode` and `hash`, all as texts."""
    who, mine = asking.account_volume(ctx, services)
    given = await asking.fields(ctx, services, place)
    await ctx.send_json(200, {"upload_id": await mine.apps.begin(who, place.text("hash"), given)})


async def part(ctx: HttpContext, services: Services, place: Place) -> None:
    """PUT one part: durable when it is acknowledged."""
    who, mine = asking.account_volume(ctx, services)
    digest, upload_id, number = place.text("hash"), place.upload_id, place.part_number
    stream, length, expected = await bytes_of(ctx, services, mine, place)
    held = await mine.apps.write(who, digest, upload_id, number, stream, length=length, expected=expected)
    await ctx.send_json(200, {"part_number": held.number, "etag": held.etag})


async def complete(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST the list of parts and what the file is: it is kept, when its bytes have the hash."""
    who, mine = asking.account_volume(ctx, services)
    given = await asking.fields(ctx, services, place, most=jsonbody.MAX_PARTS_LIST)
    cited, _, _ = await asyncio.to_thread(read_complete, given)
    facts = asking.mapping(given, "metadata")
    done = await mine.apps.finish(who, place.text("hash"), place.upload_id, cited, facts)
    await ctx.send_json(200, {"etag": done.md5 or ""})


async def cancel(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: the parts are freed."""
    who, mine = asking.account_volume(ctx, services)
    await mine.apps.abort(who, place.text("hash"), place.upload_id)
    await ctx.send_json(200, True)
