"""Uploads in parts to a path of the volume."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Problem
from entrepot.domain.multipart import Cited
from entrepot.volume.assembly import AssemblyPart, Whole
from entrepot.volume.entries import ALWAYS, Conditions, Entry, entry_of
from entrepot.volume.finishing import Finished, Finishing, Wish
from entrepot.volume.follower import Follower
from entrepot.volume.paths import Path
from entrepot.volume.places import there
from entrepot.volume.refusals import reading
from entrepot.volume.uploads import VolumePartListing, VolumeUploads
from entrepot.volume.volume import Volume

__all__ = ["AssemblyPart", "Finished", "Parts", "VolumePartListing"]


class Parts:
    """Begin, write, list, finish, abort; `step` and `sweep` are the keeper's.

    Every method takes the principal first, then the path as at the begin: an upload for another path, or of another
    account, is NOT_FOUND, as one that was aborted; GONE when nothing arrived for too long, ALREADY_PUBLISHED when it is
    finished. `most` may be open at once, those of app files too, in shares of the account's keys.
    """

    def __init__(self, volume: Volume, most: int) -> None:
        self._volume = volume
        self.uploads = VolumeUploads(volume, most)
        self._finishing = Finishing(volume, self.uploads)
        self._follower = Follower(self.uploads.drafts, volume.threads)

    async def begin(self, who: Principal, path: Path, when: Conditions = ALWAYS, *, md5: bool = True) -> str:
        """Open an upload and give its id; `when` is asked when it is finished. Nothing is at the path before. Without
        `md5` that of the whole is not computed, which is the better part of the keeper's work.

        Raises Problem: CONFLICT and PRECONDITION_FAILED as the finish would now, RATE_LIMITED when too many are open.
        """
        account = self._account(who)
        await self._volume.threads.run(self._volume.places.foresee, path, when)
        return await self.uploads.begin(account, _target(path), when, md5, who.key_id)

    async def write(
        self,
        who: Principal,
        path: Path,
        upload_id: str,
        number: int,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        expected: Sequence[Expected] = (),
    ) -> AssemblyPart:
        """Store a part, in place of an earlier attempt at it; one that breaks off leaves that. The same bytes again
        give the same part. Raises Problem: VALIDATION_FAILED for a number that is not in 1 to 10,000, as `Volume.put`.
        """
        account = self._account(who)
        return await self.uploads.write(
            account, _target(path), upload_id, number, stream, length, expected, who.key_id or ""
        )

    async def list(self, who: Principal, path: Path, upload_id: str) -> VolumePartListing:
        """What is held, so that a client can go on."""
        return await self.uploads.list(self._account(who), _target(path), upload_id)

    async def finish(
        self,
        who: Principal,
        path: Path,
        upload_id: str,
        cited: Sequence[Cited],
        *,
        size: int | None = None,
        sha256: bytes | None = None,
    ) -> Finished:
        """Publish the cited parts as one file; the list may come in any order. Repeatable: one file, equal results.

        Raises Problem: INVALID_PARTS naming what is missing, doubled, foreign or not listed, EMPTY_PART, SIZE_MISMATCH,
        DIGEST_MISMATCH, CONFLICT, PRECONDITION_FAILED. The upload stays open then.
        """
        account = self._account(who)
        place = _Place(self._volume, path)
        return await self._finishing.finish(account, _target(path), upload_id, Wish(cited, size, sha256), place)

    async def abort(self, who: Principal, path: Path, upload_id: str) -> None:
        """End an upload and free its bytes. Repeatable."""
        await self.uploads.abort(self._account(who), _target(path), upload_id)

    async def step(self) -> bool:
        """Put together and hash some of what has arrived; True when there is more to do at once."""
        return await self._volume.threads.run(self._follower.step)

    async def sweep(self) -> int:
        """End what is over and forget what ended long ago; how many."""
        return await self.uploads.sweep()

    def _account(self, who: Principal) -> str:
        self._volume.check(who)
        return who.account_id or ""


class _Place:
    """A path of the volume, as the place that an upload leads to."""

    def __init__(self, volume: Volume, path: Path) -> None:
        self._volume = volume
        self._path = path

    @property
    def path(self) -> str:
        return str(self._path)

    def check(self, fd: int, size: int) -> None:
        pass

    def place(self, whole: Whole, when: Conditions) -> Entry:
        return self._volume.staging.place(whole, self._path, when)[0]

    def find(self, inode: int, mtime_ns: int) -> Entry | None:
        try:
            with reading(self._path):
                folder = self._volume.ground.root.open_folder(self._path.parent)
        except Problem:  # the way leads elsewhere by now
            return None
        with folder:
            status = there(folder, self._path.name)
            if status is None or (status.st_ino, status.st_mtime_ns) != (inode, mtime_ns):
                return None
            folder.sync()
            return entry_of(self.path, status)


def _target(path: Path) -> str:
    return f"/{path}"
