"""Bytes that ended processes wrote and no row names: what uploads left that were cut short.

A catalogue that is older than the bytes (a restored backup) makes every file that came later look like one of these.
So none is removed at first sight: its key is remembered, and it goes after a time of grace, if no row names it then.
And when far too many look so, nothing goes at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entrepot.metadata.housekeeping import Housekeeping
from entrepot.storage.base import Storage

log = logging.getLogger("entrepot.keeper")

BATCH = 500  # as in a sweep
# So many may always go: a small store that a crash left full of halves is no sign of a wrong catalogue.
FEW = 100


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look found: segments in all, those that no row names and no living process writes, those removed."""

    segments: int = 0
    unknown: int = 0
    removed: int = 0

    def __str__(self) -> str:
        return f"{self.segments} segments, {self.unknown} that no row names, {self.removed} removed"


class Orphans:
    """`ended` tells which of the given incarnations have no living process. `grace` is in seconds; when more than the
    share `brake` of all segments is unknown, none is removed."""

    def __init__(
        self,
        housekeeping: Housekeeping,
        storage: Storage,
        ended: Callable[[set[str]], set[str]],
        grace: float,
        brake: float,
    ) -> None:
        self._housekeeping = housekeeping
        self._storage = storage
        self._ended = ended
        self._grace = grace
        self._brake = brake

    async def look(self, now: float) -> Looked:
        """Remember what is unknown, remove what has been so for the time of grace, and forget what is no more.

        Uploads in flight belong to living processes, whose keys are never looked at.
        """
        segments = unknown = 0
        batch: dict[str, str] = {}
        async for item in self._storage.list():
            segments += 1
            batch[item.key] = item.incarnation
            if len(batch) >= BATCH:
                unknown += await self._note(batch, now)
                batch = {}
        unknown += await self._note(batch, now)
        if unknown > max(FEW, self._brake * segments):
            log.error(
                "no row names %d of %d stored segments: nothing is removed. Most likely the catalogue is older than "
                "the files, from a backup: restore the newest one there is. If these files may go, start the server "
                "with --max-orphan-share 1.",
                unknown, segments,
            )  # fmt: skip
            return Looked(segments, unknown)
        removed = await self._remove_due(now)
        while await self._housekeeping.forget_other_orphans(now, BATCH):
            pass
        return Looked(segments, unknown, removed)

    async def _note(self, batch: dict[str, str], now: float) -> int:
        # Which processes have ended is asked before the rows are read: a process that ends in between may have
        # published until its last moment, and the rows show it.
        ended = self._ended(set(batch.values()))
        unknown = await self._unknown([key for key, incarnation in batch.items() if incarnation in ended])
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
