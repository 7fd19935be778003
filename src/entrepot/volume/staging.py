"""Writes to a volume: bytes are staged out of sight, made durable, then put in their place by one rename.

    staged = await staging.receive(stream, ...)      # all of it on the disk, or nothing
    entry, created = await staging.publish(staged, path, when)

`create`, `place` and the methods of `Staged` are the same in steps, for work that is in a thread already; they block.
A staged file is locked while its process works on it, so that no sweep takes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing, suppress
from hashlib import sha256
from typing import Protocol

from entrepot.atomic import File, Folder
from entrepot.domain import digests
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.threads import Intake, Threads
from entrepot.volume import facts
from entrepot.volume.entries import ALWAYS, Conditions, Entry, entry_of
from entrepot.volume.paths import Path
from entrepot.volume.places import Places, check_conditions, there
from entrepot.volume.quota import Quota
from entrepot.volume.refusals import renaming, taken
from entrepot.volume.removal import Gone
from entrepot.volume.root import BRIEF, FILE_MODE, FOLDER_MODE, STAGING, VolumeRoot
from entrepot.volume.walking import Steps

# A batch of so many bytes is hashed by another thread while it is written: SHA-256 takes as long as the write does.
BESIDE_FROM = 512 * 1024
# While a large body streams in, what is there is synced each time it grew by so much: little is left for the end.
SYNC_EVERY = 64 * 1024 * 1024
# Seconds after which what belonged to one request is nobody's: a file is locked only a moment after it was made.
BRIEF_TTL = 3600.0


class Gate(Protocol):
    """Bounds how many bodies a process takes in at once: each costs memory, and work of the threads."""

    def refuse_when_full(self, key: str, /) -> None:
        """Raise Problem(RATE_LIMITED) when a body of this key would have to wait."""

    def slotted(self, stream: AsyncIterator[bytes], key: str, target: str, /) -> AsyncGenerator[bytes, None]:
        """The stream, once it is its turn. Close it. `target` names what few at once are sent to; empty: no bound."""


class Staged:
    """A file in the making, named `name` in `folder`, a folder of ours. `file` takes more bytes until `seal`.

    `counted` are bytes of it that the quota has counted already.
    """

    def __init__(self, folder: Folder, name: str, file: File) -> None:
        self.folder = folder
        self.name = name
        self.file = file
        self.counted = 0
        self.sha256: bytes | None = None
        self.md5: bytes | None = None
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX)
        except BaseException:
            self.drop()
            raise

    @property
    def size(self) -> int:
        return self.file.size

    def seal(self, sha256: bytes | None = None, md5: bytes | None = None) -> None:
        """Make the bytes durable, with what is known of them. Nothing is written to it afterwards.

        The time is ours, to the nanosecond: the clock of the file system has ticks of milliseconds, in which another
        write would look the same.
        """
        self.sha256, self.md5 = sha256, md5
        now = time.time_ns()
        self.file.set_time(now)
        facts.keep(self.file, sha256, md5, now)
        self.file.sync()

    def close(self) -> None:
        """Free the handles. Repeatable."""
        self.file.close()
        self.folder.close()

    def drop(self) -> None:
        """Remove it, unless it was published, and free the handles: a sweep finds what stays. Repeatable."""
        try:
            if self.folder.is_open:
                with suppress(OSError):
                    self.folder.unlink(self.name)
        finally:
            self.close()


class StagedFolder:
    """A folder in the making: `folder`, named `name` in `above`. It lives no longer than the request that made it."""

    def __init__(self, above: Folder, name: str, gone: Gone) -> None:
        self.above = above
        self.name = name
        self._gone = gone
        above.make_dir(name, FOLDER_MODE)
        self.folder = above.descend(name)
        fcntl.flock(self.folder.fd, fcntl.LOCK_EX)

    def drop(self) -> None:
        """Remove it with all that is in it, unless it was published, and free the handles. Repeatable."""
        try:
            if self.above.is_open:
                with suppress(OSError):
                    self._gone.clear(self._gone.take(self.above, self.name))
        finally:
            self.folder.close()
            self.above.close()


class Staging:
    """The way in. `max_file` is the largest file in bytes, `reserve` the free space below which nothing is taken in;
    without a `gate` there is no bound to the bodies at once."""

    def __init__(
        self,
        ground: VolumeRoot,
        threads: Threads,
        places: Places,
        quota: Quota,
        gone: Gone,
        *,
        max_file: int,
        reserve: int = 0,
        gate: Gate | None = None,
    ) -> None:
        self._ground = ground
        self._threads = threads
        self._places = places
        self._quota = quota
        self._gone = gone
        self._reserve = reserve
        self._gate = gate
        self.max_file = max_file

    # --- steps, blocking; OSErrors are those of the system ---

    def create(self, folder: Folder | None = None, name: str = "") -> Staged:
        """A new empty file, in the staging folder or one below it (then `folder` goes over to it)."""
        self.check()
        folder = folder or self._ground.own(STAGING)
        name = name or secrets.token_hex(16)
        try:
            return Staged(folder, name, folder.create(name, FILE_MODE))
        except BaseException:
            folder.close()
            raise

    def create_folder(self) -> StagedFolder:
        """A new empty folder in the staging folder."""
        self.check()
        above = self._ground.own(STAGING)
        try:
            return StagedFolder(above, f"{BRIEF}{secrets.token_hex(16)}", self._gone)
        except BaseException:
            above.close()
            raise

    def place(self, staged: Staged, path: Path, when: Conditions = ALWAYS) -> tuple[Entry, bool]:
        """Put a sealed file in its place, durably. True: there was none before. The staged file is gone afterwards,
        whatever comes. Raises Problem: CONFLICT, PRECONDITION_FAILED, QUOTA_EXCEEDED, VALIDATION_FAILED."""
        try:
            with ExitStack() as opened:
                with self._ground.locked(), self._places.parent(path) as folder:
                    before = self._places.target(folder, path)
                    check_conditions(path, before.status, when)
                    parent = opened.enter_context(folder.descend("."))
                    with self._quota.changed(staged.size - staged.counted - before.freed), renaming(path):
                        staged.folder.move(staged.name, folder, path.name)
                    staged.folder.close()  # its name there is gone
                    entry = entry_of(str(path), os.fstat(staged.file.fd), staged.sha256, staged.md5)
                parent.sync()
                return entry, before.status is None
        finally:
            staged.drop()

    def place_folder(self, folder: StagedFolder, path: Path, size: int) -> Entry:
        """The same for a folder of files that are sealed and add up to `size` bytes. Nothing may be in its place."""
        try:
            with self._ground.locked(), self._places.parent(path) as above:
                if there(above, path.name) is not None:
                    raise taken(path)
                with self._quota.changed(size), renaming(path):
                    folder.above.move(folder.name, above, path.name, replace=False)
                folder.above.close()
                above.sync()  # under the lock: no other write may count on the name before
                return entry_of(str(path), os.fstat(folder.folder.fd))
        finally:
            folder.drop()

    def check(self) -> None:
        """Raise when nothing can be taken in now: the root was replaced, or there is no room."""
        self._ground.check()
        if self._ground.free() < self._reserve:
            raise Problem(Code.INSUFFICIENT_STORAGE, "The volume's disk has less free space than the server keeps.")

    def admit(self, size: int, *, before: int = 0, replaces: int = 0) -> None:
        """Raise Problem when a file of so many bytes may not come, `before` having come with it already."""
        self._bound(size, replaces - before)

    def sweep(self, now: float, upload_ttl: float) -> Steps:
        """Remove what nobody works on any more: what belonged to one request after an hour, uploads in parts when
        nothing came to them for `upload_ttl` seconds."""
        with self._ground.own(STAGING) as staging:
            for name in os.listdir(staging.fd):
                with suppress(FileNotFoundError):  # it got to its place meanwhile
                    yield from self._swept(staging, name, now, upload_ttl)

    def _swept(self, staging: Folder, name: str, now: float, upload_ttl: float) -> Steps:
        status = there(staging, name)
        if status is None or not _is_free(staging, name, status):
            return
        is_upload = stat.S_ISDIR(status.st_mode) and not name.startswith(BRIEF)
        if _last_change(staging, name, status) + (upload_ttl if is_upload else BRIEF_TTL) <= now:
            gone = self._gone.take(staging, name)
            yield from self._gone.clearing(gone, counted=is_upload)

    # --- the whole way ---

    def refuse_when_full(self, key: str) -> None:
        """Raise Problem(RATE_LIMITED) when a body of this key would have to wait for others; for requests that clients
        repeat."""
        if self._gate is not None:
            self._gate.refuse_when_full(key)

    async def receive(
        self,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        expected: Sequence[Expected] = (),
        create: Callable[[], Staged] | None = None,
        replaces: int = 0,
        key: str = "",
        target: str = "",
    ) -> Staged:
        """Write a stream to a file that `create` makes (a thread calls it) and seal it: durable on return, and the
        caller's to publish or to drop. Nothing stays on any exception or cancellation. A full volume takes as many
        bytes as it `replaces`. See `Gate` for `key` and `target`.

        Raises Problem: TOO_LARGE, QUOTA_EXCEEDED, INVALID_REQUEST (not as long as declared), DIGEST_MISMATCH; what the
        stream raises.
        """
        bound = await self._threads.run(self._bound, length, replaces)
        taking = _Taking(self._threads, create or self.create, expected)
        intake = Intake(self._threads, taking.write, taking.finish, taking.drop)
        async with aclosing(self._bounded(stream, length, bound)) as bounded:
            if self._gate is None:
                return await intake.take(bounded)
            async with aclosing(self._gate.slotted(bounded, key, target)) as slotted:
                return await intake.take(slotted)

    async def publish(self, staged: Staged, path: Path, when: Conditions = ALWAYS) -> tuple[Entry, bool]:
        """`place`, in a thread."""
        return await self._threads.run(self.place, staged, path, when)

    def _bound(self, length: int | None = None, replaces: int = 0) -> int:
        """How much may come. Raises Problem when that is less than is declared, or when nothing can be taken in."""
        self.check()
        room = self._quota.room()
        bound = self.max_file if room is None else min(self.max_file, max(0, room + replaces))
        if length is not None and length > bound:
            raise self._too_large(bound)
        return bound

    async def _bounded(
        self, stream: AsyncIterator[bytes], length: int | None, bound: int
    ) -> AsyncGenerator[bytes, None]:
        received = 0
        async for piece in stream:
            received += len(piece)
            if received > bound:
                raise self._too_large(bound)
            yield piece
        if length is not None and received != length:
            raise Problem(Code.INVALID_REQUEST, f"The body has {received} bytes, {length} were declared.")

    def _too_large(self, bound: int) -> Problem:
        if bound < self.max_file:
            return self._quota.exceeded(bound)
        return Problem(Code.TOO_LARGE, f"A file of the volume has at most {self.max_file} bytes.")


def _is_free(staging: Folder, name: str, status: os.stat_result) -> bool:
    """Whether no process works on it: it would hold the lock."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return True
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=staging.fd)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def _last_change(staging: Folder, name: str, status: os.stat_result) -> float:
    """When it was last changed, or something in it, as the disk says."""
    if not stat.S_ISDIR(status.st_mode):
        return status.st_mtime
    with staging.descend(name) as folder:
        inner = (there(folder, each) for each in os.listdir(folder.fd))
        return max(status.st_mtime, *(each.st_mtime for each in inner if each is not None), 0.0)


class _Taking:
    """One stream on its way into one staged file. Its methods block."""

    def __init__(self, threads: Threads, create: Callable[[], Staged], expected: Sequence[Expected]) -> None:
        self._threads = threads
        self._create = create
        self._expected = expected
        self._whole = sha256()
        self._beside = digests.hashers_beside(expected)
        self._staged: Staged | None = None
        self._synced = 0

    def write(self, pieces: list[bytes]) -> list[Callable[[], None]]:
        self._append(pieces)
        file = self._opened().file
        if file.size - self._synced < SYNC_EVERY:
            return []
        self._synced = file.size
        return [file.sync]

    def finish(self, pieces: list[bytes]) -> Staged:
        self._append(pieces)
        digests.check(self._expected, self._whole.digest(), self._beside)
        md5 = next((each.value for each in self._expected if each.algorithm == "md5"), None)
        staged = self._opened()
        staged.seal(self._whole.digest(), md5)
        return staged

    def drop(self) -> None:
        if self._staged is not None:
            self._staged.drop()

    def _opened(self) -> Staged:
        if self._staged is None:
            self._staged = self._create()
        return self._staged

    def _append(self, pieces: list[bytes]) -> None:
        file = self._opened().file
        if sum(map(len, pieces)) < BESIDE_FROM:
            self._hash(pieces)
            return file.write(pieces)
        hashing = self._threads.beside(self._hash, pieces)
        try:
            file.write(pieces)
        finally:
            hashing.result()

    def _hash(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._whole.update(piece)
            for hasher in self._beside.values():
                hasher.update(piece)
