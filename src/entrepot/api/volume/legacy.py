"""The legacy REST paths, as the `fal` command calls them (protocol 6.5, 6.6, 6.8)."""

from __future__ import annotations

from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.volume import asking
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import file_spec, send_list
from entrepot.domain.errors import Code, Problem
from entrepot.volume import hashes
from entrepot.volume.entries import Page


async def list_folder(x: Exchange, doors: Doors, place: Place) -> None:
    """GET: no entries where no folder is. With 404, and with a file's own entry, the command fails (protocol 6.6)."""
    who, mine = asking.account_volume(x, doors)
    try:
        page = await mine.volume.list(who, place.path)
    except Problem as problem:
        if problem.code not in (Code.NOT_FOUND, Code.CONFLICT):
            raise
        page = Page([], None)
    await send_list(x, page.entries, file_spec)


async def delete(x: Exchange, doors: Doors, place: Place) -> None:
    """DELETE a file, or a folder with all that is in it."""
    who, mine = asking.account_volume(x, doors)
    await mine.volume.delete(who, place.path, when=asking.conditions(x))
    await x.json(200, True)


async def rename(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: a file at the destination is replaced, as `mv` does."""
    (who, mine), path = asking.account_volume(x, doors), place.path
    given = await asking.fields(x, doors, place, "destination")
    destination = place.field(asking.text(given, "destination"), "destination")
    await mine.volume.rename(who, path, destination, overwrite=True)
    await x.json(200, True)


async def exists(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: what is there, or 404."""
    who, mine = asking.account_volume(x, doors)
    entry = await mine.volume.stat(who, place.path, checksum=asking.query_flag(x, "calculate_checksum"))
    await x.json(200, file_spec(entry))


async def check_hash(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: whether the folder holds what a sync left under this hash (protocol 6.8)."""
    (who, mine), path = asking.account_volume(x, doors), place.path
    given = await asking.fields(x, doors, place, "hash")
    await x.json(200, await hashes.check_hash(mine.volume, who, path, asking.text(given, "hash")))
