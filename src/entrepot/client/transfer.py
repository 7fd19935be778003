"""Moves the body of a reply into a file: received, written and hashed side by side, synced behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Protocol

from entrepot.client.partial import Partial

BLOCK = 1024 * 1024
_BUFFERS = 4
_CHECKPOINT = 16 * BLOCK  # bytes between two notes of how far the file is
_SYNC = 64 * BLOCK
_GATHER_SECONDS = 0.25  # a slow line's bytes are not held back for longer

Moved = Callable[[int], None]


class Source(Protocol):
    """Where a body comes from: one reply, or several that are read in order. `length` in bytes, None if unknown."""

    @property
    def length(self) -> int | None: ...

    def readinto(self, buffer: memoryview, /) -> int:
        """The next bytes at the front of `buffer`; 0 at the end. Raises FetchError."""


def receive(response: Source, partial: Partial, moved: Moved) -> None:
    """Append the whole body to `partial`. `moved` is told after each block how many bytes the file has.

    Raises FetchError, OSError; then the file has what came until then.
    """
    if response.length is not None and response.length <= BLOCK:
        _receive_small(response, partial, moved)
        return
    with _hashing(partial) as hashing, _syncing(partial) as syncing:
        synced = partial.at
        while True:
            buffer = hashing.buffer()
            try:
                got = _fill(response, buffer)
            finally:
                # What came before a failure counts too.
                if ready := buffer.filled:
                    partial.file.write([buffer.view[:ready]])
                    hashing.add(buffer, partial.at)
            if partial.at - synced >= _SYNC:
                synced = partial.at
                syncing()
            moved(partial.at)
            if not got:
                return


def _receive_small(response: Source, partial: Partial, moved: Moved) -> None:
    view = memoryview(bytearray(max(response.length or 0, 1)))
    while got := response.readinto(view):
        partial.file.write([view[:got]])
        partial.sum.update(view[:got])
        moved(partial.at)


class _Buffer:
    def __init__(self) -> None:
        self.view = memoryview(bytearray(BLOCK))
        self.filled = 0


def _fill(response: Source, buffer: _Buffer) -> bool:
    """Read until it is full, or for a moment; False at the end of the body."""
    buffer.filled = 0
    end = time.monotonic() + _GATHER_SECONDS
    while buffer.filled < BLOCK:
        got = response.readinto(buffer.view[buffer.filled :])
        if not got:
            return False
        buffer.filled += got
        if time.monotonic() > end:
            break
    return True


class _Hashing:
    """Hashes what was written, in a thread of its own, and notes from time to time how far the file is."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._free: SimpleQueue[_Buffer] = SimpleQueue()
        self._todo: SimpleQueue[tuple[_Buffer, int] | None] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(_Buffer())
        self._noted = partial.at
        self._thread = threading.Thread(target=self._work, name="entrepot-hash", daemon=True)
        self._thread.start()

    def buffer(self) -> _Buffer:
        """One that is free; waits for it."""
        return self._free.get()

    def add(self, buffer: _Buffer, at: int) -> None:
        """Hash its bytes, which end at `at` in the file."""
        self._todo.put((buffer, at))

    def end(self) -> None:
        """Wait until all is hashed."""
        self._todo.put(None)
        self._thread.join()

    def _work(self) -> None:
        total = self._partial.sum
        while job := self._todo.get():
            buffer, at = job
            total.update(buffer.view[: buffer.filled])
            self._free.put(buffer)
            if at - self._noted >= _CHECKPOINT:
                self._noted = at
                self._partial.checkpoint(at, total.hexdigest())


@contextmanager
def _hashing(partial: Partial) -> Iterator[_Hashing]:
    hashing = _Hashing(partial)
    try:
        yield hashing
    finally:
        hashing.end()


@contextmanager
def _syncing(partial: Partial) -> Iterator[Callable[[], None]]:
    """Begin early to bring bytes to the disk, so that the last sync has little left. That one tells of failures."""
    wanted: SimpleQueue[bool] = SimpleQueue()
    busy = threading.Event()

    def work() -> None:
        while wanted.get():
            with suppress(OSError):
                os.fdatasync(partial.file.fd)
            busy.clear()

    def ask() -> None:
        if not busy.is_set():
            busy.set()
            wanted.put(True)

    thread = threading.Thread(target=work, name="entrepot-sync", daemon=True)
    thread.start()
    try:
        yield ask
    finally:
        wanted.put(False)
        thread.join()
