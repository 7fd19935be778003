"""Segments as plain files on a local disk.

The event loop gathers and hands out bytes; whatever may wait for the disk runs in the storage's own threads.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from entrepot.domain.objects import Segment
from entrepot.storage.attempt import Attempt, SegmentFile
from entrepot.storage.base import SEGMENT_SIZE, BlobMissing, Hash, Stored, StoredKey, cuts
from entrepot.storage.reading import read_now, read_waiting
from entrepot.storage.threads import Threads, ended, finished, translated
from entrepot.storage.tree import Tree

# A batch goes to a thread at this size, or at as many pieces as one writev takes, for a body that dribbles
# in.
BATCH_SIZE = 1024 * 1024
BATCH_PIECES = 1024
# Full segments that may wait for their sync while the next ones stream in.
SETTLING_LIMIT = 3
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
            self._tree = Tree(root, incarnation, reserve)
        self._threads = Threads(threads)
        self._segment_size = segment_size

    async def put(self, stream: AsyncIterator[bytes], facts: Mapping[str, str], hashes: Sequence[Hash] = ()) -> Stored:
        """Store a stream; see `Storage.put`. A body of one batch costs one thread hop."""
        writing = _Writing(self._threads, Attempt(self._tree, facts, hashes, self._segment_size, self._threads.beside))
        try:
            return await writing.take(stream)
        except BaseException:
            await writing.undo()
            raise

    async def begin(self) -> str:
        """Parts need no common ground here: the handle is only a name."""
        return secrets.token_hex(16)

    async def write_part(
        self,
        upload: str,
        number: int,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
    ) -> Stored:
        """Store one attempt at a part, under keys of its own."""
        return await self.put(stream, facts, hashes)

    async def seal(self, upload: str, parts: Sequence[Stored]) -> tuple[Segment, ...]:
        """The parts' segments in the order given; touches no disk."""
        return tuple(segment for part in parts for segment in part.segments)

    async def abort(self, upload: str) -> None:
        """Nothing is held for a handle."""

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a range; see `Storage.read`. What is in the page cache is read without a thread hop."""
        with translated():
            fd = self._tree.open(key)
        if fd is None:
            raise BlobMissing(key)
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

    async def delete(self, keys: Sequence[str]) -> None:
        """Unlink all keys; when some fail the others are still removed, then StorageFailed is raised.

        Not synced: a file that a power cut brings back is an orphan, which a sweep finds.
        """
        await self._threads.run(_remove, self._tree, keys)

    async def list(self) -> AsyncGenerator[StoredKey, None]:
        """Yield every key; see `Storage.list`. Files that are not ours are passed over."""
        walk = self._tree.walk()
        try:
            while found := await self._threads.run(_some, walk):
                for entry in found:
                    yield entry
        finally:
            walk.close()

    async def check(self) -> None:
        """Raise StorageFailed (root replaced, read-only) or StorageFull (less room than the reserve)."""
        await self._threads.run(self._tree.check)

    async def close(self) -> None:
        """End the threads, after the work they have, and let go of the root."""
        await asyncio.to_thread(self._threads.end)
        self._tree.close()


class _Writing:
    """Carries one body to its attempt: one batch is written while the next one is gathered."""

    def __init__(self, threads: Threads, attempt: Attempt) -> None:
        self._threads = threads
        self._attempt = attempt
        self._batch: asyncio.Future[list[SegmentFile]] | None = None
        self._settling: deque[asyncio.Future[None]] = deque()

    async def take(self, stream: AsyncIterator[bytes]) -> Stored:
        """Read the stream to its end and make it durable."""
        pieces: list[bytes] = []
        size = 0
        async for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size >= BATCH_SIZE or len(pieces) >= BATCH_PIECES:
                await self._write(pieces)
                pieces, size = [], 0
        return await self._finish(pieces)

    async def undo(self) -> None:
        """Remove what was made, after the last job on it has ended. A cancellation does not stop this."""
        jobs = [*self._settling, self._batch] if self._batch else self._settling
        await ended(asyncio.gather(*jobs, return_exceptions=True))
        await ended(self._threads.start(self._attempt.undo))

    async def _write(self, pieces: list[bytes]) -> None:
        await self._written()
        self._batch = self._threads.start(self._attempt.write, pieces)

    async def _written(self) -> None:
        """Wait for the batch under way, and start to settle the segments that it filled."""
        if self._batch is not None:
            for segment in await finished(self._batch):
                self._settling.append(self._threads.start(self._attempt.settle, segment))
            self._batch = None
        while len(self._settling) > SETTLING_LIMIT:
            await finished(self._settling[0])
            self._settling.popleft()

    async def _finish(self, pieces: list[bytes]) -> Stored:
        await self._written()
        stored = await self._threads.run(self._attempt.finish, pieces)
        for settling in self._settling:
            await finished(settling)
        return stored


def _remove(tree: Tree, keys: Sequence[str]) -> None:
    failed: OSError | None = None
    for key in keys:
        try:
            tree.remove(key)
        except OSError as error:
            failed = failed or error
    if failed:
        raise failed


def _some(walk: Iterator[StoredKey]) -> list[StoredKey]:
    return list(islice(walk, _LISTED_AT_ONCE))
