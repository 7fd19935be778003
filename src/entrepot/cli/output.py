"""The standard streams when they take no more: on a full disk, or closed. No command ends in a traceback then, and none
loses what it has to say without saying so."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from entrepot.cli import exits

READER_LEFT = "its reader has left"


class Unwritable(exits.Failure):
    """Standard output does not take what a command has to say."""

    def __init__(self, reason: str) -> None:
        fix = "Make room, or send the output elsewhere. What the command did is done."
        self.reason = reason
        super().__init__(exits.FAILURE, f"The standard output cannot be written: {reason}.", fix)


class Output:
    """Standard output, as text or, by `buffer`, as bytes. A write or flush that fails raises Unwritable, or
    BrokenPipeError when the reader has left; after a failure every further write does."""

    def __init__(self, stream: Any) -> None:
        """`stream` is None when the process was started without one."""
        self._stream = stream
        self._failed = ""
        if getattr(stream, "errors", "") in ("strict", "surrogateescape"):
            # A name that the encoding of this place has no letters for. In a POSIX locale the latter is the default.
            stream.reconfigure(errors="backslashreplace")

    def write(self, data: Any) -> int:
        if self._stream is None:
            self._failed = "it is closed"
        if self._failed:
            raise Unwritable(self._failed)
        return int(self._tried(lambda: self._stream.write(data)))

    def flush(self) -> None:
        if self._stream is not None and not self._failed:
            self._tried(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    @property
    def buffer(self) -> Output:
        self.flush()
        return Output(self._stream and self._stream.buffer)

    def settle(self) -> int:
        """The exit code that follows from what was written, when that is all. Raises as `flush`."""
        self.flush()
        return exits.FAILURE if self._failed else exits.OK

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BrokenPipeError:
            self._failed = READER_LEFT
            raise
        except OSError as error:
            self._failed = error.strerror or str(error)
            raise Unwritable(self._failed) from None


class Errors(Output):
    """Standard error. Of what it does not take nobody can be told, and no work stops for it."""

    def write(self, data: Any) -> int:
        with suppress(OSError, AttributeError):
            return int(self._stream.write(data))
        return 0

    def flush(self) -> None:
        with suppress(OSError, AttributeError):
            self._stream.flush()


def leave(stream: Any) -> None:
    """Let go of what a stream still holds and cannot write: Python would try again at its end, and fail."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
