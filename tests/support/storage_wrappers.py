"""Storages around a storage: one shape, so that they nest and the storage inside knows nothing of them.

`Wrapped` hands every call on and tells two hooks of it; what a wrapper does is what its hooks do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from entrepot.storage.base import Cloning, Hash, Storage, Stored, StoredKey


class Wrapped:
    """A `Storage` that hands every call to `inner`."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    def before(self, method: str) -> None:
        """Called first in every call; what it raises is what the caller gets. For `read` and `list` that is when
        the first piece is asked for."""

    def moved(self, method: str, size: int) -> None:
        """Called when `size` bytes were written, or are about to be handed to the reader."""

    async def put(
        self,
        stream: AsyncIterator[bytes],
        facts: Mapping[str, str],
        hashes: Sequence[Hash] = (),
        length: int | None = None,
    ) -> Stored:
        self.before("put")
        stored = await self.inner.put(stream, facts, hashes, length)
        self.moved("put", stored.size)
        return stored

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        self.before("read")
        async with aclosing(self.inner.read(key, start, end)) as chunks:
            async for chunk in chunks:
                self.moved("read", len(chunk))
                yield chunk

    async def delete(self, keys: Sequence[str]) -> None:
        self.before("delete")
        await self.inner.delete(keys)

    async def list(self, incarnation: str) -> AsyncGenerator[StoredKey, None]:
        self.before("list")
        async for entry in self.inner.list(incarnation):
            yield entry

    async def describe(self, key: str) -> Mapping[str, str]:
        self.before("describe")
        return await self.inner.describe(key)

    def cloning(self) -> Cloning | None:
        return self if self.inner.cloning() else None

    async def adopt(self, source: int, size: int, facts: Mapping[str, str]) -> Stored:
        self.before("adopt")
        stored = await self._inner_cloning().adopt(source, size, facts)
        self.moved("adopt", stored.size)
        return stored

    async def open_segment(self, key: str) -> int:
        self.before("open_segment")
        return await self._inner_cloning().open_segment(key)

    def _inner_cloning(self) -> Cloning:
        inner = self.inner.cloning()
        assert inner, "who has no way to clone was asked for one"
        return inner

    async def check(self) -> None:
        self.before("check")
        await self.inner.check()

    async def close(self) -> None:
        self.before("close")
        await self.inner.close()


class CountingStorage(Wrapped):
    """Counts by method name: `calls`, and `moved_bytes` written or read."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.moved_bytes: Counter[str] = Counter()

    def before(self, method: str) -> None:
        self.calls[method] += 1

    def moved(self, method: str, size: int) -> None:
        self.moved_bytes[method] += size


class FailingStorage(Wrapped):
    """Raises `error` in the call number `at` (from 1) of `method`; the call does nothing else."""

    def __init__(self, inner: Storage, method: str, error: Exception, *, at: int = 1) -> None:
        super().__init__(inner)
        self._method = method
        self._error = error
        self._left = at

    def before(self, method: str) -> None:
        self._left -= method == self._method
        if method == self._method and not self._left:
            raise self._error
