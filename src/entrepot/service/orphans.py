"""Orphans: bytes that ended processes wrote and no row refers to, left by interrupted uploads.

A catalogue that is older than the bytes (a restored backup) makes every file that came later look like one of these.
So none is removed at first sight: its key is remembered, and it goes after a time of grace, if no row names it then.
And when far too many look so, nothing goes at all.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from entrepot.metadata.housekeeping import Housekeeping
from entrepot.storage.base import Storage

log = logging.getLogger("entrepot.keeper")

BATCH = 500  # keys in one transaction: others write between two (docs/threats.md H08)
# So many may always go: a small store that a crash left full of halves is no sign of a wrong catalogue.
FEW = 100


@dataclass(frozen=True, slots=True)
class OrphanReport:
    """The outcome of one collection: segments of ended processes that were listed, those that no row names, those
    removed."""

    segments: int = 0
    unknown: int = 0
    removed: int = 0

    def __str__(self) -> str:
        return f"{self.segments} segments, {self.unknown} that no row names, {self.removed} removed"


class Orphans:
    """The collector of orphans. `ended` names the incarnations that have no living process. `grace` is in seconds; when
    more than the share `brake` of all segments is unknown, none is removed.

    An incarnation whose every key is known is clean and is not listed again while this process lives: nobody writes
    under its name any more. The next process looks at all of them once, because a power cut may bring deleted files
    back.
    """

    def __init__(
        self,
        housekeeping: Housekeeping,
        storage: Storage,
        ended: Callable[[], Collection[str]],
        grace: float,
        brake: float,
    ) -> None:
        self._housekeeping = housekeeping
        self._storage = storage
        self._ended = ended
        self._grace = grace
        self._brake = brake
        self._clean: set[str] = set()

    async def collect(self, now: float) -> OrphanReport:
        """Remember what is unknown, remove what has been so for the time of grace, and forget what is no more.

        Uploads in flight belong to living processes, whose keys are never looked at.
        """
        segments = unknown = 0
        # Which processes have ended is asked before the rows are read: a process that ends in between may have
        # published until its last moment, and the rows show it.
        ended = set(self._ended())
        self._clean &= ended
        for incarnation in sorted(ended - self._clean):
            listed, strange = await self._look_at(incarnation, now)
            segments, unknown = segments + listed, unknown + strange
            if not strange:
                self._clean.add(incarnation)
        if unknown > FEW and unknown > self._brake * (total := unknown + await self._housekeeping.count_segments()):
            log.error(
                "no row names %d of %d stored segments: nothing is removed. Most likely the catalogue is older than "
                "the files, from a backup: restore the newest one there is. If these files may go, start the server "
                "with --max-orphan-share 1.",
                unknown, total,
            )  # fmt: skip
            return OrphanReport(segments, unknown)
        removed = await self._remove_due(now)
        while await self._housekeeping.forget_other_orphans(now, BATCH):
            pass
        return OrphanReport(segments, unknown, removed)

    async def _look_at(self, incarnation: str, now: float) -> tuple[int, int]:
        """Note the unknown keys of an incarnation; how many keys it has, and how many of them are unknown."""
        segments = unknown = 0
        batch: list[str] = []
        async with contextlib.aclosing(self._storage.list(incarnation)) as items:
            async for item in items:
                segments += 1
                batch.append(item.key)
                if len(batch) >= BATCH:
                    unknown += await self._note(batch, now)
                    batch = []
        return segments, unknown + await self._note(batch, now)

    async def _note(self, keys: Sequence[str], now: float) -> int:
        unknown = await self._unknown(keys)
        if unknown:
            await self._housekeeping.note_orphans(unknown, now)
        return len(unknown)

    async def _remove_due(self, now: float) -> int:
        removed = 0
        while due := await self._housekeeping.due_orphans(now, now - self._grace, BATCH):
            unknown = await self._unknown(due)
            await self._storage.delete(unknown)
            await self._housekeeping.forget_orphans(due)
            removed += len(unknown)
        return removed

    async def _unknown(self, keys: Sequence[str]) -> list[str]:
        known = await self._housekeeping.known_keys(keys)
        return [key for key in keys if key not in known]
