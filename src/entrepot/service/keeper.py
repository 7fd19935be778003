"""Retention and garbage collection: the keeper's batches, which remove what is over and nothing else.

Order: a row lets go of its blob; a blob that nothing refers to is condemned (`live -> dying`) in one transaction; its
bytes are deleted; its rows are forgotten. Killed at any point, the next batch goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from entrepot.metadata.housekeeping import Condemned, Housekeeping
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock
from entrepot.service.clock_guard import ClockGuard
from entrepot.service.orphans import OrphanReport, Orphans
from entrepot.service.tasks import BatchOutcome
from entrepot.storage.base import Storage, StorageFailed

log = logging.getLogger("entrepot.keeper")


@dataclass(frozen=True, slots=True)
class KeeperTimes:
    """Times that the keeper waits before it destroys, in seconds; `orphan_brake` is a share. See docs/settings.md."""

    tombstone_ttl: float
    orphan_grace: float = 7 * 86_400.0
    orphan_brake: float = 0.5
    clock_guard: float = 3600.0


class Keeper:
    """Each method but `now` is one batch of a periodic task (`service/tasks.py`) and gets the most items that it may
    deal with. While the clock is in doubt a batch that destroys by it does nothing.

    `ended` names the incarnations that have no living process: only those can leave orphans. `monotonic` measures the
    time that passes, whatever `clock` is set to.
    """

    def __init__(
        self,
        housekeeping: Housekeeping,
        uploads: UploadSessionRecords,
        storage: Storage,
        clock: Clock,
        monotonic: Clock,
        ended: Callable[[], Collection[str]],
        times: KeeperTimes,
    ) -> None:
        self._housekeeping = housekeeping
        self._uploads = uploads
        self._storage = storage
        self._guard = ClockGuard(housekeeping, clock, monotonic, times.clock_guard)
        self._orphans = Orphans(housekeeping, storage, ended, times.orphan_grace, times.orphan_brake)
        self._tombstone_ttl = times.tombstone_ttl
        self._tried: set[str] = set()  # ids of condemned blobs, since the last time that none was left
        self._stuck: set[str] = set()  # those whose bytes could not be deleted: each is logged once

    async def now(self) -> float | None:
        """The time by which things may be destroyed; None while the clock is in doubt."""
        return await self._guard.now()

    async def expire_objects(self, limit: int) -> BatchOutcome:
        """Objects whose time is over let go of their bytes."""
        now = await self._guard.now()
        done = 0 if now is None else await self._housekeeping.expire_objects(now, limit)
        return BatchOutcome(done, more=done > 0)

    async def expire_uploads(self, limit: int) -> BatchOutcome:
        """Unfinished uploads whose time is over are aborted."""
        now = await self._guard.now()
        done = 0 if now is None else await self._housekeeping.expire_uploads(now, limit)
        return BatchOutcome(done, more=done > 0)

    async def delete_blobs(self, limit: int) -> BatchOutcome:
        """Blobs that nothing refers to are deleted. One whose bytes cannot be deleted stays for the next run and holds
        up no other."""
        if await self._guard.now() is None:
            return BatchOutcome()
        condemned = [b for b in await self._housekeeping.condemn_blobs(limit) if b.blob_id not in self._tried]
        if not condemned:
            self._stuck &= self._tried
            self._tried = set()
            return BatchOutcome()
        done = 0
        for blob in condemned:
            self._tried.add(blob.blob_id)
            done += await self._delete(blob)
        return BatchOutcome(done, more=True)

    async def forget_ended(self, limit: int) -> BatchOutcome:
        """Rows of ended objects and uploads are forgotten after the tombstone time."""
        now = await self._guard.now()
        done = 0 if now is None else await self._housekeeping.forget_ended(now - self._tombstone_ttl, limit)
        return BatchOutcome(done, more=done > 0)

    async def abort_revoked_uploads(self, limit: int) -> BatchOutcome:
        """Uploads that were begun with keys which are revoked now are aborted, as far as who revoked them did not."""
        done = await self._uploads.abort_revoked(limit)
        return BatchOutcome(done, more=done > 0)

    async def collect_orphans(self) -> OrphanReport:
        """Look for bytes that no row names; see `orphans`."""
        now = await self._guard.now()
        return OrphanReport() if now is None else await self._orphans.collect(now)

    async def _delete(self, blob: Condemned) -> bool:
        try:
            await self._storage.delete(blob.keys)
        except StorageFailed as error:
            if blob.blob_id not in self._stuck:
                log.error("the bytes of blob=%s stay until they can be deleted: %s", blob.blob_id, error)
            self._stuck.add(blob.blob_id)
            return False
        await self._housekeeping.forget_blob(blob.blob_id)
        self._stuck.discard(blob.blob_id)
        return True
