"""Memory for replies that nobody reads: what is counted, who waits, and who is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import pytest

from entrepot.api.bytes import reply_memory
from entrepot.api.bytes.reply_memory import FULL, REDUCED, SLOW, ReplyMemory
from entrepot.domain.errors import Code, Problem

MIB = 1024 * 1024
LIMIT = 32 * MIB


class Sockets:
    """The kernel's side: bytes that wait and bytes that were taken, by client."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[int, int]] = {}
        self.ended: set[int] = set()

    def look(self, peers: Collection[int]) -> dict[int, tuple[int, int]]:
        for peer in peers:
            if peer not in self.ended:
                unsent, taken = self.states.setdefault(peer, (1000, 0))
                if peer % 10 == 9:  # a reader
                    self.states[peer] = (unsent, taken + MIB)
        return {peer: state for peer, state in self.states.items() if peer in peers and peer not in self.ended}

    def end(self, peers: Collection[int]) -> None:
        self.ended |= set(peers)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_memory, "LOOK_SECONDS", 0.01)


def play(test: Callable[[ReplyMemory, Sockets], Awaitable[None]], patience: float = 60.0) -> None:
    async def run() -> None:
        sockets = Sockets()
        await test(ReplyMemory(LIMIT, patience, 0.05, sockets.look, sockets.end), sockets)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_m6_what_is_counted_never_exceeds_the_limit_and_pieces_get_smaller() -> None:
    async def test(memory: ReplyMemory, _: Sockets) -> None:
        paces = []
        for peer in range(1000):
            hold = memory.enter(peer, 300 * MIB)
            if hold is None:
                break
            paces.append(hold.pace)
        assert memory.total <= LIMIT
        assert set(paces) == {FULL, REDUCED, SLOW}
        assert paces == sorted(paces, key=lambda pace: -pace.held)

    play(test)


def test_m6_who_takes_nothing_is_ended_when_others_wait_and_who_reads_is_not() -> None:
    async def test(memory: ReplyMemory, sockets: Sockets) -> None:
        peer = 0
        while memory.enter(peer, 300 * MIB):
            peer += 1
        assert await memory.wait(10_009, 300 * MIB)
        assert {each for each in range(peer) if each % 10 == 9}.isdisjoint(sockets.ended)
        assert sockets.ended
        assert memory.total <= LIMIT

    play(test)


def test_m6_a_short_reply_does_not_wait_behind_long_ones() -> None:
    async def test(memory: ReplyMemory, _: Sockets) -> None:
        peer = 0
        while memory.enter(peer, 300 * MIB):
            peer += 1
        waiting = [asyncio.create_task(memory.wait(1000 + number, 300 * MIB)) for number in range(100)]
        await asyncio.sleep(0)
        assert memory.enter(2000, 100_000)
        for task in waiting:
            task.cancel()

    play(test)


def test_m6_a_reply_that_is_handed_over_counts_until_its_client_has_taken_it() -> None:
    async def test(memory: ReplyMemory, sockets: Sockets) -> None:
        for peer in range(100):
            hold = memory.enter(peer, MIB // 4)
            assert hold is not None
            memory.handed_over(hold)
        assert memory.total == 25 * MIB
        sockets.states |= dict.fromkeys(range(90), (0, MIB))
        while memory.total > 10 * MIB // 4:
            await asyncio.sleep(0.01)
        # One that asks again has taken what was before the last.
        for _ in range(10):
            again = memory.enter(95, MIB // 4)
            assert again is not None
            memory.handed_over(again)
        assert memory.total == 11 * MIB // 4

    play(test)


def test_m6_a_wait_that_ends_early_leaves_nothing() -> None:
    async def test(memory: ReplyMemory, sockets: Sockets) -> None:
        sockets.states |= {peer: (1000, peer) for peer in range(9, 20_000, 10)}
        peer = 9
        while memory.enter(peer, 300 * MIB):
            peer += 10
        before = memory.total
        with pytest.raises(Problem) as refused:
            await memory.wait(1, 300 * MIB)
        assert (refused.value.code, refused.value.retry_after) == (Code.UNAVAILABLE, 5)
        waiting = asyncio.create_task(memory.wait(1, 300 * MIB))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert memory.total == before

    play(test, patience=0.02)
