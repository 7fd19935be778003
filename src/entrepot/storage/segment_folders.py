"""The folders of segment files under a root, and the only way to them: `<incarnation>/<bucket>/<number>`.

An incarnation is one run of one process: it alone makes names in its folder, so that a key is never reused and
what an ended process left is found in its folder. Each component is opened in the one before and links are
never followed (I7). All methods block and raise OSError; they may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock

from entrepot.atomic import File, Folder
from entrepot.storage.base import StoredKey

BUCKET_SIZE = 1024  # files in a folder

_INCARNATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BUCKET = re.compile(r"[0-9a-f]{1,16}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_KEY = re.compile(f"{_INCARNATION.pattern}/{_BUCKET.pattern}/{_NUMBER.pattern}")
# What the system says when a component is a link, or no folder: then nothing of ours is under this key.
_NOT_OURS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_TRIES = 100


class RootChanged(OSError):
    """The root's path leads to another folder than was opened: a disk was unmounted, or mounted over it."""


class SegmentFolders:
    """The folders under one root. `reserve` is the free space in bytes below which nothing new is created."""

    def __init__(self, root: Path, incarnation: str, reserve: int) -> None:
        if not _INCARNATION.fullmatch(incarnation):
            raise ValueError(f"an incarnation is 1 to 64 letters, digits, '-' and '_', not {incarnation!r}")
        self._incarnation = incarnation
        self._reserve = reserve
        self._root = Folder.open(root)
        self._identity = _identity(os.fstat(self._root.fd))
        self._numbers = count()
        self._making = Lock()
        self._durable: set[str] = set()  # own buckets whose names are known to be on the disk

    def check(self) -> None:
        """Raise unless the root is still in its place, writable, and has more room than the reserve."""
        self.check_root()
        space = os.fstatvfs(self._root.fd)
        if space.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if space.f_bavail * space.f_frsize < self._reserve:
            raise OSError(errno.ENOSPC, "the disk has less free space than the server keeps (--min-free-space)")

    def check_root(self) -> None:
        """Raise RootChanged unless the root's path still leads to the folder that was opened."""
        try:
            same = _identity(os.stat(self._root.path)) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise RootChanged(errno.ESTALE, "the storage root was replaced or unmounted")

    def create(self) -> tuple[str, Folder, File]:
        """Make the next file. Returns its key, its open folder (both are the caller's to close) and the file.

        A bucket can vanish under us, when another process empties it: it is then made again.
        """
        self.check()
        for _ in range(_TRIES):
            number = next(self._numbers)
            bucket = f"{number // BUCKET_SIZE:x}"
            with suppress(FileNotFoundError, FileExistsError):
                folder = self._own_bucket(bucket)
                try:
                    return f"{self._incarnation}/{bucket}/{number}", folder, folder.create(str(number))
                except BaseException:
                    folder.close()
                    raise
        raise OSError(errno.EEXIST, f"no free name in {_TRIES} tries: was this incarnation used before?")

    def open(self, key: str) -> int | None:
        """A handle for reading, or None when there is no file under `key`."""
        with _unless_absent():
            incarnation, bucket, number = _components(key)
            with self._root.descend(incarnation) as home, home.descend(bucket) as folder:
                return _open_file(number, folder)
        self.check_root()
        return None

    def remove(self, key: str) -> None:
        """Unlink a file, if it is there, and folders of other incarnations that this leaves empty."""
        self.check_root()
        with _unless_absent():
            incarnation, bucket, number = _components(key)
            with self._root.descend(incarnation) as home, home.descend(bucket) as folder:
                folder.unlink(number)
            self._tidy(incarnation, bucket)

    def walk(self, incarnation: str) -> Generator[StoredKey, None, None]:
        """Every plain file of an incarnation under a name of ours; what vanishes meanwhile is left out."""
        self.check_root()
        if not _INCARNATION.fullmatch(incarnation):
            return
        with _unless_absent(), self._root.descend(incarnation) as home:
            for bucket in filter(_BUCKET.fullmatch, os.listdir(home.fd)):
                with _unless_absent(), home.descend(bucket) as folder:
                    yield from _entries(folder, f"{incarnation}/{bucket}")

    def close(self) -> None:
        self._root.close()

    def _own_bucket(self, bucket: str) -> Folder:
        with self._making:
            if bucket not in self._durable:
                self._make(bucket)
        try:
            with self._root.descend(self._incarnation) as home:
                return home.descend(bucket)
        except FileNotFoundError:
            with self._making:
                self._durable.clear()
            raise

    def _make(self, bucket: str) -> None:
        """Make the bucket and its parent where missing, and make their names durable."""
        _ensure(self._root, self._incarnation)
        with self._root.descend(self._incarnation) as home:
            _ensure(home, bucket)
        self._durable.add(bucket)

    def _tidy(self, incarnation: str, bucket: str) -> None:
        if incarnation != self._incarnation:
            with suppress(OSError), self._root.descend(incarnation) as home:
                home.rmdir(bucket)
                self._root.rmdir(incarnation)


def _components(key: str) -> tuple[str, str, str]:
    """Incarnation, bucket and number. Raises FileNotFoundError for what is no key of ours."""
    if not _KEY.fullmatch(key):
        raise FileNotFoundError(errno.ENOENT, "not a key of this storage", key)
    incarnation, bucket, number = key.split("/")
    return incarnation, bucket, number


@contextmanager
def _unless_absent() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise


def _entries(folder: Folder, above: str) -> Iterator[StoredKey]:
    for name in filter(_NUMBER.fullmatch, os.listdir(folder.fd)):
        with _unless_absent():
            status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield StoredKey(f"{above}/{name}", status.st_size)


def _open_file(name: str, folder: Folder) -> int:
    """Open a plain file for reading; what is none (a link, a pipe put there by hand) counts as not there."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a plain file", name)
    return fd


def _ensure(parent: Folder, name: str) -> None:
    """Make a folder where missing; its name is durable afterwards."""
    try:
        parent.make_dir(name)
    except FileExistsError:
        parent.sync()  # whoever made it may have died before this
        return
    try:
        parent.sync()
    except OSError:
        with suppress(OSError):
            parent.rmdir(name)
        raise


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
