"""The SHA-256 of the whole, computed by the keeper behind the parts as they arrive (docs/architecture.md).

The digest follows the contiguous prefix of an open upload; what a finish could not wait for is done on the published
blob. A run is named by its first segment, so it goes on where it was when the upload becomes an object. After a restart
it begins again: the state of a hash cannot be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from entrepot.domain.multipart import fingerprint, prefix
from entrepot.domain.objects import BLOCK_SIZE, Segment
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock
from entrepot.storage.base import BlobMissing, Storage, StorageFailed
from entrepot.storage.blocks import verify

log = logging.getLogger("entrepot.digester")

# Bytes hashed before the keeper looks at its other work.
STEP = 256 * 1024 * 1024
# Seconds between two looks for parts. While they come it is soon: who finishes waits for the digest of the last ones. A
# look costs time for each part that is there, so of many it is not as soon.
INTERVAL = 0.1
SOON = 0.02
_MANY = 1_000  # parts
_QUIET = 1.0  # seconds without a new part until none is expected
# Of so many that are behind each gets its share of a step: a terabyte to catch up with holds up no other digest.
SHARES = 4
_BLOBS = 16
_WINDOW = 8  # segments read at once


@dataclass(slots=True)
class _Run:
    """Segments hashed so far, in order; the upload or the blob that they are of."""

    upload_id: str | None
    blob_id: str | None = None
    keys: list[str] = field(default_factory=list)
    size: int = 0
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)


class Digester:
    """`step` does a bounded piece of the work that is there.

    What is damaged or cannot be read is passed over for the life of this process, and does not hold up the rest.
    """

    def __init__(
        self, uploads: UploadSessionRecords, objects: ObjectRecords, storage: Storage, monotonic: Clock = time.monotonic
    ) -> None:
        self._uploads = uploads
        self._objects = objects
        self._storage = storage
        self._monotonic = monotonic
        self._advanced_at = monotonic() - _QUIET
        self._listed = 0  # parts at the last look
        self._runs: dict[str, _Run] = {}
        self._seen: dict[str, int] = {}
        self._damaged: set[str] = set()  # keys of segments
        self._stuck: set[str] = set()  # ids of published blobs that have one
        self._left = 0  # bytes of the present turn
        self._last = ""  # whose turn was the last

    def pause(self) -> float:
        """Seconds until the next step, when there is nothing more to do at once."""
        if self._monotonic() - self._advanced_at >= _QUIET:
            return INTERVAL
        return min(INTERVAL, SOON * max(1.0, self._listed / _MANY))

    async def step(self, budget: int = STEP) -> bool:
        """Hash up to about `budget` bytes; True when there is more to do at once."""
        growing = await self._uploads.growing()
        self._seen = {upload_id: newest for upload_id, newest in self._seen.items() if upload_id in growing}
        waiting = await self._waiting()
        behind = [upload_id for upload_id, newest in growing.items() if self._seen.get(upload_id) != newest]
        turns = sorted([*behind, *(blob_id for blob_id in waiting if blob_id not in self._stuck)])
        left, more = budget, False
        # Who had the last turn is the last one now.
        for name in sorted(turns, key=lambda name: name <= self._last):
            self._left = share = min(left, budget // min(len(turns), SHARES))
            if name in growing:
                await self._keep_up(name, growing[name])
            else:
                await self._complete(name)
            left, more, self._last = left - (share - self._left), more or self._left <= 0, name
            if left <= 0:
                break
        await self._drop_runs(growing, waiting)
        return more

    async def _waiting(self) -> Sequence[str]:
        """The published blobs that have no digest: the first of them, and those that are stuck."""
        limit = _BLOBS + len(self._stuck)
        waiting = await self._objects.undigested(limit)
        if len(waiting) < limit:
            self._stuck.intersection_update(waiting)
        return waiting

    async def _keep_up(self, upload_id: str, newest: int) -> None:
        if await self._follow(upload_id):
            self._seen[upload_id] = newest

    async def _follow(self, upload_id: str) -> bool:
        """Catch up with the prefix of an open upload and note its digest; False when there was not enough budget."""
        parts = prefix(await self._uploads.list_parts(upload_id))
        self._listed = len(parts)
        segments = await self._uploads.segments_of_parts(upload_id)
        chain = [s for part in parts for s in segments.get(part.blob_id, ())]
        if sum(s.size for s in chain) != sum(part.size for part in parts):
            return False  # a part was sent again between the two reads: what is left is not the whole
        run = self._runs.get(chain[0].key) if chain else _Run(upload_id)
        if run is None or run.keys != [s.key for s in chain[: len(run.keys)]]:
            # New, or an attempt was replaced by a later one.
            self._runs = {name: other for name, other in self._runs.items() if other.upload_id != upload_id}
            run = self._runs[chain[0].key] = _Run(upload_id)
        try:
            done = await self._advance(run, chain[len(run.keys) :])
        except _Damaged:
            return True  # until it has another part
        if done and parts:
            await self._uploads.note_digest(upload_id, fingerprint(parts), run.hasher.digest())
        return done

    async def _complete(self, blob_id: str) -> None:
        """Go on with a published blob; its digest is set when its end is reached."""
        run = await self._run_of(blob_id)
        try:
            while window := await self._objects.segments_from(blob_id, run.size, _WINDOW):
                # The last segment is the one that holds the byte behind it too, as there is no other.
                rest = [segment for start, segment in window if start >= run.size]
                if not rest:
                    break
                if not await self._advance(run, rest):
                    return
        except _Damaged:
            self._stuck.add(blob_id)
            return
        await self._objects.set_digest(blob_id, run.hasher.digest())
        if run.keys:
            self._runs.pop(run.keys[0], None)

    async def _run_of(self, blob_id: str) -> _Run:
        """The run that a blob's first segment names, if it came along this blob; else a new one."""
        first = await self._objects.segments_from(blob_id, 0, 1)
        if not first:
            return _Run(None, blob_id)
        name = first[0][1].key
        run = self._runs.get(name)
        if run is None or (run.blob_id != blob_id and not await self._is_along(run, blob_id)):
            run = self._runs[name] = _Run(None)
        run.blob_id = blob_id
        return run

    async def _is_along(self, run: _Run, blob_id: str) -> bool:
        at = done = 0
        while done < len(run.keys):
            window = [s for start, s in await self._objects.segments_from(blob_id, at, _WINDOW) if start >= at]
            wanted = run.keys[done : done + len(window)]
            if not window or [s.key for s in window[: len(wanted)]] != wanted:
                return False
            done, at = done + len(window), at + sum(s.size for s in window)
        return True

    async def _drop_runs(self, growing: Collection[str], waiting: Collection[str]) -> None:
        """Forget the runs that nobody waits for: their upload has ended, and its object, if any, has its digest."""
        for name, run in list(self._runs.items()):
            if run.upload_id in growing or (run.blob_id in waiting and run.blob_id not in self._stuck):
                continue
            if run.upload_id is None or not await self._is_waited_for(run.upload_id):
                del self._runs[name]

    async def _is_waited_for(self, upload_id: str) -> bool:
        """Whether an upload that grows no more became an object without a digest: its turn is still to come."""
        upload = await self._uploads.get(upload_id)
        obj = await self._objects.get(upload.draft.object_id) if upload else None
        return obj is not None and obj.sha256 is None and obj.blob_id not in ("", *self._stuck)

    async def _advance(self, run: _Run, segments: Sequence[Segment]) -> bool:
        """Hash on along these segments; False when the budget ended first. Raises _Damaged."""
        for segment in segments:
            if self._left <= 0 or not await self._hash(run, segment):
                return False
        return True

    async def _hash(self, run: _Run, segment: Segment) -> bool:
        """Add one segment, every block verified; False when it was removed meanwhile. Raises _Damaged."""
        if segment.key in self._damaged:
            raise _Damaged
        hasher, position = run.hasher.copy(), 0
        blocks = segment.blocks or await self._objects.blocks(segment.key)
        if blocks is None:
            return False
        try:
            async with contextlib.aclosing(self._storage.read(segment.key, 0, segment.size)) as pieces:
                async for piece in pieces:
                    if not verify(piece, position // BLOCK_SIZE, blocks):
                        raise _Damaged(segment.key)
                    hasher.update(piece)
                    position += len(piece)
                    await asyncio.sleep(0)  # what is in the page cache is read without a wait: others run meanwhile
        except (BlobMissing, StorageFailed, _Damaged) as error:
            if isinstance(error, BlobMissing) and await self._objects.blocks(segment.key) is None:
                return False
            # Readers say so too; the keeper must not stop at it.
            self._damaged.add(segment.key)
            log.error("damaged bytes: no digest for upload=%s blob=%s: %r", run.upload_id, run.blob_id, error)
            raise _Damaged from None
        self._advanced_at = self._monotonic()
        run.hasher, self._left = hasher, self._left - segment.size
        run.keys.append(segment.key)
        run.size += segment.size
        return True


class _Damaged(Exception):
    """A block is not what was stored, or cannot be read."""
