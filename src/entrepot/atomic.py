"""All writes to disk: files, folders, renames, syncs and extended attributes.

Every operation is announced to an observer before it happens, so that a test can record a whole run, replay
any legal crash state of it in another place, or make the k-th operation fail. Files are opened relative to
an open folder and links are never followed, so that no name leads out of the folder it was given for
(docs/threats.md I7).

Every function raises OSError as the system gave it. A failed sync is never tried again: the kernel may have
dropped the bytes and would then report a success.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import stat
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
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_COPIED_AT_ONCE = 1024 * 1024
# What says that a file system, a pair of them or the system does not do this.
_NOT_DONE_HERE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EXDEV, *_NO_ATTRIBUTES})
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Kind(Enum):
    """What an operation does. For `RENAME` and `LINK`, `Op.target` is the new path."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SET_FACTS = "set_facts"
    SET_TIME = "set_time"
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

    `path` and `target` are absolute. `data` are the bytes of a write, at `offset`, or of the facts, under the attribute
    `name`. The time of `SET_TIME` is in `offset`, in nanoseconds; a truncation leaves
    `offset` bytes. What is copied from another file is a write.
    """

    kind: Kind
    path: str
    data: bytes = b""
    offset: int = 0
    target: str = ""
    name: str = ""


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


def _announce(kind: Kind, path: str, data: bytes = b"", offset: int = 0, target: str = "", name: str = "") -> None:
    if (observer := tap) is not None:
        observer(Op(kind, path, data, offset, target, name))


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

    def create(self, name: str, mode: int = 0o600, *, masked: bool = False) -> File:
        """Make a new empty file, open for reading and writing. Raises FileExistsError when the name is taken.

        A mode for others than us is given as it is, whatever the umask of the process, unless it is to be `masked`.
        """
        path = self._inside(name)
        _announce(Kind.CREATE, path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = File(os.open(name, flags, mode, dir_fd=self.fd), path)
        if mode & _OTHERS and not masked:
            os.fchmod(file.fd, mode)
        return file

    def resume(self, name: str, size: int) -> File:
        """Open a file of ours that is there, cut it to `size` bytes, and write on from there.

        The cut is not durable before a `sync`. Raises ValueError when the file is shorter.
        """
        file = File(os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd), self._inside(name))
        try:
            file.cut(size)
        except BaseException:
            file.close()
            raise
        return file

    def replace(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Put `data` at `name`, replacing what is there. Durable on return; a crash leaves the old or the new."""
        with _beside(self, data, mode) as made:
            self.rename(made, name)
            self.sync()

    def make_dir(self, name: str, mode: int = 0o700, *, masked: bool = False) -> None:
        """Make a folder, its mode as that of `create`. Its own name is durable only after a `sync` of this one."""
        _announce(Kind.MAKE_DIR, self._inside(name))
        os.mkdir(name, mode, dir_fd=self.fd)
        if mode & _OTHERS and not masked:
            with self.descend(name) as made:
                os.fchmod(made.fd, mode)

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

    def move(self, name: str, target: Folder, new: str, *, replace: bool = True) -> None:
        """Rename into another folder of the same file system. Without `replace` FileExistsError when `new` is taken."""
        _announce(Kind.RENAME, self._inside(name), target=target._inside(new))
        if replace:
            os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=target.fd)
        else:
            _rename_new(self.fd, name, target.fd, new)

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

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes, and write on from there. Raises ValueError when there are fewer."""
        now = os.fstat(self.fd).st_size
        if now < size:
            raise ValueError(f"{self.path} has {now} bytes, not {size}")
        if now > size:
            _announce(Kind.TRUNCATE, self.path, offset=size)
            os.ftruncate(self.fd, size)
        os.lseek(self.fd, size, os.SEEK_SET)
        self.size = size

    def set_facts(self, facts: Mapping[str, str], attribute: str = FACTS_ATTRIBUTE) -> None:
        """Keep `facts` beside the bytes, where the file system has extended attributes; else do nothing.

        Facts that do not fit are left out, the last ones first: a long name must not make a write fail.
        """
        data = _encoded(facts)
        _announce(Kind.SET_FACTS, self.path, data, name=attribute)
        if sys.platform == "linux":
            try:
                os.setxattr(self.fd, attribute, data)
            except OSError as error:
                if error.errno not in _NO_ATTRIBUTES:
                    raise

    def set_time(self, nanoseconds: int) -> None:
        """Set when the file was last changed."""
        _announce(Kind.SET_TIME, self.path, offset=nanoseconds)
        os.utime(self.fd, ns=(nanoseconds, nanoseconds))

    def copy(self, source: int, start: int, size: int) -> None:
        """Append `size` bytes of another open file, from `start` on; in the kernel, and shared where the file system
        can (there copy_file_range clones first). OSError when the other one ends before."""
        while size:
            taken = self._copy_some(source, start, size)
            start, size = start + taken, size - taken

    def _copy_some(self, source: int, start: int, size: int) -> int:
        if tap is not None:  # to who watches it is a write
            size = min(size, _COPIED_AT_ONCE)
            self.write([data := _read_at(source, start, size)])
            return len(data)
        taken = _copy_range(source, start, self.fd, size)
        if taken is None:
            self.write([data := _read_at(source, start, min(size, _COPIED_AT_ONCE))])
            return len(data)
        self.size += taken
        return taken

    def sync(self) -> None:
        """Make bytes, size and facts durable; the name needs a `sync` of the folder too."""
        _announce(Kind.SYNC, self.path)
        _sync(self.fd)

    def close(self) -> None:
        """Free the handle. Repeatable."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def read_facts(file: int | str, attribute: str = FACTS_ATTRIBUTE) -> dict[str, str]:
    """The facts of an open file, or of a path (a link is not followed); empty when it has none, or none we wrote."""
    if sys.platform != "linux":
        return {}
    try:
        facts = json.loads(os.getxattr(file, attribute, follow_symlinks=isinstance(file, int)))
    except (OSError, ValueError, RecursionError):  # any program may write there
        return {}
    return {str(name): str(fact) for name, fact in facts.items()} if isinstance(facts, dict) else {}


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path`, replacing what is there. Durable on return; a crash leaves the old or the new.

    The mode is less the umask, here and below: these are files in folders that users name.
    """
    with Folder.open(path.parent) as folder:
        folder.replace(path.name, data, mode)


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
    file = folder.create(name, mode, masked=True)
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


def _rename_new(folder: int, name: str, target: int, new: str) -> None:
    """Rename to a name that is free, else FileExistsError.

    Where the system has no call for this, a file gets its new name beside the old one; a folder, which a rename puts
    in the place of an empty folder at most, is looked for first.
    """
    if hasattr(_libc, "renameat2"):
        if not _libc.renameat2(folder, os.fsencode(name), target, os.fsencode(new), _RENAME_NOREPLACE):
            return
        number = ctypes.get_errno()
        if number not in _NOT_DONE_HERE:
            raise OSError(number, os.strerror(number), new)
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        with suppress(FileNotFoundError):
            os.stat(new, dir_fd=target, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=target)
    else:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)


def _copy_range(source: int, start: int, target: int, size: int) -> int | None:
    """How many bytes the kernel copied, to where the target's next write would go; None where it cannot."""
    if sys.platform != "linux":
        return None
    try:
        return os.copy_file_range(source, target, size, start) or None
    except OSError as error:
        if error.errno not in _NOT_DONE_HERE:
            raise
        return None


def _read_at(source: int, start: int, size: int) -> bytes:
    data = os.pread(source, size, start)
    if not data:
        raise OSError(errno.EIO, "the file that is copied became shorter")
    return data


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
