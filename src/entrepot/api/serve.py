"""GET and HEAD of object URLs: conditions (RFC 9110 section 13), ranges (section 14), and headers that keep user bytes
from ever running in our origin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from entrepot import wire
from entrepot.api import auth
from entrepot.api.doors import Doors
from entrepot.api.exchange import ClientGone, Exchange
from entrepot.api.responses import CORS, Header, Headers
from entrepot.domain.errors import Code, Problem
from entrepot.domain.names import disposition
from entrepot.domain.objects import Object, is_public
from entrepot.domain.ranges import ByteRange, Unsatisfiable, parse_ranges

# Same for every object: bytes of strangers get no scripts, no sniffing and an origin of their own.
_GUARDS: Headers = [
    (b"accept-ranges", b"bytes"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"referrer-policy", b"no-referrer"),
    *CORS,
]


async def get_object(x: Exchange, doors: Doors) -> None:
    """GET or HEAD /files/b/<store>/<id>_<name>."""
    who = await auth.principal(x, doors.access)
    obj = await doors.objects.open(who, x.path())
    headers = _headers(x, doors, obj)
    if not _matches(x, obj):
        changed = Problem(Code.PRECONDITION_FAILED, "The file is not the version that the request asks for.")
        return await x.refuse(changed, [(b"etag", obj.etag.encode())])
    if _not_modified(x, obj):
        return await x.reply(304, headers)
    headers.append((b"content-type", obj.content_type.encode("latin-1", "replace")))
    try:
        ranges = _ranges(x, obj)
    except Unsatisfiable:
        beyond = Problem(Code.RANGE_NOT_SATISFIABLE, f"The file has {obj.size} bytes; none of them is in the range.")
        return await x.refuse(beyond, [(b"content-range", b"bytes */%d" % obj.size), (b"accept-ranges", b"bytes")])
    if x.method == "HEAD":
        return await x.reply(200, [*headers, (b"content-length", b"%d" % obj.size)])
    if len(ranges) > 1:
        return await _send_parts(x, doors, obj, ranges, headers)
    whole = ByteRange(0, obj.size)
    chosen = ranges[0] if ranges else whole
    if ranges:
        headers.append((b"content-range", chosen.content_range(obj.size).encode()))
    headers.append((b"content-length", b"%d" % len(chosen)))
    status = 206 if ranges else 200
    small = await doors.objects.small(obj)
    if small is not None:
        await x.start(status, headers)
        return await x.send(small[chosen.start : chosen.end])
    await _stream(x, doors, status, headers, doors.objects.read(obj, chosen.start, chosen.end), len(chosen))


def _headers(x: Exchange, doors: Doors, obj: Object) -> Headers:
    headers = [
        *_facts(obj.etag, obj.published_at, obj.sha256, obj.expires_at),
        (b"cache-control", _cache_control(doors, obj).encode()),
    ]
    if x.scope["query_string"] and x.query("download") == "1":
        headers.append((b"content-disposition", disposition("attachment", obj.name or obj.id).encode()))
    elif not obj.inline:
        # No file name here: stock downloaders would save under it, and mix up two users' files of one name.
        headers.append((b"content-disposition", b"attachment"))
    return headers


@lru_cache(maxsize=4096)
def _facts(etag: str, published_at: float, sha256: bytes | None, expires_at: float | None) -> tuple[Header, ...]:
    """The headers that follow from these facts alone."""
    headers = [*_GUARDS, (b"etag", etag.encode()), (b"last-modified", formatdate(published_at, usegmt=True).encode())]
    if sha256 is not None:
        headers.append((b"repr-digest", wire.repr_digest(sha256).encode()))
    if expires_at is not None:
        headers.append((wire.EXPIRES_AT.encode(), wire.timestamp(expires_at).encode()))
    return tuple(headers)


def _cache_control(doors: Doors, obj: Object) -> str:
    """A cache may keep what everybody may see, and never beyond its life."""
    if not is_public(obj):
        return "private, no-store"
    age = doors.max_age if obj.expires_at is None else min(doors.max_age, int(obj.expires_at - doors.clock()))
    return f"public, max-age={max(age, 0)}, immutable"


def _matches(x: Exchange, obj: Object) -> bool:
    """If-Match and If-Unmodified-Since."""
    wanted = x.text("if-match")
    if wanted is not None:
        return wanted == "*" or obj.etag in _tags(wanted)
    since = _date(x.text("if-unmodified-since"))
    return since is None or int(obj.published_at) <= since


def _not_modified(x: Exchange, obj: Object) -> bool:
    """If-None-Match, else If-Modified-Since. The weak compare is meant here."""
    wanted = x.text("if-none-match")
    if wanted is not None:
        return wanted == "*" or obj.etag in {tag.removeprefix("W/") for tag in _tags(wanted)}
    since = _date(x.text("if-modified-since"))
    return since is not None and int(obj.published_at) <= since


def _ranges(x: Exchange, obj: Object) -> tuple[ByteRange, ...]:
    """The ranges to send; none when If-Range names another version. Only GET has ranges (RFC 9110 section 14.2)."""
    header = x.text("range")
    if header is None or x.method != "GET":
        return ()
    condition = x.text("if-range")
    if condition is not None and condition != obj.etag and _date(condition) != int(obj.published_at):
        return ()
    return parse_ranges(header, obj.size)


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}


def _date(text: str | None) -> int | None:
    """An HTTP date in epoch seconds; None for anything else."""
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


async def _send_parts(x: Exchange, doors: Doors, obj: Object, ranges: tuple[ByteRange, ...], headers: Headers) -> None:
    """Several ranges as multipart/byteranges (RFC 9110 section 14.6)."""
    boundary = f"entrepot-{x.request_id}"
    top = f"\r\n--{boundary}\r\nContent-Type: {obj.content_type}\r\nContent-Range: "
    heads = [f"{top}{r.content_range(obj.size)}\r\n\r\n".encode("latin-1", "replace") for r in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(h) + len(r) for h, r in zip(heads, ranges, strict=True)) + len(tail)
    headers = [h for h in headers if h[0] != b"content-type"]
    headers.append((b"content-type", f"multipart/byteranges; boundary={boundary}".encode()))
    headers.append((b"content-length", b"%d" % length))

    async def pieces() -> AsyncGenerator[bytes, None]:
        for head, r in zip(heads, ranges, strict=True):
            yield head
            async with contextlib.aclosing(doors.objects.read(obj, r.start, r.end)) as body:
                async for piece in body:
                    yield piece
        yield tail

    await _stream(x, doors, 206, headers, pieces(), length)


async def _stream(
    x: Exchange, doors: Doors, status: int, headers: Headers, pieces: AsyncGenerator[bytes, None], length: int
) -> None:
    """Send a body whose first piece is read before the status is, so that damage there is still a clean 500."""
    async with contextlib.aclosing(pieces):
        first = await anext(pieces, b"")
        await x.start(status, headers)
        if len(first) == length:
            return await x.send(first)
        gone = asyncio.ensure_future(x.disconnected())
        try:
            await _send_watched(x, doors, gone, first)
            async for piece in pieces:
                await _send_watched(x, doors, gone, piece)
            await x.send(b"")
        finally:
            gone.cancel()


async def _send_watched(x: Exchange, doors: Doors, gone: asyncio.Future[None], piece: bytes) -> None:
    """Send one piece; raise ClientGone when the client has left or takes nothing for the stall time.

    The server's own send neither raises nor waits after a hang-up: a loop that only sends would run through a 16 GiB
    object and let no other request of this worker get a turn. So each piece yields, and looks.
    """
    if gone.done():
        raise ClientGone
    try:
        async with asyncio.timeout(doors.stall_timeout):
            await x.send(piece, more=True)
    except TimeoutError:
        raise ClientGone from None
    await asyncio.sleep(0)
