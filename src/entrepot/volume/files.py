"""Reading: what a file is, and its bytes without making the event loop wait for the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator
from hashlib import md5, sha256

from entrepot.domain.errors import Code, Problem
from entrepot.reading import read_now, read_waiting
from entrepot.threads import Threads
from entrepot.volume import facts
from entrepot.volume.entries import Entry, entry_of
from entrepot.volume.ground import Ground
from entrepot.volume.paths import Path
from entrepot.volume.refusals import reading, special, translated

PIECE = 512 * 1024


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
                raise Problem(Code.CONFLICT, f"{self.entry.path} became shorter while it was read.")
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

    def stat(self, path: Path, *, checksum: bool = False) -> Entry:
        """The entry of a file or folder. With `checksum` its digests are computed where they are not known."""
        with reading(path):
            status = self._ground.root.status(path)
        if stat.S_ISDIR(status.st_mode):
            return entry_of(str(path), status)
        if not stat.S_ISREG(status.st_mode):
            raise special(path)
        fd, entry = self.open(path)
        try:
            return self._summed(fd, entry) if checksum else entry
        finally:
            os.close(fd)

    def entry(self, path: Path, status: os.stat_result, fd: int) -> Entry:
        """The entry of an open file, with the digests that are known."""
        entry = entry_of(str(path), status, *facts.known(fd, status))
        if entry.sha256 is None or entry.md5 is None:
            sha, short = self._computed.get(entry.etag)
            entry = entry_of(str(path), status, entry.sha256 or sha, entry.md5 or short)
        return entry

    def _summed(self, fd: int, entry: Entry) -> Entry:
        raise NotImplementedError


_ = (md5, sha256)
