"""Replies with a file's bytes: headers that keep them from running as script in our origin, and a body that is sent as
fast as its client takes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from functools import lru_cache

from entrepot.api.bytes.conditional import Representation
from entrepot.api.bytes.reply_memory import COUNTED, SETTLED, Hold, ReplyMemory
from entrepot.api.http_context import ClientGone, HttpContext
from entrepot.api.responses import CORS, Header, Headers
from entrepot.domain.ranges import ByteRange

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


async def send_file(
    ctx: HttpContext,
    file: Representation,
    status: int,
    ranges: tuple[ByteRange, ...],
    headers: Headers,
    read: Read,
    patience: float,
    memory: ReplyMemory,
) -> None:
    """Send the ranges that `evaluate_preconditions` chose. The client may take nothing for `patience` seconds. Raises
    ClientGone."""
    if len(ranges) > 1:
        parts, length = _parts(ctx, file, ranges, headers)
    else:
        parts, length = [(b"", ranges[0])], len(ranges[0])
    hold = await entered(ctx, length, memory)
    try:
        await _Reply(ctx, patience, memory, hold).send(status, headers, parts, read, length)
    finally:
        memory.handed_over(hold, whole=ctx.finished)


async def send_small(ctx: HttpContext, status: int, headers: Headers, data: bytes, memory: ReplyMemory) -> None:
    """Send bytes that are in memory already."""
    if len(data) < COUNTED:
        await ctx.start(status, headers)
        return await ctx.send(data)
    hold = await entered(ctx, len(data), memory)
    try:
        await ctx.start(status, headers)
        await ctx.send(data)
    finally:
        memory.handed_over(hold, whole=ctx.finished)


async def entered(ctx: HttpContext, length: int, memory: ReplyMemory) -> Hold:
    """Room for a reply. Raises Problem(UNAVAILABLE) and ClientGone."""
    client, tls = ctx.scope.get("client"), ctx.scope.get("scheme") == "https"
    peer = (client[0], int(client[1])) if client else ctx  # the server gives the port as text
    hold = memory.enter(peer, length, tls=tls)
    return hold if hold is not None else await ctx.unless_disconnected(memory.wait(peer, length, tls=tls))


# Bytes to send as they are, and those of the file that follow.
_Part = tuple[bytes, ByteRange]


def _parts(
    ctx: HttpContext, file: Representation, ranges: tuple[ByteRange, ...], headers: Headers
) -> tuple[list[_Part], int]:
    """Several ranges as multipart/byteranges (RFC 9110 section 14.6), and the length of all."""
    boundary = f"entrepot-{ctx.request_id}"
    top = f"\r\n--{boundary}\r\nContent-Type: {file.content_type}\r\nContent-Range: "
    heads = [f"{top}{r.content_range(file.size)}\r\n\r\n".encode("latin-1", "replace") for r in ranges]
    parts = [*zip(heads, ranges, strict=True), (f"\r\n--{boundary}--\r\n".encode(), ByteRange(0, 0))]
    length = sum(len(head) + len(r) for head, r in parts)
    headers.append((b"content-type", f"multipart/byteranges; boundary={boundary}".encode()))
    headers.append((b"content-length", b"%d" % length))
    return parts, length


class _Reply:
    """A body on its way out, as fast as its client takes it and memory allows."""

    def __init__(self, ctx: HttpContext, patience: float, memory: ReplyMemory, hold: Hold) -> None:
        self._ctx = ctx
        self._patience = patience
        self._memory = memory
        self._hold = hold
        self._quick = 0  # bytes that were taken without a wait
        self._small = 0  # pieces since the pace was made slow

    async def send(self, status: int, headers: Headers, parts: list[_Part], read: Read, length: int) -> None:
        """The first piece is read before the status is sent, so that damage there is still a clean 500."""
        ctx = self._ctx
        async with contextlib.aclosing(self._pieces(parts, read)) as pieces:
            piece = await anext(pieces, b"")
            await ctx.start(status, headers)
            if len(piece) == length:
                return await ctx.send(piece)
            gone = asyncio.ensure_future(ctx.disconnected())
            try:
                while piece:
                    await self._send_piece(gone, piece)
                    piece = await anext(pieces, b"")
                if ctx.sent != length:  # somebody cut the file meanwhile: so is the connection
                    raise ClientGone
                await ctx.send(b"")
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
                await self._ctx.send(piece, more=True)
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
