"""Multipart at the CDN's doors (protocol 2.5, 3.2-3.4): create, part, complete, and our list and abort.

| Path                                       | Method | Handler  |
|--------------------------------------------|--------|----------|
| /files/upload/multipart                    | POST   | create   |
| <object path>/multipart/<upload>/<number>  | PUT    | part     |
| <object path>/multipart/<upload>/complete  | POST   | complete |
| <object path>/multipart/<upload>           | GET    | listing  |
| <object path>/multipart/<upload>           | DELETE | abort    |
| /upload<object path>/multipart/<upload>    | PUT    | old_part |
| /upload<object path>/multipart/<upload>    | POST   | old_complete |

All but create take the signature of the upload or the credential of its account (see app.py).
"""

from __future__ import annotations

import re
from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.cdn import body_of, declared_type, intent_of, uploaded
from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.responses import CORS, NO_STORE
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS, Cited
from entrepot.domain.uploads import Part

Completed = tuple[list[Cited], int | None, bytes | None]
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


async def create(x: Exchange, doors: Doors) -> None:
    """POST /files/upload/multipart: no body; Content-Type is that of the future file."""
    upload = (await doors.multipart.begin(x.principal, intent_of(x, declared_type(x)))).upload
    url = doors.cdn_origin + upload.draft.path
    await x.json(200, {"access_url": url, "uploadId": upload.id, "expires_at": wire.timestamp(upload.expires_at)})


async def part(x: Exchange, doors: Doors) -> None:
    """PUT a part: both an ETag header (Python) and JSON with partNumber and etag (JavaScript)."""
    base, _, last = x.canonical_path().rpartition("/")
    await _store_part(x, doors, base, last)


async def old_part(x: Exchange, doors: Doors) -> None:
    """PUT a part whose number is in the query, `&part_number=1`: toolkits `fal` 1.5 to 1.75 with the repository
    fal_v2."""
    await _store_part(x, doors, _old_base(x), x.query("part_number") or "")


async def _store_part(x: Exchange, doors: Doors, base: str, number: str) -> None:
    done = await doors.multipart.write(x.principal, base, part_number(number), body_of(x, doors))
    await x.json(
        200,
        {"partNumber": done.number, "etag": done.etag, "size": done.size},
        [(b"etag", f'"{done.etag}"'.encode())],
    )


async def complete(x: Exchange, doors: Doors) -> None:
    """POST complete, of any content type (protocol C11). Retried completes get the same reply."""
    await _complete(x, doors, x.canonical_path().rpartition("/")[0])


async def old_complete(x: Exchange, doors: Doors) -> None:
    """POST complete to the URL of the upload itself, as the toolkits of `old_part` do."""
    await _complete(x, doors, _old_base(x))


def _old_base(x: Exchange) -> str:
    return x.canonical_path().removeprefix(wire.OLD_UPLOAD)


async def _complete(x: Exchange, doors: Doors, base: str) -> None:
    obj = await doors.multipart.finish(x.principal, base, *await cited_parts(x, doors))
    await x.json(200, uploaded(doors, obj))


async def listing(x: Exchange, doors: Doors) -> None:
    """GET the upload: which parts are held, for a client that goes on after a break."""
    found = await doors.multipart.list(x.principal, x.canonical_path())
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
    await doors.multipart.abort(x.principal, x.canonical_path())
    await x.reply(204, [NO_STORE, *CORS])


async def cited_parts(x: Exchange, doors: Doors) -> Completed:
    """The list of a complete, of any content type; see `read_complete`. Raises Problem."""
    return await jsonbody.parsed(await x.small_body(jsonbody.MAX_PARTS_LIST, doors.stall_timeout), _parse_complete)


def _parse_complete(raw: bytes) -> Completed:
    try:
        value = wire.strict_json(raw)
    except ValueError:
        value = None
    return read_complete(value)


def read_complete(value: Any) -> Completed:
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
    """To tell all that is wrong with a longer list would keep others waiting. Raises Problem(INVALID_PARTS)."""
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
    number = wire.whole_number(text)
    if number is None:
        raise Problem(Code.VALIDATION_FAILED, wire.NO_NUMBER, where=("path", "part_number"))
    return number


def _described(part: Part) -> dict[str, Any]:
    return {
        "partNumber": part.number,
        "etag": part.etag,
        "size": part.size,
        "digest": f"sha256:{part.sha256.hex()}",
        "received_at": wire.timestamp(part.received_at),
    }
