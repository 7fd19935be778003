"""The first bytes of a stored file: they decide its type, and show whether its bytes still exist."""

from __future__ import annotations

import contextlib

from entrepot.domain.objects import BLOCK_SIZE, Segment
from entrepot.metadata.objects import ObjectRecords
from entrepot.service.request_bodies import HEAD_SIZE
from entrepot.storage.base import BlobMissing, Storage
from entrepot.storage.blocks import verify


class Damaged(Exception):
    """Stored bytes are gone, or are not what was stored."""


async def read_head(objects: ObjectRecords, storage: Storage, segment: Segment) -> bytes:
    """The first 4 KiB of a segment, verified. Raises Damaged, StorageFailed."""
    return await head_of(storage, segment, await objects.blocks(segment.key))


async def head_of(storage: Storage, segment: Segment, blocks: bytes | None) -> bytes:
    """The same, of a segment whose block digests are at hand."""
    try:
        async with contextlib.aclosing(storage.read(segment.key, 0, min(BLOCK_SIZE, segment.size))) as pieces:
            block = b"".join([piece async for piece in pieces])
    except BlobMissing:
        raise Damaged(f"the segment {segment.key} is missing") from None
    if blocks is None or not verify(block, 0, blocks):
        raise Damaged(f"the segment {segment.key} is not what was stored")
    return block[:HEAD_SIZE]
