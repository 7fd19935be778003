"""Segments in memory: for tests, and for trying the server out. Everything is gone with the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

from entrepot.domain.objects import Segment
from entrepot.storage.base import SEGMENT_SIZE, BlobMissing, Cloning, Hash, Stored, StoredKey, cuts
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

    async def put(self, stream: AsyncIterator[bytes], facts: Mapping[str, str], hashes: Sequence[Hash] = ()) -> Stored:
        """Store a stream; nothing is kept before it has ended."""
        whole = sha256()
        data = bytearray()
        async for piece in stream:
            data += piece
            for hasher in (whole, *hashes):
                hasher.update(piece)
        starts = range(0, len(data), self._segment_size)
        cuts = [bytes(data[start : start + self._segment_size]) for start in starts]
        return Stored(tuple(self._keep(cut, facts) for cut in cuts), len(data), whole.digest())

    async def begin(self) -> str:
        """Nothing is needed for a multipart write but a name."""
        return f"upload-{next(self._numbers)}"

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
        """The parts' segments in the order given."""
        return tuple(segment for part in parts for segment in part.segments)

    async def abort(self, upload: str) -> None:
        """Nothing is held for a handle."""

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

    async def list(self) -> AsyncGenerator[StoredKey, None]:
        """Yield what was there when the listing began."""
        for key, kept in tuple(self._kept.items()):
            yield StoredKey(key, self._incarnation, len(kept.data), kept.facts)

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
