"""What several clients wrote and read of one name at a time, and whether some order of it all explains the reads.

A write is the span of its request; it happened at some moment in it. A read that returns a value is explained when that
write may have happened before the read ended, and no write that certainly came after it had certainly happened when the
read began. That is what a linearizable register must at least keep to; None stands for a name without a file.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass
class Span:
    value: str | None
    start: float
    end: float = math.inf  # a write that was never answered may happen at any time


@dataclass
class History:
    """Of one name, by any number of threads. It begins without a file."""

    writes: list[Span] = field(default_factory=lambda: [Span(None, 0, 0)])
    reads: list[Span] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def writing(self, value: str | None) -> Iterator[Span]:
        """A write that may have happened from here on, and certainly when the block ends well. A deed that turned out
        to change nothing is taken back by `forget`."""
        span = Span(value, time.monotonic())
        with self._lock:
            self.writes.append(span)
        yield span
        span.end = time.monotonic()

    def forget(self, span: Span) -> None:
        with self._lock:
            self.writes.remove(span)

    @contextmanager
    def reading(self) -> Iterator[Span]:
        """The block sets the value that it read."""
        span = Span("never read", time.monotonic())
        yield span
        span.end = time.monotonic()
        with self._lock:
            self.reads.append(span)

    def unexplained(self) -> list[Span]:
        """The reads that no order explains."""
        return [read for read in self.reads if not any(self._explains(write, read) for write in self.writes)]

    def _explains(self, write: Span, read: Span) -> bool:
        return (
            write.value == read.value
            and write.start <= read.end
            and not any(write.end < later.start and later.end < read.start for later in self.writes)
        )


def content(value: str, size: int) -> bytes:
    """About so many bytes that tell which value they are and whether they are whole."""
    line = f"{value}\n".encode()
    body = line * max(1, size // len(line))
    return body + sha256(body).hexdigest().encode()


def value_of(data: bytes) -> str:
    """The value that these bytes are, all of them; fails when they are a part, or parts of several."""
    body, digest = data[:-64], data[-64:].decode()
    assert sha256(body).hexdigest() == digest, f"{len(data)} bytes are no whole content: {data[:100]!r}"
    return body.partition(b"\n")[0].decode()
