"""The one door through which everything we write reaches a disk.

Every operation is announced to an observer before it happens, so that a test can record a whole run, replay
any legal crash state of it in another place, or make the k-th operation fail. Files are opened relative to
an open folder and links are never followed, so that no name leads out of the folder it was given for
(promise I7).

Every function raises OSError as the system gave it. A failed sync is never tried again: the kernel may have
dropped the bytes and would then report a success.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform == "darwin":
    import fcntl

FACTS_ATTRIBUTE = "user.entrepot"
# An extended attribute must fit into one block of the file system (4 KiB on ext4), with room left for others.
FACTS_LIMIT = 3 * 1024

_BUFFERS_PER_CALL = 1024  # IOV_MAX of Linux, macOS and the BSDs
_encode = json.JSONEncoder(separators=(",", ":")).encode
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})


class Kind(Enum):
    """What an operation does. For `RENAME` and `LINK`, `Op.target` is the new path."""

    CREATE = "create"
    WRITE = "write"
    SET_FACTS = "set_facts"
    SYNC = "sync"
    SYNC_DIR = "sync_dir"
    MAKE_DIR = "make_dir"
    UNLINK = "unlink"
    RMDIR = "rmdir"
    RENAME = "rename"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation that is about to happen, with all that is needed to do it again elsewhere.

    `path` and `target` are absolute. `data` are the bytes of a write, at `offset`, or of the facts.
    """

    kind: Kind
    path: str
    data: bytes = b""
    offset: int = 0
    target: str = ""


# Raises OSError to make the operation fail; may return the number of bytes at which a write stops short.
Observer = Callable[[Op], int | None]
tap: Observer | None = None


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Announce every operation of every thread to `observer`, until the block ends."""
    global tap
    before, tap = tap, observer
    try:
        yield
    finally:
        tap = before


def _announce(kind: Kind, path: str, data: bytes = b"", target: str = "") -> None:
    if (observer := tap) is not None:
        observer(Op(kind, path, data, target=target))


class Folder:
    """An open folder, and what can be done to the names in it. Names are single components."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder by its path; links in the path are followed, for it is ours and not a client's."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), os.path.abspath(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def descend(self, name: str) -> Folder:
        """Open a folder in this one, never through a link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return Folder(os.open(name, flags, dir_fd=self.fd), self._inside(name))

    def create(self, name: str, mode: int = 0o600) -> File:
        """Make a new empty file, open for writing. Raises FileExistsError when the name is taken."""
        path = self._inside(name)
        _announce(Kind.CREATE, path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return File(os.open(name, flags, mode, dir_fd=self.fd), path)

    def make_dir(self, name: str, mode: int = 0o700) -> None:
        """Make a folder. Its own name is durable only after a `sync` of this one."""
        _announce(Kind.MAKE_DIR, self._inside(name))
        os.mkdir(name, mode, dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove a file's name."""
        _announce(Kind.UNLINK, self._inside(name))
        os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        _announce(Kind.RMDIR, self._inside(name))
        os.rmdir(name, dir_fd=self.fd)

    def rename(self, name: str, new: str) -> None:
        """Rename inside this folder, replacing what is there."""
        _announce(Kind.RENAME, self._inside(name), target=self._inside(new))
        os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, name: str, new: str) -> None:
        """Give a file a second name. Raises FileExistsError when that is taken."""
        _announce(Kind.LINK, self._inside(name), target=self._inside(new))
        os.link(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def sync(self) -> None:
        """Make the names in this folder durable."""
        _announce(Kind.SYNC_DIR, self.path)
        _sync(self.fd)

    def close(self) -> None:
        """Free the handle. Repeatable."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _inside(self, name: str) -> str:
        return f"{self.path}/{name}"


class File:
    """A new file open for writing. `size` is what was written so far, in bytes."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.size = 0

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Append all buffers in order, however few bytes the system takes at a time."""
        left = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        while left:
            now = left[:_BUFFERS_PER_CALL]
            left = _after(now, self._write_some(now)) + left[_BUFFERS_PER_CALL:]

    def _write_some(self, views: list[memoryview]) -> int:
        if (observer := tap) is not None:
            data = b"".join(views)
            most = observer(Op(Kind.WRITE, self.path, data, self.size))
            views = [memoryview(data)[:most]]
        taken = os.writev(self.fd, views)
        if not taken:
            raise OSError(errno.EIO, "the file takes no more bytes")
        self.size += taken
        return taken

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Keep `facts` beside the bytes, where the file system has extended attributes; else do nothing.

        Facts that do not fit are left out, the last ones first: a long name must not make a write fail.
        """
        data = _encoded(facts)
        _announce(Kind.SET_FACTS, self.path, data)
        if sys.platform == "linux":
            try:
                os.setxattr(self.fd, FACTS_ATTRIBUTE, data)
            except OSError as error:
                if error.errno not in _NO_ATTRIBUTES:
                    raise

    def sync(self) -> None:
        """Make bytes, size and facts durable; the name needs a `sync` of the folder too."""
        _announce(Kind.SYNC, self.path)
        _sync(self.fd)

    def close(self) -> None:
        """Free the handle. Repeatable."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def read_facts(fd: int) -> dict[str, str]:
    """The facts of an open file; empty when it has none, or none that we wrote."""
    if sys.platform != "linux":
        return {}
    try:
        facts = json.loads(os.getxattr(fd, FACTS_ATTRIBUTE))
    except (OSError, ValueError):
        return {}
    return {str(name): str(fact) for name, fact in facts.items()} if isinstance(facts, dict) else {}


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path`, replacing what is there. Durable on return; a crash leaves the old or the new."""
    with Folder.open(path.parent) as folder, _beside(folder, data, mode) as name:
        folder.rename(name, path.name)
        folder.sync()


def create_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path`, which must be free (else FileExistsError). Durable on return; whole or not there.

    Needs hard links, the only portable way to name a finished file without replacing another.
    """
    with Folder.open(path.parent) as folder, _beside(folder, data, mode) as name:
        folder.link(name, path.name)
        try:
            folder.unlink(name)
            folder.sync()
        except OSError:
            with suppress(OSError):
                folder.unlink(path.name)
            raise


@contextmanager
def _beside(folder: Folder, data: bytes, mode: int) -> Iterator[str]:
    """A finished and synced file under a name of its own, which goes away when the block fails."""
    name = f".{secrets.token_hex(8)}.tmp"
    file = folder.create(name, mode)
    try:
        try:
            file.write([data])
            file.sync()
        finally:
            file.close()
        yield name
    except BaseException:
        with suppress(OSError):
            folder.unlink(name)
        raise


def _after(views: list[memoryview], taken: int) -> list[memoryview]:
    """What is left of `views` after their first `taken` bytes; empty ones are dropped."""
    for index, view in enumerate(views):
        if taken < len(view):
            return [view[taken:], *views[index + 1 :]]
        taken -= len(view)
    return []


def _encoded(facts: Mapping[str, str]) -> bytes:
    kept = dict(facts)
    while len(data := _encode(kept).encode()) > FACTS_LIMIT:
        kept.popitem()
    return data


def _sync(fd: int) -> None:
    if sys.platform == "darwin":  # where fsync leaves the bytes in the drive's own cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)
