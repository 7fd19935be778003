"""A storage in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

from entrepot.domain.objects import Segment
from entrepot.storage.base import SEGMENT_SIZE, BlobMissing, Cloning, Hash, StorageFailed, Stored, StoredKey, cuts
from entrepot.storage.blocks import checksums


@dataclass(frozen=True, slots=True)
class _Kept:
    data: bytes
    facts: Mapping[str, str]


class MemoryStorage:
    """The `Storage` that others are measured by. `segment_size` is in bytes."""

    def __init__(self, incarnation: str = "memory", *, segment_size: int = SEGMENT_SIZE) -> None:
        self._incarnation = incarnation
        self._segment_size = segment_size
        self._kept: dict[str, _Kept] = {}
        self._numbers = count()

    async def put(
        self,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
        length: int | None = None,
    ) -> Stored:
        """Store a stream; nothing is kept before it has ended."""
        whole = sha256()
        data = bytearray()
        async for piece in stream:
            data += piece
            for hasher in (whole, *hashes):
                hasher.update(piece)
        if length not in (None, len(data)):
            raise StorageFailed(f"the stream has {len(data)} bytes, not {length} as was said")
        starts = range(0, len(data), self._segment_size)
        cuts = [bytes(data[start : start + self._segment_size]) for start in starts]
        return Stored(tuple(self._keep(cut, facts) for cut in cuts), len(data), whole.digest())

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a range; see `Storage.read`."""
        kept = self._kept.get(key)
        if kept is None or len(kept.data) < end:
            raise BlobMissing(key)
        for offset, size in cuts(start, end):
            yield kept.data[offset : offset + size]

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget keys."""
        for key in keys:
            self._kept.pop(key, None)

    async def list(self, incarnation: str) -> AsyncGenerator[StoredKey, None]:
        """Yield what was there when the listing began."""
        for key, kept in tuple(self._kept.items()):
            if key.startswith(f"{incarnation}/"):
                yield StoredKey(key, len(kept.data))

    async def describe(self, key: str) -> Mapping[str, str]:
        """The facts given to the write."""
        if key not in self._kept:
            raise BlobMissing(key)
        return self._kept[key].facts

    def cloning(self) -> Cloning | None:
        """Memory has no files."""
        return None

    async def check(self) -> None:
        """Memory takes what it can."""

    async def close(self) -> None:
        """Nothing to free."""

    def _keep(self, data: bytes, facts: Mapping[str, str]) -> Segment:
        key = f"{self._incarnation}/{next(self._numbers)}"
        self._kept[key] = _Kept(data, dict(facts))
        return Segment(key, len(data), checksums(data))
