"""The keeper's work: what is over is taken off the disk, and nothing else.

Order: a row lets go of its blob; a blob that nothing refers to is condemned (`live -> dying`) in one transaction; its
bytes are deleted; its rows are forgotten. Killed at any point, the next sweep goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from entrepot.metadata.base import Condemned, Metadata
from entrepot.service.access import Clock
from entrepot.storage.base import Storage, StorageFailed

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
        self._stuck: set[str] = set()  # ids of blobs whose bytes could not be deleted: each is told once

    async def sweep(self) -> Swept:
        """Remove what is over now: expired objects, stale uploads, blobs that nothing refers to, old tombstones.

        A step that fails keeps none of the others from its work; the first failure is raised when all are done.
        """
        now = self._clock()
        steps: tuple[Callable[[], Awaitable[int]], ...] = (
            lambda: _drain(lambda: self._metadata.expire_objects(now, BATCH)),
            lambda: _drain(lambda: self._metadata.expire_uploads(now, BATCH)),
            self._remove_condemned,
            lambda: _drain(lambda: self._metadata.forget_ended(now - self._tombstone_ttl, BATCH)),
        )
        done: list[int] = []
        failures: list[Exception] = []
        for step in steps:
            try:
                done.append(await step())
            except Exception as error:
                failures.append(error)
        for other in failures[1:]:
            log.error("another step of the sweep failed too: %r", other)
        if failures:
            raise failures[0]
        return Swept(*done)

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
        """Blob by blob: one whose bytes cannot be deleted stays for the next sweep and holds up no other."""
        count, tried = 0, set[str]()
        while condemned := [b for b in await self._metadata.condemn_blobs(BATCH) if b.blob_id not in tried]:
            for blob in condemned:
                tried.add(blob.blob_id)
                count += await self._remove(blob)
        self._stuck &= tried
        return count

    async def _remove(self, blob: Condemned) -> bool:
        try:
            await self._storage.delete(blob.keys)
        except StorageFailed as error:
            if blob.blob_id not in self._stuck:
                log.error("the bytes of blob=%s stay until they can be deleted: %s", blob.blob_id, error)
            self._stuck.add(blob.blob_id)
            return False
        await self._metadata.forget_blob(blob.blob_id)
        self._stuck.discard(blob.blob_id)
        return True

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
