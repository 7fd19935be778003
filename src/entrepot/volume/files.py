"""Reading: what a file is, and its bytes without making the event loop wait for the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Generator
from hashlib import md5, sha256

from entrepot.atomic import Folder
from entrepot.reading import read_now, read_waiting
from entrepot.threads import Threads
from entrepot.volume import facts
from entrepot.volume.entries import Entry, entry_of, etag_of
from entrepot.volume.ground import Ground
from entrepot.volume.paths import Path
from entrepot.volume.refusals import conflict, reading, special, translated

PIECE = 512 * 1024
READ_SIZE = 1024 * 1024


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

    def __init__(self, ground: Ground) -> None:
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

    def look(self, folder: Folder, path: Path) -> Entry | None:
        """The entry of a name in an open folder. None for what is not listed: special files, links that lead to no
        file, what is gone again."""
        try:
            status = os.stat(path.name, dir_fd=folder.fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                status = self._ground.root.status(path)
                return entry_of(str(path), status) if stat.S_ISREG(status.st_mode) else None
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            return entry_of(str(path), status)
        if not stat.S_ISREG(status.st_mode):
            return None
        return entry_of(str(path), status, *facts.known(f"/proc/self/fd/{folder.fd}/{path.name}", status))

    def moved(self, folder: Folder, path: Path) -> Entry:
        """The entry of what was just put there, also of a link that leads to no file."""
        found = self.look(folder, path)
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
        fd, entry = self.open(path)
        try:
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
