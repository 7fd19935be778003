"""What an upload sends, cut into parts, with the SHA-256 of each and of the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from entrepot.client.commands import Call, Flow
from entrepot.client.errors import SourceError
from entrepot.client.sources import AsyncStream, BytesSource, Source, Stream, changed, digest
from entrepot.client.types import MIB

# Of an upload (docs/protocol.md 2.5); the server takes no more.
MAX_PARTS = 10_000
# A stream's parts grow every so many, because nobody knows how many will come.
_GROW_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a source."""

    number: int
    source: Source
    start: int
    size: int

    def digest(self) -> bytes:
        """Read it; its SHA-256."""
        return digest(self.source, self.start, self.size)


@dataclass(slots=True)
class FileMaterial:
    """Something that can be read again: every way begins at its first byte.

    Of what goes in parts only those are hashed, as they are sent, and the server's digest of each is compared: to hash
    the whole beside them would take as much processor time again, and its digest follows from the verified parts, which
    the server has hashed too. `digests` are those of the parts that the server has, by number.
    """

    source: Source
    part_size: int
    digests: dict[int, bytes] = field(default_factory=dict)
    sha256: bytes | None = None
    spent = False

    def __post_init__(self) -> None:
        least = -(-self.source.size // MAX_PARTS)
        if least > self.part_size:
            self.part_size = -(-least // MIB) * MIB

    @property
    def size(self) -> int:
        return self.source.size

    @property
    def count(self) -> int:
        return max(1, -(-self.size // self.part_size))

    def hash_all(self, report: Callable[[int], None]) -> Flow[bytes]:
        """Read everything; the SHA-256 of the whole."""
        if self.sha256 is None:
            self.sha256 = yield Call(partial(digest, self.source, 0, self.size, report=report))
        return self.sha256

    def hash_parts(self, report: Callable[[int], None]) -> Flow[dict[int, bytes]]:
        """Read everything; the SHA-256 of each part by its number, and that of the whole."""
        whole, found = hashlib.sha256(), dict[int, bytes]()
        for number in range(1, self.count + 1):
            start, size = self._place(number)
            found[number] = yield Call(partial(digest, self.source, start, size, whole, report=report))
        self.sha256 = whole.digest()
        return found

    def hash_again(self, report: Callable[[int], None]) -> Flow[None]:
        """Read everything once more and compare it with what was sent. Raises SourceChanged."""
        for number, known in sorted(self.digests.items()):
            start, size = self._place(number)
            if (yield Call(partial(digest, self.source, start, size, report=report))) != known:
                raise changed(f"Part {number} of the file was written to")
        if not self.digests and (yield Call(partial(digest, self.source, 0, self.size, report=report))) != self.sha256:
            raise changed("The file was written to")

    def part(self, number: int) -> Flow[Part | None]:
        """The part of that number, from 1; None after the last."""
        yield from ()
        return Part(number, self.source, *self._place(number)) if 1 <= number <= self.count else None

    def _place(self, number: int) -> tuple[int, int]:
        start = (number - 1) * self.part_size
        return start, min(self.part_size, self.size - start)


@dataclass(slots=True)
class StreamMaterial:
    """What comes once and has no known size. Parts are held in memory while they are sent."""

    stream: Stream
    part_size: int
    first: BytesSource
    size: int = 0
    taken: int = 0
    _whole: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> bytes:
        """Of all parts taken: a stream is not read twice, so it is hashed as it comes."""
        return self._whole.digest()

    @property
    def spent(self) -> bool:
        """Whether bytes are gone that another way would need."""
        return self.taken > 1

    def part(self, number: int) -> Flow[Part | None]:
        """The next part; None after the last."""
        source = self.first
        if number > 1:
            source = yield from taken(self.stream, self.part_size * (1 + number // _GROW_EVERY))
            if not source.size:
                return None
            if number > MAX_PARTS:
                message = f"The stream is longer than {MAX_PARTS} parts."
                raise SourceError(message, "Upload it with a larger part_size, or as a file.")
        elif self.taken:  # another way begins with the same first part
            self._whole, self.size = hashlib.sha256(), 0
        self.taken, self.size = number, self.size + source.size
        yield Call(partial(self._whole.update, source.read(0, source.size)))
        return Part(number, source, 0, source.size)


def material_of(source: Source | Stream, part_size: int) -> Flow[FileMaterial | StreamMaterial]:
    """What is to be sent of a source; a stream that ends within its first part is as good as bytes."""
    if not isinstance(source, Stream):
        return FileMaterial(source, part_size)
    first = yield from taken(source, part_size)
    return FileMaterial(first, part_size) if source.ended else StreamMaterial(source, part_size, first)


def taken(stream: Stream, size: int) -> Flow[BytesSource]:
    """The next bytes of a stream."""
    work = stream.take_async if isinstance(stream, AsyncStream) else stream.take
    source: BytesSource = yield Call(partial(work, size))
    return source
