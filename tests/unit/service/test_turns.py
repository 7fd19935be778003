"""Turns: who waits, who is next, and what a wait that ends early leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from entrepot.service.turns import Turns


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_account_with_very_many_waiting_does_not_keep_another_out() -> None:
    async def test() -> None:
        turns = Turns(2, 3)
        busy = [asyncio.create_task(turns.take("busy", 60)) for _ in range(500)]
        await settled()
        assert sum(task.done() for task in busy) == 2
        assert await turns.take("other", 0)
        for task in busy:
            task.cancel()

    play(test)


def test_accounts_that_wait_take_turns_and_an_account_s_own_wait_in_order() -> None:
    async def test() -> None:
        turns, entered = Turns(1, 1), []
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
        turns = Turns(1, 1)
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
        turns = Turns(1, 2)
        assert await turns.take("a", 0)
        assert not await turns.take("a", 0.001)
        assert await turns.take("b", 0)
        turns.give_back("a")
        assert await turns.take("a", 0)

    play(test)


def test_s2_a_key_with_many_imports_does_not_keep_another_key_of_its_account_out() -> None:
    async def test() -> None:
        turns = Turns(2, 5)
        busy = [asyncio.create_task(turns.take("a", 60, "busy")) for _ in range(100)]
        await settled()
        assert sum(task.done() for task in busy) == 2
        assert await turns.take("a", 0, "other")
        assert not await turns.take("a", 0, "other"), "one beyond the limit of the account"
        second = asyncio.create_task(turns.take("a", 60, "other"))
        await settled()
        turns.give_back("a", "busy")
        turns.give_back("a", "busy")
        await settled()
        assert sum(task.done() for task in busy) == 3, "by turns"
        assert not second.done()
        turns.give_back("a", "busy")
        await settled()
        assert second.done()
        for task in busy:
            task.cancel()

    play(test)
