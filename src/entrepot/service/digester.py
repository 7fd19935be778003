"""The SHA-256 of the whole, computed by the keeper behind the parts as they arrive (design, section 5).

The digest follows the contiguous prefix of an open upload; what a finish could not wait for is done on the published
blob. A run is named by its first segment, so it goes on where it was when the upload becomes an object. After a restart
it begins again: the state of a hash cannot be kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from entrepot.domain.multipart import fingerprint, prefix
from entrepot.domain.objects import BLOCK_SIZE, Segment
from entrepot.metadata.base import Metadata
from entrepot.storage.base import BlobMissing, Storage
from entrepot.storage.blocks import verify

log = logging.getLogger("entrepot.digester")

# Bytes hashed before the keeper looks at its other work.
STEP = 256 * 1024 * 1024
_BLOBS = 16


@dataclass(slots=True)
class _Run:
    """Segments hashed so far, in order."""

    keys: list[str] = field(default_factory=list)
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)


class Digester:
    """`step` does a bounded piece of the work that is there."""

    def __init__(self, metadata: Metadata, storage: Storage) -> None:
        self._metadata = metadata
        self._storage = storage
        self._runs: dict[str, _Run] = {}
        self._seen: dict[str, int] = {}
        self._damaged: set[str] = set()
        self._left = 0

    async def step(self, budget: int = STEP) -> bool:
        """Hash up to about `budget` bytes; True when there is more to do at once."""
        self._left = budget
        growing = await self._metadata.growing_uploads()
        for upload_id, count in growing.items():
            if self._seen.get(upload_id) != count and await self._follow(upload_id):
                self._seen[upload_id] = count
        for blob_id in await self._metadata.undigested(_BLOBS):
            if blob_id not in self._damaged:
                await self._complete(blob_id)
        self._seen = {upload_id: count for upload_id, count in self._seen.items() if upload_id in growing}
        if not growing and self._left == budget:
            self._runs.clear()
        return self._left <= 0

    async def _follow(self, upload_id: str) -> bool:
        """Catch up with the prefix of an open upload and note its digest; False when there was not enough budget."""
        parts = prefix(await self._metadata.list_parts(upload_id))
        segments = await self._metadata.segments_of_parts(upload_id)
        chain = [s for part in parts for s in segments.get(part.blob_id, ())]
        try:
            run = await self._advance(chain)
        except _Damaged:
            log.error("damaged bytes: no digest for upload=%s", upload_id)
            return True  # until it has another part
        if run is None:
            return False
        if parts:
            await self._metadata.note_digest(upload_id, fingerprint(parts), run.hasher.digest())
        return True

    async def _complete(self, blob_id: str) -> None:
        chain = await self._metadata.segments(blob_id)
        try:
            run = await self._advance(chain)
        except _Damaged:
            self._damaged.add(blob_id)  # readers say so too; a sweep of the keeper must not stop at it
            log.error("damaged bytes: no digest for blob=%s", blob_id)
            return
        if run is not None:
            await self._metadata.set_digest(blob_id, run.hasher.digest())
            self._runs.pop(chain[0].key if chain else "", None)

    async def _advance(self, chain: Sequence[Segment]) -> _Run | None:
        """Hash on along these segments; the run when it reached their end, None when the budget did not."""
        name = chain[0].key if chain else ""
        run = self._runs.get(name)
        if run is None or run.keys != [s.key for s in chain[: len(run.keys)]]:
            run = self._runs[name] = _Run()  # new, or an attempt was replaced by a later one
        for segment in chain[len(run.keys) :]:
            if self._left <= 0:
                return None
            if not await self._hash(run, segment):
                return None
        return run

    async def _hash(self, run: _Run, segment: Segment) -> bool:
        """Add one segment, every block verified; False when its upload was removed meanwhile."""
        hasher, position = run.hasher.copy(), 0
        try:
            async with contextlib.aclosing(self._storage.read(segment.key, 0, segment.size)) as pieces:
                async for piece in pieces:
                    if not verify(piece, position // BLOCK_SIZE, segment.blocks):
                        raise _Damaged
                    hasher.update(piece)
                    position += len(piece)
        except BlobMissing:
            return False
        run.hasher, self._left = hasher, self._left - segment.size
        run.keys.append(segment.key)
        return True


class _Damaged(Exception):
    """A block is not what was stored."""
