"""The keeper's work: what is over is taken off the disk, and nothing else.

Order: a row lets go of its blob; a blob that nothing refers to is condemned (`live -> dying`) in one transaction; its
bytes are deleted; its rows are forgotten. Killed at any point, the next sweep goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from entrepot.metadata.base import Metadata
from entrepot.service.access import Clock
from entrepot.storage.base import Storage

log = logging.getLogger("entrepot.keeper")

BATCH = 500  # rows in one transaction: others write between two batches (hostile.md H08)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    expired: int = 0
    uploads: int = 0
    blobs: int = 0
    forgotten: int = 0


class Keeper:
    """`ended` tells which of the given incarnations have no living process: only those can leave orphans."""

    def __init__(
        self,
        metadata: Metadata,
        storage: Storage,
        clock: Clock,
        ended: Callable[[set[str]], set[str]],
        tombstone_ttl: float,
    ) -> None:
        self._metadata = metadata
        self._storage = storage
        self._clock = clock
        self._ended = ended
        self._tombstone_ttl = tombstone_ttl

    async def sweep(self) -> Swept:
        """Remove what is over now: expired objects, stale uploads, blobs that nothing refers to, old tombstones."""
        now = self._clock()
        expired = await _drain(lambda: self._metadata.expire_objects(now, BATCH))
        uploads = await _drain(lambda: self._metadata.expire_uploads(now, BATCH))
        blobs = await self._remove_condemned()
        forgotten = await _drain(lambda: self._metadata.forget_ended(now - self._tombstone_ttl, BATCH))
        return Swept(expired, uploads, blobs, forgotten)

    async def sweep_orphans(self) -> int:
        """Delete bytes that ended processes wrote and no row names; returns how many segments.

        Uploads in flight belong to living processes, whose keys are never looked at.
        """
        batch: dict[str, str] = {}
        removed = 0
        async for item in self._storage.list():
            batch[item.key] = item.incarnation
            if len(batch) >= BATCH:
                removed += await self._remove_orphans(batch)
                batch = {}
        return removed + await self._remove_orphans(batch)

    async def _remove_condemned(self) -> int:
        count = 0
        while condemned := await self._metadata.condemn_blobs(BATCH):
            await self._storage.delete([key for blob in condemned for key in blob.keys])
            for blob in condemned:
                await self._metadata.forget_blob(blob.blob_id)
            count += len(condemned)
        return count

    async def _remove_orphans(self, batch: dict[str, str]) -> int:
        # Which processes have ended is asked before the rows are read: a process that ends in between may have
        # published until its last moment, and the rows show it.
        ended = self._ended(set(batch.values()))
        candidates = [key for key, incarnation in batch.items() if incarnation in ended]
        known = await self._metadata.known_keys(candidates)
        orphans = [key for key in candidates if key not in known]
        if orphans:
            await self._storage.delete(orphans)
            log.info("removed %d orphaned segments of ended processes", len(orphans))
        return len(orphans)


async def _drain(step: Callable[[], Awaitable[int]]) -> int:
    """Repeat a bounded step until it finds nothing more."""
    total = 0
    while count := await step():
        total += count
    return total
