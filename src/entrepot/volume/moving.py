"""Rename and copy of files and folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import ExitStack, suppress

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import ALWAYS, Conditions, Entry, entry_of
from entrepot.volume.files import Files
from entrepot.volume.listing import Listing
from entrepot.volume.paths import Path, check_length, check_tree
from entrepot.volume.places import Places, is_the_root, there
from entrepot.volume.quota import Quota
from entrepot.volume.refusals import LOOK, changing, conflict, missing, reading, renaming, special, taken
from entrepot.volume.root import FOLDER_MODE, VolumeRoot
from entrepot.volume.staging import Staged, Staging
from entrepot.volume.walking import Steps

# Bytes that are copied between two moments at which the copy may be stopped.
COPIED_AT_ONCE = 64 * 1024 * 1024

Making = Generator[None, None, Entry]
Placing = Generator[None, None, tuple[Entry, bool]]


class Moving:
    """The methods block and raise Problem and OSError; those that are generators work in steps."""

    def __init__(
        self, ground: VolumeRoot, places: Places, quota: Quota, staging: Staging, files: Files, listing: Listing
    ) -> None:
        self._ground = ground
        self._places = places
        self._quota = quota
        self._staging = staging
        self._files = files
        self._listing = listing

    def make_folder(self, path: Path) -> Entry:
        """Make a folder where there is none."""
        with self._ground.locked(), self._places.folder(path) as folder:
            return entry_of(str(path), os.fstat(folder.fd))

    def rename(self, path: Path, destination: Path, *, overwrite: bool) -> Entry:
        """Give it another place. Of a folder the new one is durable before others may count on it."""
        _check_apart(path, destination)
        with ExitStack() as held, ExitStack() as lock:
            lock.enter_context(self._ground.locked())
            with changing(path):
                source = held.enter_context(self._ground.root.open_folder(path.parent))
            status = _movable(source, path)
            if path == destination:
                return self._files.moved(source, path)
            if stat.S_ISDIR(status.st_mode):
                check_tree(source, path.name, path, destination)
            with self._places.parent(destination) as folder:
                self._move(source, path.name, status, folder, destination, overwrite)
                target = held.enter_context(folder.descend("."))
                entry = self._files.moved(folder, destination)
            if not stat.S_ISDIR(status.st_mode):
                lock.close()
            target.sync()
            source.sync()
        return entry

    def _move(
        self, source: Folder, name: str, status: os.stat_result, folder: Folder, path: Path, overwrite: bool
    ) -> None:
        before, here = self._places.target(folder, path), there(folder, path.name)
        if before.status is not None and (not overwrite or stat.S_ISDIR(status.st_mode)):
            raise taken(path)
        if here is not None and os.path.samestat(here, status):
            with renaming(path):
                return _merge(source, name, folder, path.name, status)
        if stat.S_ISLNK(status.st_mode) and _leads_to(source, name, before.status):
            raise conflict(f"What is moved is a link to {path}: it would take the place of its own bytes.")
        with self._quota.changed(-before.freed), renaming(path):
            source.move(name, folder, path.name, replace=before.status is not None)

    def copy(self, path: Path, destination: Path, *, overwrite: bool) -> Making:
        """Copy a file, or all that a folder lists. It appears whole."""
        _check_apart(path, destination)
        if self._files.stat(path).is_file:
            return (yield from self._copy_file(path, destination, overwrite))
        if destination == path:
            raise taken(destination)
        return (yield from self._copy_folder(path, destination))

    def _copy_file(self, path: Path, destination: Path, overwrite: bool) -> Making:
        when = Conditions(if_none_match=not overwrite)
        try:
            replaces = self._places.foresee(destination, when).freed
            staged = self._staging.create()
            try:
                yield from self._fill(staged, path, replaces=replaces)
            except BaseException:
                staged.drop()
                raise
            return self._staging.place(staged, destination, when)[0]
        except Problem as problem:
            raise taken(destination) if problem.code is Code.PRECONDITION_FAILED else problem from None

    def _copy_folder(self, path: Path, destination: Path) -> Making:
        if self._places.foresee(destination, ALWAYS).status is not None:
            raise taken(destination)
        with reading(path), self._ground.root.open_folder(path) as source:
            check_tree(source, ".", path, destination)
        staged = self._staging.create_folder()
        try:
            size = yield from self._copy_tree(path, staged.folder, destination)
        except BaseException:
            staged.drop()
            raise
        return self._staging.place_folder(staged, destination, size)

    def _copy_tree(self, path: Path, folder: Folder, destination: Path, before: int = 0) -> Generator[None, None, int]:
        """Copy what a folder lists into an open one, `before` bytes of the whole having been copied; returns how many
        it were."""
        size = 0
        for entry in self._listing.page(path, None, None).entries:
            source, target = path.child(entry.name), destination.child(entry.name)
            check_length(target)
            if entry.is_file:
                size += yield from self._copy_into(folder, source, before + size)
            else:
                folder.make_dir(entry.name, FOLDER_MODE)
                with folder.descend(entry.name) as inner:
                    size += yield from self._copy_tree(source, inner, target, before + size)
        folder.sync()
        return size

    def _copy_into(self, folder: Folder, path: Path, before: int) -> Generator[None, None, int]:
        copied = self._staging.create(folder.descend("."), path.name)
        try:
            yield from self._fill(copied, path, before=before)
            return copied.size
        finally:
            copied.close()

    def _fill(self, staged: Staged, path: Path, *, before: int = 0, replaces: int = 0) -> Steps:
        """Copy a file, with the digests that are known. CONFLICT when another program writes to it meanwhile."""
        fd, _ = self._files.open(path)
        try:
            started = os.fstat(fd)
            entry = self._files.entry(path, started, fd)  # of the same moment: its digests go with the copy
            self._staging.admit(entry.size, before=before, replaces=replaces)
            yield from _copy_range(staged, fd, 0, entry.size)
            status = os.fstat(fd)
            if (status.st_size, status.st_mtime_ns) != (started.st_size, started.st_mtime_ns):
                raise conflict(f"{path} was changed while it was copied.")
            staged.seal(entry.sha256, entry.md5)
        finally:
            os.close(fd)


def _copy_range(staged: Staged, fd: int, start: int, size: int) -> Steps:
    for offset in range(start, start + size, COPIED_AT_ONCE):
        staged.file.copy(fd, offset, min(COPIED_AT_ONCE, start + size - offset))
        yield


def _check_apart(path: Path, destination: Path) -> None:
    """Raise Problem when one of them is the root, or what is moved would be inside of itself."""
    if not path.parts or not destination.parts:
        raise is_the_root()
    if destination != path and destination.is_within(path):
        raise Problem(Code.VALIDATION_FAILED, f"{destination} is inside {path}.", fix=LOOK)


def _merge(source: Folder, name: str, folder: Folder, new: str, status: os.stat_result) -> None:
    """Both are names of one file: a rename would leave both. One name that is seen by two ways stays."""
    is_one = name == new and os.path.samestat(os.fstat(source.fd), os.fstat(folder.fd))
    if status.st_nlink > 1 and not is_one:
        source.unlink(name)
    else:
        source.move(name, folder, new)  # another spelling, where the disk knows no case


def _leads_to(folder: Folder, name: str, target: os.stat_result | None) -> bool:
    """Whether a link leads there. Nothing is opened."""
    with suppress(OSError):
        return target is not None and os.path.samestat(os.stat(name, dir_fd=folder.fd), target)
    return False


def _movable(folder: Folder, path: Path) -> os.stat_result:
    status = there(folder, path.name)
    if status is None:
        raise missing(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise special(path)
    return status
