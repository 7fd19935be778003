"""The Platform API's files, `/v1/serverless/files`: what fal describes (docs/protocol.md 6.4), and what we add to
it."""

from __future__ import annotations

import re

from entrepot import wire
from entrepot.api.bytes.uploads import uploaded
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking, replies
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import platform_entry
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Intent
from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path


async def list_folder(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET a folder's entries by name: all, or with `limit` a page, whose headers lead to the next."""
    who, mine = asking.account_volume(ctx, services)
    limit, recursive = asking.query_limit(ctx), asking.query_flag(ctx, "recursive")
    page = await mine.volume.list(
        who, place.path, limit=limit, cursor=asking.query(ctx, "cursor") or None, recursive=recursive
    )
    asked: dict[str, str | int] = {} if limit is None else {"limit": limit}
    if recursive:
        asked["recursive"] = "true"
    await replies.send_list(ctx, page.entries, platform_entry, replies.next_page(ctx, services, page.cursor, **asked))


async def delete(ctx: HttpContext, services: Services, place: Place) -> None:
    """DELETE a file or a folder: into the trash, from where it comes back by its id, or for good."""
    who, mine = asking.account_volume(ctx, services)
    path = place.path
    gone = await mine.volume.delete(
        who,
        path,
        recursive=asking.query_flag(ctx, "recursive", True),
        permanent=asking.query_flag(ctx, "permanent"),
        when=asking.conditions(ctx),
    )
    await ctx.send_json(200, {"path": str(path), "trash_id": gone.id if gone else None})


async def stat(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET one entry; with `checksum` its digests are computed when they are not known."""
    who, mine = asking.account_volume(ctx, services)
    entry = await mine.volume.stat(who, place.path, checksum=asking.query_flag(ctx, "checksum"))
    await ctx.send_json(200, platform_entry(entry))


async def rename(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST the new path of a file or folder."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    destination, overwrite = await _destination(ctx, services, place)
    await ctx.send_json(200, platform_entry(await mine.volume.rename(who, path, destination, overwrite=overwrite)))


async def copy(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST the path of a copy of a file or folder."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    destination, overwrite = await _destination(ctx, services, place)
    await ctx.send_json(200, platform_entry(await mine.volume.copy(who, path, destination, overwrite=overwrite)))


async def _destination(ctx: HttpContext, services: Services, place: Place) -> tuple[Path, bool]:
    """Where the body says that it is to go, and whether what is there may be replaced. Raises Problem."""
    given = await asking.fields(ctx, services, place, "destination", "overwrite")
    return place.field(asking.text(given, "destination"), "destination"), asking.flag(given, "overwrite")


async def make_folder(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: make a folder and those above it; one that is there is fine."""
    (who, mine), path = asking.account_volume(ctx, services), place.target
    await asking.fields(ctx, services, place)
    await ctx.send_json(200, platform_entry(await mine.volume.make_folder(who, path)))


async def usage(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET how much a folder holds, and how much room is left."""
    who, mine = asking.account_volume(ctx, services)
    await ctx.send_json(200, replies.usage(await mine.volume.usage(who, place.path)))


async def list_trash(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET what was deleted and can come back, the newest first."""
    who, mine = asking.account_volume(ctx, services)
    limit = asking.query_limit(ctx)
    page = await mine.volume.list_trash(who, limit=limit, cursor=asking.query(ctx, "cursor") or None)
    asked: dict[str, str | int] = {} if limit is None else {"limit": limit}
    await replies.send_list(ctx, page.entries, replies.trashed, replies.next_page(ctx, services, page.cursor, **asked))


async def restore(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: bring it back to where it was, or to a destination."""
    who, mine = asking.account_volume(ctx, services)
    given = await asking.fields(ctx, services, place, "destination")
    destination = asking.optional_text(given, "destination")
    there = None if destination is None else place.field(destination, "destination")
    await ctx.send_json(200, platform_entry(await mine.volume.restore(who, place.text("trash_id"), there)))


async def drop(ctx: HttpContext, services: Services, place: Place) -> None:
    """DELETE it from the trash, for good."""
    who, mine = asking.account_volume(ctx, services)
    asking.unconditional(ctx)
    await mine.volume.drop_trash(who, place.text("trash_id"))
    await ctx.send_json(200, True)


async def publish(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: a CDN object of the file's bytes as they are now."""
    (who, _), path = asking.account_volume(ctx, services), place.path
    given = await asking.fields(ctx, services, place, "file_name", "content_type")
    intent = Intent(
        lifecycle=ctx.lifecycle(),
        file_name=asking.optional_text(given, "file_name"),
        content_type=asking.optional_text(given, "content_type", 255),
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
    obj = await ctx.unless_disconnected(services.transfer.publish(who, path, intent))
    await ctx.send_json(200, uploaded(services, obj).model_dump())


async def keep(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST the URL of an object of this server: its bytes become a file."""
    (who, _), path = asking.account_volume(ctx, services), place.target
    given = await asking.fields(ctx, services, place, "url", "overwrite")
    url_path = _own_path(services, asking.text(given, "url"))
    when = Conditions(if_none_match=not asking.flag(given, "overwrite"))
    entry = await ctx.unless_disconnected(services.transfer.keep(who, path, url_path, when))
    await ctx.send_json(200, platform_entry(entry))


def _own_path(services: Services, url: str) -> str:
    """The decoded path of an object's URL. Raises Problem(VALIDATION_FAILED)."""
    origins = (services.cdn_origin, services.api_origin, "")
    begun = next((origin for origin in origins if url.startswith(origin + wire.OBJECTS)), None)
    if begun is None:
        message = f"It is no URL of a file of this server; they begin with {services.cdn_origin}{wire.OBJECTS}"
        raise Problem(Code.VALIDATION_FAILED, message, where=("body", "url"))
    return HttpContext.decoded(re.split(r"[?#]", url[len(begun) :])[0].encode("utf-8", "surrogatepass"))
