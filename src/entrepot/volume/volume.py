"""Operations on a volume. Each takes the principal first, raises Problem, and does its disk work in threads.

What is written is staged out of sight and put in its place by one rename, so that a reader, here or in another program,
sees a file whole or not at all; it is acknowledged when it is durable (docs/threats.md I1, I2).
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator
from dataclasses import dataclass

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.threads import Threads, ended, finished
from entrepot.volume.adopting import Adoption
from entrepot.volume.entries import ALWAYS, Conditions, Entry, Page, SourceExtent, Trashed, TrashPage, Usage
from entrepot.volume.files import Files, OpenFile
from entrepot.volume.listing import Listing
from entrepot.volume.moving import Moving
from entrepot.volume.paths import PRIVATE, Path
from entrepot.volume.places import Places
from entrepot.volume.quota import Quota
from entrepot.volume.refusals import reading, translated
from entrepot.volume.removal import Gone
from entrepot.volume.root import KeyState, VolumeRoot
from entrepot.volume.staging import Gate, Staging
from entrepot.volume.trash import Trash
from entrepot.volume.walking import Steps, Sums, measure, some

SWEEP_SECONDS = 0.05  # of a sweep at a time
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. `page` is the most entries that may be asked for at once; `reserve` the free
    space below which nothing is taken in; `upload_ttl` the life of an upload in parts."""

    max_file: int = 1 << 50
    quota: int | None = None
    reserve: int = 0
    page: int = 10_000
    trash_ttl: float = 7 * 86_400
    upload_ttl: float = 7 * 86_400


def require_key(who: Principal) -> None:
    """Raise Problem unless `who` showed a key: a token may be in a web page."""
    if who.account_id is None or not who.by_key:
        raise Problem(Code.UNAUTHORIZED, "The volume is opened by a key, not by a token or a signature.")


class Volume:
    """The volume of one account, as one process has it open; `prepare` made it. Raises OSError."""

    def __init__(
        self,
        root: pathlib.Path,
        store: str,
        limits: Limits,
        clock: Clock,
        *,
        threads: int = 32,
        by_hand: bool = False,
        gate: Gate | None = None,
        keys: KeyState | None = None,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.ground = VolumeRoot(root, store, by_hand=by_hand, keys=keys)
        self.threads = Threads(threads, translated, "volume")
        self.places = Places(self.ground)
        self.quota = Quota(self.ground, limits.quota)
        self.gone = Gone(self.ground, self.quota)
        self.staging = Staging(
            self.ground,
            self.threads,
            self.places,
            self.quota,
            self.gone,
            max_file=limits.max_file,
            reserve=limits.reserve,
            gate=gate,
        )
        self._files = Files(self.ground)
        self._listing = Listing(self.ground, self._files)
        self._moving = Moving(self.ground, self.places, self.quota, self.staging, self._files, self._listing)
        self._sweep: Steps | None = None
        self._trash = Trash(self.ground, self.places, self._files, self.gone, clock, limits.trash_ttl)

    @property
    def owner(self) -> str:
        """The id of the account."""
        return self.ground.owner

    def check(self, who: Principal) -> None:
        """Raise Problem unless `who` showed a valid key of the volume's owner. The key is checked again when a file is
        published (`VolumeRoot.locked`)."""
        require_key(who)
        if who.account_id != self.owner:
            raise Problem(Code.FORBIDDEN, "This volume belongs to another account.")
        self.ground.act_for(who)

    async def stat(self, who: Principal, path: Path, *, checksum: bool = False) -> Entry:
        """What is at `path`; NOT_FOUND. With `checksum` digests that are not known are computed."""
        self.check(who)
        if checksum:
            return await self.threads.stepped(self._files.summed(path))
        return await self.threads.run(self._files.stat, path)

    async def list(
        self,
        who: Principal,
        path: Path,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        recursive: bool = False,
    ) -> Page:
        """What is in a folder, by name; without `limit` all of it. NOT_FOUND; CONFLICT for a file."""
        self.check(who)
        self._check_limit(limit)
        return await self.threads.run(self._listing.page, path, limit, cursor, recursive=recursive)

    async def open(self, who: Principal, path: Path) -> OpenFile:
        """Open a file for reading; the caller closes it. NOT_FOUND; CONFLICT for a folder."""
        self.check(who)
        opening = self.threads.start(self._files.open, path)
        try:
            fd, entry = await finished(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:
                os.close(opening.result()[0])
            raise
        return OpenFile(fd, entry, self.threads)

    async def put(
        self,
        who: Principal,
        path: Path,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        expected: tuple[Expected, ...] = (),
        when: Conditions = ALWAYS,
        check_client: Callable[[], None] = lambda: None,
    ) -> tuple[Entry, bool]:
        """Write a file, replacing what is there; True: there was none. On an error nothing is changed. RATE_LIMITED
        when as many bodies come in as may. `check_client` raises when the sender has gone; it is called before the
        file is there."""
        self.check(who)
        self.staging.refuse_when_full(who.key_id or "")
        return await self.take(
            who, path, stream, length=length, expected=expected, when=when, check_client=check_client
        )

    async def take(
        self,
        who: Principal,
        path: Path,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        expected: tuple[Expected, ...] = (),
        when: Conditions = ALWAYS,
        check_client: Callable[[], None] = lambda: None,
        confirm: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> tuple[Entry, bool]:
        """As `put`, for bytes that come from anywhere: they wait for their turn. `confirm` is given their SHA-256 when
        they are durable, before the file is there; what it raises keeps the file away."""
        self.check(who)
        before = await self.threads.run(self.places.foresee, path, when)
        staged = await self.staging.receive(
            stream, length=length, expected=expected, replaces=before.freed, key=who.key_id or ""
        )
        try:
            check_client()
            if confirm is not None:
                await confirm(staged.sha256 or b"")
        except BaseException:
            await ended(self.threads.start(staged.drop))
            raise
        return await self.staging.publish(staged, path, when)

    async def holds(self, who: Principal, path: Path, sha256: bytes) -> bool:
        """Whether the file at `path` has these bytes."""
        try:
            return (await self.stat(who, path, checksum=True)).sha256 == sha256
        except Problem as problem:
            if problem.code is Code.NOT_FOUND:
                return False
            raise

    async def make_folder(self, who: Principal, path: Path) -> Entry:
        """Make a folder and those above it; one that is there already is fine. CONFLICT when a file is."""
        self.check(who)
        return await self.threads.run(self._moving.make_folder, path)

    async def rename(self, who: Principal, path: Path, destination: Path, *, overwrite: bool = False) -> Entry:
        """Give a file or folder the path `destination`. NOT_FOUND; CONFLICT when that is taken, with `overwrite` only
        by a folder, or for one; VALIDATION_FAILED for a folder into itself."""
        self.check(who)
        return await self.threads.run(self._moving.rename, path, destination, overwrite=overwrite)

    async def copy(self, who: Principal, path: Path, destination: Path, *, overwrite: bool = False) -> Entry:
        """Copy a file or a whole folder; it appears at once. Raises as `rename` does."""
        self.check(who)
        return await self.threads.stepped(self._moving.copy(path, destination, overwrite=overwrite))

    async def delete(
        self,
        who: Principal,
        path: Path,
        *,
        recursive: bool = True,
        permanent: bool = False,
        when: Conditions = ALWAYS,
    ) -> Trashed | None:
        """Move a file or folder to the trash, in one step whatever it holds; with `permanent` it is gone for good and
        None comes back. NOT_FOUND; CONFLICT for a folder with something in it unless `recursive`."""
        self.check(who)
        if not permanent:
            return await self.threads.run(self._trash.delete, path, recursive=recursive, when=when)
        await self.threads.stepped(self._trash.remove(path, recursive=recursive, when=when))
        return None

    async def list_trash(self, who: Principal, *, limit: int | None = None, cursor: str | None = None) -> TrashPage:
        """What can come back, the newest first."""
        self.check(who)
        self._check_limit(limit)
        return await self.threads.run(self._trash.page, limit, cursor)

    async def restore(self, who: Principal, trash_id: str, destination: Path | None = None) -> Entry:
        """Put back what was deleted, where it was or elsewhere. NOT_FOUND; CONFLICT when the place is taken."""
        self.check(who)
        return await self.threads.run(self._trash.restore, trash_id, destination)

    async def drop_trash(self, who: Principal, trash_id: str) -> None:
        """Remove for good what is in the trash. NOT_FOUND."""
        self.check(who)
        await self.threads.stepped(self._trash.drop(trash_id))

    async def usage(self, who: Principal, path: Path) -> Usage:
        """What a folder holds, counted now."""
        self.check(who)
        return await self.threads.stepped(self._usage(path))

    async def adopt(
        self,
        who: Principal,
        path: Path,
        extents: AsyncIterable[SourceExtent],
        *,
        sha256: bytes | None,
        size: int,
        when: Conditions = ALWAYS,
    ) -> tuple[Entry, bool]:
        """Write a file made of runs of open files, `size` bytes in all. The blocks are shared where the file system
        can, else copied in the kernel. Each extent checks what was copied of it, and is done with when the next one is
        asked for; `sha256` of the whole is kept, not checked."""
        self.check(who)
        adoption = Adoption(self.places, self.staging, path, when)
        try:
            await self.threads.run(adoption.begin, size)
            async for extent in extents:
                await self.threads.run(adoption.append, extent)
            return await self.threads.run(adoption.finish, size, sha256)
        finally:
            await ended(self.threads.start(adoption.drop))

    async def sweep(self, now: float | None = None) -> None:
        """Remove what crashes left and, as of `now` (by default the clock's), what was in the trash long enough; count
        anew. For the keeper, who asks first whether the clock is to be believed."""
        await self.threads.stepped(self._sweeping(self.clock() if now is None else now))

    async def sweep_some(self, now: float) -> bool:
        """A moment of a sweep, so that a keeper does not neglect what else it has to do; True when there is more."""
        self._sweep = self._sweep or self._sweeping(now)
        more = False
        try:
            more = await self.threads.run(some, self._sweep, SWEEP_SECONDS)
        finally:
            self._sweep = self._sweep if more else None
        return more

    def _sweeping(self, now: float) -> Steps:
        """All parts, also when one of them fails; the first failure is raised at the end."""
        failures: list[OSError] = []
        sweeps = self.gone.sweep(), self._trash.sweep(now), self.staging.sweep(now, self.limits.upload_ttl)
        for part in (*sweeps, self.quota.recount()):
            try:
                yield from part
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def close(self) -> None:
        """End the threads, after the work they have."""
        await self.threads.close()
        self.ground.close()

    def _usage(self, path: Path) -> Generator[None, None, Usage]:
        sums = Sums()
        with reading(path):
            status = self.ground.root.status(path)
        if stat.S_ISDIR(status.st_mode):
            with reading(path), self.ground.root.open_folder(path) as folder:
                yield from measure(folder, sums, skip="" if path.parts else PRIVATE)
        else:
            entry = self._files.stat(path)
            sums = Sums(files=1, size=entry.size)
        room, free = self.quota.room(), max(0, self.ground.free() - self.limits.reserve)
        free = free if room is None else min(free, room)
        return Usage(str(path), sums.files, sums.folders, sums.size, self.limits.quota, free)

    def _check_limit(self, limit: int | None) -> None:
        if limit is not None and not 1 <= limit <= self.limits.page:
            message = f"limit must be from 1 to {self.limits.page}."
            raise Problem(Code.VALIDATION_FAILED, message, where=("query", "limit"))
