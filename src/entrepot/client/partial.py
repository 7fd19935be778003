"""The private temporary file of a download, which can be gone on with after its process has ended.

Its extended attribute says of which version of which URL it is, and a checksum of the bytes up to a point. Without
extended attributes an ended download begins anew. The owner holds a kernel lock on it for life.

The checksum is the SHA-256 where the server tells that of the whole, to be compared in the end. Elsewhere it only has
to tell what a crash of this machine left unwritten, and CRC-32 does that for a third of the processor's time or less.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from entrepot.atomic import File, Folder, read_facts
from entrepot.client.owner import is_ours, is_private

if sys.platform != "win32":
    import fcntl

# Our own hidden files in a target folder. Stock programs that share the folder pass over names that begin so.
HIDDEN = ".fal_entrepot."
STALE_SECONDS = 86400.0
_READ = 1024 * 1024
_END = ".part"


@dataclass(frozen=True, slots=True)
class Version:
    """What a server says of a file: a strong entity tag and the size of the whole, in bytes."""

    etag: str
    total: int


class Sum(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


_SUMS: dict[str, Callable[[], Sum]] = {"sha256": hashlib.sha256, "crc32": _Crc32}


class Partial:
    """`at` is how many bytes it has, `sum` is the checksum of exactly these, of the kind `kind`."""

    def __init__(self, folder: Folder, name: str, fd: int) -> None:
        self.folder = folder
        self.name = name
        self.file = File(fd, f"{folder.path}/{name}")
        self.kind = "crc32"
        self.sum = _SUMS[self.kind]()
        self.version: Version | None = None
        self.noted = 0  # bytes that another process can go on from
        self._named = True

    @property
    def at(self) -> int:
        return self.file.size

    def begin(self, version: Version | None) -> None:
        """Empty it: it is to become this version (None: of one that cannot be told from others)."""
        os.ftruncate(self.file.fd, 0)
        os.lseek(self.file.fd, 0, os.SEEK_SET)
        self.file.size = 0
        self.sum = _SUMS[self.kind]()
        self.version = version

    @property
    def sha256(self) -> str:
        """In hex; empty when it was not asked for."""
        return self.sum.hexdigest() if self.kind == "sha256" else ""

    def sum_by(self, kind: str) -> None:
        """Have the checksum of this kind, of what is on the disk and of all that comes."""
        self.kind, self.sum = kind, _SUMS[kind]()
        for block in _blocks(self.file.fd, self.at):
            self.sum.update(block)

    def checkpoint(self, at: int, digest: str) -> None:
        """Note that the first `at` bytes have this checksum. A note that cannot be kept costs a later download only."""
        if self.version:
            with suppress(OSError):
                self.file.set_facts(
                    {"at": str(at), self.kind: digest, "total": str(self.version.total), "etag": self.version.etag}
                )
                self.noted = at

    def beside(self, at: int) -> File:
        """Another handle of it, to write what belongs at a later place. Raises OSError."""
        fd = os.open(self.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder.fd)
        os.lseek(fd, at, os.SEEK_SET)
        file = File(fd, self.file.path)
        file.size = at
        return file

    def advance(self, end: int) -> None:
        """It has all bytes up to `end`, written by others: take them in. Raises OSError."""
        for block in _blocks(self.file.fd, end, self.at):
            self.sum.update(block)
        self.file.size = os.lseek(self.file.fd, end, os.SEEK_SET)
        self.checkpoint(end, self.sum.hexdigest())

    def publish(self, name: str, mode: int, facts: Mapping[str, str], *, replace: bool = True) -> None:
        """Make it durable and give it its name, in place of what file was there. Raises OSError, FileExistsError when
        that is not to be replaced."""
        os.fchmod(self.file.fd, mode)
        with suppress(OSError):
            self.file.set_facts({**facts, "mtime": str(os.fstat(self.file.fd).st_mtime_ns)})
        self.file.sync()
        if replace:
            self.folder.rename(self.name, name)
        else:
            self.folder.move(self.name, self.folder, name, replace=False)
        self._named = False
        self.folder.sync()

    def close(self) -> None:
        """End it; what can be gone on with stays for a day, all else goes. Repeatable."""
        if self.file.fd < 0:
            return
        if self._named:
            if self.version and self.at:
                self.checkpoint(self.at, self.sum.hexdigest())
            if not (self.version and self.at and "at" in read_facts(self.file.fd)):
                self.drop()
        self.file.close()

    def drop(self) -> None:
        """Remove it."""
        if self._named:
            self._named = False
            with suppress(OSError):
                self.folder.unlink(self.name)


def create(folder: Folder, key: str) -> Partial:
    """A new one, for its owner's eyes only (0600). Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = _new_name(key)
        fd = os.open(name, flags, 0o600, dir_fd=folder.fd)
        if try_lock(fd) is not False and os.fstat(fd).st_nlink:
            return Partial(folder, name, fd)
        os.close(fd)  # another took it for one that was left


def claim(folder: Folder, key: str) -> Partial | None:
    """Take over what an ended process left of this key, if its bytes still are those that it noted.

    The others of this key go, and so do those of any key that nobody has touched for a day. One whose owner lives is
    never touched, and so is what another user put there under such a name, be it a file or a link. Even where locks do
    not hold, two who write one file put the same bytes at the same places: both are told by the server that it is the
    version of the note; and only one of them can rename it.
    """
    found: Partial | None = None
    for name in list(_names(folder)):
        own = name.startswith(f"{HIDDEN}{key}.") and name.endswith(_END)
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        except OSError:
            continue
        try:
            status = os.fstat(fd)
            old = time.time() - status.st_mtime > STALE_SECONDS
            if not (own or old) or not is_ours(status, folder.path) or not try_lock(fd):
                continue
            if own and not found and is_private(fd, folder.path) and (found := _taken(folder, key, name, fd)):
                fd = -1
            elif os.fstat(fd).st_nlink:
                with suppress(OSError):
                    folder.unlink(name)
        finally:
            if fd >= 0:
                os.close(fd)
    return found


def sweep(folder: Path) -> None:
    """Remove what ended processes left there a day ago and nobody came back for; nothing is told of failures."""
    with suppress(OSError), Folder.open(folder) as place:
        claim(place, "")


def _taken(folder: Folder, key: str, name: str, fd: int) -> Partial | None:
    """The file under a new name that is ours alone, its prefix read and compared."""
    facts = read_facts(fd)
    try:
        version, at = Version(facts["etag"], int(facts["total"])), int(facts["at"])
        kind = next(kind for kind in _SUMS if kind in facts)
    except (KeyError, ValueError, StopIteration):
        return None
    if not 0 < at <= os.fstat(fd).st_size:
        return None
    partial = Partial(folder, _new_name(key), fd)
    try:
        folder.rename(name, partial.name)
    except OSError:
        return None
    if os.stat(partial.name, dir_fd=folder.fd, follow_symlinks=False).st_ino != os.fstat(fd).st_ino:
        return None
    partial.version, partial.file.size = version, at
    partial.sum_by(kind)
    if partial.sum.hexdigest() != facts[kind]:
        partial.drop()
        return None
    os.lseek(fd, at, os.SEEK_SET)
    return partial


def try_lock(fd: int) -> bool | None:
    """Lock an open file, without waiting. False: another holds it; None: there are no locks here."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def usual_mode() -> int:
    """What a new file of this process may be used for by others: its umask says."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        return 0o666 & ~int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def sha256_of(fd: int) -> str:
    """The SHA-256 of a whole open file, in hex."""
    hasher = hashlib.sha256()
    for block in _blocks(fd, os.fstat(fd).st_size):
        hasher.update(block)
    return hasher.hexdigest()


def _blocks(fd: int, size: int, at: int = 0) -> Iterator[bytes]:
    while at < size and (block := os.pread(fd, min(_READ, size - at), at)):
        at += len(block)
        yield block


def _names(folder: Folder) -> Iterator[str]:
    with os.scandir(folder.fd) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN) and entry.name.endswith((_END, ".lock")):
                yield entry.name


def _new_name(key: str) -> str:
    return f"{HIDDEN}{key}.{secrets.token_hex(6)}{_END}"
