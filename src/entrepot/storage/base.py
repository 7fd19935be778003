"""The storage interface: bytes under keys that are never reused.

Made so that local files and an S3 bucket both fit: no offsets, renames or file handles. A key is made by the storage,
unique per attempt; what is written under it is immutable. Nothing here knows objects, accounts or URLs.
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
    """One entry of `list`. `incarnation` names the process that wrote it; `facts` are those given to the write, and
    maybe some of the storage's own."""

    key: str
    incarnation: str
    size: int
    facts: Mapping[str, str]


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

    async def put(self, stream: AsyncIterator[bytes], facts: Mapping[str, str], hashes: Sequence[Hash] = ()) -> Stored:
        """Store a stream of unknown length. Durable on return; on any exception or cancellation nothing stays.

        `facts` are kept beside each segment where the storage can, so that a lost catalogue can be rebuilt.
        Each of `hashes` is updated with the bytes in order. An empty stream gives no segments.
        Raises StorageFull, StorageFailed, and whatever the stream raises.
        """
        ...

    async def begin(self) -> str:
        """Open a multipart write; returns its handle. Writes nothing that must be swept if it is never used."""
        ...

    async def write_part(
        self,
        upload: str,
        number: int,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
    ) -> Stored:
        """Store one attempt at one part, as `put` does. A second attempt never touches the first one's bytes."""
        ...

    async def seal(self, upload: str, parts: Sequence[Stored]) -> tuple[Segment, ...]:
        """Make one ordered list of segments of parts, copying nothing where the storage can."""
        ...

    async def abort(self, upload: str) -> None:
        """Free what the storage itself holds for a multipart handle. Repeatable. Parts are deleted by their keys."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes `start` to `end` (not included) of one segment in the pieces of `cuts`.

        An async generator: close it to free its handle. Raises BlobMissing when the key is not there or is shorter
        than `end`, StorageFailed on I/O errors. It verifies nothing: that is the reader's work.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove keys; one that is not there is no error."""
        ...

    def list(self) -> AsyncGenerator[StoredKey, None]:
        """Yield every key, in any order. What is written or deleted meanwhile may or may not appear.

        An async generator: close it when it is not read to the end.
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
