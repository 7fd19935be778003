"""Wrappers hand on, count and fail. That they keep the contract is the conformance suite's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from entrepot.storage.base import Storage, StorageFailed
from support.memory_storage import MemoryStorage
from support.storage_wrappers import CountingStorage, FailingStorage


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_calls_and_bytes_are_counted_by_method():
    async def test() -> None:
        storage = CountingStorage(MemoryStorage())
        stored = await storage.put(stream(b"abc"), {})
        await storage.put(stream(b"de"), {}, length=2)
        for _ in range(2):
            assert [chunk async for chunk in storage.read(stored.segments[0].key, 1, 3)] == [b"bc"]
        assert storage.calls == {"put": 2, "read": 2}
        assert storage.moved_bytes == {"put": 5, "read": 4}

    asyncio.run(test())


def test_only_the_chosen_call_of_the_chosen_method_fails():
    async def test() -> None:
        inner = MemoryStorage()
        storage: Storage = FailingStorage(inner, "put", StorageFailed("no"), at=2)
        await storage.put(stream(b"a"), {})
        await storage.check()
        with pytest.raises(StorageFailed):
            await storage.put(stream(b"b"), {})
        await storage.put(stream(b"c"), {})
        assert len([entry async for entry in inner.list("memory")]) == 2

    asyncio.run(test())


@pytest.mark.parametrize("method", ["delete", "check", "read", "list", "describe", "put"])
def test_every_method_can_be_made_to_fail(method):
    async def test() -> None:
        storage = FailingStorage(MemoryStorage(), method, StorageFailed("no"))
        calls = {
            "delete": lambda: storage.delete([]),
            "check": storage.check,
            "read": lambda: anext(storage.read("k", 0, 1)),
            "list": lambda: anext(storage.list("memory")),
            "describe": lambda: storage.describe("k"),
            "put": lambda: storage.put(stream(), {}),
        }
        with pytest.raises(StorageFailed):
            await calls[method]()

    asyncio.run(test())
