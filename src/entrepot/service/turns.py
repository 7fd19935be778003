"""Turns: who may begin when not all can. First come, first served within a key, by turns among the keys of an account,
and by turns among accounts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncGenerator

Key = tuple[str, str]  # an account, and one of its keys


class Turns:
    """At most `each` at once for one account, and `total` in all. A key that has none does not wait for the other keys
    of its account, whose places it would else never get. For one event loop."""

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._free = total
        self._taken: Counter[str] = Counter()
        self._taken_by: Counter[Key] = Counter()
        # Accounts, and the keys of each, in the order of their turns. Whoever waits is kept by one of the limits, never
        # by a newcomer.
        self._waiting: dict[str, dict[Key, deque[asyncio.Future[None]]]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, account: str, key: str) -> AsyncGenerator[None, None]:
        """Wait for a place, however long, for this block."""
        await self.take(account, None, key)
        try:
            yield
        finally:
            self.give_back(account, key)

    async def take(self, account: str, seconds: float | None, key: str = "") -> bool:
        """Wait for a place, at most so long; whether there is one, which then has to be given back."""
        who = account, key
        if self._may_enter(who):
            self._enter(who)
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, {}).setdefault(who, deque()).append(place)
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            if place.done():
                self.give_back(account, key)
            else:
                self._leave(who, place)
            raise
        if not place.done():
            self._leave(who, place)
        return place.done()

    def give_back(self, account: str, key: str = "") -> None:
        """Free a place, and give it to who waits for it."""
        self._free += 1
        self._taken = self._taken - Counter([account])  # without those that are 0
        self._taken_by = self._taken_by - Counter([(account, key)])
        while (following := self._following()) is not None:
            place = self._waiting[following[0]][following].popleft()
            self._to_the_end(following)
            self._enter(following)
            place.set_result(None)

    def _following(self) -> Key | None:
        return next((who for keys in self._waiting.values() for who in keys if self._may_enter(who)), None)

    def _may_enter(self, who: Key) -> bool:
        return self._free > 0 and (self._taken[who[0]] < self._each or not self._taken_by[who])

    def _enter(self, who: Key) -> None:
        self._free -= 1
        self._taken[who[0]] += 1
        self._taken_by[who] += 1

    def _leave(self, who: Key, place: asyncio.Future[None]) -> None:
        self._waiting[who[0]][who].remove(place)
        self._drop_empty(who)

    def _to_the_end(self, who: Key) -> None:
        """Whose turn it was comes behind the others of the account, and the account behind the other accounts."""
        keys = self._waiting.pop(who[0])
        keys[who] = keys.pop(who)
        self._waiting[who[0]] = keys
        self._drop_empty(who)

    def _drop_empty(self, who: Key) -> None:
        keys = self._waiting[who[0]]
        if not keys[who]:
            del keys[who]
        if not keys:
            del self._waiting[who[0]]
