"""FairQueue: who waits, who is next, and what a wait that ends early leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from entrepot.fair_queue import FairQueue, Rule, fair_share, while_free


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def at_most(each: int) -> Rule:
    return lambda own, free: free > 0 and own < each


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_account_with_very_many_waiting_does_not_keep_another_out() -> None:
    async def test() -> None:
        turns = FairQueue(at_most(2), 3)
        busy = [asyncio.create_task(turns.take("busy", 60)) for _ in range(500)]
        await settled()
        assert sum(task.done() for task in busy) == 2
        assert await turns.take("other", 0)
        for task in busy:
            task.cancel()

    play(test)


def test_accounts_that_wait_take_turns_and_an_account_s_own_wait_in_order() -> None:
    async def test() -> None:
        turns, entered = FairQueue(at_most(1), 1), []
        assert await turns.take("first", 0)

        async def enter(account: str, number: int) -> None:
            assert await turns.take(account, 60)
            entered.append((account, number))
            turns.give_back(account)

        waiting = []
        for account in ("a", "b"):
            waiting += [asyncio.create_task(enter(account, number)) for number in range(3)]
        await settled()
        turns.give_back("first")
        await asyncio.gather(*waiting)
        assert entered == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]

    play(test)


@pytest.mark.parametrize("granted", [False, True])
def test_a_wait_that_is_cancelled_takes_no_place_even_in_the_moment_of_its_turn(granted: bool) -> None:
    async def test() -> None:
        turns = FairQueue(at_most(1), 1)
        assert await turns.take("a", 0)
        waiting = asyncio.create_task(turns.take("a", 60))
        await settled()
        if granted:
            turns.give_back("a")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not granted:
            turns.give_back("a")
        assert await turns.take("b", 0)

    play(test)


def test_who_waited_too_long_is_told_and_forgotten() -> None:
    async def test() -> None:
        turns = FairQueue(at_most(1), 2)
        assert await turns.take("a", 0)
        assert not await turns.take("a", 0.001)
        assert await turns.take("b", 0)
        turns.give_back("a")
        assert await turns.take("a", 0)

    play(test)


@pytest.mark.parametrize(
    ("total", "alone", "then"),
    [(1, 1, 0), (2, 1, 1), (4, 3, 1), (128, 96, 24)],
    ids=["one place", "two", "four", "the default"],
)
def test_s3_no_key_takes_all_places_and_a_second_one_gets_some(total: int, alone: int, then: int) -> None:
    async def test() -> None:
        turns = FairQueue(fair_share, total)
        for key, wanted in (("greedy", alone), ("other", then)):
            waiting = [asyncio.create_task(turns.take(key, 60)) for _ in range(2 * total)]
            await settled()
            assert sum(task.done() for task in waiting) == wanted
            for task in waiting:
                task.cancel()

    play(test)


def test_s3_copies_and_archives_of_one_key_are_no_line_for_another() -> None:
    async def test() -> None:
        turns, entered = FairQueue(while_free, 2), []

        async def work(key: str) -> None:
            async with turns.turn(key):
                entered.append(key)
                await settled()

        await asyncio.gather(*(work("busy") for _ in range(20)), work("other"))
        assert entered.index("other") <= 3
        assert turns.may("busy")

    play(test)
