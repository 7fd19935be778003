"""The end of an upload in parts: what is missing is put together, checked, and published by one rename.

Only one finish works on an upload, in whatever process; the others wait and give the same answer. It is remembered.
Which file is about to be published is noted before the rename, so that one who was killed behind it is followed by one
who knows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import Cited, choose
from entrepot.volume.assembly import WHOLE, WHOLE_LOCK, Assembly, Record, Whole, try_lock
from entrepot.volume.entries import Conditions, Entry
from entrepot.volume.facts import NONE, Digests
from entrepot.volume.follower import Hashing, noted
from entrepot.volume.upload_records import (
    END,
    FINISHED,
    FINISHING,
    UploadRecord,
    UploadRecords,
    read_json,
    settled,
    unknown,
    write_json,
)
from entrepot.volume.uploads import VolumeUploads
from entrepot.volume.volume import Volume

# Bytes that one job in a thread moves or hashes.
STEP = 256 * 1024 * 1024
# Up to this size the finish computes the digests itself, at once.
SMALL = 64 * 1024 * 1024
# How long it waits for those that the keeper computes: stock clients would wait for minutes, but people do not.
DIGEST_WAIT = 3.0
LOOK = 0.02
# How often it begins anew because parts were sent again meanwhile.
TRIES = 5


@dataclass(frozen=True, slots=True)
class Finished:
    """The published file. `md5` of the whole in hex; None when it would have kept the client waiting."""

    entry: Entry
    md5: str | None


class Target(Protocol):
    """Where an upload leads. The methods block and raise Problem and OSError."""

    @property
    def path(self) -> str:
        """What the entry of the file says of it."""

    def check(self, fd: int, size: int) -> None:
        """Refuse the file that is open there before it is published."""

    def place(self, whole: Whole, when: Conditions) -> Entry:
        """Move the file to its place, durably, if that is as it must be; else nothing has happened."""

    def find(self, inode: int, mtime_ns: int) -> Entry | None:
        """What is at its place, durably, if it is the file of this number and time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client says of the whole: its parts, and perhaps its size and SHA-256."""

    cited: Sequence[Cited]
    size: int | None = None
    sha256: bytes | None = None


class Finishing:
    def __init__(self, volume: Volume, uploads: VolumeUploads) -> None:
        self._volume = volume
        self._threads = volume.threads
        self._drafts = uploads.drafts

    async def finish(self, account: str, target: str, upload_id: str, wish: Wish, place: Target) -> Finished:
        """Publish the cited parts as one file. Repeated and concurrent calls publish once and give equal results.

        Raises Problem: NOT_FOUND, GONE; INVALID_PARTS, EMPTY_PART, SIZE_MISMATCH, DIGEST_MISMATCH; what the place
        raises. The upload stays open then.
        """
        async with self._turn(account, target, upload_id) as turn:
            for _ in range(TRIES):
                if (done := await self._threads.run(turn.remembered, place)) is not None:
                    _check_digest(done.entry.sha256, wish.sha256)
                    return done
                if (record := await self._put_together(turn.assembly, wish)) is None:
                    continue
                digests = await self._digests(turn, record, wish)
                _check_digest(digests[0], wish.sha256)
                if (done := await self._threads.run(turn.publish, record, digests, place)) is not None:
                    return done
        message = "Parts of the list are being sent again."
        raise Problem(Code.INVALID_PARTS, message, fix="Finish again when no part is on its way.")

    @asynccontextmanager
    async def _turn(self, account: str, target: str, upload_id: str) -> AsyncGenerator[_Turn, None]:
        turn = _Turn(self._drafts, account, target, upload_id)
        try:
            await self._threads.run(turn.open)
            while not await self._threads.run(turn.begin):
                await asyncio.sleep(LOOK)
            yield turn
        finally:
            turn.close()

    async def _put_together(self, assembly: Assembly, wish: Wish) -> Record | None:
        """The file made of the cited parts; None when one came meanwhile."""
        held = await self._threads.run(assembly.held)
        parts = choose(held.values(), wish.cited)
        size = sum(part.size for part in parts)
        if wish.size is not None and wish.size != size:
            raise Problem(Code.SIZE_MISMATCH, f"The parts have {size} bytes together, {wish.size} were declared.")
        if size > self._volume.staging.max_file:
            message = f"The parts have {size} bytes together; a file of the volume has at most "
            raise Problem(Code.TOO_LARGE, f"{message}{self._volume.staging.max_file}.")
        while await self._threads.run(assembly.advance, STEP):
            pass
        record = await self._threads.run(assembly.record)
        return record if list(record.parts) == parts else None

    async def _digests(self, turn: _Turn, record: Record, wish: Wish) -> Digests:
        """The keeper's, or our own of a small file or when they are to be compared; else after a while none."""
        if record.size > SMALL:
            deadline = asyncio.get_running_loop().time() + DIGEST_WAIT
            while (found := await self._threads.run(noted, turn.folder, record)) is None:
                if asyncio.get_running_loop().time() >= deadline:
                    break
                await asyncio.sleep(LOOK)
            if found is not None or wish.sha256 is None:
                return found or NONE
        hashing = Hashing(self._threads, turn.draft.md5)
        while hashing.size < record.size:
            await self._threads.run(_hash, turn.folder, hashing, min(record.size, hashing.size + STEP))
        return hashing.digests


class _Turn:
    """The right to finish an upload: its folder, and the lock of its file. All but `close` blocks."""

    folder: Folder
    draft: UploadRecord
    assembly: Assembly

    def __init__(self, drafts: UploadRecords, account: str, target: str, upload_id: str) -> None:
        self._drafts = drafts
        self._whose = upload_id, account, target
        self._lock: int | None = None

    def open(self) -> None:
        with self._drafts.opened(self._whose[0]) as folder:
            self.draft = self._drafts.owned(folder, *self._whose)
            self.folder = Folder(os.dup(folder.fd), folder.path)
        self.assembly = Assembly(self.folder)

    def begin(self) -> bool:
        """False as long as somebody else works on it."""
        try:
            self._lock = try_lock(self.folder, WHOLE_LOCK)
        except FileNotFoundError:
            raise unknown() from None
        return self._lock is not None

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        if hasattr(self, "folder"):
            self.folder.close()

    def remembered(self, place: Target) -> Finished | None:
        """How it ended, if it did; also when who published it did not live to say so. Raises Problem when it ended
        without a file."""
        end = read_json(self.folder, END)
        if end is not None and end["how"] == FINISHED:
            return Finished(_entry(end["entry"]), end["md5"])
        self._drafts.check_open(self.folder, self.draft)
        facts = read_json(self.folder, FINISHING)
        if facts is None or _exists(self.folder, WHOLE):
            return None
        # Another file may have taken its place since: then we can only say what it was.
        entry = _entry(facts["entry"])
        if (found := place.find(facts["inode"], facts["mtime_ns"])) is not None:
            entry = replace(found, sha256=entry.sha256, md5=entry.md5)
        return self._end(entry, _hex(entry.md5))

    def publish(self, record: Record, digests: Digests, place: Target) -> Finished | None:
        """Move the file to its place; None when it is not what is held any more."""
        whole = Whole(self.folder, record.size)
        try:
            place.check(whole.file.fd, record.size)
            whole.seal(*digests)
            with settled(self.folder):
                if read_json(self.folder, END) is not None or not self.assembly.is_made_of(record):
                    return None
                status = os.fstat(whole.file.fd)
                entry = Entry(place.path, True, record.size, status.st_ctime, status.st_mtime, "", *digests)
                facts = {"inode": status.st_ino, "mtime_ns": status.st_mtime_ns, "entry": _facts(entry)}
                write_json(self.folder, FINISHING, facts)
                return self._end(place.place(whole, self.draft.when), _hex(digests[1]))
        finally:
            whole.drop()

    def _end(self, entry: Entry, md5: str | None) -> Finished:
        write_json(self.folder, END, {"how": FINISHED, "entry": _facts(entry), "md5": md5})
        self.assembly.remove()
        with suppress(OSError):
            self.folder.unlink(FINISHING)
        return Finished(entry, md5)


def _hash(folder: Folder, hashing: Hashing, end: int) -> None:
    fd = os.open(WHOLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        hashing.read_to(fd, end)
    finally:
        os.close(fd)


def _check_digest(known: bytes | None, declared: bytes | None) -> None:
    if known is not None and declared is not None and known != declared:
        raise Problem(
            Code.DIGEST_MISMATCH,
            "The SHA-256 of the whole is not the declared one.",
            fix="The ETag of a part is its SHA-256: send what differs again, then finish.",
        )


def _facts(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "sha256": _hex(entry.sha256), "md5": _hex(entry.md5)}


def _entry(facts: Mapping[str, Any]) -> Entry:
    digests = {name: bytes.fromhex(facts[name]) if facts[name] else None for name in ("sha256", "md5")}
    return Entry(**{**facts, **digests})


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _exists(folder: Folder, name: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        return True
    return False
