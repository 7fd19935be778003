"""Uploads in parts: begun once, written part by part by any process, finished or aborted.

A part is acknowledged when it is durable. The keeper puts parts together while others arrive (`follower`); what it has
not done when the upload is finished is done there (`finishing`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from entrepot.atomic import Folder
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS
from entrepot.volume.assembly import Assembly, AssemblyPart, Attempt
from entrepot.volume.entries import ALWAYS, Conditions
from entrepot.volume.root import STAGING
from entrepot.volume.upload_records import (
    ABORTED,
    END,
    EXPIRED,
    FINISHED,
    REMEMBERED,
    UploadRecord,
    UploadRecords,
    finished,
    read_json,
    settled,
    write_json,
)
from entrepot.volume.volume import Volume

log = logging.getLogger("entrepot.volume")


@dataclass(frozen=True, slots=True)
class VolumePartListing:
    """An open upload and its parts by number. It is over at `expires_at` unless one more arrives."""

    upload_id: str
    expires_at: float
    parts: Sequence[AssemblyPart]


class VolumeUploads:
    """Begin, write, list, abort; see `Finishing` for the end. `target` says in one's own words where an upload leads:
    who names another one than at the begin, or is another account, finds nothing. `most` may be open at once."""

    def __init__(self, volume: Volume, most: int) -> None:
        self._volume = volume
        self._most = most
        self.drafts = UploadRecords(volume.ground, volume.limits.upload_ttl, volume.clock)

    async def begin(
        self, account: str, target: str, when: Conditions = ALWAYS, md5: bool = True, key: str | None = None
    ) -> str:
        """Open an upload and give its id; it ends with the `key` that began it. Raises Problem(RATE_LIMITED)."""
        return await self._volume.threads.run(self._begin, account, target, when, md5, key)

    async def write(
        self,
        account: str,
        target: str,
        upload_id: str,
        number: int,
        stream: AsyncIterator[bytes],
        length: int | None = None,
        expected: Sequence[Expected] = (),
        key: str = "",
    ) -> AssemblyPart:
        """Store a part, in place of an earlier attempt at it. The same bytes again give the same part.

        Raises Problem: NOT_FOUND, GONE, ALREADY_PUBLISHED after the finish, VALIDATION_FAILED for a number that is not
        in 1 to 10,000; and as `Staging.receive` does.
        """
        if not 1 <= number <= MAX_PARTS:
            message = f"It must be from 1 to {MAX_PARTS}."
            raise Problem(Code.VALIDATION_FAILED, message, where=("path", "part_number"))
        threads, staging = self._volume.threads, self._volume.staging
        held = await threads.run(self._check_open, account, target, upload_id, number)
        create = partial(self._attempt, account, target, upload_id, number)
        attempt = await staging.receive(
            stream,
            length=length,
            expected=expected,
            create=create,
            replaces=held,
            key=key,
            target=f"{upload_id}/{number}",
        )
        return await threads.run(self._accept, account, target, upload_id, attempt)

    async def list(self, account: str, target: str, upload_id: str) -> VolumePartListing:
        """What is held of an open upload, so that a client can go on. Raises Problem: NOT_FOUND, GONE,
        ALREADY_PUBLISHED."""
        return await self._volume.threads.run(self._list, account, target, upload_id)

    async def abort(self, account: str, target: str, upload_id: str) -> None:
        """End an upload and free its bytes. Repeatable. Raises Problem: NOT_FOUND, ALREADY_PUBLISHED."""
        await self._volume.threads.run(self._abort, account, target, upload_id)

    async def sweep(self) -> int:
        """End what is over by now, or was begun with a key that was revoked, and forget what ended long ago; how many.
        For the keeper."""
        return await self._volume.threads.run(self._sweep)

    async def list_open(self) -> Sequence[tuple[UploadRecord, float, int]]:
        """All that are open, of all keys: each with when it is over, and the bytes that are held of it."""
        return await self._volume.threads.run(self._list_open)

    # --- steps, blocking ---

    def _begin(self, account: str, target: str, when: Conditions, md5: bool, key: str | None) -> str:
        self._volume.staging.check()
        self._volume.ground.check_caller()
        return self.drafts.begin(account, target, when, self._most, md5, key).id

    @contextmanager
    def _opened(self, account: str, target: str, upload_id: str) -> Iterator[tuple[Folder, UploadRecord]]:
        with self.drafts.opened(upload_id) as folder:
            yield folder, self.drafts.owned(folder, upload_id, account, target)

    def _check_open(self, account: str, target: str, upload_id: str, number: int) -> int:
        """How many bytes the part has by now, where that counts: they are freed when it comes again."""
        with self._opened(account, target, upload_id) as (folder, draft):
            self.drafts.check_open(folder, draft)
            return self._held_size(folder, number)

    def _attempt(self, account: str, target: str, upload_id: str, number: int) -> Attempt:
        self._volume.staging.check()
        with self._opened(account, target, upload_id) as (folder, draft):
            try:
                return Attempt(folder, number)
            except FileNotFoundError:
                self.drafts.check_open(folder, draft)
                raise

    def _accept(self, account: str, target: str, upload_id: str, attempt: object) -> AssemblyPart:
        assert isinstance(attempt, Attempt)
        try:
            with self._opened(account, target, upload_id) as (folder, draft), settled(folder):
                self._volume.ground.check_caller()
                self.drafts.check_open(folder, draft)
                part = attempt.part
                with self._counted(part.size - self._held_size(folder, part.number)):
                    attempt.accept()
            attempt.folder.sync()
            return part
        finally:
            attempt.drop()

    def _held_size(self, folder: Folder, number: int) -> int:
        return 0 if self._volume.quota.limit is None else Assembly(folder).size_of(number)

    @contextmanager
    def _counted(self, size: int) -> Iterator[None]:
        """Around what adds or frees so many bytes. Raises Problem(QUOTA_EXCEEDED) before it."""
        if self._volume.quota.limit is None:
            yield
            return
        with self._volume.ground.locked(counting=True), self._volume.quota.changed(size):
            yield

    def _list(self, account: str, target: str, upload_id: str) -> VolumePartListing:
        with self._opened(account, target, upload_id) as (folder, draft):
            self.drafts.check_open(folder, draft)
            parts = [part for _, part in sorted(Assembly(folder).held().items())]
            return VolumePartListing(upload_id, self.drafts.expires_at(folder, draft), parts)

    def _list_open(self) -> Sequence[tuple[UploadRecord, float, int]]:
        found = []
        for upload_id in self.drafts.ids():
            with suppress(Problem, FileNotFoundError), self.drafts.opened(upload_id) as folder:
                draft = self.drafts.read(folder, upload_id)
                if draft is not None and read_json(folder, END) is None:
                    size = sum(part.size for part in Assembly(folder).held().values())
                    found.append((draft, self.drafts.expires_at(folder, draft), size))
        return found

    def _abort(self, account: str, target: str, upload_id: str) -> None:
        with self._opened(account, target, upload_id) as (folder, draft):
            with settled(folder):
                end = read_json(folder, END)
                if end is not None and end["how"] == FINISHED:
                    raise finished()
                if end is None:
                    self.drafts.check_open(folder, draft)
                    self._end(folder, ABORTED)
            Assembly(folder).clear()

    def _end(self, folder: Folder, how: str) -> None:
        """Note that an upload ended without a file. The caller has settled it."""
        held = sum(part.size for part in Assembly(folder).held().values())
        with self._counted(-held):
            write_json(folder, END, {"how": how})

    # --- for the keeper ---

    def _sweep(self) -> int:
        count = 0
        for upload_id in self.drafts.ids():
            try:
                with self.drafts.opened(upload_id) as folder:
                    count += self._swept(folder, upload_id)
            except (Problem, FileNotFoundError):
                pass  # it ended meanwhile
            except OSError as error:  # one that is damaged must not keep the others, and all that the keeper does next
                log.error("upload=%s cannot be swept: %s", upload_id, error)
        return count

    def _swept(self, folder: Folder, upload_id: str) -> bool:
        end, draft = read_json(folder, END), self.drafts.read(folder, upload_id)
        if end is not None:
            if self.drafts.is_forgettable(folder, end):
                return self._forget(upload_id)
            Assembly(folder).clear()  # what its end could not remove
        elif draft is None:
            return self.drafts.is_cut_short(folder) and self._forget(upload_id)
        elif self._is_revoked(draft) or self._volume.clock() >= self.drafts.expires_at(folder, draft):
            with settled(folder):
                if read_json(folder, END) is None:
                    self._end(folder, ABORTED if self._is_revoked(draft) else EXPIRED)
            Assembly(folder).clear()
            return True
        else:
            Assembly(folder).drop_tries(self._volume.clock() - REMEMBERED)
        return False

    def _is_revoked(self, draft: UploadRecord) -> bool:
        keys = self._volume.ground.keys
        return keys is not None and draft.key is not None and draft.key not in keys.live(draft.account)

    def _forget(self, upload_id: str) -> bool:
        with self._volume.ground.own(STAGING) as staging:
            name = self._volume.gone.take(staging, upload_id)
        self._volume.gone.clear(name)
        return True
