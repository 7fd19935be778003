"""Unfinished uploads of a home, of objects and onto the volume: listed and aborted by who holds the home folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from entrepot.domain.errors import Code, Problem
from entrepot.home import Home
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.server.context import open_catalogue, open_volume
from entrepot.settings import Settings
from entrepot.volume.uploads import VolumeUploads


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An open upload. `place` is the path of the object's URL, or of the file on the volume; `size` are the bytes that
    are held of it; times in epoch seconds."""

    id: str
    place: str
    key_id: str
    size: int
    created_at: float
    expires_at: float


class UnfinishedUploads:
    """The unfinished uploads of all accounts, of objects and onto `volumes`."""

    def __init__(self, records: UploadSessionRecords, volumes: Sequence[VolumeUploads]) -> None:
        self._records = records
        self._volumes = volumes

    async def list(self) -> Sequence[Unfinished]:
        """Oldest first."""
        found = []
        for upload in await self._records.list_open():
            size = sum(part.size for part in await self._records.list_parts(upload.id))
            draft = upload.draft
            found.append(Unfinished(upload.id, draft.path, draft.key_id, size, upload.created_at, upload.expires_at))
        for volume in self._volumes:
            for begun, expires_at, size in await volume.list_open():
                found.append(Unfinished(begun.id, begun.target, begun.key or "", size, begun.created_at, expires_at))
        return sorted(found, key=lambda each: each.created_at)

    async def abort(self, upload_id: str) -> None:
        """End one and free its bytes. Raises Problem(NOT_FOUND) when none is open under this id."""
        if await self._records.abort(upload_id):
            return
        for volume in self._volumes:
            for draft, _, _ in await volume.list_open():
                if draft.id == upload_id:
                    return await volume.abort(draft.account, draft.target, draft.id)
        message = f"There is no unfinished upload {upload_id!r}."
        raise Problem(Code.NOT_FOUND, message, fix="See: entrepot uploads list")


@contextlib.asynccontextmanager
async def open_unfinished(settings: Settings) -> AsyncIterator[UnfinishedUploads]:
    """Those of a home, whether a server runs on it or not. Raises HomeError when there is no home."""
    home = Home.open(settings.home)
    lock = home.lock_shared()
    try:
        database, volumes = open_catalogue(home), []
        try:
            with contextlib.suppress(FileNotFoundError):  # none was made yet
                volumes.append(open_volume(home, settings, threads=1))
            unfinished = [VolumeUploads(volume, settings.max_unfinished_uploads) for volume in volumes]
            yield UnfinishedUploads(UploadSessionRecords(database), unfinished)
        finally:
            for volume in volumes:
                await volume.close()
            await database.close()
    finally:
        lock.release()
