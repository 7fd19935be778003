"""Block checksums: made while a segment is written, checked before a byte of it leaves (docs/threats.md I4).

`blocks` is always the form kept in a `Segment`: 8 bytes XXH3-64, big-endian, for every 64 KiB block in order.
"""

from __future__ import annotations

from xxhash import xxh3_64, xxh3_64_digest

from entrepot.domain.objects import BLOCK_SIZE, DIGEST_SIZE


class BlockHasher:
    """Takes the bytes of one segment in pieces of any size."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._open = xxh3_64()
        self._room = BLOCK_SIZE

    def update(self, data: bytes | memoryview) -> None:
        """Append `data`; whole blocks in it are hashed in place."""
        view = memoryview(data)
        if self._room < BLOCK_SIZE:
            view = self._fill(view)
        whole = len(view) - len(view) % BLOCK_SIZE
        self._done += checksums(view[:whole])
        self._fill(view[whole:])

    def blocks(self) -> bytes:
        """The checksums so far; a block that is not full counts as the last one."""
        return bytes(self._done) + (self._open.digest() if self._room < BLOCK_SIZE else b"")

    def _fill(self, view: memoryview) -> memoryview:
        """Give the open block what it has room for; returns the rest."""
        head, rest = view[: self._room], view[self._room :]
        self._open.update(head)
        self._room -= len(head)
        if not self._room:
            self._done += self._open.digest()
            self._open.reset()
            self._room = BLOCK_SIZE
        return rest


def checksums(data: bytes | memoryview) -> bytes:
    """The checksums of `data`, which starts at the start of a block; its last block may be short."""
    view = memoryview(data)
    starts = range(0, len(view), BLOCK_SIZE)
    return b"".join([xxh3_64_digest(view[start : start + BLOCK_SIZE]) for start in starts])


def verify(chunk: bytes | memoryview, first_block: int, blocks: bytes) -> bool:
    """Whether `chunk` is the blocks from number `first_block` on, of a segment with these `blocks`.

    The chunk must end where a block ends, or where the segment ends. Copies nothing.
    """
    found = checksums(chunk)
    start = first_block * DIGEST_SIZE
    return found == blocks[start : start + len(found)]
