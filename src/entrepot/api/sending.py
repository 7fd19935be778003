"""What every reply with a file's bytes shares: conditions (RFC 9110 section 13), ranges (section 14), headers that keep
user bytes from ever running in our origin, and a body that stops when its client does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from entrepot.api.exchange import ClientGone, Exchange
from entrepot.api.reply_memory import COUNTED, SETTLED, Hold, ReplyMemory
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
# A client that lets one piece wait for longer is slow; one that takes so many bytes without is not.
SLOW_SECONDS = 0.5
QUICK_BYTES = 1024 * 1024


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
    memory: ReplyMemory,
) -> None:
    """Send what `decide` said. The client may take nothing for `patience` seconds. Raises ClientGone."""
    if len(ranges) > 1:
        parts, length = _parts(x, file, ranges, headers)
    else:
        parts, length = [(b"", ranges[0])], len(ranges[0])
    hold = await entered(x, length, memory)
    try:
        await _Reply(x, patience, memory, hold).send(status, headers, parts, read, length)
    finally:
        memory.handed_over(hold, whole=x.finished)


async def send_small(x: Exchange, status: int, headers: Headers, data: bytes, memory: ReplyMemory) -> None:
    """Send bytes that are in memory already."""
    if len(data) < COUNTED:
        await x.start(status, headers)
        return await x.send(data)
    hold = await entered(x, len(data), memory)
    try:
        await x.start(status, headers)
        await x.send(data)
    finally:
        memory.handed_over(hold, whole=x.finished)


async def entered(x: Exchange, length: int, memory: ReplyMemory) -> Hold:
    """Room for a reply. Raises Problem(UNAVAILABLE) and ClientGone."""
    client, tls = x.scope.get("client"), x.scope.get("scheme") == "https"
    peer = (client[0], int(client[1])) if client else x  # the server gives the port as text
    hold = memory.enter(peer, length, tls=tls)
    return hold if hold is not None else await x.unless_gone(memory.wait(peer, length, tls=tls))


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


# Bytes to send as they are, and those of the file that follow.
_Part = tuple[bytes, ByteRange]


def _parts(x: Exchange, file: Version, ranges: tuple[ByteRange, ...], headers: Headers) -> tuple[list[_Part], int]:
    """Several ranges as multipart/byteranges (RFC 9110 section 14.6), and the length of all."""
    boundary = f"entrepot-{x.request_id}"
    top = f"\r\n--{boundary}\r\nContent-Type: {file.content_type}\r\nContent-Range: "
    heads = [f"{top}{r.content_range(file.size)}\r\n\r\n".encode("latin-1", "replace") for r in ranges]
    parts = [*zip(heads, ranges, strict=True), (f"\r\n--{boundary}--\r\n".encode(), ByteRange(0, 0))]
    length = sum(len(head) + len(r) for head, r in parts)
    headers.append((b"content-type", f"multipart/byteranges; boundary={boundary}".encode()))
    headers.append((b"content-length", b"%d" % length))
    return parts, length


class _Reply:
    """A body on its way out, as fast as its client takes it and memory allows."""

    def __init__(self, x: Exchange, patience: float, memory: ReplyMemory, hold: Hold) -> None:
        self._x = x
        self._patience = patience
        self._memory = memory
        self._hold = hold
        self._quick = 0  # bytes that were taken without a wait
        self._small = 0  # pieces since the pace was made slow

    async def send(self, status: int, headers: Headers, parts: list[_Part], read: Read, length: int) -> None:
        """The first piece is read before the status is sent, so that damage there is still a clean 500."""
        x = self._x
        async with contextlib.aclosing(self._pieces(parts, read)) as pieces:
            piece = await anext(pieces, b"")
            await x.start(status, headers)
            if len(piece) == length:
                return await x.send(piece)
            gone = asyncio.ensure_future(x.disconnected())
            try:
                while piece:
                    await self._send_piece(gone, piece)
                    piece = await anext(pieces, b"")
                if x.sent != length:  # somebody cut the file meanwhile: so is the connection
                    raise ClientGone
                await x.send(b"")
            finally:
                gone.cancel()

    async def _pieces(self, parts: list[_Part], read: Read) -> AsyncGenerator[bytes, None]:
        for head, wanted in parts:
            if head:
                yield head
            start = wanted.start
            while start < wanted.end:
                begun, step = start, self._hold.pace.read
                end = min(start - start % step + step, wanted.end) if step else wanted.end
                async with contextlib.aclosing(read(start, end)) as body:
                    async for piece in body:
                        start += len(piece)
                        yield piece
                        if self._hold.pace.read != step:
                            break
                if start == begun:
                    return  # the file is shorter by now

    async def _send_piece(self, gone: asyncio.Future[None], piece: bytes) -> None:
        step = self._hold.pace.piece
        if not step:
            return await self._send_watched(gone, piece)
        for start in range(0, len(piece), step):
            await self._send_watched(gone, piece[start : start + step])

    async def _send_watched(self, gone: asyncio.Future[None], piece: bytes) -> None:
        """Send one piece; raise ClientGone when the client has left or takes nothing for the time given.

        The server's own send neither raises nor waits after a hang-up: a loop that only sends would run through a 16
        GiB object and let no other request of this worker get a turn. So each piece yields, and looks.
        """
        if gone.done():
            raise ClientGone
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                await self._x.send(piece, more=True)
        except TimeoutError:
            raise ClientGone from None
        self._adapt(len(piece), time.monotonic() - begun)
        await asyncio.sleep(0)

    def _adapt(self, size: int, seconds: float) -> None:
        """Go slower with a client that let the piece wait, and faster again when it does not."""
        hold, memory = self._hold, self._memory
        if seconds > SLOW_SECONDS:
            self._quick = 0
            if hold.pace is not hold.slow:
                self._small = 0
                memory.slower(hold)
        elif hold.pace.read:
            self._quick += size
            if self._quick >= QUICK_BYTES:
                self._quick = 0
                memory.faster(hold)
        if hold.pace is hold.slow:
            self._small += 1
            if self._small == SETTLED:
                memory.settled(hold)
