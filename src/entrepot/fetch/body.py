"""The three ways in which the end of a reply's body is told (RFC 9112 section 6.3), each read into a buffer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from entrepot.fetch.head import Malformed

Recv = Callable[[memoryview], int]
_MAX_LINE = 4096
_MAX_TRAILERS = 64
# Bytes around chunks beyond what honest ones need, before it is more wrapping than content.
_MAX_WRAPPING = 16 * 1024
_WRAPPING = 16  # a chunk, that holds little


class Short(EOFError):
    """The connection ended before the body did."""


class Source(Protocol):
    """Bytes of a connection, those first that came together with the head."""

    def readinto(self, view: memoryview) -> int:
        """Put some bytes at the front of `view` and return how many; 0 at the end of the connection."""

    def line(self, limit: int) -> bytes:
        """The next line without its end. Raises Malformed when it is longer, Short when the connection ends."""


class Body(Protocol):
    def readinto(self, view: memoryview) -> int:
        """Some bytes of the body, 0 at its end. Raises Short, Malformed."""


class Empty:
    def readinto(self, view: memoryview) -> int:
        return 0


class Counted:
    """So many bytes."""

    def __init__(self, source: Source, length: int) -> None:
        self._source = source
        self._left = length

    def readinto(self, view: memoryview) -> int:
        if not self._left:
            return 0
        got = self._source.readinto(view[: self._left])
        if not got:
            raise Short(f"{self._left} bytes are missing")
        self._left -= got
        return got


class UntilEnd:
    """All that comes: nobody can tell whether it is whole."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def readinto(self, view: memoryview) -> int:
        return self._source.readinto(view)


class Chunked:
    """Pieces with their sizes before them; trailers are read and dropped."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._wrapping = 0
        self._first = True
        self._done = False

    def readinto(self, view: memoryview) -> int:
        if not self._left and not self._done:
            self._begin()
        if self._done:
            return 0
        got = self._source.readinto(view[: self._left])
        if not got:
            raise Short("the connection ended inside a chunk")
        self._left -= got
        return got

    def _begin(self) -> None:
        if not self._first and self._source.line(_MAX_LINE):
            raise Malformed("its chunks are not as long as they say")
        self._first = False
        line = self._source.line(_MAX_LINE)
        size = re.fullmatch(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", line)
        if not size:
            raise Malformed("its chunks have no sizes")
        self._left = int(size[1], 16)
        self._wrapping = max(self._wrapping + len(line) - _WRAPPING - 2 * self._left, 0)
        if self._wrapping > _MAX_WRAPPING:
            raise Malformed("its chunks are more wrapping than content")
        if not self._left:
            self._done = True
            self._end()

    def _end(self) -> None:
        for _ in range(_MAX_TRAILERS):
            if not self._source.line(_MAX_LINE):
                return
        raise Malformed("its reply has too many trailers")
