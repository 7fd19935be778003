"""How the two APIs tell of files: FileSpec (docs/protocol.md 6.5) and the Platform API's entry (6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from entrepot import wire
from entrepot.api.http_context import HttpContext
from entrepot.api.responses import Headers
from entrepot.api.services import Services
from entrepot.volume.entries import Entry, Trashed, Usage
from entrepot.volume.paths import MOUNT

Item = TypeVar("Item")

_AT_ONCE = 500  # entries that are spelled before others have a turn


def file_spec(entry: Entry) -> dict[str, Any]:
    """An entry of the legacy routes: an absolute path without a slash at its end, and times as numbers."""
    return {
        "path": f"/{MOUNT}/{entry.path}".rstrip("/"),
        "name": entry.name or MOUNT,
        "created_time": entry.created_at,
        "updated_time": entry.updated_at,
        "is_file": entry.is_file,
        "size": entry.size,
        **_checksums(entry),
    }


def platform_entry(entry: Entry) -> dict[str, Any]:
    """An entry of the Platform API: a path relative to the volume; of a file also its ETag, for conditions."""
    return {
        "path": entry.path,
        "name": entry.name,
        "created_time": wire.timestamp_ms(entry.created_at),
        "updated_time": wire.timestamp_ms(entry.updated_at),
        "is_file": entry.is_file,
        "size": entry.size,
        **({"etag": entry.etag} if entry.etag else {}),
        **_checksums(entry),
    }


def _checksums(entry: Entry) -> dict[str, str]:
    """Those that are known."""
    found = {"checksum_sha256": entry.sha256, "checksum_md5": entry.md5}
    return {name: value.hex() for name, value in found.items() if value is not None}


def trashed(item: Trashed) -> dict[str, Any]:
    return {
        "id": item.id,
        "path": item.path,
        "is_file": item.is_file,
        "size": item.size,
        "deleted_at": wire.timestamp_ms(item.deleted_at),
        "purge_at": wire.timestamp_ms(item.purge_at),
    }


def usage(of: Usage) -> dict[str, Any]:
    return {
        "path": of.path,
        "files": of.files,
        "folders": of.folders,
        "size": of.size,
        "quota": of.quota,
        "free": of.free,
    }


async def send_list(
    ctx: HttpContext, items: Sequence[Item], spelled: Callable[[Item], dict[str, Any]], extra: Headers | None = None
) -> None:
    """A JSON array. A folder may have 100,000 entries: in between others have a turn."""
    blocks = []
    for start in range(0, len(items), _AT_ONCE):
        blocks.append(wire.compact([spelled(each) for each in items[start : start + _AT_ONCE]])[1:-1])
        await asyncio.sleep(0)
    await ctx.send_json_bytes(200, b"[" + b",".join(blocks) + b"]", extra or ())


def next_page(ctx: HttpContext, services: Services, cursor: str | None, **query: str | int) -> Headers:
    """The headers that lead to the page after this one, if there is one."""
    if cursor is None:
        return []
    path = quote(ctx.raw_path, safe="/%:@!$&'()*+,=~")
    link = f'<{services.api_origin}{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
    return [(wire.NEXT_CURSOR.encode(), cursor.encode()), (b"link", link.encode())]
