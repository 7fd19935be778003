"""The writer of one body to segment files: all of it durable, or nothing left of it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from hashlib import sha256

from entrepot.domain.objects import Segment
from entrepot.reading import read_waiting
from entrepot.storage.base import Hash, Stored
from entrepot.storage.blocks import BlockHasher
from entrepot.storage.segment_folders import SegmentFolders

log = logging.getLogger(__name__)

# A batch of so many bytes is hashed by another thread while it is written: SHA-256 takes as long as the write does.
BESIDE_FROM = 512 * 1024
_REREAD = 1024 * 1024
Beside = Callable[[Callable[[Sequence[bytes]], None], Sequence[bytes]], Future[None]]


class SegmentFile:
    """A segment that is being written, with the handles of its file and of the folder that names it."""

    def __init__(self, folders: SegmentFolders) -> None:
        self._key, self._folder, self._file = folders.create()
        self._hasher = BlockHasher()

    @property
    def key(self) -> str:
        return self._key

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.size

    def write(self, views: Sequence[memoryview]) -> None:
        """Append `views` in order."""
        self._file.write(views)
        for view in views:
            self._hasher.update(view)

    def copy(self, source: int, start: int, size: int) -> Iterator[bytes]:
        """Append bytes of another open file, and yield them as they lie here now: these are hashed."""
        self._file.copy(source, start, size)
        for offset in range(0, size, _REREAD):
            piece = read_waiting(self._file.fd, min(_REREAD, size - offset), offset)
            self._hasher.update(piece)
            yield piece

    def settle(self, facts: Mapping[str, str]) -> None:
        """Make it durable: bytes and facts first, then the name."""
        self._file.set_facts(facts)
        self._file.sync()
        self._folder.sync()
        self._close()

    def described(self) -> Segment:
        """The row of this segment."""
        return Segment(self._key, self.size, self._hasher.blocks())

    def drop(self, folders: SegmentFolders) -> None:
        """Free the handles and remove the file, as far as the disk lets us: a sweep finds what stays."""
        try:
            if self._folder.is_open:
                self._folder.unlink(self._key.rpartition("/")[2])  # needs no new handle, there may be none
            else:
                folders.remove(self._key)
        except FileNotFoundError:
            pass
        except OSError:
            log.warning("could not remove %s after a failed write", self._key, exc_info=True)
        finally:
            self._close()

    def _close(self) -> None:
        with closing(self._folder):
            self._file.close()


class SegmentWriter:
    """A writer that cuts one body into segments of `segment_size` bytes. Its methods block; only one may run at a time.

    `hashes` are updated with the bytes in order.
    """

    def __init__(
        self,
        folders: SegmentFolders,
        facts: Mapping[str, str],
        hashes: Sequence[Hash],
        segment_size: int,
        beside: Beside,
        length: int | None = None,
    ) -> None:
        self._folders = folders
        self._beside = beside
        self._facts = dict(facts)
        self._whole = sha256()
        self._hashes = (self._whole, *hashes)
        self._segment_size = segment_size
        self._length = length
        self._segments: list[SegmentFile] = []

    def write(self, pieces: Sequence[bytes]) -> list[SegmentFile]:
        """Append `pieces`; returns the segments that this filled, still to be settled."""
        if sum(map(len, pieces)) < BESIDE_FROM:
            self._hash(pieces)
            return self._append(pieces)
        hashing = self._beside(self._hash, pieces)
        try:
            return self._append(pieces)
        finally:
            hashing.result()

    def copy(self, source: int, start: int, size: int) -> list[SegmentFile]:
        """Append a segment that is a copy of bytes of an open file; returns it when it is full, still to be settled."""
        segment = self._growing()
        for piece in segment.copy(source, start, size):
            self._hash([piece])
        return [segment] if segment.size == self._segment_size else []

    def _hash(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            for hasher in self._hashes:
                hasher.update(piece)

    def _append(self, pieces: Sequence[bytes]) -> list[SegmentFile]:
        full = []
        views = [memoryview(piece) for piece in pieces if piece]
        while views:
            segment = self._growing()
            run, views = split(views, self._segment_size - segment.size)
            segment.write(run)
            if segment.size == self._segment_size:
                full.append(segment)
        return full

    def settle(self, segment: SegmentFile) -> None:
        """Make one full segment durable; may run beside the other methods.

        Beside the given facts it records which attempt it is part of and its index there, so that a body can be put
        together again without the database.
        """
        place = {"attempt": self._segments[0].key, "segment": str(self._segments.index(segment))}
        segment.settle({**place, **self._facts})

    def finish(self, pieces: Sequence[bytes]) -> Stored:
        """Append the last pieces and settle what `write` has not returned. Raises OSError when it is not `length` bytes
        in all."""
        full = self.write(pieces)
        size = sum(segment.size for segment in self._segments)
        if self._length not in (None, size):
            raise OSError(errno.EIO, f"the stream has {size} bytes, not {self._length} as was said")
        for segment in full:
            self.settle(segment)
        if self._segments and self._segments[-1].size < self._segment_size:
            self.settle(self._segments[-1])
        segments = tuple(segment.described() for segment in self._segments)
        return Stored(segments, size, self._whole.digest())

    def undo(self) -> None:
        """Remove everything that was written."""
        for segment in self._segments:
            segment.drop(self._folders)

    def _growing(self) -> SegmentFile:
        if not self._segments or self._segments[-1].size == self._segment_size:
            self._segments.append(SegmentFile(self._folders))
        return self._segments[-1]


def split(views: Sequence[memoryview], size: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first `size` bytes of `views`, and the rest. No copies."""
    for index, view in enumerate(views):
        if size <= len(view):
            rest = [view[size:]] if size < len(view) else []
            return [*views[:index], view[:size]], [*rest, *views[index + 1 :]]
        size -= len(view)
    return list(views), []
