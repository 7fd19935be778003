"""Copies between volume files and objects: the bytes are cloned, and the clone is what is checked.

Neither way is a read of the source trusted to give the bytes of another read of it, and nothing is shared by name: a
later write to the file never reaches the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.objects import BLOCK_SIZE, Object, Segment
from entrepot.domain.uploads import Intent
from entrepot.fair_queue import FairQueue, while_free
from entrepot.service.objects import Objects
from entrepot.service.peek import Damaged, head_of
from entrepot.service.request_bodies import Received, no_room
from entrepot.service.sink import Entry, Entry_co, Place, Place_contra, Sink, When, When_contra
from entrepot.service.uploads import SingleUploads
from entrepot.storage.base import CHUNK_SIZE, BlobMissing, Cloning, Storage, StorageFailed, Stored
from entrepot.storage.blocks import verify
from entrepot.threads import ended, finished

COPIES = 4  # that a process makes at once: each keeps a thread and the disk busy; no key has all of them
# File systems tell times in ticks of the kernel, which are 10 ms or less.
_TICK_SECONDS = 0.02


class Named(Protocol):
    """What is told of a file."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


class Opened(Protocol):
    """A file that is open for reading, whatever happens to its name."""

    @property
    def entry(self) -> Named: ...

    def fileno(self) -> int: ...

    def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` to `end` (not included)."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes of an open file. `check` is called with another file's handle and the place there to which they
    were copied; it may block, and raises Problem when these are not the bytes that were meant."""

    fd: int
    start: int
    size: int
    check: Callable[[int, int], None]


class TransferFiles(Sink[Place_contra, When_contra, Entry_co], Protocol[Place_contra, When_contra, Entry_co]):
    """A sink whose files are files of the system."""

    async def open(self, who: Principal, path: Place_contra) -> Opened: ...

    async def adopt(
        self,
        who: Principal,
        path: Place_contra,
        extents: AsyncIterable[Extent],
        *,
        sha256: bytes | None,
        size: int,
        when: When_contra,
    ) -> tuple[Entry_co, bool]:
        """As `take`, with bytes cloned from open files, each extent good until the next is asked for."""


class Transfer(Generic[Place, When, Entry]):
    """Publish and keep. Where the storage has no files the bytes are streamed."""

    def __init__(
        self,
        files_of: Callable[[Principal], TransferFiles[Place, When, Entry]],
        storage: Storage,
        objects: Objects,
        uploads: SingleUploads,
    ) -> None:
        self._files_of = files_of
        self._storage = storage
        self._objects = objects
        self._uploads = uploads
        self._copies = FairQueue(while_free, COPIES)

    async def publish(self, who: Principal, path: Place, intent: Intent) -> Object:
        """A new object with the bytes that the file has now; it keeps them whatever becomes of the file.

        Raises Problem: NOT_FOUND, QUOTA_EXCEEDED, CONFLICT when the file is written to meanwhile. With an idempotency
        key, equal calls give equal answers as long as the file has the same bytes.
        """
        source = await self._files_of(who).open(who, path)
        try:
            copy = _Copy(source, self._storage, self._copies, who.key_id or "")
            named = replace(intent, file_name=intent.file_name or source.entry.name)
            taking = asyncio.ensure_future(self._uploads.take(who, named, copy))
            try:
                return await asyncio.shield(taking)
            except asyncio.CancelledError:
                # What is stored already is published or discarded, for nobody else would ever remove it.
                if not copy.is_stored:
                    taking.cancel()
                await ended(taking)
                raise
        finally:
            await source.close()

    async def keep(self, who: Principal, path: Place, url_path: str, when: When) -> Entry:
        """The bytes of an object that `who` may read, as a file.

        Raises Problem as `Objects.open` and `read` do (INTEGRITY_FAILED: nothing is published), and as the files do.
        """
        files = self._files_of(who)
        obj = await self._objects.open(who, url_path)
        cloning = self._storage.cloning()
        if cloning is None:
            expected = (Expected("sha-256", obj.sha256),) if obj.sha256 else ()
            async with contextlib.aclosing(self._objects.read(obj, 0, obj.size)) as pieces:
                entry, _ = await files.take(who, path, pieces, length=obj.size, expected=expected, when=when)
            return entry
        async with (
            self._copies.turn(who.key_id or ""),
            contextlib.aclosing(self._extents(obj, cloning)) as extents,
        ):
            entry, _ = await files.adopt(who, path, extents, sha256=obj.sha256, size=obj.size, when=when)
        return entry

    async def _extents(self, obj: Object, cloning: Cloning) -> AsyncGenerator[Extent, None]:
        async with contextlib.aclosing(self._objects.segments(obj)) as segments:
            async for segment in segments:
                try:
                    fd = await cloning.open_segment(segment.key)
                except BlobMissing:
                    raise await self._objects.why_missing(obj) from None
                try:
                    if os.fstat(fd).st_size != segment.size:
                        raise self._objects.damage(obj, segment.key)
                    yield Extent(fd, 0, segment.size, partial(self._check, obj, segment))
                finally:
                    os.close(fd)

    def _check(self, obj: Object, segment: Segment, fd: int, at: int) -> None:
        """Blocks. Raises Problem unless these bytes are those of the segment."""
        for start in range(0, segment.size, CHUNK_SIZE):
            size = min(CHUNK_SIZE, segment.size - start)
            piece = os.pread(fd, size, at + start)
            if len(piece) != size or not verify(piece, start // BLOCK_SIZE, segment.blocks):
                raise self._objects.damage(obj, segment.key)


class _Copy:
    """The bytes of an open file, as `UploadSource`."""

    content_type = None  # that of the intent, or what the bytes look like

    def __init__(self, source: Opened, storage: Storage, copies: FairQueue, key: str) -> None:
        self._source = source
        self._storage = storage
        self._copies = copies
        self._key = key
        self.is_stored = False

    async def store(self, facts: Mapping[str, str], room: int | None) -> Received:
        """Clone the file; its digests are those of the clone. Raises Problem: QUOTA_EXCEEDED, CONFLICT."""
        async with self._copies.turn(self._key):
            begun = await self._settled()
            if room is not None and begun.st_size > room:
                raise no_room(room)
            try:
                stored = await self._cloned(begun.st_size, facts)
            except (Problem, StorageFailed):
                self._check_same(begun)
                raise
        self.is_stored = True
        try:
            self._check_same(begun)
            return Received(stored, await self._head(stored))
        except BaseException:
            await self._storage.delete([segment.key for segment in stored.segments])
            raise

    async def measure(self) -> tuple[int, bytes]:
        begun, hasher = await self._settled(), hashlib.sha256()
        async with contextlib.aclosing(self._source.read(0, begun.st_size)) as pieces:
            async for piece in pieces:
                hasher.update(piece)
        self._check_same(begun)
        return begun.st_size, hasher.digest()

    async def _cloned(self, size: int, facts: Mapping[str, str]) -> Stored:
        if cloning := self._storage.cloning():
            return await cloning.adopt(self._source.fileno(), size, facts)
        async with contextlib.aclosing(self._source.read(0, size)) as pieces:
            return await self._storage.put(pieces, facts, length=size)

    async def _head(self, stored: Stored) -> bytes:
        if not stored.segments:
            return b""
        try:
            return await head_of(self._storage, stored.segments[0], stored.segments[0].blocks)
        except Damaged as error:
            raise StorageFailed(str(error)) from error

    async def _settled(self) -> os.stat_result:
        """What the file is, from when on every change of it can be told."""
        # Who writes through a mapping changes the time only at the first write after the page went to the disk.
        await finished(asyncio.ensure_future(asyncio.to_thread(_sync, self._source.fileno())))
        begun = os.fstat(self._source.fileno())
        if abs(time.time() - begun.st_mtime) < _TICK_SECONDS:
            await asyncio.sleep(_TICK_SECONDS)
        return begun

    def _check_same(self, begun: os.stat_result) -> None:
        if _identity(os.fstat(self._source.fileno())) != _identity(begun):
            message = "This file was written to, moved or replaced while it was copied; nothing was published."
            raise Problem(Code.CONFLICT, message, fix="Try again when nobody writes to it.")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sync(fd: int) -> None:
    with contextlib.suppress(OSError):  # of a file system that is read-only
        os.fsync(fd)
