"""Request bodies as they arrive: bounded, measured, compared with what was declared, and freed when refused."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from entrepot.domain import digests
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.fair_queue import FairQueue, fair_share
from entrepot.storage.base import Storage, Stored

HEAD_SIZE = 4096  # bytes that decide what a file is
PATIENCE = 200.0  # seconds that a body waits for a slot
# Bodies that may wait, for each has its first piece in memory: of one key for a slot (or twice the slots, if that is
# more), and of one upload URL for its turn there.
LINE = 64
TARGET_LINE = 32
PER_TARGET = 2  # bodies at once for one upload URL: a client that lost its connection can send again at once


@dataclass(frozen=True, slots=True)
class RequestBody:
    """`length` is the declared one; `expected` are digests that the client declared.

    `lifecycle` may say what the begin of the upload left open. `key` is the id of the key whose right it comes by.
    `check_client` raises when the sender has gone; it is called before what came is published.
    """

    stream: AsyncIterator[bytes]
    length: int | None = None
    content_type: str | None = None
    expected: tuple[Expected, ...] = ()
    lifecycle: Lifecycle = Lifecycle()
    key: str = ""
    check_client: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Received:
    """Durable bytes that no row names yet, and their first 4 KiB."""

    stored: Stored
    head: bytes


class UploadSource(Protocol):
    """Bytes that are to become an object, whatever place they come from."""

    @property
    def content_type(self) -> str | None:
        """The type that came with them."""

    async def store(self, facts: Mapping[str, str], room: int | None) -> Received:
        """Take them in; see `Storage.put`. `room` is what the account may still store. Raises Problem, and leaves
        nothing then."""

    async def measure(self) -> tuple[int, bytes]:
        """Size and SHA-256, when they are compared and not kept. Raises Problem."""


class UploadLimiter:
    """How many bodies a process takes in at once: each needs a few MiB while it does (I9).

    Keys share them fairly (see `fair_share`) and get free ones by turns, so nobody's slow bodies keep those of others
    out. Of one target, an upload URL or a part, `PER_TARGET` bodies are taken in at once; more wait without a slot.
    """

    def __init__(self, number: int) -> None:
        self._turns = FairQueue(fair_share, number)
        self._targets = FairQueue(lambda own, free: own < PER_TARGET, 0)  # however many targets
        self._overdue_left = number
        self._longest_line = max(LINE, 2 * number)
        self._in_line: Counter[str] = Counter()

    def refuse_when_full(self, key: str = "") -> None:
        """Raise Problem(RATE_LIMITED) when a body of this key would have to wait: only for requests that clients
        repeat."""
        if not self._turns.may(key):
            raise _full()

    async def slotted(
        self, stream: AsyncIterator[bytes], key: str = "", target: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """The stream, in a slot from its first bytes on: a client that sends nothing takes none.

        While it waits nothing more is read, so the client feels a slow line. Stock clients send a part once and give up
        after 300 seconds, so the wait ends before, and the body is then taken all the same: as many more as there are
        slots, then RATE_LIMITED is raised.
        """
        with contextlib.ExitStack() as held:
            asked = False
            async for chunk in stream:
                if not asked:
                    asked = True
                    await self._enter(held, key, target)
                yield chunk

    async def _enter(self, held: contextlib.ExitStack, key: str, target: str) -> None:
        if target:
            busy = _full("Other requests are sending to this upload already, and did not end.")
            with self._line(target, TARGET_LINE, busy):
                if not await self._targets.take(target, PATIENCE):
                    raise busy
            held.callback(self._targets.give_back, target)
        with self._line(key, self._longest_line, _full()):
            has_slot = await self._turns.take(key, PATIENCE)
        if has_slot:
            held.callback(self._turns.give_back, key)
        elif self._overdue_left:
            self._count_overdue(-1)
            held.callback(self._count_overdue, 1)
        else:
            raise _full()

    @contextlib.contextmanager
    def _line(self, name: str, longest: int, refusal: Problem) -> Iterator[None]:
        """One more that waits in the line of a key or a target. Raises `refusal` when it is too long."""
        if self._in_line[name] >= longest:
            raise refusal
        self._in_line[name] += 1
        try:
            yield
        finally:
            self._in_line[name] -= 1
            if not self._in_line[name]:
                del self._in_line[name]

    def _count_overdue(self, change: int) -> None:
        self._overdue_left += change


def _full(message: str = "The server takes in as many bodies as it can.") -> Problem:
    return Problem(Code.RATE_LIMITED, message, fix="Send it again after a moment.", retry_after=1)


class Receiver:
    """Takes bodies of at most `limit` bytes."""

    def __init__(self, storage: Storage, limit: int, slots: UploadLimiter) -> None:
        self._storage = storage
        self._limit = limit
        self._slots = slots

    def check_length(self, body: RequestBody, room: int | None = None) -> None:
        """Raise Problem for a declared length above the limit or the account's room, before a byte is read."""
        if body.length is not None:
            self.check_size(body.length, room)

    def check_size(self, size: int, room: int | None = None) -> None:
        """The same for a size that is known in another way."""
        if size > self._bound(room):
            raise self._too_large(room)

    async def receive(self, body: RequestBody, facts: Mapping[str, str], room: int | None) -> Received:
        """Store a body; see `Storage.put`. Raises Problem, and leaves nothing then.

        `room` is what its account may still store, in bytes; None for no bound.
        """
        self.check_length(body, room)
        head = bytearray()
        beside = digests.hashers_beside(body.expected)
        target = f"{facts['object']}/{facts.get('part', '')}"
        stream = self._slots.slotted(_with_head(self.bounded(body, room), head), body.key, target)
        async with contextlib.aclosing(stream):
            stored = await self._storage.put(stream, facts, list(beside.values()), body.length)
        try:
            digests.check(body.expected, stored.sha256, beside)
            body.check_client()
        except Exception:
            await self.discard(stored)
            raise
        return Received(stored, bytes(head))

    async def measure(self, body: RequestBody) -> tuple[int, bytes]:
        """Size and SHA-256 of a body that is compared and not kept. Raises Problem as `receive` does: bytes that
        changed on the way are not said to be other bytes."""
        hasher, size = hashlib.sha256(), 0
        beside = digests.hashers_beside(body.expected)
        async for chunk in self.bounded(body):
            size += len(chunk)
            for each in (hasher, *beside.values()):
                each.update(chunk)
        digests.check(body.expected, hasher.digest(), beside)
        return size, hasher.digest()

    async def discard(self, stored: Stored) -> None:
        """Free bytes that no row will ever name, even when the client is gone meanwhile."""
        await asyncio.shield(self._storage.delete([s.key for s in stored.segments]))

    async def bounded(self, body: RequestBody, room: int | None = None) -> AsyncIterator[bytes]:
        """The body's stream, refused above the limit and when it is not as long as it declared to be."""
        received, bound = 0, self._bound(room)
        async for chunk in body.stream:
            received += len(chunk)
            if received > bound:
                raise self._too_large(room)
            yield chunk
        if body.length is not None and received != body.length:
            raise Problem(Code.INVALID_REQUEST, f"The body has {received} bytes, {body.length} were declared.")

    def _bound(self, room: int | None) -> int:
        return self._limit if room is None else min(room, self._limit)

    def _too_large(self, room: int | None) -> Problem:
        if room is not None and room < self._limit:
            return no_room(room)
        return Problem(Code.TOO_LARGE, f"The body is larger than the limit of {self._limit} bytes.")


@dataclass(frozen=True, slots=True)
class RequestSource:
    """A body on its way in from a client."""

    receiver: Receiver
    body: RequestBody

    @property
    def content_type(self) -> str | None:
        return self.body.content_type

    async def store(self, facts: Mapping[str, str], room: int | None) -> Received:
        return await self.receiver.receive(self.body, facts, room)

    async def measure(self) -> tuple[int, bytes]:
        return await self.receiver.measure(self.body)


def no_room(room: int) -> Problem:
    """A body is larger than what its account may still store."""
    return Problem(Code.QUOTA_EXCEEDED, f"This account has room for {room} bytes more.")


async def _with_head(stream: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async for chunk in stream:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        yield chunk
