"""Listings of the volume, which may have 100,000 entries: folders, the trash, and the parts of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from entrepot import wire
from entrepot.api.responses import Headers
from entrepot.api.volume_replies import file_spec, platform_entry, trashed
from entrepot.api.volume_request import VolumeRequest
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Page

Item = TypeVar("Item")

_AT_ONCE = 500  # entries that are serialized before other requests have a turn


async def list_folder(call: VolumeRequest) -> None:
    """GET a folder's entries by name: all, or with `limit` a page, whose headers lead to the next."""
    path, limit, recursive = call.path, call.limit(), call.flag("recursive")
    page = await call.mine.volume.list(
        call.who, path, limit=limit, cursor=call.ctx.single_query("cursor") or None, recursive=recursive
    )
    query: dict[str, str | int] = {} if limit is None else {"limit": limit}
    if recursive:
        query["recursive"] = "true"
    await _send_list(call, page.entries, platform_entry, _next_page(call, page.cursor, **query))


async def list_folder_legacy(call: VolumeRequest) -> None:
    """GET a folder's entries: none where no folder is. With 404, and with a file's own entry, the stock command fails
    (docs/protocol.md 6.6)."""
    try:
        page = await call.mine.volume.list(call.who, call.path)
    except Problem as problem:
        if problem.code not in (Code.NOT_FOUND, Code.CONFLICT):
            raise
        page = Page([], None)
    await _send_list(call, page.entries, file_spec)


async def list_trash(call: VolumeRequest) -> None:
    """GET what was deleted and can be restored, the newest first."""
    limit = call.limit()
    page = await call.mine.volume.list_trash(call.who, limit=limit, cursor=call.ctx.single_query("cursor") or None)
    query: dict[str, str | int] = {} if limit is None else {"limit": limit}
    await _send_list(call, page.entries, trashed, _next_page(call, page.cursor, **query))


async def list_parts(call: VolumeRequest) -> None:
    """GET the stored parts of an upload, for a client that resumes."""
    path = call.path
    found = await call.mine.parts.list(call.who, path, call.upload_id)
    await call.ctx.send_json(
        200,
        {
            "upload_id": found.upload_id,
            "path": str(path),
            "expires_at": wire.timestamp_ms(found.expires_at),
            "parts": [{"part_number": each.number, "etag": each.etag, "size": each.size} for each in found.parts],
        },
    )


async def _send_list(
    call: VolumeRequest, items: Sequence[Item], spelled: Callable[[Item], dict[str, Any]], extra: Headers | None = None
) -> None:
    """Send a JSON array, giving other requests a turn in between."""
    blocks = []
    for start in range(0, len(items), _AT_ONCE):
        blocks.append(wire.compact([spelled(each) for each in items[start : start + _AT_ONCE]])[1:-1])
        await asyncio.sleep(0)
    await call.ctx.send_json_bytes(200, b"[" + b",".join(blocks) + b"]", extra or ())


def _next_page(call: VolumeRequest, cursor: str | None, **query: str | int) -> Headers:
    """The headers that lead to the next page, if there is one."""
    if cursor is None:
        return []
    path = quote(call.ctx.raw_path, safe="/%:@!$&'()*+,=~")
    link = f'<{call.services.api_origin}{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
    return [(wire.NEXT_CURSOR.encode(), cursor.encode()), (b"link", link.encode())]
