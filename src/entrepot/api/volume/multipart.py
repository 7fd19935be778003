"""Files in parts on both APIs (docs/protocol.md 6.5, 6.7)."""

from __future__ import annotations

import asyncio
from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.bytes.multipart import Completed, read_complete
from entrepot.api.volume import asking
from entrepot.api.volume_replies import legacy_conflicts, platform_entry
from entrepot.api.volume_request import VolumeRequest
from entrepot.domain.errors import Code, Problem

_PART_FIELDS = {"part_number", "partNumber", "etag"}


async def initiate(call: VolumeRequest) -> None:
    """POST: a name for the upload; nothing is at the path until it is complete."""
    with legacy_conflicts(call):
        upload_id = await call.mine.parts.begin(call.who, call.target, call.conditions(), md5=call.wants_md5())
    ends = wire.timestamp_ms(call.services.clock() + call.mine.volume.limits.upload_ttl)
    await call.ctx.send_json(
        200, {"upload_id": upload_id} if call.legacy else {"upload_id": upload_id, "expires_at": ends}
    )


async def complete(call: VolumeRequest) -> None:
    """POST the list of parts: the file is there. `etag` is its MD5 in hex, or empty when it is not known: anything else
    fails in the stock client."""
    path = call.path
    given = await asking.fields(call, "parts", "size", "digest", most=jsonbody.MAX_PARTS_LIST)
    cited, size, sha256 = await asyncio.to_thread(_completed, call, given)
    with legacy_conflicts(call):
        done = await call.mine.parts.finish(call.who, path, call.upload_id, cited, size=size, sha256=sha256)
    told: dict[str, Any] = {"etag": done.md5 or ""}
    await call.ctx.send_json(200, told if call.legacy else {**told, "entry": platform_entry(done.entry)})


async def cancel(call: VolumeRequest) -> None:
    """POST or DELETE: the parts are freed."""
    await call.mine.parts.abort(call.who, call.path, call.upload_id)
    await call.ctx.send_json(200, True)


def _completed(call: VolumeRequest, given: dict[str, Any]) -> Completed:
    """What the body of a complete says. On the Platform API the parts of its list are closed objects too (protocol
    6.1). Raises Problem."""
    told, parts = read_complete(given), given["parts"]
    if not call.legacy and not all(each.keys() <= _PART_FIELDS for each in parts):
        raise Problem(Code.VALIDATION_FAILED, "A part has part_number and etag only.", where=("body", "parts"))
    return told


async def upload_url(call: VolumeRequest) -> None:
    """POST a URL: the reply comes when its file is whole at the path, as the stock client expects. A client that goes
    ends the fetch."""
    path, when, given = call.target, call.conditions(), await asking.fields(call, "url", conditional=True)
    await call.ctx.unless_disconnected(call.services.imports.run(call.who, path, asking.text(given, "url"), when))
    await call.ctx.send_json(200, True)
