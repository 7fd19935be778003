"""The legacy REST paths, as the `fal` command calls them (docs/protocol.md 6.5, 6.6, 6.8)."""

from __future__ import annotations

from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import file_spec, send_list
from entrepot.domain.errors import Code, Problem
from entrepot.volume import hashes
from entrepot.volume.entries import Page


async def list_folder(ctx: HttpContext, services: Services, place: Place) -> None:
    """GET: no entries where no folder is. With 404, and with a file's own entry, the command fails (docs/protocol.md
    6.6)."""
    who, mine = asking.account_volume(ctx, services)
    try:
        page = await mine.volume.list(who, place.path)
    except Problem as problem:
        if problem.code not in (Code.NOT_FOUND, Code.CONFLICT):
            raise
        page = Page([], None)
    await send_list(ctx, page.entries, file_spec)


async def delete(ctx: HttpContext, services: Services, place: Place) -> None:
    """DELETE a file, or a folder with all that is in it."""
    who, mine = asking.account_volume(ctx, services)
    await mine.volume.delete(who, place.path, when=asking.conditions(ctx))
    await ctx.send_json(200, True)


async def rename(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: a file at the destination is replaced, as `mv` does."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    given = await asking.fields(ctx, services, place, "destination")
    destination = place.field(asking.text(given, "destination"), "destination")
    await mine.volume.rename(who, path, destination, overwrite=True)
    await ctx.send_json(200, True)


async def exists(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: what is there, or 404."""
    who, mine = asking.account_volume(ctx, services)
    entry = await mine.volume.stat(who, place.path, checksum=asking.query_flag(ctx, "calculate_checksum"))
    await ctx.send_json(200, file_spec(entry))


async def check_hash(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST: whether the folder holds what a sync left under this hash (docs/protocol.md 6.8)."""
    (who, mine), path = asking.account_volume(ctx, services), place.path
    given = await asking.fields(ctx, services, place, "hash")
    await ctx.send_json(200, await hashes.check_hash(mine.volume, who, path, asking.text(given, "hash")))
