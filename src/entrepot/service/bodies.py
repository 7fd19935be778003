"""Bodies on their way in: bounded, measured, checked against what the client declared, and freed when refused."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.storage.base import Hash, Storage, Stored

HEAD_SIZE = 4096  # bytes that decide what a file is


@dataclass(frozen=True, slots=True)
class Body:
    """`length` is the declared one; `expected` are digests that the client declared.

    `lifecycle` may say what the begin of the upload left open.
    """

    stream: AsyncIterator[bytes]
    length: int | None = None
    content_type: str | None = None
    expected: tuple[Expected, ...] = ()
    lifecycle: Lifecycle = Lifecycle()


@dataclass(frozen=True, slots=True)
class Received:
    """Durable bytes that no row names yet, and their first 4 KiB."""

    stored: Stored
    head: bytes


# `Storage.put`, or `Storage.write_part` for one part.
Write = Callable[[AsyncIterator[bytes], Mapping[str, str], list[Hash]], Awaitable[Stored]]


class Receiver:
    """Takes bodies of at most `limit` bytes."""

    def __init__(self, storage: Storage, limit: int) -> None:
        self._storage = storage
        self._limit = limit

    def check_length(self, body: Body) -> None:
        """Raise Problem(TOO_LARGE) for a declared length above the limit, before a byte is read."""
        if body.length is not None and body.length > self._limit:
            raise self._too_large()

    async def receive(self, body: Body, facts: Mapping[str, str]) -> Received:
        """Store a body; see `Storage.put`. Raises Problem, and leaves nothing then."""
        return await self.receive_by(self._storage.put, body, facts)

    async def receive_by(self, write: Write, body: Body, facts: Mapping[str, str]) -> Received:
        """Store a body with a write of the storage."""
        self.check_length(body)
        head = bytearray()
        hashers = [expected.hasher() for expected in body.expected]
        stored = await write(_with_head(self.bounded(body), head), facts, list(hashers))
        for expected, hasher in zip(body.expected, hashers, strict=True):
            if not hmac.compare_digest(hasher.digest(), expected.value):
                await self.discard(stored)
                raise Problem(Code.DIGEST_MISMATCH, f"The {expected.algorithm} of the body is not the declared one.")
        return Received(stored, bytes(head))

    async def measure(self, body: Body) -> tuple[int, bytes]:
        """Size and SHA-256 of a body that is compared and not kept."""
        hasher, size = hashlib.sha256(), 0
        async for chunk in self.bounded(body):
            size += len(chunk)
            hasher.update(chunk)
        return size, hasher.digest()

    async def discard(self, stored: Stored) -> None:
        """Free bytes that no row will ever name, even when the client is gone meanwhile."""
        await asyncio.shield(self._storage.delete([s.key for s in stored.segments]))

    async def bounded(self, body: Body) -> AsyncIterator[bytes]:
        """The body's stream, refused above the limit and when it is not as long as it declared to be."""
        received = 0
        async for chunk in body.stream:
            received += len(chunk)
            if received > self._limit:
                raise self._too_large()
            yield chunk
        if body.length is not None and received != body.length:
            raise Problem(Code.INVALID_REQUEST, f"The body has {received} bytes, {body.length} were declared.")

    def _too_large(self) -> Problem:
        return Problem(Code.TOO_LARGE, f"The body is larger than the limit of {self._limit} bytes.")


async def _with_head(stream: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async for chunk in stream:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        yield chunk
