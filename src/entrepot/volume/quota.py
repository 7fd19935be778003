"""How much the volume holds, and whether more may come. What is staged and what is in the trash counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from entrepot.domain.errors import Code, Problem
from entrepot.volume.ground import USAGE, Ground


class Quota:
    """The count is a file of the volume, changed under its lock, for all processes. It may be wrong after a crash, and
    by what other programs do: the keeper counts anew. All methods block."""

    def __init__(self, ground: Ground, limit: int | None) -> None:
        self._ground = ground
        self.limit = limit

    def room(self) -> int | None:
        """Bytes that may still come; None for no bound. Raises OSError."""
        return None if self.limit is None else max(0, self.limit - self._used())

    @contextmanager
    def changed(self, by: int) -> Iterator[None]:
        """Under the lock, around what adds or frees so many bytes. Raises Problem(QUOTA_EXCEEDED) before it."""
        if self.limit is None:
            yield
            return
        used = self._used()
        if by > 0 and used + by > self.limit:
            raise self.exceeded(max(0, self.limit - used))
        yield
        self._set(max(0, used + by))

    def exceeded(self, room: int) -> Problem:
        return Problem(
            Code.QUOTA_EXCEEDED, f"The volume has room for {room} bytes more.", fix="Delete files, or empty the trash."
        )

    def _used(self) -> int:
        with suppress(FileNotFoundError, ValueError):
            fd = os.open(USAGE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._ground.private.fd)
            try:
                return int(os.read(fd, 32))
            finally:
                os.close(fd)
        return 0

    def _set(self, used: int) -> None:
        raise NotImplementedError
