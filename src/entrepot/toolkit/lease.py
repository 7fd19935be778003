"""One download at a time of a URL into a folder: a kernel lock, which ends with its holder however that ends.

It only saves work. Whoever cannot have it (no locks on this file system, a holder that hangs) downloads on its own:
temporary files are private, and a finished one gets its name in one step.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from entrepot.client.owner import is_private
from entrepot.client.partial import HIDDEN, try_lock
from entrepot.fetch import Call
from entrepot.toolkit.naming import is_sound

HANGS_SECONDS = 60.0  # a holder that shows no sign of life for so long is waited for no more
_POLL_SECONDS = 0.02
_POLL_MOST = 0.2
_BEAT_SECONDS = 1.0


class Lease:
    """Use it in a `with` block, which waits. `done` is what the one before left: name and size of the finished file."""

    def __init__(self, folder: Path, key: str, call: Call, shown: str) -> None:
        self._path = folder / f"{HIDDEN}{key}.lock"
        self._call = call
        self._shown = shown
        self._fd = -1
        self._beaten = 0.0
        self.done: tuple[str, int] | None = None

    def beat(self) -> None:
        """Show that the holder lives, at most once a second."""
        now = time.monotonic()
        if self._fd >= 0 and now - self._beaten > _BEAT_SECONDS:
            self._beaten = now
            with suppress(OSError):
                os.utime(self._fd)

    def finish(self, name: str, size: int) -> None:
        """Tell those who wait that the file is there."""
        if self._fd >= 0:
            with suppress(OSError):
                os.write(self._fd, json.dumps({"name": name, "size": size}).encode())

    def __enter__(self) -> Self:
        with suppress(OSError):  # a folder that takes no files: the download will say so
            while not self._tried():
                pass
        return self

    def _tried(self) -> bool:
        """Wait once; False when the file lost its name meanwhile and there is another to wait for."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            # One that another user planted is neither waited for, nor believed, nor written to.
            if not is_private(fd, self._path.parent) or not self._wait(fd):
                return True
            if os.fstat(fd).st_nlink:
                os.ftruncate(fd, 0)  # one who was killed may have left something
                self._fd, fd = fd, -1
                return True
            self.done = _left_by(fd)
            return self.done is not None
        finally:
            if fd >= 0:
                os.close(fd)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                self._path.unlink()  # while it is held: who waits for it sees that it has no name any more
            os.close(self._fd)
            self._fd = -1

    def _wait(self, fd: int) -> bool | None:
        """Whether it is held; None when it cannot be, or when its holder hangs. Raises Cancelled."""
        pause, seen, since = _POLL_SECONDS, 0.0, time.monotonic()
        while (locked := try_lock(fd)) is False:
            beat = os.fstat(fd).st_mtime
            if beat != seen:
                seen, since = beat, time.monotonic()
            elif time.monotonic() - since > HANGS_SECONDS:
                return None
            self._call.wait(pause, self._shown)
            pause = min(pause * 1.5, _POLL_MOST)
        return locked


def _left_by(fd: int) -> tuple[str, int] | None:
    try:
        value = json.loads(os.pread(fd, 4096, 0))
        name, size = str(value["name"]), int(value["size"])
        return (name, size) if is_sound(name) else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
