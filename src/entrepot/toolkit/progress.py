"""How far a download is: told to a callback, or drawn on a terminal when that is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

# Called with the bytes that are there and the size of the whole (None: unknown), from the downloading thread.
Progress = Callable[[int, int | None], None]
_DRAW_SECONDS = 0.1
_WIDTH = 30
_MB = 1e6


def reporter(progress: Progress | bool | None, stream: TextIO | None = None) -> Progress:
    """The callback; with True a bar on standard error if that is a terminal; else nothing."""
    if callable(progress):
        return progress
    stream = stream or sys.stderr
    return Bar(stream) if progress and stream and stream.isatty() else _silent


class Bar:
    """One line that is drawn over and over, ended by a line break when all is there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if done != total and now - self._drawn < _DRAW_SECONDS:
            return
        self._drawn = now
        rate = done / _MB / max(now - self._begun, 1e-3)
        self._stream.write(f"\r{_bar(done, total)}{rate:8.1f} MB/s" + ("\n" if done == total else ""))
        self._stream.flush()


def _bar(done: int, total: int | None) -> str:
    if not total:
        return f"{done / _MB:10.1f} MB"
    full = _WIDTH * done // total
    return f"[{'#' * full}{'.' * (_WIDTH - full)}] {done / total:4.0%} of {total / _MB:.1f} MB"


def _silent(done: int, total: int | None) -> None:
    pass
