"""Multipart at the CDN's doors (protocol 2.5, 3.2-3.4): create, part, complete, and our list and abort.

| Path                                       | Method | Handler  |
|--------------------------------------------|--------|----------|
| /files/upload/multipart                    | POST   | create   |
| <object path>/multipart/<upload>/<number>  | PUT    | part     |
| <object path>/multipart/<upload>/complete  | POST   | complete |
| <object path>/multipart/<upload>           | GET    | listing  |
| <object path>/multipart/<upload>           | DELETE | abort    |

All but create take the signature of the upload or the credential of its account.
"""

from __future__ import annotations

import re
from typing import Any

from entrepot import wire
from entrepot.api import auth
from entrepot.api.cdn import body_of, canonical_path, intent_of, uploaded
from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.responses import CORS, NO_STORE
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS, Cited
from entrepot.domain.uploads import Part
from entrepot.service.access import require_account

# 10,000 parts of about 120 bytes each.
MAX_LIST_BYTES = 4 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


async def create(x: Exchange, doors: Doors) -> None:
    """POST /files/upload/multipart: no body; Content-Type is that of the future file."""
    who = await auth.principal(x, doors.access)
    upload = (await doors.multipart.begin(who, intent_of(x))).upload
    url = doors.cdn_origin + upload.draft.path
    await x.json(200, {"access_url": url, "uploadId": upload.id, "expires_at": wire.timestamp(upload.expires_at)})


async def part(x: Exchange, doors: Doors) -> None:
    """PUT a part: both an ETag header (Python) and JSON with partNumber and etag (JavaScript)."""
    base, _, last = canonical_path(x).rpartition("/")
    who = await auth.writer(x, doors.access, base)
    done = await doors.multipart.write(who, base, part_number(last), body_of(x, doors))
    await x.json(
        200,
        {"partNumber": done.number, "etag": done.etag, "size": done.size},
        [(b"etag", f'"{done.etag}"'.encode())],
    )


async def complete(x: Exchange, doors: Doors) -> None:
    """POST complete, of any content type (protocol C11). Retried completes get the same reply."""
    base = canonical_path(x).rpartition("/")[0]
    who = await auth.writer(x, doors.access, base)
    if who.upload_path is None:
        require_account(who)  # the body of anybody else is not read
    obj = await doors.multipart.finish(who, base, *parse_complete(await _small_body(x, doors)))
    await x.json(200, uploaded(doors, obj))


async def listing(x: Exchange, doors: Doors) -> None:
    """GET the upload: which parts are held, for a client that goes on after a break."""
    path = canonical_path(x)
    who = await auth.writer(x, doors.access, path)
    found = await doors.multipart.list(who, path)
    await x.json(
        200,
        {
            "uploadId": found.upload.id,
            "access_url": doors.cdn_origin + found.upload.draft.path,
            "state": found.upload.state.value,
            "expires_at": wire.timestamp(found.upload.expires_at),
            "parts": [_described(each) for each in found.parts],
        },
    )


async def abort(x: Exchange, doors: Doors) -> None:
    """DELETE the upload: its parts are freed."""
    path = canonical_path(x)
    who = await auth.writer(x, doors.access, path)
    await doors.multipart.abort(who, path)
    await x.reply(204, [NO_STORE, *CORS])


def parse_complete(raw: bytes) -> tuple[list[Cited], int | None, bytes | None]:
    """The list of a complete as JSON; see `read_complete`. Raises Problem."""
    try:
        value = wire.strict_json(raw)
    except ValueError:
        value = None
    return read_complete(value)


def read_complete(value: Any) -> tuple[list[Cited], int | None, bytes | None]:
    """`{"parts": [{"partNumber": 1, "etag": "..."}], "size": n, "digest": "sha256:<hex>"}`; `part_number` in the GCS
    style (protocol 2.6). The last two, of the whole, may be missing. Raises Problem."""
    try:
        parts = value["parts"]
        _check_length(parts)
        cited = [_cited(each) for each in parts]
    except (KeyError, TypeError, AttributeError):
        message = 'It must be JSON like {"parts": [{"partNumber": 1, "etag": "..."}]}.'
        raise Problem(Code.VALIDATION_FAILED, message, where=("body", "parts")) from None
    size = value.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise Problem(Code.VALIDATION_FAILED, "It must be a number of bytes.", where=("body", "size"))
    return cited, size, _sha256(value.get("digest"))


def _sha256(digest: Any) -> bytes | None:
    if digest is None:
        return None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Problem(Code.VALIDATION_FAILED, "It must be like sha256:<64 hex digits>.", where=("body", "digest"))
    return bytes.fromhex(digest.removeprefix("sha256:"))


def _check_length(parts: Any) -> None:
    """A list of four megabytes can have 250,000 entries: to tell all that is wrong with them would keep others waiting.
    Raises Problem(INVALID_PARTS)."""
    if isinstance(parts, list) and len(parts) > MAX_PARTS:
        raise Problem(Code.INVALID_PARTS, f"The list has {len(parts)} parts; {MAX_PARTS} are possible.")


def _cited(value: Any) -> Cited:
    number = value["partNumber"] if "partNumber" in value else value["part_number"]
    etag = value.get("etag")
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(etag, str | None):
        raise TypeError
    return Cited(number, etag)


def part_number(text: str) -> int:
    """The number of a part in a path; its bounds are the service's. Raises Problem."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(Code.VALIDATION_FAILED, "It must be a whole number from 1.", where=("path", "part_number"))
    return int(text)


async def _small_body(x: Exchange, doors: Doors) -> bytes:
    received = bytearray()
    async for chunk in x.body(doors.stall_timeout):
        received += chunk
        if len(received) > MAX_LIST_BYTES:
            raise Problem(Code.TOO_LARGE, f"The list of parts is larger than {MAX_LIST_BYTES} bytes.")
    return bytes(received)


def _described(part: Part) -> dict[str, Any]:
    return {
        "partNumber": part.number,
        "etag": part.etag,
        "size": part.size,
        "digest": f"sha256:{part.sha256.hex()}",
        "received_at": wire.timestamp(part.received_at),
    }
