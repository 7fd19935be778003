"""Segments as plain files on a local disk.

The event loop gathers and hands out bytes; whatever may wait for the disk runs in the storage's own threads.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from entrepot.atomic import read_facts
from entrepot.reading import read_now, read_waiting
from entrepot.storage.base import SEGMENT_SIZE, BlobMissing, Cloning, Hash, Stored, StoredKey, cuts
from entrepot.storage.os_errors import translated
from entrepot.storage.segment_folders import SegmentFolders
from entrepot.storage.segment_writer import SegmentWriter
from entrepot.threads import Intake, Threads

_LISTED_AT_ONCE = 256


class LocalStorage:
    """The `Storage` of one process under `root`.

    The root must exist (else StorageFailed): made here it could hide the mount point of a disk that is not
    there. `incarnation` names this process and was never used before. `threads` bounds the disk work that
    runs side by side. `reserve` is the free space in bytes below which writes are refused.
    """

    def __init__(
        self,
        root: Path,
        incarnation: str,
        *,
        threads: int = 32,
        reserve: int = 0,
        segment_size: int = SEGMENT_SIZE,
    ) -> None:
        with translated():
            self._folders = SegmentFolders(root, incarnation, reserve)
        self._threads = Threads(threads, translated)
        self._segment_size = segment_size

    async def put(
        self,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
        length: int | None = None,
    ) -> Stored:
        """Store a stream; see `Storage.put`. A body of one batch costs one thread hop."""
        writer = SegmentWriter(self._folders, facts, hashes, self._segment_size, self._threads.beside, length)
        return await self._intake(writer).take(stream)

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a range; see `Storage.read`. What is in the page cache is read without a thread hop."""
        fd = await self.open_segment(key)
        try:
            with translated():
                if os.fstat(fd).st_size < end:
                    raise BlobMissing(f"{key} is shorter than {end} bytes")
            for offset, size in cuts(start, end):
                with translated():
                    data = read_now(fd, size, offset)
                if data is None:
                    data = await self._threads.run(read_waiting, fd, size, offset)
                if len(data) < size:
                    raise BlobMissing(f"{key} became shorter than {end} bytes")
                yield data
        finally:
            os.close(fd)

    def cloning(self) -> Cloning:
        """Its segments are files."""
        return self

    async def adopt(self, source: int, size: int, facts: Mapping[str, str]) -> Stored:
        """Copy an open file into segments, then hash these; see `Cloning.adopt`."""
        writer = SegmentWriter(self._folders, facts, (), self._segment_size, self._threads.beside)

        def copy(start: int) -> list[Callable[[], None]]:
            full = writer.copy(source, start, min(self._segment_size, size - start))
            return [partial(writer.settle, segment) for segment in full]

        return await self._intake(writer).follow(partial(copy, start) for start in range(0, size, self._segment_size))

    async def open_segment(self, key: str) -> int:
        """Open a segment; see `Cloning.open_segment`."""
        with translated():
            fd = self._folders.open(key)
        if fd is None:
            raise BlobMissing(key)
        return fd

    async def delete(self, keys: Sequence[str]) -> None:
        """Unlink all keys; when some fail the others are still removed, then StorageFailed is raised.

        Not synced: a file that a power cut brings back is an orphan, which a sweep finds.
        """
        await self._threads.run(_remove, self._folders, keys)

    async def list(self, incarnation: str) -> AsyncGenerator[StoredKey, None]:
        """Yield every key of an incarnation; see `Storage.list`. Files that are not ours are passed over."""
        walk = self._folders.walk(incarnation)
        try:
            while found := await self._threads.run(_some, walk):
                for entry in found:
                    yield entry
        finally:
            walk.close()

    async def describe(self, key: str) -> Mapping[str, str]:
        """The facts of a segment, which are an extended attribute of its file; see `Storage.describe`."""
        fd = await self.open_segment(key)
        try:
            return await self._threads.run(read_facts, fd)
        finally:
            os.close(fd)

    async def check(self) -> None:
        """Raise StorageFailed (root replaced, read-only) or StorageFull (less room than the reserve)."""
        await self._threads.run(self._folders.check)

    async def close(self) -> None:
        """End the threads, after the work they have, and let go of the root."""
        await self._threads.close()
        self._folders.close()

    def _intake(self, writer: SegmentWriter) -> Intake[Stored]:
        def write(pieces: list[bytes]) -> list[Callable[[], None]]:
            return [partial(writer.settle, segment) for segment in writer.write(pieces)]

        return Intake(self._threads, write, writer.finish, writer.undo)


def _remove(folders: SegmentFolders, keys: Sequence[str]) -> None:
    failed: OSError | None = None
    for key in keys:
        try:
            folders.remove(key)
        except OSError as error:
            failed = failed or error
    if failed:
        raise failed


def _some(walk: Iterator[StoredKey]) -> list[StoredKey]:
    return list(islice(walk, _LISTED_AT_ONCE))
