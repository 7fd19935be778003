"""What every reply with a file's bytes shares: conditions (RFC 9110 section 13), ranges (section 14), headers that keep
user bytes from ever running in our origin, and a body that stops when its client does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from entrepot.api.exchange import ClientGone, Exchange
from entrepot.api.responses import CORS, Header, Headers
from entrepot.domain.errors import Code, Problem
from entrepot.domain.ranges import ByteRange, Unsatisfiable, parse_ranges

# A browser shows media in a document that it makes itself: that loads the file from its URL, and has inline styles.
_MEDIA_SOURCES = {
    "image": b"; img-src 'self'; style-src 'unsafe-inline'",
    "audio": b"; media-src 'self'; style-src 'unsafe-inline'",
    "video": b"; media-src 'self'; style-src 'unsafe-inline'",
}

# Bytes from a start to an end that is not included.
Read = Callable[[int, int], AsyncGenerator[bytes, None]]


@lru_cache(maxsize=1024)
def guards(content_type: str) -> tuple[Header, ...]:
    """The headers that keep a file's bytes from running as script: no sniffing, an origin of their own, and nothing
    loaded but what a browser needs to show the type."""
    sources = _MEDIA_SOURCES.get(content_type.partition("/")[0].lower(), b"")
    return (
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'" + sources),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"referrer-policy", b"no-referrer"),
        *CORS,
    )


class Version(NamedTuple):
    """The state of a file that a request is held against; `etag` with its quotes, the time in epoch seconds. When
    `changes`, two states may have one time, so that no range goes by it (RFC 9110 section 13.1.5)."""

    etag: str
    modified_at: float
    size: int
    content_type: str
    changes: bool = False


async def decide(x: Exchange, file: Version, headers: Headers) -> tuple[int, tuple[ByteRange, ...]] | None:
    """The status and the ranges of a body that is still to be sent, with its headers added unless there are several;
    None when all was said: 304, 412, 416, and everything for HEAD."""
    if not _matches(x, file):
        changed = Problem(Code.PRECONDITION_FAILED, "The file is not the version that the request asks for.")
        await x.refuse(changed, [(b"etag", file.etag.encode())])
        return None
    if _not_modified(x, file):
        await x.reply(304, headers)
        return None
    try:
        ranges = _ranges(x, file)
    except Unsatisfiable:
        beyond = Problem(Code.RANGE_NOT_SATISFIABLE, f"The file has {file.size} bytes; none of them is in the range.")
        await x.refuse(beyond, [(b"content-range", b"bytes */%d" % file.size), (b"accept-ranges", b"bytes")])
        return None
    if len(ranges) > 1:
        return 206, ranges
    headers.append((b"content-type", file.content_type.encode("latin-1", "replace")))
    whole = ByteRange(0, file.size)
    chosen = ranges[0] if ranges else whole
    if ranges:
        headers.append((b"content-range", chosen.content_range(file.size).encode()))
    headers.append((b"content-length", b"%d" % len(chosen)))
    if x.method == "HEAD":
        await x.reply(200, headers)
        return None
    return 206 if ranges else 200, (chosen,)


async def send_file(
    x: Exchange,
    file: Version,
    status: int,
    ranges: tuple[ByteRange, ...],
    headers: Headers,
    read: Read,
    patience: float,
) -> None:
    """Send what `decide` said. The client may take nothing for `patience` seconds. Raises ClientGone."""
    if len(ranges) > 1:
        return await _send_parts(x, file, ranges, headers, read, patience)
    await _stream(x, status, headers, read(ranges[0].start, ranges[0].end), len(ranges[0]), patience)


def _matches(x: Exchange, file: Version) -> bool:
    """If-Match and If-Unmodified-Since."""
    wanted = x.text("if-match")
    if wanted is not None:
        return wanted == "*" or file.etag in tags_of(wanted)
    since = _date(x.text("if-unmodified-since"))
    return since is None or int(file.modified_at) <= since


def _not_modified(x: Exchange, file: Version) -> bool:
    """If-None-Match, else If-Modified-Since. The weak compare is meant here."""
    wanted = x.text("if-none-match")
    if wanted is not None:
        return wanted == "*" or file.etag in {tag.removeprefix("W/") for tag in tags_of(wanted)}
    since = _date(x.text("if-modified-since"))
    return since is not None and int(file.modified_at) <= since


def _ranges(x: Exchange, file: Version) -> tuple[ByteRange, ...]:
    """The ranges to send; none when If-Range names another version. Only GET has ranges (RFC 9110 section 14.2)."""
    header = x.text("range")
    if header is None or x.method != "GET":
        return ()
    condition = x.text("if-range")
    if condition not in (None, file.etag) and (file.changes or _date(condition) != int(file.modified_at)):
        return ()
    return parse_ranges(header, file.size)


def tags_of(header: str) -> frozenset[str]:
    """The ETags of a condition, with their quotes."""
    return frozenset(tag.strip() for tag in header.split(","))


def _date(text: str | None) -> int | None:
    """An HTTP date in epoch seconds; None for anything else."""
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


async def _send_parts(
    x: Exchange, file: Version, ranges: tuple[ByteRange, ...], headers: Headers, read: Read, patience: float
) -> None:
    """Several ranges as multipart/byteranges (RFC 9110 section 14.6)."""
    boundary = f"entrepot-{x.request_id}"
    top = f"\r\n--{boundary}\r\nContent-Type: {file.content_type}\r\nContent-Range: "
    heads = [f"{top}{r.content_range(file.size)}\r\n\r\n".encode("latin-1", "replace") for r in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(h) + len(r) for h, r in zip(heads, ranges, strict=True)) + len(tail)
    headers.append((b"content-type", f"multipart/byteranges; boundary={boundary}".encode()))
    headers.append((b"content-length", b"%d" % length))

    async def pieces() -> AsyncGenerator[bytes, None]:
        for head, r in zip(heads, ranges, strict=True):
            yield head
            async with contextlib.aclosing(read(r.start, r.end)) as body:
                async for piece in body:
                    yield piece
        yield tail

    await _stream(x, 206, headers, pieces(), length, patience)


async def _stream(
    x: Exchange, status: int, headers: Headers, pieces: AsyncGenerator[bytes, None], length: int, patience: float
) -> None:
    """Send a body whose first piece is read before the status is, so that damage there is still a clean 500."""
    async with contextlib.aclosing(pieces):
        first = await anext(pieces, b"")
        await x.start(status, headers)
        if len(first) == length:
            return await x.send(first)
        gone = asyncio.ensure_future(x.disconnected())
        try:
            await _send_watched(x, patience, gone, first)
            async for piece in pieces:
                await _send_watched(x, patience, gone, piece)
            if x.sent != length:  # somebody cut the file meanwhile: so is the connection
                raise ClientGone
            await x.send(b"")
        finally:
            gone.cancel()


async def _send_watched(x: Exchange, patience: float, gone: asyncio.Future[None], piece: bytes) -> None:
    """Send one piece; raise ClientGone when the client has left or takes nothing for the time given.

    The server's own send neither raises nor waits after a hang-up: a loop that only sends would run through a 16 GiB
    object and let no other request of this worker get a turn. So each piece yields, and looks.
    """
    if gone.done():
        raise ClientGone
    try:
        async with asyncio.timeout(patience):
            await x.send(piece, more=True)
    except TimeoutError:
        raise ClientGone from None
    await asyncio.sleep(0)
