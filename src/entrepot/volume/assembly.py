"""The bytes of one upload in parts: acknowledged parts, and the staged file that they are put together in.

parts/<n>     the last acknowledged attempt at a part: its bytes, then the 32 bytes of their SHA-256
parts/.<id>   an attempt that is being written
whole         the first parts in order, put together
whole.parts   which parts these are

A part lies in `parts` until its bytes in `whole` are durable and `whole.parts` says so; then its file goes. What lies
in `parts` is always newer than what `whole.parts` says of the same number. When a part that is in `whole` was sent
again with other bytes, the parts from there on come out of it, last one first. So whoever is killed wherever, all that
was acknowledged is there, about once.

Everything here blocks and raises OSError. `accept` may be called by anybody; what changes `whole` needs its lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Self

from entrepot.atomic import File, Folder
from entrepot.volume.root import FILE_MODE
from entrepot.volume.staging import Staged

PARTS, WHOLE, RECORD, NOTE = "parts", "whole", "whole.parts", "digest.json"
STATE_LOCK, WHOLE_LOCK = "state.lock", "whole.lock"
_SHA256_SIZE = 32
_VERSION = struct.Struct("<Q")
_ROW = struct.Struct("<32sQ")


@dataclass(frozen=True, slots=True)
class AssemblyPart:
    """A part that was acknowledged. `etag` is its SHA-256 in hex."""

    number: int
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """What `whole` is made of: parts 1, 2, ... . Every part that came out of it again made a new `version`."""

    version: int = 0
    parts: tuple[AssemblyPart, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def key(self) -> str:
        """Names this list and no other."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """40 bytes a part: it is written anew for each that is added."""
        rows = (_ROW.pack(bytes.fromhex(part.etag), part.size) for part in self.parts)
        return _VERSION.pack(self.version) + b"".join(rows)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        (version,), rows = _VERSION.unpack_from(data), _ROW.iter_unpack(data[_VERSION.size :])
        parts = (AssemblyPart(number, etag.hex(), size) for number, (etag, size) in enumerate(rows, 1))
        return cls(version, tuple(parts))


class Attempt(Staged):
    """One attempt at one part, open for its bytes: a file of its own until it is accepted."""

    def __init__(self, folder: Folder, number: int) -> None:
        self.number = number
        self._accepted = False
        parts, name = folder.descend(PARTS), f".{secrets.token_hex(8)}"
        try:
            super().__init__(parts, name, parts.create(name))
        except BaseException:
            parts.close()
            raise

    @property
    def part(self) -> AssemblyPart:
        """What it is, once it is sealed."""
        return AssemblyPart(self.number, (self.sha256 or b"").hex(), self.size - _SHA256_SIZE)

    def seal(self, sha256: bytes | None = None, md5: bytes | None = None) -> None:
        """Make it durable, all but its name."""
        self.sha256 = sha256
        self.file.write([sha256 or b""])
        self.file.sync()

    def accept(self, *, replaces: bool = True) -> None:
        """Give it its number, in place of an earlier one if it `replaces`. The caller has the lock of the state.

        It may be acknowledged when the folder was synced.
        """
        if replaces or not _exists(self.folder, str(self.number)):
            self.folder.rename(self.name, str(self.number))
            self._accepted = True

    def drop(self) -> None:
        """Remove it, unless it was accepted, and free the handles. Repeatable."""
        if self._accepted:
            self.close()
        else:
            super().drop()


class Whole(Staged):
    """The staged file on its way to its place. What does not get there stays."""

    def __init__(self, folder: Folder, size: int) -> None:
        """`folder` stays the caller's."""
        super().__init__(Folder(os.dup(folder.fd), folder.path), WHOLE, _resumed(folder, size))
        self.counted = size

    def drop(self) -> None:
        """Free the handles."""
        self.close()


class Assembly:
    """Puts the parts below one open folder together."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def record(self) -> Record:
        """What `whole` is made of now."""
        try:
            fd = os.open(RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder.fd)
        except FileNotFoundError:
            return Record()
        with os.fdopen(fd, "rb") as file:
            return Record.decode(file.read())

    def held(self) -> dict[int, AssemblyPart]:
        """All acknowledged parts by number."""
        record = self.record()
        while True:
            pending = self.pending(self._numbers())
            # What goes into `whole` meanwhile is seen in one of the two; what comes out of it makes a new version.
            before, record = record, self.record()
            if before.version == record.version:
                return {**{part.number: part for part in record.parts}, **pending}

    def size_of(self, number: int) -> int:
        """Bytes of an acknowledged part; 0 when there is none."""
        if (part := self.pending([number]).get(number)) is None:
            part = dict(enumerate(self.record().parts, 1)).get(number)
        return part.size if part else 0

    def pending(self, numbers: Iterable[int]) -> dict[int, AssemblyPart]:
        """Those of the parts that are in files of their own."""
        with self._folder.descend(PARTS) as parts:
            found = (_part_at(parts, number) for number in numbers)
            return {part.number: part for part in found if part}

    def ready(self, limit: int) -> list[AssemblyPart]:
        """The next parts for `whole` in order, of about `limit` bytes at most. Those behind a gap are not looked at."""
        return self._next(len(self.record().parts), set(self._numbers()), limit)

    def _numbers(self) -> list[int]:
        with self._folder.descend(PARTS) as parts:
            return [int(name) for name in os.listdir(parts.fd) if name.isdigit()]

    def _next(self, done: int, numbers: set[int], limit: int) -> list[AssemblyPart]:
        run: list[AssemblyPart] = []
        with self._folder.descend(PARTS) as parts:
            while limit > 0 and (number := done + len(run) + 1) in numbers and (part := _part_at(parts, number)):
                run.append(part)
                limit -= max(part.size, 1)
        return run

    def is_made_of(self, record: Record) -> bool:
        """Whether that is all that is held, and all of it is in `whole`."""
        mine = {part.number: part for part in record.parts}
        pending = self.pending(self._numbers())
        return self.record() == record and all(part == mine.get(n) for n, part in pending.items())

    def advance(self, budget: int) -> int:
        """Bring `whole` nearer to what is acknowledged, moving about `budget` bytes; how many were moved.

        0 when there is nothing to do. The caller has the lock of `whole`.
        """
        record, numbers = self.record(), set(self._numbers())
        again = self.pending(number for number in numbers if number <= len(record.parts))
        if any(part != record.parts[number - 1] for number, part in again.items()):
            return self._take_out(record, again)
        if run := self._next(len(record.parts), numbers, budget):
            return self._append(record, run)
        for number, part in again.items():  # somebody was killed before it could drop it
            self._drop(number, part)
        return 0

    def drop_tries(self, before: float) -> None:
        """Remove attempts that nobody works on and that are older than that time."""
        with self._folder.descend(PARTS) as parts:
            for name in os.listdir(parts.fd):
                if name.startswith(".") and os.stat(name, dir_fd=parts.fd).st_mtime < before and _is_free(parts, name):
                    parts.unlink(name)

    def clear(self) -> None:
        """Remove the bytes of an upload that has ended, unless somebody is putting them together, who looks for the end
        then."""
        if (lock := try_lock(self._folder, WHOLE_LOCK)) is not None:
            try:
                self.remove()
            finally:
                os.close(lock)

    def remove(self) -> None:
        """Remove all bytes, as far as the disk lets us: a sweep comes by. The caller has the lock of `whole`."""
        with suppress(OSError):
            with self._folder.descend(PARTS) as parts:
                for name in os.listdir(parts.fd):
                    parts.unlink(name)
            self._folder.rmdir(PARTS)
        for name in (WHOLE, RECORD, NOTE):
            with suppress(OSError):
                self._folder.unlink(name)

    def _append(self, record: Record, run: list[AssemblyPart]) -> int:
        done: list[AssemblyPart] = []
        with self._folder.descend(PARTS) as parts, self._grown(record.size) as file:
            for part in run:
                fd = os.open(str(part.number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parts.fd)
                try:
                    now = _part_of(fd, part.number)  # it may have been sent again since
                    file.copy(fd, 0, now.size)
                finally:
                    os.close(fd)
                done.append(now)
            file.sync()
        if not record.parts:
            self._folder.sync()
        self._write(replace(record, parts=(*record.parts, *done)))
        for part in done:
            self._drop(part.number, part)
        return max(1, sum(part.size for part in done))

    def _take_out(self, record: Record, pending: Mapping[int, AssemblyPart]) -> int:
        *rest, last = record.parts
        start = record.size - last.size
        if last.number not in pending:
            self._restore(last, start)
        self._write(Record(record.version + 1, tuple(rest)))
        with self._grown(start):
            return max(1, last.size)

    def _restore(self, part: AssemblyPart, start: int) -> None:
        """Give a part that is in `whole` a file of its own again, if nobody has sent it meanwhile."""
        fd = os.open(WHOLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder.fd)
        try:
            attempt = Attempt(self._folder, part.number)
            try:
                attempt.file.copy(fd, start, part.size)
                attempt.seal(bytes.fromhex(part.etag))
                with locked(self._folder, STATE_LOCK):
                    attempt.accept(replaces=False)
                attempt.folder.sync()
            finally:
                attempt.drop()
        finally:
            os.close(fd)

    def _write(self, record: Record) -> None:
        self._folder.replace(RECORD, record.encode())

    def _drop(self, number: int, part: AssemblyPart) -> None:
        """Remove a part's own file, unless it is another attempt by now."""
        with self._folder.descend(PARTS) as parts, locked(self._folder, STATE_LOCK):
            if _part_at(parts, number) == part:
                parts.unlink(str(number))

    @contextmanager
    def _grown(self, size: int) -> Iterator[File]:
        """`whole`, cut to its first `size` bytes and open for more."""
        try:
            file = _resumed(self._folder, size)
        except FileNotFoundError:
            if size:
                raise
            file = self._folder.create(WHOLE, FILE_MODE)
        try:
            yield file
        finally:
            file.close()


@contextmanager
def locked(folder: Folder, name: str) -> Iterator[None]:
    """Hold a lock of an upload, which ends with this process however it ends."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(folder: Folder, name: str) -> int | None:
    """The handle of a lock, to be closed; None when somebody else has it."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
    if hold(fd):
        return fd
    os.close(fd)
    return None


def hold(fd: int) -> bool:
    """Lock an open file as long as it is open; False when somebody else has it."""
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _resumed(folder: Folder, size: int) -> File:
    try:
        return folder.resume(WHOLE, size)
    except ValueError as error:
        raise OSError(errno.EIO, f"the staged file lost bytes: {error}") from error


def _part_at(parts: Folder, number: int) -> AssemblyPart | None:
    try:
        fd = os.open(str(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parts.fd)
    except FileNotFoundError:
        return None  # put into `whole` meanwhile
    try:
        return _part_of(fd, number)
    finally:
        os.close(fd)


def _part_of(fd: int, number: int) -> AssemblyPart:
    size = os.fstat(fd).st_size - _SHA256_SIZE
    if size < 0:
        raise OSError(errno.EIO, f"part {number} lost bytes")
    return AssemblyPart(number, os.pread(fd, _SHA256_SIZE, size).hex(), size)


def _is_free(folder: Folder, name: str) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        return hold(fd)
    finally:
        os.close(fd)


def _exists(folder: Folder, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
