"""Reads of volume files: entries, and bytes without blocking the event loop."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from hashlib import md5, sha256

from entrepot.atomic import Folder
from entrepot.reading import read_now, read_waiting
from entrepot.threads import Threads
from entrepot.volume import facts
from entrepot.volume.entries import Entry, entry_of, etag_of
from entrepot.volume.paths import Path
from entrepot.volume.refusals import FAILING, conflict, reading, special, translated
from entrepot.volume.root import VolumeRoot

PIECE = 512 * 1024
READ_SIZE = 1024 * 1024
# File systems tell times in ticks of the kernel, which are 10 ms or less.
TICK = 0.02


class OpenFile:
    """A file that is open for reading. It stays what it was when another takes its place."""

    def __init__(self, fd: int, entry: Entry, threads: Threads) -> None:
        self.entry = entry
        self._fd = fd
        self._threads = threads

    def fileno(self) -> int:
        return self._fd

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield bytes `start` to `end` (not included) in pieces of at most 512 KiB. Raises Problem.

        An async generator: close it, and the file afterwards.
        """
        for offset in range(start, end, PIECE):
            size = min(PIECE, end - offset)
            with translated():
                data = read_now(self._fd, size, offset)
            if data is None:
                data = await self._threads.run(read_waiting, self._fd, size, offset)
            if len(data) < size:
                raise conflict(f"{self.entry.path} became shorter while it was read.")
            yield data

    async def close(self) -> None:
        """Free the handle. Repeatable."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Files:
    """Looks at files and opens them. The methods block and raise Problem and OSError."""

    def __init__(self, ground: VolumeRoot) -> None:
        self._ground = ground
        self._computed = facts.Computed()

    def open(self, path: Path) -> tuple[int, Entry]:
        """A handle for reading and what it leads to. The caller closes it."""
        with reading(path):
            fd = self._ground.root.open_file(path)
        try:
            status = os.fstat(fd)
            return fd, self.entry(path, status, fd)
        except BaseException:
            os.close(fd)
            raise

    def stat(self, path: Path) -> Entry:
        """The entry of a file or folder."""
        with reading(path):
            status = self._ground.root.status(path)
        if stat.S_ISDIR(status.st_mode):
            return entry_of(str(path), status)
        if not stat.S_ISREG(status.st_mode):
            raise special(path)
        fd, entry = self.open(path)
        try:
            return entry
        finally:
            os.close(fd)

    def look(self, folder: Folder, above: str, name: str) -> Entry | None:
        """The entry of a name in an open folder, `above` being its path with a slash at the end. None for what is not
        listed: special files, links that lead to no file, what is gone again."""
        try:
            status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                status = self._ground.root.status(Path((*above.split("/")[:-1], name)))
                return entry_of(above + name, status) if stat.S_ISREG(status.st_mode) else None
        except OSError as error:
            if error.errno in FAILING:
                raise
            return None
        if stat.S_ISDIR(status.st_mode):
            return entry_of(above + name, status)
        if not stat.S_ISREG(status.st_mode):
            return None
        return entry_of(above + name, status, *facts.known(f"/proc/self/fd/{folder.fd}/{name}", status))

    def moved(self, folder: Folder, path: Path) -> Entry:
        """The entry of what was just put there, also of a link that leads to no file."""
        found = self.look(folder, f"{path.parent}/" if path.parent.parts else "", path.name)
        return found or entry_of(str(path), os.stat(path.name, dir_fd=folder.fd, follow_symlinks=False))

    def entry(self, path: Path, status: os.stat_result, fd: int) -> Entry:
        """The entry of an open file, with the digests that are known."""
        entry = entry_of(str(path), status, *facts.known(fd, status))
        if entry.sha256 is None or entry.md5 is None:
            sha, short = self._computed.get(entry.etag)
            entry = entry_of(str(path), status, entry.sha256 or sha, entry.md5 or short)
        return entry

    def summed(self, path: Path) -> Generator[None, None, Entry]:
        """The entry of a file or folder with its digests, computed in steps where they are not known."""
        entry = self.stat(path)
        if not entry.is_file or (entry.sha256 and entry.md5):
            return entry
        fd, _ = self.open(path)
        try:
            entry = self.entry(path, _settled(fd), fd)
            hashers = (sha256(), md5(usedforsecurity=False))
            for offset in range(0, entry.size, READ_SIZE):
                data = read_waiting(fd, READ_SIZE, offset)
                for hasher in hashers:
                    hasher.update(data)
                yield
            status = os.fstat(fd)
            if etag_of(status) != entry.etag:
                raise conflict(f"{path} was changed while it was read.")
            self._computed.put(entry.etag, (hashers[0].digest(), hashers[1].digest()))
            return self.entry(path, status, fd)
        finally:
            os.close(fd)


def _settled(fd: int) -> os.stat_result:
    """What a file is, from when on every change of it can be told by its times."""
    # Who writes through a mapping changes the time only at the first write after the page went to the disk.
    with suppress(OSError):  # of a file system that is read-only
        os.fsync(fd)
    status = os.fstat(fd)
    if abs(time.time() - status.st_mtime) < TICK:
        time.sleep(TICK)
    return status
