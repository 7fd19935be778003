"""The keeper's work: what is over is taken off the disk, and nothing else.

Order: a row lets go of its blob; a blob that nothing refers to is condemned (`live -> dying`) in one transaction; its
bytes are deleted; its rows are forgotten. Killed at any point, the next sweep goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from entrepot.metadata.housekeeping import Condemned, Housekeeping
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock
from entrepot.service.clockguard import ClockGuard
from entrepot.service.orphans import Looked, Orphans
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

    def __str__(self) -> str:
        return (
            f"{self.expired} files expired, {self.uploads} unfinished uploads ended, {self.blobs} blobs removed, "
            f"{self.forgotten} tombstones forgotten"
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the keeper waits before it destroys, in seconds; `orphan_brake` is a share. See docs/settings.md."""

    tombstone_ttl: float
    orphan_grace: float = 7 * 86_400.0
    orphan_brake: float = 0.5
    clock_guard: float = 3600.0


class Keeper:
    """`ended` names the incarnations that have no living process: only those can leave orphans.

    `monotonic` measures the time that passes, whatever `clock` is set to.
    """

    def __init__(
        self,
        housekeeping: Housekeeping,
        uploads: UploadSessionRecords,
        storage: Storage,
        clock: Clock,
        monotonic: Clock,
        ended: Callable[[], Collection[str]],
        patience: Patience,
    ) -> None:
        self._housekeeping = housekeeping
        self._uploads = uploads
        self._storage = storage
        self._guard = ClockGuard(housekeeping, clock, monotonic, patience.clock_guard)
        self._orphans = Orphans(housekeeping, storage, ended, patience.orphan_grace, patience.orphan_brake)
        self._tombstone_ttl = patience.tombstone_ttl
        self._stuck: set[str] = set()  # ids of blobs whose bytes could not be deleted: each is told once

    async def now(self) -> float | None:
        """The time by which things may be destroyed; None while the clock is in doubt."""
        return await self._guard.now()

    async def sweep(self) -> Swept:
        """Remove what is over now: expired objects, stale uploads, blobs that nothing refers to, old tombstones.

        Nothing while the clock is in doubt. A step that fails keeps none of the others from its work; the first failure
        is raised when all are done.
        """
        now = await self._guard.now()
        if now is None:
            return Swept()
        steps: tuple[Callable[[], Awaitable[int]], ...] = (
            lambda: _drain(lambda: self._housekeeping.expire_objects(now, BATCH)),
            lambda: _drain(lambda: self._housekeeping.expire_uploads(now, BATCH)),
            self._remove_condemned,
            lambda: _drain(lambda: self._housekeeping.forget_ended(now - self._tombstone_ttl, BATCH)),
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

    async def sweep_orphans(self) -> Looked:
        """Look for bytes that no row names; see `orphans`. Without a clock to believe nothing is looked for."""
        now = await self._guard.now()
        return Looked() if now is None else await self._orphans.look(now)

    async def end_revoked_uploads(self) -> None:
        """Abort what was begun with keys that are revoked now, as far as who revoked them did not."""
        await _drain(lambda: self._uploads.abort_revoked(BATCH))

    async def _remove_condemned(self) -> int:
        """Blob by blob: one whose bytes cannot be deleted stays for the next sweep and holds up no other."""
        count, tried = 0, set[str]()
        while condemned := [b for b in await self._housekeeping.condemn_blobs(BATCH) if b.blob_id not in tried]:
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
        await self._housekeeping.forget_blob(blob.blob_id)
        self._stuck.discard(blob.blob_id)
        return True


async def _drain(step: Callable[[], Awaitable[int]]) -> int:
    """Repeat a bounded step until it finds nothing more."""
    total = 0
    while count := await step():
        total += count
    return total
