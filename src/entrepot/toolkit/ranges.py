"""One body over several connections, where that is faster: for servers that limit each connection, not the client.

It begins with the reply that is there. When that is slow, the rest comes as ranges over several connections for a
while; the better of both is kept. Pieces are read in order, so that writing, hashing and resuming know nothing of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from entrepot.fetch import Call, FetchError, Response
from entrepot.fetch.errors import Truncated

MIB = 1024 * 1024
SMALLEST = 64 * MIB  # bytes that must be left
PIECE = 8 * MIB
PROBE_SECONDS = 2.0
# Above this one connection is limited by the client: measured on the loopback, where more of them are slower.
FAST = 200 * MIB
GAIN = 1.2  # how much faster several must be to stay

# Opens the bytes [begin, end) of the very version that the download began with. Without a call of its own it is ended
# by that of the whole download. Raises FetchError.
OpenRange = Callable[[int, int, Call | None], Response]
_HEED_SECONDS = 0.2


class Adaptive:
    """A transfer.Source that begins with `first`, whose body begins at `at` and ends with the file, at `total`.

    `heed` raises when the download was cancelled.
    """

    def __init__(
        self,
        first: Response,
        at: int,
        total: int,
        open_range: OpenRange,
        connections: int,
        heed: Callable[[], None],
    ) -> None:
        self._open = open_range
        self._connections = connections
        self._heed = heed
        self._at, self._total = at, total
        self._now: Response | _Several = first
        self._rate = 0.0
        self._settled = total - at < SMALLEST
        self._meter = _Meter()

    @property
    def length(self) -> int:
        return self._total - self._at

    def readinto(self, buffer: memoryview) -> int:
        if not self._settled and self._meter.full:
            self._weigh()
        try:
            got = self._now.readinto(buffer)
        except FetchError:
            if not isinstance(self._now, _Several):
                raise
            # Some servers want no more than one from us.
            self._heed()
            self._settled = True
            self._change(self._open(self._at, self._total, None))
            got = self._now.readinto(buffer)
        self._at += got
        self._meter.add(got)
        return got

    def _weigh(self) -> None:
        """One was measured: several are tried. Several were measured: they stay, or one goes on."""
        rate, self._meter = self._meter.rate, _Meter()
        if not self._rate:
            self._rate = rate
            if rate < FAST and self._total - self._at >= SMALLEST:
                self._change(_Several(self._open, self._at, self._total, self._connections, self._heed))
            else:
                self._settled = True
            return
        self._settled = True
        if rate < self._rate * GAIN:
            self._change(self._open(self._at, self._total, None))

    def _change(self, source: Response | _Several) -> None:
        self._now.close()
        self._now = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._now.close()


class _Meter:
    """Bytes a second since it was made. `full` when enough was seen."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bytes = 0

    def add(self, count: int) -> None:
        self._bytes += count

    @property
    def full(self) -> bool:
        return self._bytes > 0 and time.monotonic() - self._begun >= PROBE_SECONDS

    @property
    def rate(self) -> float:
        return self._bytes / max(time.monotonic() - self._begun, 1e-6)


class _Several:
    """Pieces of a file, fetched by threads and given out in order; at most two a thread are held."""

    def __init__(self, open_range: OpenRange, at: int, total: int, connections: int, heed: Callable[[], None]) -> None:
        self._open = open_range
        self._heed = heed
        self._at, self._total = at, total
        self._next = at
        self._window = 2 * connections * PIECE
        self._held: dict[int, memoryview] = {}
        self._failure: FetchError | None = None
        self._call = Call()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def readinto(self, buffer: memoryview) -> int:
        if self._at >= self._total:
            return 0
        with self._changed:
            while self._at not in self._held:
                if self._failure:
                    raise self._failure
                self._changed.wait(_HEED_SECONDS)
                self._heed()
            piece = self._held.pop(self._at)
            taken = min(len(piece), len(buffer))
            self._at += taken
            if taken < len(piece):
                self._held[self._at] = piece[taken:]
            self._changed.notify_all()
        buffer[:taken] = piece[:taken]
        return taken

    def close(self) -> None:
        self._call.cancel()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._held.clear()

    def _work(self) -> None:
        try:
            while (begin := self._claim()) is not None:
                end = min(begin + PIECE, self._total)
                piece = self._fetch(begin, end)
                with self._changed:
                    self._held[begin] = piece
                    self._changed.notify_all()
        except FetchError as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _claim(self) -> int | None:
        """The next piece to fetch, when there is room for it; None when there is nothing to do any more."""
        with self._changed:
            while self._next < self._total and self._next >= self._at + self._window:
                if self._call.cancelled or self._failure:
                    return None
                self._changed.wait()
            if self._call.cancelled or self._failure or self._next >= self._total:
                return None
            begin, self._next = self._next, min(self._next + PIECE, self._total)
            return begin

    def _fetch(self, begin: int, end: int) -> memoryview:
        view = memoryview(bytearray(end - begin))
        with self._open(begin, end, self._call) as response:
            got = 0
            while got < len(view) and (more := response.readinto(view[got:])):
                got += more
            if got < len(view):  # a body whose end is not announced may end anywhere
                raise Truncated(response.url, f"{len(view) - got} bytes of a range are missing")
        return view
