"""Files of apps by their hash, which come in parts (protocol 6.5, 6.7). Here 409 says what the stock client takes it
for: the file is there already."""

from __future__ import annotations

import asyncio

from entrepot.api import jsonbody
from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.multipart import read_complete
from entrepot.api.volume import asking
from entrepot.api.volume.multipart import bytes_of
from entrepot.api.volume.place import Place


async def missing(x: Exchange, doors: Doors, place: Place) -> None:
    """POST hashes: those under which nothing is kept."""
    who, mine = asking.account_volume(x, doors)
    given = await asking.fields(x, doors, place, "hashes", most=asking.MAX_HASHES)
    await x.json(200, await mine.apps.missing(who, asking.texts(given, "hashes")))


async def initiate(x: Exchange, doors: Doors, place: Place) -> None:
    """POST what the file is: `size`, `mtime`, `mode` and `hash`, all as texts."""
    who, mine = asking.account_volume(x, doors)
    given = await asking.fields(x, doors, place)
    await x.json(200, {"upload_id": await mine.apps.begin(who, place.text("hash"), given)})


async def part(x: Exchange, doors: Doors, place: Place) -> None:
    """PUT one part: durable when it is acknowledged."""
    who, mine = asking.account_volume(x, doors)
    digest, upload_id, number = place.text("hash"), place.upload_id, place.part_number
    stream, length, expected = await bytes_of(x, doors, mine, place)
    held = await mine.apps.write(who, digest, upload_id, number, stream, length=length, expected=expected)
    await x.json(200, {"part_number": held.number, "etag": held.etag})


async def complete(x: Exchange, doors: Doors, place: Place) -> None:
    """POST the list of parts and what the file is: it is kept, when its bytes have the hash."""
    who, mine = asking.account_volume(x, doors)
    given = await asking.fields(x, doors, place, most=jsonbody.MAX_PARTS_LIST)
    cited, _, _ = await asyncio.to_thread(read_complete, given)
    facts = asking.mapping(given, "metadata")
    done = await mine.apps.finish(who, place.text("hash"), place.upload_id, cited, facts)
    await x.json(200, {"etag": done.md5 or ""})


async def cancel(x: Exchange, doors: Doors, place: Place) -> None:
    """POST: the parts are freed."""
    who, mine = asking.account_volume(x, doors)
    await mine.apps.abort(who, place.text("hash"), place.upload_id)
    await x.json(200, True)
