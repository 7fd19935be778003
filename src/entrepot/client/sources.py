"""What is uploaded: files and bytes that can be read again at any place, and streams that are read once."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from entrepot.client.errors import SourceChanged, SourceError
from entrepot.client.local import expanded

Data = str | bytes | bytearray | memoryview | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]
CHUNK = 1024 * 1024
# File systems tell times in ticks of the kernel, which are 10 ms or less.
_TICK_SECONDS = 0.02


class Source(Protocol):
    """Bytes that can be read again. Its methods may block and are safe in several threads."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, size: int) -> bytes | memoryview:
        """Exactly `size` bytes from `start` on. Raises SourceChanged when they are not there, SourceError."""
        ...

    def check(self) -> None:
        """Raise SourceChanged when this is not what it was when it was opened."""
        ...

    def touched(self) -> bool:
        """Whether something was done to it that `check` accepts, but that may hide a change."""
        ...

    def settle(self) -> None:
        """Wait until every later change can be told from those before. To be called before the first byte is read."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file is recognised by when its upload goes on later."""

    path: str
    size: int
    modified_ns: int


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        # What lies scattered, or has no extent in some direction, has to be gathered.
        self._data = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(bytes(view))

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, start: int, size: int) -> memoryview:
        return self._data[start : start + size]

    def check(self) -> None:
        """Nobody else has these bytes, or who has them must leave them alone."""

    def touched(self) -> bool:
        """Never: see `check`."""
        return False

    def settle(self) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        self._data.release()


class FileSource:
    """A regular file, held open. It counts as changed when its size or time of change differ, or when another file
    has taken its name."""

    def __init__(self, fd: int, path: Path | None, start: int = 0) -> None:
        """Takes `fd` over. `path` None: the file is known by its handle alone."""
        self._fd = fd
        self._path = path
        self._start = start
        self._begun = os.fstat(fd)
        self._closing = threading.Lock()

    @property
    def size(self) -> int:
        return max(0, self._begun.st_size - self._start)

    @property
    def identity(self) -> Identity | None:
        if self._path is None or self._start:
            return None
        return Identity(os.path.realpath(self._path), self._begun.st_size, self._begun.st_mtime_ns)

    def read(self, start: int, size: int) -> bytes:
        try:
            data = os.pread(self._fd, size, self._start + start)
            while len(data) < size:  # a signal or a network file system may give less
                more = os.pread(self._fd, size - len(data), self._start + start + len(data))
                if not more:
                    raise self._changed("is shorter than it was")
                data += more
        except OSError as error:
            raise SourceError(
                f"{self._name()} cannot be read: {error.strerror}.", "Check the file and its disk."
            ) from error
        return data

    def check(self) -> None:
        if _facts(os.fstat(self._fd)) != _facts(self._begun):
            raise self._changed("was written to")
        if self._path is None:
            return
        try:
            now = os.stat(self._path)
        except OSError:
            raise self._changed("is not there any more") from None
        if (now.st_dev, now.st_ino) != (self._begun.st_dev, self._begun.st_ino):
            raise self._changed("was replaced")

    def touched(self) -> bool:
        # Who writes and then sets the time back, and who makes a hard link or sets rights.
        return os.fstat(self._fd).st_ctime_ns != self._begun.st_ctime_ns

    def settle(self) -> None:
        # Who writes through a mapping changes the time only at the first write after the page went to the disk.
        with suppress(OSError):
            os.fsync(self._fd)
        if abs(time.time() - self._begun.st_mtime_ns / 1e9) < _TICK_SECONDS:
            time.sleep(_TICK_SECONDS)
            self.check()

    def close(self) -> None:
        with self._closing:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _changed(self, how: str) -> SourceChanged:
        return changed(f"{self._name()} {how}")

    def _name(self) -> str:
        return str(self._path) if self._path else "The file"


def changed(how: str) -> SourceChanged:
    """The error: `how` has a subject and a verb."""
    fix = "Upload it again when nobody writes to it. Nothing was published."
    return SourceChanged(f"{how} while it was uploaded.", fix)


class Stream:
    """Bytes that come once, in pieces of any size: a pipe, an iterator, a file object that cannot seek."""

    def __init__(self, more: Callable[[], bytes], close: Callable[[], None] = lambda: None) -> None:
        """`more` gives the next bytes, or none at the end. `close` frees what was opened for it."""
        self._more = more
        self.close = close
        self._held = bytearray()
        self.ended = False

    def take(self, size: int) -> BytesSource:
        """The next `size` bytes, or what is left. Blocks until they are there."""
        while len(self._held) < size and not self.ended:
            self._feed(self._more())
        return self._cut(size)

    def _feed(self, data: bytes) -> None:
        self.ended = not data
        self._held += data

    def _cut(self, size: int) -> BytesSource:
        taken, self._held = self._held[:size], self._held[size:]
        return BytesSource(taken)


class AsyncStream(Stream):
    """A stream that an asynchronous iterator feeds."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(lambda: b"")
        self._pieces = pieces

    async def take_async(self, size: int) -> BytesSource:
        """As `take`."""
        while len(self._held) < size and not self.ended:
            try:
                if piece := _bytes(await anext(self._pieces)):
                    self._feed(piece)
            except StopAsyncIteration:
                self.ended = True
        return self._cut(size)


class Window:
    """A stretch of a source as the body of a request. `report` hears how many bytes were taken, and, when the request
    is sent again, how many did not count.

    The source is checked before the last bytes are given out: a request whose source changed is never whole, so the
    server stores nothing.
    """

    def __init__(self, source: Source, start: int, size: int, report: Callable[[int], None]) -> None:
        self._source = source
        self._start = start
        self.size = size
        self._report = report
        self._taken = 0

    def chunks(self) -> Iterator[bytes]:
        """At most 1 MiB each."""
        self._report(-self._taken)
        self._taken = 0
        while self._taken < self.size:
            chunk = self._source.read(self._start + self._taken, min(CHUNK, self.size - self._taken))
            self._taken += len(chunk)
            if self._taken == self.size:
                self._source.check()
            self._report(len(chunk))
            yield bytes(chunk)


class HashedWindow(Window):
    """A window that is hashed as it is given out: no byte is read twice, and what was sent is what was hashed."""

    def __init__(self, source: Source, start: int, size: int, report: Callable[[int], None]) -> None:
        super().__init__(source, start, size, report)
        self._hasher = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """Of what was given out since the last `chunks`."""
        return self._hasher.digest()

    def chunks(self) -> Iterator[bytes]:
        self._hasher = hashlib.sha256()
        for chunk in super().chunks():
            yield chunk
            self._hasher.update(chunk)  # while the system sends it


def digest(source: Source, start: int, size: int, *more: Any, report: Callable[[int], None] | None = None) -> bytes:
    """The SHA-256 of a stretch; hashers in `more` are fed the same bytes."""
    own = hashlib.sha256()
    position = start
    while position < start + size:
        chunk = source.read(position, min(CHUNK, start + size - position))
        for hasher in (own, *more):
            hasher.update(chunk)
        position += len(chunk)
        if report:
            report(len(chunk))
    return own.digest()


def open_path(path: str | os.PathLike[str]) -> Source | Stream:
    """A file, or `-` for the standard input. Blocks. Raises SourceError for what cannot be uploaded."""
    if path == "-":
        if sys.stdin is None:
            raise SourceError("The standard input is closed.", "Pipe something into it, or name a file.")
        return of_file(sys.stdin.buffer)
    name = Path(expanded(path))
    try:
        kind = os.stat(name).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise _unusable(name, kind)
        fd = os.open(name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}.", "Check the path and who may read it.") from error
    except ValueError as error:
        raise SourceError(f"{name!s}: {error}.", "Check the path.") from error
    kind = os.fstat(fd).st_mode
    if stat.S_ISFIFO(kind) or _tells_no_size(fd):
        pipe = os.fdopen(fd, "rb", buffering=0)
        return Stream(partial(_more, pipe), pipe.close)
    if not stat.S_ISREG(kind):  # it was replaced meanwhile
        os.close(fd)
        raise _unusable(name, kind)
    return FileSource(fd, name)


def of_data(data: Any) -> Source | Stream:
    """Bytes, text, a file object, or an iterable of bytes. Raises SourceError."""
    if isinstance(data, str):
        try:
            return BytesSource(data.encode())
        except UnicodeEncodeError as error:
            raise SourceError("The text cannot be written as UTF-8.", "Pass bytes.") from error
    if isinstance(data, bytes | bytearray | memoryview):
        return BytesSource(data)
    if hasattr(data, "read"):
        return of_file(data)
    if isinstance(data, AsyncIterable):
        return AsyncStream(aiter(data))
    if isinstance(data, Iterable):
        pieces = (_bytes(piece) for piece in data)
        return Stream(lambda: next((piece for piece in pieces if piece), b""))
    raise SourceError(
        f"A {type(data).__name__} cannot be uploaded.", "Pass bytes, a file object or an iterator of bytes."
    )


def of_file(file: IO[bytes]) -> Source | Stream:
    """A binary file object, from where it stands on: read at any place when it is a regular file, else once."""
    if isinstance(file, io.TextIOBase):
        raise SourceError("The file is open as text.", 'Open it as bytes: open(path, "rb").')
    if isinstance(file, io.BytesIO):
        return BytesSource(file.getvalue()[file.tell() :])
    if (fd := _regular(file)) is not None:
        start = file.tell()
        return FileSource(os.dup(fd), None, start)
    return Stream(partial(_more, file))


def _more(file: IO[bytes]) -> bytes:
    try:
        return _bytes(file.read(CHUNK))
    except OSError as error:  # its terminal or disk is gone, or what it unpacks is broken
        closed = isinstance(error, io.UnsupportedOperation)
        reason = "it is not open for reading" if closed else error.strerror or str(error) or type(error).__name__
        raise SourceError(f"The source cannot be read: {reason}.", "Check what it is read from.") from error


def _regular(file: IO[bytes]) -> int | None:
    """The handle of a file object that is a plain file on disk, and not, say, a decompressor around one."""
    raw = file.raw if isinstance(file, io.BufferedReader | io.BufferedRandom) else file
    if not isinstance(raw, io.FileIO):  # a decompressor has a handle too, of what it reads
        return None
    try:
        fd = file.fileno()
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not file.seekable():
            return None
    except OSError:
        return None
    if file.writable():
        file.flush()  # what was written is to be read by another handle
    return fd


def _bytes(piece: Any) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        # None is a file object that does not wait: taken for the end, it would cut the upload short.
        raise SourceError(
            f"The source gives {type(piece).__name__}.", "It must give bytes, and block until it has some."
        )
    return bytes(piece)


def _tells_no_size(fd: int) -> bool:
    """Whether this is a file as in /proc: it says that it is empty, and is not."""
    try:
        return bool(os.pread(fd, 1, 0)) and not os.fstat(fd).st_size
    except OSError:
        return False


def _unusable(path: Path, kind: int) -> SourceError:
    if stat.S_ISDIR(kind):
        return SourceError(
            f"{path} is a folder.", "Upload its files one by one; the command does: entrepot upload FOLDER"
        )
    return SourceError(f"{path} is a device or a socket.", "Pipe what is to be uploaded: ... | entrepot upload -")


def _facts(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
