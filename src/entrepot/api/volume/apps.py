"""Files of apps by their hash, which come in parts (protocol 6.5, 6.7). Here 409 says what the stock client takes it
for: the file is there already."""

from __future__ import annotations

import asyncio

from entrepot.api import jsonbody
from entrepot.api.bytes.multipart import read_complete
from entrepot.api.volume import asking
from entrepot.api.volume_request import VolumeRequest


async def missing(call: VolumeRequest) -> None:
    """POST hashes: those under which nothing is kept."""
    given = await asking.fields(call, "hashes", most=asking.MAX_HASHES)
    await call.ctx.send_json(200, await call.mine.apps.missing(call.who, asking.texts(given, "hashes")))


async def initiate(call: VolumeRequest) -> None:
    """POST what the file is: `size`, `mtime`, `mode` and `hash`, all as texts."""
    given = await asking.fields(call)
    await call.ctx.send_json(200, {"upload_id": await call.mine.apps.begin(call.who, call.segment("hash"), given)})


async def complete(call: VolumeRequest) -> None:
    """POST the list of parts and what the file is: it is kept, when its bytes have the hash."""
    given = await asking.fields(call, most=jsonbody.MAX_PARTS_LIST)
    cited, _, _ = await asyncio.to_thread(read_complete, given)
    facts = asking.mapping(given, "metadata")
    done = await call.mine.apps.finish(call.who, call.segment("hash"), call.upload_id, cited, facts)
    await call.ctx.send_json(200, {"etag": done.md5 or ""})


async def cancel(call: VolumeRequest) -> None:
    """POST: the parts are freed."""
    await call.mine.apps.abort(call.who, call.segment("hash"), call.upload_id)
    await call.ctx.send_json(200, True)
