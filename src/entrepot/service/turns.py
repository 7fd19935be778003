"""Turns: who may begin when not all can. First come, first served within an account, and by turns among accounts."""

from __future__ import annotations

import asyncio
from collections import Counter, deque


class Turns:
    """At most `each` at once for one account, and `total` in all. For one event loop."""

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._free = total
        self._taken: Counter[str] = Counter()
        # Accounts in the order of their turns. Whoever waits is kept by one of the two limits, never by a newcomer.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, account: str, seconds: float) -> bool:
        """Wait for a place, at most so long; whether there is one, which then has to be given back."""
        if self._free and self._taken[account] < self._each:
            self._enter(account)
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(place)
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            if place.done():
                self.give_back(account)
            else:
                self._leave(account, place)
            raise
        if not place.done():
            self._leave(account, place)
        return place.done()

    def give_back(self, account: str) -> None:
        """Free a place, and give it to who waits for it."""
        self._free += 1
        self._taken[account] -= 1
        if not self._taken[account]:
            del self._taken[account]
        while self._free and (following := self._following()) is not None:
            queue = self._waiting.pop(following)
            queue.popleft().set_result(None)
            self._enter(following)
            if queue:
                self._waiting[following] = queue  # behind the others

    def _following(self) -> str | None:
        return next((account for account in self._waiting if self._taken[account] < self._each), None)

    def _enter(self, account: str) -> None:
        self._free -= 1
        self._taken[account] += 1

    def _leave(self, account: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting[account]
        queue.remove(place)
        if not queue:
            del self._waiting[account]
