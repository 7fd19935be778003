"""Reads of objects: the row decides who may open one, and every block is verified before it is sent
(docs/threats.md I4)."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.names import quote_segment
from entrepot.domain.objects import BLOCK_SIZE, Object, Segment, check_readable
from entrepot.metadata.objects import ObjectRecords
from entrepot.service.access import Clock
from entrepot.service.uploads import object_id_of
from entrepot.storage.base import BlobMissing, Storage
from entrepot.storage.blocks import verify

log = logging.getLogger("entrepot.objects")

_ENTRY = 256  # bytes that a cached entry takes beside its data
WINDOW = 8  # segments whose block digests a reader holds at once
_WINDOWS = 64  # blobs of which the last window is kept: 64 KiB each at most
SMALL = 256 * 1024  # objects up to this many bytes are kept in memory


# Segments that follow each other, and where in the blob each begins.
Window = Sequence[tuple[int, Segment]]


class Objects:
    """Open and read. Rows are read for every request, so access and expiry are always current; bytes never change,
    so they may be kept by blob id without ever being invalidated."""

    def __init__(self, objects: ObjectRecords, storage: Storage, clock: Clock, cache_size: int) -> None:
        self._objects = objects
        self._storage = storage
        self._clock = clock
        self._small = _Cache(cache_size)
        self._windows: OrderedDict[str, Window] = OrderedDict()  # the last one read, by blob id
        self.damaged = 0  # reads that met bytes which are not what was stored

    async def open(self, who: Principal, path: str) -> Object:
        """Return the object at this decoded path if `who` may read it now. Raises Problem.

        The whole last segment must match: an id with another name is no URL that was ever given out.
        """
        obj = await self._objects.get(object_id_of(path))
        if obj is None or obj.path != (path if "%" not in path and path == obj.path else _canonical(path)):
            raise not_found()
        check_readable(obj, who, self._clock())
        return obj

    async def small(self, obj: Object) -> bytes | None:
        """All bytes of an opened object that is small enough to be kept in memory; else None. Raises as `read` does."""
        if obj.size > SMALL:
            return None
        data = self._small.get(obj.blob_id)
        if data is None:
            data = b"".join([piece async for piece in self._pieces(obj, 0, obj.size)])
            self._small.put(obj.blob_id, data)
        return data

    async def read(self, obj: Object, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes `start` to `end` (not included) of an opened object, each verified. Pieces are at most 1152 KiB.

        An async generator: close it to free its handle. Raises Problem: INTEGRITY_FAILED when the bytes are not what
        was stored, GONE or NOT_FOUND when they were removed meanwhile; after the first piece the caller has to cut the
        connection.
        """
        data = await self.small(obj)
        if data is not None:
            yield data[start:end]
            return
        async with contextlib.aclosing(self._pieces(obj, start, end)) as pieces:
            async for piece in pieces:
                yield piece

    async def segments(self, obj: Object) -> AsyncGenerator[Segment, None]:
        """All segments of an opened object, in order. Raises as `read` does."""
        start = 0
        try:
            while start < obj.size:
                for offset, part in await self._window(obj, start):
                    yield part
                    start = offset + part.size
        except BlobMissing:
            raise await self.why_missing(obj) from None

    async def _pieces(self, obj: Object, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            while start < end:
                for offset, part in await self._window(obj, start):
                    lo, hi = start - offset, min(end - offset, part.size)
                    if lo >= hi:
                        return
                    async with contextlib.aclosing(self._verified(obj, part, lo, hi)) as verified:
                        async for piece in verified:
                            yield piece
                    start = offset + hi
        except BlobMissing:
            raise await self.why_missing(obj) from None

    async def _verified(self, obj: Object, part: Segment, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Read whole blocks around the range, check them, and cut the ends off."""
        position = start - start % BLOCK_SIZE
        limit = min(-(-end // BLOCK_SIZE) * BLOCK_SIZE, part.size)
        async with contextlib.aclosing(self._storage.read(part.key, position, limit)) as raw:
            async for piece in raw:
                if not verify(piece, position // BLOCK_SIZE, part.blocks):
                    raise self.damage(obj, part.key)
                lo, hi = max(start - position, 0), min(end - position, len(piece))
                yield piece if lo == 0 and hi == len(piece) else piece[lo:hi]
                position += len(piece)

    async def _window(self, obj: Object, start: int) -> Window:
        """The segments from byte `start` on, the last ones read of this blob if `start` is in them: players and loaders
        ask for range after range. Raises BlobMissing."""
        kept = self._windows.get(obj.blob_id, ())
        for number, (offset, part) in enumerate(kept):
            if offset <= start < offset + part.size:
                self._windows.move_to_end(obj.blob_id)
                return kept[number:]
        found = await self._segments_from(obj, start)
        if obj.size > SMALL:  # the bytes of others are kept themselves
            self._windows[obj.blob_id] = found
            self._windows.move_to_end(obj.blob_id)
            if len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        return found

    async def _segments_from(self, obj: Object, start: int) -> Window:
        """The next segments from byte `start` on: a reader never holds more than `WINDOW`, however many there are (I9).
        Raises BlobMissing when they do not add up."""
        found = await self._objects.segments_from(obj.blob_id, start, WINDOW)
        at = found[0][0] if found else obj.size
        if at > start:
            raise BlobMissing
        for offset, part in found:
            if offset != at:
                raise BlobMissing
            at += part.size
        if at > obj.size or (at < obj.size and len(found) < WINDOW):
            raise BlobMissing
        return found

    async def why_missing(self, obj: Object) -> Problem:
        """Bytes are gone: because the object is, or because somebody took them from the disk."""
        now = await self._objects.get(obj.id)
        if now is None or now.blob_id != obj.blob_id:
            return Problem(Code.GONE, "This file was removed.")
        return self.damage(obj, "a segment is missing")

    def damage(self, obj: Object, detail: str) -> Problem:
        """Count and log bytes that are not what was stored."""
        self.damaged += 1
        log.error("damaged bytes: object=%s blob=%s (%s)", obj.id, obj.blob_id, detail)
        return Problem(Code.INTEGRITY_FAILED, "The stored bytes of this file are damaged; they were not sent.")


@dataclass(slots=True)
class _Cache:
    """Least recently used bytes by blob id, bounded in bytes, what an entry itself takes included."""

    room: int
    _items: OrderedDict[str, bytes] | None = None
    _held: int = 0

    def get(self, key: str) -> bytes | None:
        items = self._items
        if items is None or (data := items.get(key)) is None:
            return None
        items.move_to_end(key)
        return data

    def put(self, key: str, data: bytes) -> None:
        if self._items is None:
            self._items = OrderedDict()
        if len(data) + _ENTRY > self.room or key in self._items:
            return
        self._items[key] = data
        self._held += len(data) + _ENTRY
        while self._held > self.room:
            self._held -= len(self._items.popitem(last=False)[1]) + _ENTRY


def _canonical(path: str) -> str:
    """The one spelling of a decoded path that is stored with the object."""
    folder, _, last = path.rpartition("/")
    return f"{folder}/{quote_segment(last)}"
