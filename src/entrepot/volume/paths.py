"""Paths of volume files, and their resolution to open files and folders below the root.

A name is text until `parse` has taken it, and a `Path` leads below the root of one volume only: each step is taken from
an open folder, by the kernel (openat2) or component by component. So what is swapped on the way between two looks leads
nowhere else (docs/threats.md I7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from unicodedata import category, normalize

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.domain.names import has_control_characters

MOUNT = "data"  # where programs see the volume: /data
PRIVATE = ".entrepot"
MAX_NAME = 255  # bytes of UTF-8
MAX_DEPTH = 64
MAX_LENGTH = 4096  # bytes of UTF-8, of the whole
_SHORT = re.compile(r"entrep~\d+")
_UNSEEN = frozenset({"Cf", "Mn"})  # Unicode categories


@dataclass(frozen=True, slots=True)
class Path:
    """A place below the root: plain names, none of them empty, `.` or `..`. No parts: the root itself."""

    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(self.parts)

    @property
    def name(self) -> str:
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> Path:
        return Path(self.parts[:-1])

    def child(self, name: str) -> Path:
        return Path((*self.parts, name))

    def is_within(self, other: Path) -> bool:
        """Whether this is `other` or lies below it."""
        return self.parts[: len(other.parts)] == other.parts


def parse(text: str, *, legacy: bool) -> Path:
    """Read a path that was percent-decoded once. Raises Problem(VALIDATION_FAILED).

    Absolute ones start with `/data`. On the legacy routes a first component `data` means the same, and `.` components
    are dropped, as fal does. Names are taken as they are: backslashes, blanks, `%2e` and the like are characters as any
    others.
    """
    parts = [part for part in text.split("/") if part and not (legacy and part == ".")]
    if text.startswith("/") and parts[:1] != [MOUNT]:
        raise _refusal(f"An absolute path must be below /{MOUNT}.")
    if (legacy or text.startswith("/")) and parts[:1] == [MOUNT]:
        del parts[0]
    for part in parts:
        _check_name(part)
    if parts and _is_private(parts[0]):
        raise _refusal(f"{PRIVATE} holds what belongs to the server.")
    path = Path(tuple(parts))
    check_length(path)
    return path


def _check_name(name: str) -> None:
    if name in (".", ".."):
        raise _refusal("A path has no '.' and '..' components.")
    if "\0" in name:
        raise _refusal("A path has no NUL characters.")
    if _length(name) > MAX_NAME:
        raise _refusal(f"A name has at most {MAX_NAME} bytes in UTF-8.")


def check_length(path: Path) -> None:
    """Raise Problem for a path that is too long or too deep."""
    if len(path.parts) > MAX_DEPTH:
        raise _refusal(f"A path has at most {MAX_DEPTH} components.")
    if _length(str(path)) > MAX_LENGTH:
        raise _refusal(f"A path has at most {MAX_LENGTH} bytes in UTF-8.")


def check_new(path: Path) -> None:
    """Raise Problem for a path at which nothing is made: one with control characters in it. What other programs named
    so can be read, moved and deleted all the same."""
    if has_control_characters(str(path)):
        raise _refusal("A new name has no control characters, such as line ends, tabs or escape sequences.")


def check_tree(folder: Folder, name: str, path: Path, destination: Path) -> None:
    """Check the limits of depth and length for all that is below a folder, which is called `name` in `folder`, before
    it goes from `path` to `destination`: a path that is beyond them can no longer be read, listed or deleted. Blocks.

    Raises Problem(VALIDATION_FAILED) that names such a path. Nothing is looked at where no path becomes deeper or
    longer.
    """
    if len(destination.parts) > len(path.parts) or len(os.fsencode(str(destination))) > len(os.fsencode(str(path))):
        _check_below(folder, name, destination)


def _check_below(above: Folder, name: str, path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), above.descend(name) as folder:
        with os.scandir(folder.fd) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        if not entries:
            return
        longest = max((inner for inner, _ in entries), key=lambda inner: len(os.fsencode(inner)))
        if len(path.parts) >= MAX_DEPTH:
            raise _beyond_limit(path.child(longest), f"{len(path.parts) + 1} components; {MAX_DEPTH} are possible.")
        size = len(os.fsencode(str(path))) + 1 + len(os.fsencode(longest))
        if size > MAX_LENGTH:
            raise _beyond_limit(path.child(longest), f"{size} bytes; {MAX_LENGTH} are possible.")
        for inner, is_folder in entries:
            if is_folder:
                _check_below(folder, inner, path.child(inner))


def _beyond_limit(path: Path, limit: str) -> Problem:
    shown = str(path).encode("utf-8", "replace").decode()
    shown = shown if len(shown) <= 200 else f"{shown[:98]}...{shown[-98:]}"
    fix = "Choose a shorter destination that is less deep, or move what is below in pieces."
    return Problem(Code.VALIDATION_FAILED, f"The path {shown} would have {limit} Nothing was moved.", fix=fix)


def _length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _refusal("A path must be valid UTF-8.") from None


def _is_private(name: str) -> bool:
    """Whether a name right in the volume may lead to the private folder: some file systems know no case and pass over
    signs that nobody sees, and FAT has a short name for every long one."""
    if not name.isascii():
        name = "".join(sign for sign in normalize("NFKC", name) if category(sign) not in _UNSEEN)
    folded = name.casefold()
    return folded == PRIVATE or bool(_SHORT.fullmatch(folded))


def _refusal(message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, f"This is no path of the volume. {message}", fix="Correct the path.")


def is_addressable(above: str, name: str) -> bool:
    """Whether a client can write a name that was found on the disk, below `above` (`a/b/`, or nothing for the root)."""
    if (not above and _is_private(name)) or above.count("/") >= MAX_DEPTH:
        return False
    if name.isascii() and len(above) + len(name) <= MAX_LENGTH // 4:  # nearly all names
        return True
    try:
        return _length(above + name) <= MAX_LENGTH
    except Problem:
        return False


# --- from a path to something open ----------------------------------------------------------------------------------

_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_OPENAT2 = 437  # the same on all systems that Python runs on, but for Alpha
_TRIES = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SYSTEM_LENGTH = 4095  # of a path that is opened at once: PATH_MAX without the NUL at its end
_O_PATH = getattr(os, "O_PATH", 0)


class NotPlain(OSError):
    """What is there is a pipe, a device or a socket: never opened."""


class Root:
    """The way down from one open folder. All methods block and raise OSError as the system gave it: ENOENT, ENOTDIR;
    ELOOP and EXDEV for a link that may not be followed.

    With openat2 links are followed as long as they stay below the root and out of the private folder; without it (the
    system has none, or `by_hand`) none is.
    """

    def __init__(self, folder: Folder, *, by_hand: bool = False) -> None:
        self.folder = folder
        self.follows_links = not by_hand and _has_openat2(folder.fd)

    def open_folder(self, path: Path) -> Folder:
        """Open a folder; the caller closes it."""
        where = f"{self.folder.path}/{path}" if path.parts else self.folder.path
        if self.follows_links:
            return Folder(self._open_beneath(path, _FOLDER), where)
        return self._walk(path, where)

    def status(self, path: Path) -> os.stat_result:
        """What is there, at the end of all links."""
        if self.follows_links:
            fd = self._open_beneath(path, _O_PATH | os.O_CLOEXEC)
            try:
                return os.fstat(fd)
            finally:
                os.close(fd)
        if not path.parts:
            return os.fstat(self.folder.fd)
        with self.open_folder(path.parent) as parent:
            return _unlinked(os.stat(path.name, dir_fd=parent.fd, follow_symlinks=False))

    def open_file(self, path: Path) -> int:
        """A handle for reading a regular file. Raises NotPlain, IsADirectoryError; nothing else is ever opened."""
        if not path.parts:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with ExitStack() as stack:
            if self.follows_links:
                found = self._open_beneath(path, _O_PATH | os.O_CLOEXEC)
                stack.callback(os.close, found)
                _check_plain(os.fstat(found))
                return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
            parent = stack.enter_context(self.open_folder(path.parent))
            status = _unlinked(os.stat(path.name, dir_fd=parent.fd, follow_symlinks=False))
            _check_plain(status)
            return _open_same(parent, path.name, status)

    def _open_beneath(self, path: Path, flags: int) -> int:
        """Without any link first: then the checked path is the way that was gone. Only else it has to be looked where
        the links led."""
        name = os.fsencode(str(path) or ".")
        if len(name) > _SYSTEM_LENGTH:
            with Folder(self._open_beneath(path.parent, _FOLDER), "") as above:
                return _openat2(above.fd, os.fsencode(path.name), flags, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
        try:
            return _openat2(self.folder.fd, name, flags, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        fd = _openat2(self.folder.fd, name, flags, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        private = f"{_place(self.folder.fd).rstrip('/')}/{PRIVATE}"
        if f"{_place(fd)}/".startswith(f"{private}/"):
            os.close(fd)
            raise OSError(errno.EXDEV, "a link into the private folder")
        return fd

    def _walk(self, path: Path, where: str) -> Folder:
        """Open folder by folder, never through a link."""
        fd = os.open(".", _FOLDER, dir_fd=self.folder.fd)
        for name in path.parts:
            above = fd
            try:
                fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            except NotADirectoryError:
                _unlinked(os.stat(name, dir_fd=above, follow_symlinks=False))
                raise
            finally:
                os.close(above)
        return Folder(fd, where)


def _unlinked(status: os.stat_result) -> os.stat_result:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return status


def _check_plain(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise NotPlain(errno.ENXIO, "neither a file nor a folder")


def _open_same(parent: Folder, name: str, status: os.stat_result) -> int:
    """Open what was just looked at; when another took its place, nothing."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent.fd)
    if not os.path.samestat(os.fstat(fd), status):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "it was replaced while it was opened")
    return fd


def _place(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _syscall() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return partial(call, ctypes.c_long(_OPENAT2))


_call = _syscall()


def _openat2(folder: int, name: bytes, flags: int, resolve: int) -> int:
    """Open by openat2. EAGAIN says that something was renamed on the way, and that the kernel is not sure."""
    if _call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how, number = _How(flags, 0, resolve), 0
    for _ in range(_TRIES):
        fd = _call(ctypes.c_int(folder), name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number))


def _has_openat2(folder: int) -> bool:
    """Whether system and sandbox let us have it, and /proc to go with it."""
    with suppress(OSError):
        os.close(_openat2(folder, b".", _FOLDER, _RESOLVE_BENEATH))
        return bool(_place(folder))
    return False
