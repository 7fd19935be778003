"""The Platform API's files, `/v1/serverless/files`: what fal describes (protocol 6.4), and what we add to it."""

from __future__ import annotations

import re

from entrepot import wire
from entrepot.api.cdn import uploaded
from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.volume import asking, replies
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import platform_entry
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Intent
from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path


async def list_folder(x: Exchange, doors: Doors, place: Place) -> None:
    """GET a folder's entries by name: all, or with `limit` a page, whose headers lead to the next."""
    who, mine = asking.account_volume(x, doors)
    limit, recursive = asking.query_limit(x), asking.query_flag(x, "recursive")
    page = await mine.volume.list(
        who, place.path, limit=limit, cursor=asking.query(x, "cursor") or None, recursive=recursive
    )
    asked: dict[str, str | int] = {} if limit is None else {"limit": limit}
    if recursive:
        asked["recursive"] = "true"
    await replies.send_list(x, page.entries, platform_entry, replies.next_page(x, doors, page.cursor, **asked))


async def delete(x: Exchange, doors: Doors, place: Place) -> None:
    """DELETE a file or a folder: into the trash, from where it comes back by its id, or for good."""
    who, mine = asking.account_volume(x, doors)
    path = place.path
    gone = await mine.volume.delete(
        who,
        path,
        recursive=asking.query_flag(x, "recursive", True),
        permanent=asking.query_flag(x, "permanent"),
        when=asking.conditions(x),
    )
    await x.json(200, {"path": str(path), "trash_id": gone.id if gone else None})


async def stat(x: Exchange, doors: Doors, place: Place) -> None:
    """GET one entry; with `checksum` its digests are computed when they are not known."""
    who, mine = asking.account_volume(x, doors)
    entry = await mine.volume.stat(who, place.path, checksum=asking.query_flag(x, "checksum"))
    await x.json(200, platform_entry(entry))


async def rename(x: Exchange, doors: Doors, place: Place) -> None:
    """POST the new path of a file or folder."""
    (who, mine), path = asking.account_volume(x, doors), place.path
    destination, overwrite = await _destination(x, doors, place)
    await x.json(200, platform_entry(await mine.volume.rename(who, path, destination, overwrite=overwrite)))


async def copy(x: Exchange, doors: Doors, place: Place) -> None:
    """POST the path of a copy of a file or folder."""
    (who, mine), path = asking.account_volume(x, doors), place.path
    destination, overwrite = await _destination(x, doors, place)
    await x.json(200, platform_entry(await mine.volume.copy(who, path, destination, overwrite=overwrite)))


async def _destination(x: Exchange, doors: Doors, place: Place) -> tuple[Path, bool]:
    """Where the body says that it is to go, and whether what is there may be replaced. Raises Problem."""
    given = await asking.fields(x, doors, place, "destination", "overwrite")
    return place.field(asking.text(given, "destination"), "destination"), asking.flag(given, "overwrite")


async def make_folder(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: make a folder and those above it; one that is there is fine."""
    (who, mine), path = asking.account_volume(x, doors), place.target
    await asking.fields(x, doors, place)
    await x.json(200, platform_entry(await mine.volume.make_folder(who, path)))


async def usage(x: Exchange, doors: Doors, place: Place) -> None:
    """GET how much a folder holds, and how much room is left."""
    who, mine = asking.account_volume(x, doors)
    await x.json(200, replies.usage(await mine.volume.usage(who, place.path)))


async def list_trash(x: Exchange, doors: Doors, place: Place) -> None:
    """GET what was deleted and can come back, the newest first."""
    who, mine = asking.account_volume(x, doors)
    limit = asking.query_limit(x)
    page = await mine.volume.list_trash(who, limit=limit, cursor=asking.query(x, "cursor") or None)
    asked: dict[str, str | int] = {} if limit is None else {"limit": limit}
    await replies.send_list(x, page.entries, replies.trashed, replies.next_page(x, doors, page.cursor, **asked))


async def restore(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: bring it back to where it was, or to a destination."""
    who, mine = asking.account_volume(x, doors)
    given = await asking.fields(x, doors, place, "destination")
    destination = asking.optional_text(given, "destination")
    there = None if destination is None else place.field(destination, "destination")
    await x.json(200, platform_entry(await mine.volume.restore(who, place.text("trash_id"), there)))


async def drop(x: Exchange, doors: Doors, place: Place) -> None:
    """DELETE it from the trash, for good."""
    who, mine = asking.account_volume(x, doors)
    asking.unconditional(x)
    await mine.volume.drop_trash(who, place.text("trash_id"))
    await x.json(200, True)


async def publish(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: a CDN object of the file's bytes as they are now."""
    (who, _), path = asking.account_volume(x, doors), place.path
    given = await asking.fields(x, doors, place, "file_name", "content_type")
    intent = Intent(
        lifecycle=x.lifecycle(),
        file_name=asking.optional_text(given, "file_name"),
        content_type=asking.optional_text(given, "content_type", 255),
        request_id=x.short(wire.SOURCE_REQUEST),
        idempotency_key=x.short(wire.IDEMPOTENCY_KEY),
    )
    obj = await x.unless_gone(doors.transfer.publish(who, path, intent))
    await x.json(200, uploaded(doors, obj))


async def keep(x: Exchange, doors: Doors, place: Place) -> None:
    """POST the URL of an object of this server: its bytes become a file."""
    (who, _), path = asking.account_volume(x, doors), place.target
    given = await asking.fields(x, doors, place, "url", "overwrite")
    url_path = _own_path(doors, asking.text(given, "url"))
    when = Conditions(if_none_match=not asking.flag(given, "overwrite"))
    entry = await x.unless_gone(doors.transfer.keep(who, path, url_path, when))
    await x.json(200, platform_entry(entry))


def _own_path(doors: Doors, url: str) -> str:
    """The decoded path of an object's URL. Raises Problem(VALIDATION_FAILED)."""
    origins = (doors.cdn_origin, doors.api_origin, "")
    begun = next((origin for origin in origins if url.startswith(origin + wire.OBJECTS)), None)
    if begun is None:
        message = f"It is no URL of a file of this server; they begin with {doors.cdn_origin}{wire.OBJECTS}"
        raise Problem(Code.VALIDATION_FAILED, message, where=("body", "url"))
    return Exchange.decoded(re.split(r"[?#]", url[len(begun) :])[0].encode("utf-8", "surrogatepass"))
