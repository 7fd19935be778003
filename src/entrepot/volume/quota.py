"""The quota of a volume: the bytes it holds, staged files and the trash included, and whether more may come."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress

from entrepot.domain.errors import Code, Problem
from entrepot.volume.paths import PRIVATE
from entrepot.volume.root import APPS, BRIEF, GONE, INFO, STAGING, TRASH, USAGE, VolumeRoot
from entrepot.volume.walking import Sums, exhausted, measure

_NEW = f"{USAGE}.new"


class Quota:
    """The count is a file of the volume, changed under its lock, for all processes. It is not synced, and it does not
    see what other programs do: the keeper counts anew. All methods block; without a limit nothing is counted."""

    def __init__(self, ground: VolumeRoot, limit: int | None) -> None:
        self._ground = ground
        self.limit = limit

    def room(self) -> int | None:
        """Bytes that may still come; None for no bound. Raises OSError."""
        if self.limit is None:
            return None
        used = self._used()
        if used is None:
            used = self._first_count()
        return max(0, self.limit - used)

    def _first_count(self) -> int:
        """Count what is there, once: of several that begin together the first one's count holds, because files may have
        got their place by it since."""
        size = exhausted(self._measured())
        with self._ground.locked(counting=True):
            used = self._used()
            if used is None:
                self._set(size)
            return size if used is None else used

    @contextmanager
    def changed(self, by: int) -> Iterator[None]:
        """Under the lock, around what adds or frees so many bytes. Raises Problem(QUOTA_EXCEEDED) before it."""
        used = self._used() if self.limit is not None and by else None
        if self.limit is None or used is None:
            yield
            return
        if by > 0 and used + by > self.limit:
            raise self.exceeded(max(0, self.limit - used))
        with (
            suppress(OSError) if by < 0 else nullcontext()
        ):  # to free some is no reason to fail, on a full disk even less
            self._set(max(0, used + by))
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self._set(used)
            raise

    def charge(self, by: int) -> None:
        """Count bytes that were staged, or with a negative number freed; takes the lock. Raises as `changed` does."""
        if self.limit is not None and by:
            with self._ground.locked(counting=True), self.changed(by):
                pass

    def recount(self) -> Generator[None, None, int]:
        """Count in steps what is there now, to within what is written meanwhile."""
        if self.limit is None:
            with suppress(FileNotFoundError):  # it would be wrong when a limit comes back
                self._ground.private.unlink(USAGE)
            return 0
        size = yield from self._measured()
        with self._ground.locked(counting=True):
            self._set(size)
        return size

    def exceeded(self, room: int) -> Problem:
        message = f"The volume has room for {room} bytes more."
        return Problem(Code.QUOTA_EXCEEDED, message, fix="Delete files for good, or empty the trash.")

    def _measured(self) -> Generator[None, None, int]:
        """All but what is being staged by one request: that is counted when it comes to its place."""
        sums = Sums()
        yield from measure(self._ground.root.folder, sums, skip=PRIVATE)
        for name in (GONE, APPS):
            with self._ground.own(name) as folder:
                yield from measure(folder, sums)
        for name in (TRASH, STAGING):
            with self._ground.own(name) as folder:
                for each in os.listdir(folder.fd):
                    if not each.startswith(BRIEF):
                        with suppress(NotADirectoryError, FileNotFoundError), folder.descend(each) as inner:
                            yield from measure(inner, sums, skip=INFO)
        return sums.size

    def _used(self) -> int | None:
        """None when it was never counted, or when a crash left it torn."""
        with suppress(FileNotFoundError, ValueError):
            fd = os.open(USAGE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._ground.private.fd)
            try:
                return int(os.read(fd, 32))
            finally:
                os.close(fd)
        return None

    def _set(self, used: int) -> None:
        private = self._ground.private
        with suppress(FileNotFoundError):
            private.unlink(_NEW)
        file = private.create(_NEW)
        try:
            file.write([b"%d\n" % used])
        finally:
            file.close()
        private.rename(_NEW, USAGE)
