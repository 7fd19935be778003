"""FairQueue: who may begin when not all can. First come, first served within a key, and by turns among keys."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# Whether one more may enter: of its key's places so many are taken, and so many of all are free.
Rule = Callable[[int, int], bool]


def fair_share(own: int, free: int) -> bool:
    """No bound for a key but that it leaves a share to others: it stops at three times of what is free. The last place
    is kept for a key that has none. One key alone so gets three quarters, two get three sevenths each."""
    return free > 0 and (not own or (free > 1 and own < 3 * free))


def while_free(own: int, free: int) -> bool:
    """No share is kept for others: for what ends by itself, so that whoever waits has a turn soon."""
    return free > 0


class FairQueue:
    """A queue for `total` places, of which a key has no more than `rule` says. For one event loop."""

    def __init__(self, rule: Rule, total: int) -> None:
        self._rule = rule
        self._free = total
        self._taken: Counter[str] = Counter()
        # Keys in the order of their turns. Who waits is bound by the rule, and never overtaken by a newcomer.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def may(self, key: str) -> bool:
        """Whether one more of this key would not have to wait."""
        return self._rule(self._taken[key], self._free)

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """A place, however long it takes to get one, given back at the end of the block."""
        await self.take(key, None)
        try:
            yield
        finally:
            self.give_back(key)

    async def take(self, key: str, seconds: float | None) -> bool:
        """Wait for a place, at most so long (None: for ever); whether there is one, which then has to be given back."""
        if self.may(key):
            self._enter(key)
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(place)
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            if place.done():
                self.give_back(key)
            else:
                self._leave(key, place)
            raise
        if not place.done():
            self._leave(key, place)
        return place.done()

    def give_back(self, key: str) -> None:
        """Free a place, and give it to who waits for it."""
        self._free += 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
        while (following := next((each for each in self._waiting if self.may(each)), None)) is not None:
            queue = self._waiting.pop(following)
            queue.popleft().set_result(None)
            self._enter(following)
            if queue:
                self._waiting[following] = queue  # behind the others

    def _enter(self, key: str) -> None:
        self._free -= 1
        self._taken[key] += 1

    def _leave(self, key: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting[key]
        queue.remove(place)
        if not queue:
            del self._waiting[key]
