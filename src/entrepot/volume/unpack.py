"""A ZIP that unpacks into a folder of the volume: out of sight first, then whole folders and files in their place.

Where nothing is yet it appears by one rename. Else it is merged: what can only conflict is looked for before anything
is moved, then each file takes the place of the one before, and what else is there stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from entrepot.archive.entries import LIMITS, Limits
from entrepot.archive.errors import ArchiveError, ArchiveTooLarge
from entrepot.archive.unpacking import extract
from entrepot.atomic import File, Folder
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.fair_queue import FairQueue, while_free
from entrepot.threads import ended
from entrepot.volume.paths import MOUNT, Path, check_tree, parse
from entrepot.volume.places import there
from entrepot.volume.refusals import conflict, renaming, writing
from entrepot.volume.staging import Staged, StagedFolder
from entrepot.volume.volume import Volume

# Archives that a process unpacks at once: each may keep a thread busy for minutes, and there are others to serve.
AT_ONCE = 4


@dataclass(slots=True)
class _Moves:
    """What goes from a staged folder, by its names below that, into a folder that is there."""

    source: tuple[str, ...]
    target: Path
    names: list[str] = field(default_factory=list)


class Unpacking:
    """`limits` say how much may come out of one archive."""

    def __init__(self, volume: Volume, limits: Limits = LIMITS) -> None:
        self._volume = volume
        self._limits = limits
        self._turns = FairQueue(while_free, AT_ONCE)

    async def unpack(
        self,
        who: Principal,
        path: Path,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        encoding: str | None = None,
        check_client: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a ZIP and put what is in it into the folder `path`, durably. On an error nothing is kept. `encoding` is
        that of names which are not marked as UTF-8; see `archive.unpacking.check_encoding`. `check_client` raises when
        the sender has gone; a thread calls it before anything gets its place.

        Raises Problem: VALIDATION_FAILED for what is no ZIP, or no honest one, TOO_LARGE, CONFLICT when a file is where
        a folder must be or the other way round; as `Volume.put`.
        """
        self._volume.check(who)
        key = who.key_id or ""
        self._volume.staging.refuse_when_full(key)
        staged = await self._volume.staging.receive(stream, length=length, key=key)
        try:
            async with self._turns.turn(key):
                await self._volume.threads.run(self._unpack, staged, path, encoding, check_client)
        finally:
            await ended(self._volume.threads.start(staged.drop))

    def _unpack(self, staged: Staged, path: Path, encoding: str | None, check_client: Callable[[], None]) -> None:
        folder = self._volume.staging.create_folder()
        try:
            self._extract(staged, folder.folder, encoding)
            check_tree(folder.folder, ".", Path(), path)
            size = _settle(folder.folder, path)
            check_client()
            self._publish(folder, path, size)
        finally:
            folder.drop()

    def _extract(self, staged: Staged, folder: Folder, encoding: str | None) -> None:
        room = self._volume.quota.room()
        limits = self._limits if room is None else replace(self._limits, size=min(self._limits.size, room))
        try:
            with os.fdopen(os.dup(staged.file.fd), "rb") as file:
                extract(file, folder, limits, encoding, only_zip=True, masked=False)
        except ArchiveError as error:
            raise _refusal(error) from None

    def _publish(self, folder: StagedFolder, path: Path, size: int) -> None:
        with self._volume.ground.locked():
            if path.parts:
                with self._volume.places.parent(path) as above:
                    if there(above, path.name) is None:
                        with self._volume.quota.changed(size), renaming(path):
                            folder.above.move(folder.name, above, path.name, replace=False)
                        folder.above.close()
                        return above.sync()
            moves: list[_Moves] = []
            self._open_folder(path).close()
            freed = self._plan(folder.folder, (), path, moves)
            with self._volume.quota.changed(size - freed):
                for each in moves:
                    self._move(folder.folder, each)

    def _plan(self, staged: Folder, source: tuple[str, ...], target: Path, moves: list[_Moves]) -> int:
        """Find what goes where, and how many bytes it replaces. Raises Problem(CONFLICT) and its kin; changes nothing.

        A folder that is new goes as a whole.
        """
        mine, freed = _Moves(source, target), 0
        moves.append(mine)
        with self._open_folder(target) as folder, _descended(staged, source) as here:
            for name in sorted(os.listdir(here.fd)):
                place = target.child(name)
                if not stat.S_ISDIR(os.stat(name, dir_fd=here.fd, follow_symlinks=False).st_mode):
                    freed += self._volume.places.target(folder, place).freed
                elif there(folder, name) is not None:
                    self._open_folder(place).close()
                    freed += self._plan(staged, (*source, name), place, moves)
                    continue
                mine.names.append(name)
        return freed

    def _open_folder(self, path: Path) -> Folder:
        """A folder that was there a moment ago; the caller closes it. Raises Problem."""
        with writing(path), suppress(FileNotFoundError):
            return self._volume.ground.root.open_folder(path)
        raise conflict(f"{path} is a link that leads nowhere, or was moved by another program in the same moment.")

    def _move(self, staged: Folder, moves: _Moves) -> None:
        if not moves.names:
            return
        with self._volume.places.folder(moves.target) as folder, _descended(staged, moves.source) as here:
            for name in moves.names:
                with renaming(moves.target.child(name)):
                    here.move(name, folder, name)
            folder.sync()


def _settle(root: Folder, path: Path) -> int:
    """Make all files and names below durable; how many bytes they have. Raises Problem for names that the volume does
    not take there."""
    size, waiting = 0, [tuple[str, ...]()]
    while waiting:
        names = waiting.pop()
        with _descended(root, names) as folder:
            for name in os.listdir(folder.fd):
                parse(f"/{MOUNT}/{Path((*path.parts, *names, name))}", legacy=False)
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((*names, name))
                else:
                    _sync(folder, name)
                    size += status.st_size
            folder.sync()
    return size


def _sync(folder: Folder, name: str) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    file = File(fd, f"{folder.path}/{name}")
    try:
        file.sync()
    finally:
        file.close()


def _descended(folder: Folder, names: tuple[str, ...]) -> Folder:
    found = folder.descend(".")
    for name in names:
        with found:
            found = found.descend(name)
    return found


def _refusal(error: ArchiveError) -> Problem:
    if isinstance(error, ArchiveTooLarge):
        return Problem(Code.TOO_LARGE, error.message, fix="Send it in several archives, or file by file.")
    return Problem(Code.VALIDATION_FAILED, error.message, where=("body", "file_upload"), fix=error.fix or None)
