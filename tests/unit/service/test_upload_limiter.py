"""UploadLimiter: how many bodies a process takes in at once, and who has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from entrepot.domain.errors import Code, Problem
from entrepot.service import request_bodies
from entrepot.service.objects import _Cache
from entrepot.service.request_bodies import UploadLimiter


async def pieces(*chunks: bytes, until: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if until is not None:
        await until.wait()


async def drained(slots: UploadLimiter, stream: AsyncIterator[bytes], key: str = "", target: str = "") -> bytes:
    return b"".join([chunk async for chunk in slots.slotted(stream, key, target)])


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_client_that_sends_nothing_takes_no_slot() -> None:
    async def test() -> None:
        slots, end = UploadLimiter(1), asyncio.Event()
        silent = asyncio.create_task(drained(slots, pieces(until=end)))
        await asyncio.sleep(0)
        slots.refuse_when_full()
        assert await drained(slots, pieces(b"a", b"b")) == b"ab"
        end.set()
        assert await silent == b""

    asyncio.run(test())


def test_the_next_body_waits_for_the_slot_and_then_comes_whole() -> None:
    async def test() -> None:
        slots, end = UploadLimiter(1), asyncio.Event()
        first = asyncio.create_task(drained(slots, pieces(b"1", until=end)))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            slots.refuse_when_full()
        assert (refused.value.code, refused.value.retry_after) == (Code.RATE_LIMITED, 1)
        second = asyncio.create_task(drained(slots, pieces(b"2", b"3")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        end.set()
        assert (await first, await second) == (b"1", b"23")
        slots.refuse_when_full()

    asyncio.run(test())


def test_a_body_that_waited_too_long_is_taken_all_the_same_and_frees_nothing(monkeypatch) -> None:
    monkeypatch.setattr(request_bodies, "PATIENCE", 0.01)

    async def test() -> None:
        slots, end = UploadLimiter(1), asyncio.Event()
        first = asyncio.create_task(drained(slots, pieces(b"1", until=end)))
        await asyncio.sleep(0)
        assert await drained(slots, pieces(b"2", b"3")) == b"23"
        with pytest.raises(Problem):
            slots.refuse_when_full()
        end.set()
        await first

    asyncio.run(test())


def test_a_cancelled_body_gives_its_slot_back() -> None:
    async def test() -> None:
        slots = UploadLimiter(1)
        task = asyncio.create_task(drained(slots, pieces(b"1", until=asyncio.Event())))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert await drained(slots, pieces(b"2")) == b"2"

    asyncio.run(test())


def test_s3_of_one_target_two_bodies_are_taken_some_wait_and_the_key_sends_elsewhere() -> None:
    async def test() -> None:
        slots, end = UploadLimiter(8), asyncio.Event()
        held = [asyncio.create_task(drained(slots, pieces(b"1", until=end), "key", "url")) for _ in range(300)]
        await settled()
        assert sum(task.done() for task in held) == 300 - request_bodies.PER_TARGET - request_bodies.TARGET_LINE
        slots.refuse_when_full("key")
        for number in range(3):
            assert await drained(slots, pieces(b"2"), "key", f"elsewhere {number}") == b"2"
            assert await drained(slots, pieces(b"3"), "other") == b"3"
        held[0].cancel()
        await settled()
        end.set()
        outcomes = await asyncio.gather(*held, return_exceptions=True)
        assert outcomes.count(b"1") == request_bodies.PER_TARGET + request_bodies.TARGET_LINE - 1

    asyncio.run(test())


def test_s3_who_waited_too_long_for_one_target_is_told(monkeypatch) -> None:
    monkeypatch.setattr(request_bodies, "PATIENCE", 0.01)

    async def test() -> None:
        slots, end = UploadLimiter(8), asyncio.Event()
        held = [asyncio.create_task(drained(slots, pieces(b"1", until=end), "key", "url")) for _ in range(2)]
        await settled()
        with pytest.raises(Problem) as refused:
            await drained(slots, pieces(b"2"), "key", "url")
        assert refused.value.code is Code.RATE_LIMITED
        end.set()
        await asyncio.gather(*held)

    asyncio.run(test())


def test_s3_a_key_whose_line_is_long_is_told_and_others_are_not() -> None:
    async def test() -> None:
        slots, end = UploadLimiter(2), asyncio.Event()
        held = [asyncio.create_task(drained(slots, pieces(b"1", until=end), "key")) for _ in range(200)]
        await settled()
        refused = [task for task in held if task.done()]
        assert len(refused) == 200 - 1 - request_bodies.LINE
        assert all(isinstance(task.exception(), Problem) for task in refused)
        assert await drained(slots, pieces(b"2"), "other") == b"2"
        end.set()
        await asyncio.gather(*held, return_exceptions=True)

    asyncio.run(test())


def test_s3_bodies_beyond_the_slots_are_bounded_too(monkeypatch) -> None:
    monkeypatch.setattr(request_bodies, "PATIENCE", 0.01)

    async def test() -> None:
        slots, end = UploadLimiter(2), asyncio.Event()
        held = [asyncio.create_task(drained(slots, pieces(b"1", until=end), "key")) for _ in range(9)]
        while sum(task.done() for task in held) < 9 - 1 - 2:  # a slot of two for one key, and two that are overdue
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in held) == 9 - 1 - 2
        end.set()
        await asyncio.gather(*held, return_exceptions=True)
        slots.refuse_when_full("key")

    asyncio.run(test())


def test_the_cache_of_small_files_counts_what_an_entry_itself_takes() -> None:
    none, some = _Cache(0), _Cache(10_000)
    for number in range(1000):
        none.put(str(number), b"")
        some.put(str(number), b"")
    assert none.get("999") is None
    assert sum(some.get(str(number)) is not None for number in range(1000)) < 50
