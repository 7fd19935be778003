"""GET and HEAD of a file in the volume: the same on both APIs."""

from __future__ import annotations

from email.utils import formatdate

from entrepot import wire
from entrepot.api.bytes.conditional import Representation, evaluate_preconditions
from entrepot.api.bytes.sending import guards, send_file
from entrepot.api.http_context import HttpContext
from entrepot.api.responses import NO_STORE, Headers
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume.place import Place
from entrepot.domain import disposition
from entrepot.volume.entries import Entry

_TYPE = "application/octet-stream"
_LAST_DATE = 253_402_300_799.0  # of the year 9999


async def download(ctx: HttpContext, services: Services, place: Place) -> None:
    """The bytes as they are now: a file that is replaced meanwhile is sent to its end from where it was opened."""
    who, mine = asking.account_volume(ctx, services)
    opened = await mine.volume.open(who, place.path)
    try:
        entry = opened.entry
        file = Representation(entry.etag, entry.updated_at, entry.size, _TYPE, changes=True)
        headers = _headers(entry)
        decided = await evaluate_preconditions(ctx, file, headers)
        if decided is not None:
            await send_file(ctx, file, *decided, headers, opened.read, services.stall_timeout, services.replies)
    finally:
        await opened.close()


def _headers(entry: Entry) -> Headers:
    modified = formatdate(min(max(entry.updated_at, 0.0), _LAST_DATE), usegmt=True)
    headers = [
        *guards(_TYPE),
        (b"etag", entry.etag.encode()),
        (b"last-modified", modified.encode()),
        (b"content-disposition", disposition.make("attachment", entry.name).encode()),
        NO_STORE,
    ]
    if entry.sha256 is not None:
        headers.append((b"repr-digest", wire.repr_digest(entry.sha256).encode()))
    return headers
