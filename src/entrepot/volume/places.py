"""Targets of writes: the folders above, the existing file, and whether the conditions hold. Used under the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Conditions, etag_of
from entrepot.volume.paths import Path
from entrepot.volume.refusals import beyond, conflict, special, writing
from entrepot.volume.root import FOLDER_MODE, VolumeRoot

_KNOWN = 65_536
_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION where a long has 8 bytes; elsewhere it is refused


class Places:
    """Blocking; raises Problem, and OSError for what the disk does."""

    def __init__(self, ground: VolumeRoot) -> None:
        self._ground = ground
        # Folders that are known to be on the disk under their path: other programs, and processes of ours that died,
        # make and move folders whose names are not yet.
        self._durable: set[tuple[int, int, int, str]] = set()

    def parent(self, path: Path) -> Way:
        """Open the folder that `path` is named in; make it, and those above it, where missing."""
        if not path.parts:
            raise is_the_root()
        return self.folder(path.parent)

    def folder(self, path: Path) -> Way:
        """Open a folder, and make what is missing. Whatever was made is durable, and goes when the block fails."""
        with writing(path):
            try:
                way = Way(self._ground.root.open_folder(path))
            except FileNotFoundError:
                return self._make(path)
            try:
                self._settle(way, path)
            except BaseException:
                way.close()
                raise
            return way

    def target(self, folder: Folder, path: Path) -> Target:
        """What a new file would replace there. Raises Problem when that is no file, or a link that leads to none."""
        status = there(folder, path.name)
        if status is None:
            return NOTHING
        freed = status.st_size if status.st_nlink == 1 and stat.S_ISREG(status.st_mode) else 0
        if stat.S_ISLNK(status.st_mode):
            try:
                status = self._ground.root.status(path)
            except OSError:
                raise beyond(path) from None
        if stat.S_ISDIR(status.st_mode):
            raise conflict(f"{path} is a folder.")
        if not stat.S_ISREG(status.st_mode):
            raise special(path)
        return Target(status, freed)

    def foresee(self, path: Path, when: Conditions) -> Target:
        """What a write would now replace. Raises the Problem that it would end with, and makes nothing."""
        if not path.parts:
            raise is_the_root()
        try:
            with writing(path), self._ground.root.open_folder(path.parent) as folder:
                before = self.target(folder, path)
        except FileNotFoundError:
            before = NOTHING
        check_conditions(path, before.status, when)
        return before

    def _make(self, path: Path) -> Way:
        made: list[tuple[Folder, str]] = []
        try:
            for depth in range(1, len(path.parts) + 1):
                here = Path(path.parts[:depth])
                try:
                    self._ground.root.open_folder(here).close()
                except FileNotFoundError:
                    self._add(here, made)
            return Way(self._ground.root.open_folder(path), made)
        except BaseException as error:
            _leave(made, undo=True)
            if isinstance(error, FileNotFoundError):  # what was in the way is a link to nothing
                raise beyond(path) from None
            raise

    def _add(self, path: Path, made: list[tuple[Folder, str]]) -> None:
        """Make one folder, and its name durable at once: no other write may count on it before."""
        above = self._ground.root.open_folder(path.parent)
        try:
            self._settle(above, path.parent)
            above.make_dir(path.name, FOLDER_MODE)
        except FileExistsError:  # another program was faster, or it is a link
            return above.close()
        except BaseException:
            above.close()
            raise
        made.append((above, path.name))
        above.sync()
        with above.descend(path.name) as folder:
            self._note(folder)

    def _settle(self, folder: Folder, path: Path) -> None:
        """Sync the names on the way to a folder that we see for the first time."""
        if _identity(folder) in self._durable:
            return
        for depth in range(len(path.parts)):
            try:
                above = self._ground.root.open_folder(Path(path.parts[:depth]))
            except FileNotFoundError:
                raise conflict(f"The folder {path} was moved by another program in the same moment.") from None
            with above:
                above.sync()
        self._note(folder)

    def _note(self, folder: Folder) -> None:
        if len(self._durable) >= _KNOWN:
            self._durable.clear()
        self._durable.add(_identity(folder))


class Target(NamedTuple):
    """What is in a place: the status of a file, also at the end of a link; the bytes that go when it is replaced."""

    status: os.stat_result | None
    freed: int


NOTHING = Target(None, 0)


class Way(Folder):
    """An open folder, and those that were made on the way to it: they go again when its block fails."""

    def __init__(self, folder: Folder, made: list[tuple[Folder, str]] | None = None) -> None:
        super().__init__(folder.fd, folder.path)
        self._made = made or []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        _leave(self._made, undo=kind is not None)


def _leave(made: list[tuple[Folder, str]], *, undo: bool) -> None:
    for above, name in reversed(made):
        if undo:
            with suppress(OSError):
                above.rmdir(name)
        above.close()


def there(folder: Folder, name: str) -> os.stat_result | None:
    """What has this name, links not followed."""
    try:
        return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise Problem(Code.VALIDATION_FAILED, f"The disk takes no such name: {name}.") from None
        raise


def check_conditions(path: Path, before: os.stat_result | None, when: Conditions) -> None:
    """Raise Problem(PRECONDITION_FAILED) unless what is there is what the writer expects."""
    if when.if_none_match and before is not None:
        raise Problem(
            Code.PRECONDITION_FAILED,
            f"{path} is there already, with the ETag {etag_of(before)}.",
            fix="Choose another name, or let it be replaced.",
        )
    if when.if_match is None:
        return
    if before is None:
        raise Problem(Code.PRECONDITION_FAILED, f"{path} is not there.")
    if when.if_match != {"*"} and etag_of(before) not in when.if_match:
        raise Problem(Code.PRECONDITION_FAILED, f"{path} was changed: its ETag is {etag_of(before)} now.")


def is_the_root() -> Problem:
    return conflict("The volume itself is a folder, and stays where it is.")


def _identity(folder: Folder) -> tuple[int, int, int, str]:
    """This folder and no other at this path, also none that got the inode of one that was removed."""
    status = os.fstat(folder.fd)
    return status.st_dev, status.st_ino, _generation(folder.fd), folder.path


def _generation(fd: int) -> int:
    """What tells an inode from earlier ones of its number; 0 where the file system does not say."""
    if sys.platform != "linux":
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GET_VERSION, bytes(8))[:4], sys.byteorder)
    except OSError:
        return 0
