"""Standard error: lines for people, and, on a terminal, one more at the end that is drawn again and again."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from entrepot.cli import exits, formats
from entrepot.cli.output import READER_LEFT, Unwritable

if TYPE_CHECKING:
    from entrepot.client.errors import ServerError

_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 5.0
_NO = ("", "0", "false")


class Screen:
    """Used by one thread, but for `waits`. `pause` is how long it may sleep between two calls of `tick`."""

    def __init__(self, *, quiet: bool, environ: Mapping[str, str] = os.environ) -> None:
        self._quiet = quiet
        self._shows = not quiet and not environ.get("ENTREPOT_NO_PROGRESS")
        drawable = sys.stderr.isatty() and environ.get("TERM") != "dumb" and environ.get("CI", "") in _NO
        self._live = self._shows and drawable
        self.pause = _REDRAW_SECONDS if self._live else _LINE_SECONDS
        self._last = time.monotonic()
        self._drawn = 0
        self._notices: deque[str] = deque()
        self._noticed = ""

    def waits(self, seconds: float, error: ServerError) -> None:
        """The server asks to wait: shown by the next `tick`, and once for all transfers that wait for the same. May be
        called from any thread."""
        self._notices.append(f"The server asks to wait {seconds:.0f} s: {error.message} {error.fix}")

    def tick(self, line: Callable[[int | None], str]) -> None:
        """Show the line when it is time to; `line` gets the width that it may have."""
        while self._notices:
            notice = self._notices.popleft()
            reason = notice.partition(": ")[2]
            if reason != self._noticed:
                self._noticed = reason
                self.say(notice)
        now = time.monotonic()
        if not self._shows or now - self._last < self.pause:
            return
        self._last = now
        if self._live:
            text = line(_width() - 1)  # in the last column some terminals begin a new line
            wide = formats.cells(text)
            print("\r" + text + " " * (self._drawn - wide), end="", file=sys.stderr, flush=True)
            self._drawn = wide
        else:
            print(line(None), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the drawn line away, before anything else is printed."""
        if self._drawn:
            print("\r" + " " * self._drawn + "\r", end="", file=sys.stderr, flush=True)
            self._drawn = 0

    def say(self, text: str) -> None:
        """A line that may interest a person; nothing with --quiet."""
        if not self._quiet:
            self.clear()
            print(exits.one_line(text), file=sys.stderr, flush=True)

    def complain(self, failure: exits.Failure) -> None:
        """Say what failed; always."""
        self.clear()
        exits.complain(failure.message, failure.fix, failure.detail)

    def answer(self, text: str) -> None:
        """What was asked for or done, to standard output. What that does not take is told to standard error: no
        transfer stops for its report."""
        self.clear()
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self.complain(exits.Failure(exits.FAILURE, f"The standard output cannot be written: {READER_LEFT}."))
            self._lost(text)
        except Unwritable as failure:
            if failure.reason != READER_LEFT:  # which was said once: what follows is what others went on to do
                self.complain(exits.Failure(failure.code, failure.message))
            self._lost(text)

    def _lost(self, text: str) -> None:
        print(f"  not written: {exits.printable(text)}", file=sys.stderr, flush=True)


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
