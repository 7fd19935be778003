"""The private temporary file of a download, which can be gone on with after its process has ended.

Its extended attribute says of which version of which URL it is, and the SHA-256 of the bytes up to a point. Without
extended attributes an ended download begins anew. The owner holds a kernel lock on it for life.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from entrepot.atomic import File, Folder, read_facts
from entrepot.toolkit.lease import try_lock
from entrepot.toolkit.naming import HIDDEN
from entrepot.toolkit.owner import is_ours, is_private

STALE_SECONDS = 86400.0
_READ = 1024 * 1024
_END = ".part"


@dataclass(frozen=True, slots=True)
class Version:
    """What a server says of a file: a strong entity tag and the size of the whole, in bytes."""

    etag: str
    total: int


class Partial:
    """`at` is how many bytes it has, `hasher` has seen exactly these."""

    def __init__(self, folder: Folder, name: str, fd: int) -> None:
        self.folder = folder
        self.name = name
        self.file = File(fd, f"{folder.path}/{name}")
        self.hasher = hashlib.sha256()
        self.version: Version | None = None
        self._named = True

    @property
    def at(self) -> int:
        return self.file.size

    def begin(self, version: Version | None) -> None:
        """Empty it: it is to become this version (None: of one that cannot be told from others)."""
        os.ftruncate(self.file.fd, 0)
        os.lseek(self.file.fd, 0, os.SEEK_SET)
        self.file.size = 0
        self.hasher = hashlib.sha256()
        self.version = version

    def checkpoint(self, at: int, digest: str) -> None:
        """Note that the first `at` bytes have this SHA-256. A note that cannot be kept costs a later download only."""
        if self.version:
            with suppress(OSError):
                self.file.set_facts(
                    {"at": str(at), "sha256": digest, "total": str(self.version.total), "etag": self.version.etag}
                )

    def publish(self, name: str, mode: int, facts: Mapping[str, str]) -> None:
        """Make it durable and give it its name, in place of what file was there. Raises OSError."""
        os.fchmod(self.file.fd, mode)
        with suppress(OSError):
            self.file.set_facts({**facts, "mtime": str(os.fstat(self.file.fd).st_mtime_ns)})
        self.file.sync()
        self.folder.rename(self.name, name)
        self._named = False
        self.folder.sync()

    def close(self) -> None:
        """End it; what can be gone on with stays for a day, all else goes. Repeatable."""
        if self.file.fd < 0:
            return
        if self._named:
            if self.version and self.at:
                self.checkpoint(self.at, self.hasher.hexdigest())
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


def _taken(folder: Folder, key: str, name: str, fd: int) -> Partial | None:
    """The file under a new name that is ours alone, its prefix read and compared."""
    facts = read_facts(fd)
    try:
        version, at = Version(facts["etag"], int(facts["total"])), int(facts["at"])
    except (KeyError, ValueError):
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
    partial.version = version
    for block in _blocks(fd, at):
        partial.hasher.update(block)
    if partial.hasher.hexdigest() != facts.get("sha256"):
        partial.drop()
        return None
    os.lseek(fd, at, os.SEEK_SET)
    partial.file.size = at
    return partial


def sha256_of(fd: int) -> str:
    """The SHA-256 of a whole open file, in hex."""
    hasher = hashlib.sha256()
    for block in _blocks(fd, os.fstat(fd).st_size):
        hasher.update(block)
    return hasher.hexdigest()


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    at = 0
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
