"""Both drivers carry out one flow alike."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from entrepot.client.aio import AsyncDriver
from entrepot.client.commands import Alone, Call, Flow, Join, Sleep, Spawn
from entrepot.client.sync import SyncDriver


def one(number: int, seen: list[str]) -> Flow[int]:
    yield Sleep(0.0)
    seen.append("began")
    yield Call(lambda: None)
    if number == 13:
        raise ZeroDivisionError("thirteen")
    return number * number


def alone(seen: list[str]) -> Flow[str]:
    yield Call(lambda: seen.append("alone"))
    return "alone"


def whole(numbers: range, seen: list[str]) -> Flow[Any]:
    caught = ""
    try:
        yield Call(lambda: 1 // 0)
    except ZeroDivisionError:
        caught = "caught"
    try:
        for number in numbers:
            yield Spawn(one(number, seen), 3)
        squares = yield Join()
        again = yield Join()
        return caught, squares, again, (yield Alone("name", alone(seen)))
    finally:
        seen.append("closed")


def by_both(numbers: range) -> list[Any]:
    """What comes of it in each world, a result or an error, and how often each thing was done."""
    found = []
    for world in (
        lambda flow: SyncDriver(1.0).run(flow),
        lambda flow: asyncio.run(AsyncDriver(1.0).run(flow)),
    ):
        seen: list[str] = []
        try:
            result: Any = world(whole(numbers, seen))
        except ZeroDivisionError as error:
            result = str(error)
        assert seen[-1] == "closed" or "closed" in seen
        found.append((result, seen.count("alone"), seen.count("closed")))
    return found


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_results_come_in_the_order_of_spawning(count: int) -> None:
    expected: Any = (("caught", [n * n for n in range(count)], [], "alone"), 1, 1)
    assert by_both(range(count)) == [expected, expected]


def test_what_one_raises_ends_all() -> None:
    assert by_both(range(20)) == [("thirteen", 0, 1), ("thirteen", 0, 1)]


def crowded(limit: int, together: threading.Barrier, now: set[int], most: list[int]) -> Flow[None]:
    """Flows that wait for each other, so that `limit` of them must run at a time."""

    def meet(number: int) -> None:
        now.add(number)
        most.append(len(now))
        together.wait(30)
        now.discard(number)

    def one(number: int) -> Flow[None]:
        yield Call(lambda: meet(number))

    for number in range(3 * limit):
        yield Spawn(one(number), limit)
    yield Join()


@pytest.mark.parametrize("world", ["sync", "async"])
def test_as_many_run_at_a_time_as_may_and_no_more(world: str) -> None:
    most: list[int] = []
    flow = crowded(4, threading.Barrier(4), set(), most)
    if world == "sync":
        SyncDriver(1.0).run(flow)
    else:
        asyncio.run(AsyncDriver(1.0).run(flow))
    assert max(most) == 4
