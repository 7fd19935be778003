"""A way to end from outside what blocks in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(Exception):
    """What this thread works for has ended."""


class Stop:
    """Set once. Threads that wait or talk to a server meanwhile are woken."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._guard = threading.Lock()
        self._wake: set[Callable[[], None]] = set()

    def set(self) -> None:
        """End what runs, and all that begins from now on."""
        with self._guard:
            self._event.set()
            woken = tuple(self._wake)
        for wake in woken:
            wake()

    def check(self) -> None:
        """Raise Stopped once it is set."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait so long. Raises Stopped."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake`, from another thread, when it is set inside this block. Raises Stopped when it is set before."""
        with self._guard:
            self.check()
            self._wake.add(wake)
        try:
            yield
        finally:
            with self._guard:
                self._wake.discard(wake)
