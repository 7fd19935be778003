"""One fetch that can be ended from another thread."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from entrepot.fetch.errors import Cancelled


class Call:
    """Cancelled once, for good: whoever reads, writes or waits for its sake is woken. Serves one thread at a time."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._guard = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @property
    def cancelled(self) -> bool:
        return self._ended.is_set()

    def cancel(self) -> None:
        """End what runs and all that would begin. Repeatable, from any thread."""
        with self._guard:
            self._ended.set()
            woken = tuple(self._sockets)
        for each in woken:
            with suppress(OSError, ValueError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # not that of TLS, which would talk first

    def check(self, shown: str) -> None:
        """Raises Cancelled."""
        if self._ended.is_set():
            raise Cancelled(shown, "the download was cancelled")

    def wait(self, seconds: float, shown: str) -> None:
        """Sleep. Raises Cancelled."""
        self._ended.wait(seconds)
        self.check(shown)

    def holds(self, connection: socket.socket, shown: str) -> None:
        """From now on `cancel` wakes who waits on this connection. Raises Cancelled."""
        with self._guard:
            self.check(shown)
            self._sockets.add(connection)

    def drops(self, connection: socket.socket) -> None:
        with self._guard:
            self._sockets.discard(connection)


class Over(TimeoutError):
    """The time allowed for the whole is over."""


class Dripping(TimeoutError):
    """Bytes come too slowly."""


class Clock:
    """How long a reader may wait: `stall` seconds for each operation, and until the end of `total`, if there is one."""

    def __init__(self, stall: float, total: float | None) -> None:
        self._stall = stall
        self._end = None if total is None else time.monotonic() + total

    def left(self, bound: float | None = None) -> float:
        """Seconds for the next operation, at most `bound`. Raises Over when there are none."""
        seconds = self._stall if bound is None else min(bound, self._stall)
        if self._end is not None:
            seconds = min(seconds, self._end - time.monotonic())
        if seconds <= 0:
            raise Over("the time allowed for the whole is over")
        return seconds


class Pace:
    """Tells a drip from a slow line: `rate` bytes a second must come, on average over `window` seconds of waiting for
    them. Seconds in which nobody waits do not count: a reader may be as slow as it likes."""

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._window = window
        self._bytes = 0
        self._seconds = 0.0

    def add(self, count: int, seconds: float) -> None:
        """So many bytes came after so many seconds. Raises Dripping."""
        self._bytes += count
        self._seconds += seconds
        if self._seconds < self._window:
            return
        if self._bytes < self._rate * self._seconds:
            raise Dripping(f"only {self._bytes} bytes came in {self._seconds:.0f} seconds")
        self._bytes, self._seconds = 0, 0.0
