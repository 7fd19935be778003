"""The storage interface: bytes under keys that are never reused.

Made so that local files and an S3 bucket both fit: no offsets, renames or file handles. A key is made by the storage,
unique per attempt; what is written under it is immutable. It begins with the incarnation of the process that wrote it:
one run of one process, whose keys can be listed by themselves. Nothing here knows objects, accounts or URLs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.domain.objects import BLOCK_SIZE, Segment

# Readers get pieces of this size: large enough to keep system calls rare, small enough to bound memory (I9).
CHUNK_SIZE = 8 * BLOCK_SIZE
# A range up to this size is one piece, so that 1 MiB at any offset, with the whole blocks around it, is: what a piece
# costs beside its bytes outweighs then what the processor's cache gains by smaller ones (docs/performance.md).
AT_ONCE = 18 * BLOCK_SIZE
# A streamed body starts a new segment at this size, so that the one before is synced while the next streams in.
SEGMENT_SIZE = 64 * 1024 * 1024


class Hash(Protocol):
    """A `hashlib` object."""

    def update(self, data: bytes | memoryview, /) -> None: ...


class BlobMissing(Exception):
    """No bytes under this key: never written, or deleted. The reader looks at the row again."""


class StorageFull(Exception):
    """No room (ENOSPC, EDQUOT, or less free space than is reserved): the write failed and left nothing behind."""


class StorageFailed(Exception):
    """The medium refused (I/O error, read-only, replaced root). A failed sync is never tried again into a success."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a finished write returns: durable when it is returned. `sha256` (32 bytes) is of all segments in order."""

    segments: tuple[Segment, ...]
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One entry of `list`; `size` in bytes."""

    key: str
    size: int


def cuts(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and size of the pieces of a range: the whole of a short one, else `CHUNK_SIZE` each, the last one up to a
    block longer or any shorter, because a piece of its own for a rest of one block costs as much as a large one."""
    most = AT_ONCE if end - start <= AT_ONCE else CHUNK_SIZE + BLOCK_SIZE
    while start < end:
        size = CHUNK_SIZE if end - start > most else end - start
        yield start, size
        start += size


class Cloning(Protocol):
    """What a storage of local files can do besides: bytes go from file to file inside the kernel, shared until one of
    the two changes where the file system can, and never by a second name of the same file."""

    async def adopt(self, source: int, size: int, facts: Mapping[str, str]) -> Stored:
        """Store the first `size` bytes of a file that is open for reading, as `put` does. `source` stays the caller's.

        They are copied first, and then the copy is hashed: whatever happens to the source meanwhile, the digests are
        those of what is stored. Raises StorageFull, and StorageFailed when the source is shorter too.
        """
        ...

    async def open_segment(self, key: str) -> int:
        """A handle for reading a segment, the caller's to close. Raises BlobMissing, StorageFailed."""
        ...


class Storage(Protocol):
    """Each method states what holds when it returns and when it raises."""

    async def put(
        self,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
        length: int | None = None,
    ) -> Stored:
        """Store a stream in segments of at most `SEGMENT_SIZE`. Durable on return; on any exception or cancellation
        nothing stays.

        `facts` are kept beside each segment where the storage can, so that a lost database can be rebuilt.
        Each of `hashes` is updated with the bytes in order. `length` is that of the stream, None when it is not known:
        a bucket wants it before the bytes, and holds a segment in memory without it. An empty stream gives no
        segments. Raises StorageFull, StorageFailed (for a stream of another length too), and what the stream raises.
        """
        ...

    def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes `start` to `end` (not included) of one segment in the pieces of `cuts`.

        An async generator: close it to free its handle. Raises BlobMissing when the key is not there or is shorter
        than `end`, StorageFailed on I/O errors. It verifies nothing: that is the reader's work.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove keys, however many; one that is not there is no error. Raises StorageFailed when some could not be
        removed; the others are gone then."""
        ...

    def list(self, incarnation: str) -> AsyncGenerator[StoredKey, None]:
        """Yield every key of an incarnation, in any order. What is written or deleted meanwhile may or may not appear.

        There is no listing of everything: of a large bucket it would take hours. An async generator: close it when it
        is not read to the end.
        """
        ...

    async def describe(self, key: str) -> Mapping[str, str]:
        """The facts of a segment: those given to the write, and maybe some of the storage's own.

        Raises BlobMissing when the key is not there, StorageFailed.
        """
        ...

    def cloning(self) -> Cloning | None:
        """How it clones files of the system; None when it cannot."""
        ...

    async def check(self) -> None:
        """Raise StorageFull or StorageFailed when a write would now be refused."""
        ...

    async def close(self) -> None:
        """Free threads and handles. The storage is not used afterwards."""
        ...
