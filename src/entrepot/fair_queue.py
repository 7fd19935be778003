"""FairQueue: who may begin when not all can. First come, first served within a key, and by turns among keys."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# Whether one more may enter: of its group's places so many are taken, of its key's so many, and so many are free.
Rule = Callable[[int, int, int], bool]


def at_most(each: int) -> Rule:
    """At most `each` in a group; a key that has none may have one more, so that no key can spend them all."""
    return lambda group, own, free: free > 0 and (group < each or not own)


def fair_share(group: int, own: int, free: int) -> bool:
    """No bound for a key but that it leaves a share to others: it stops at three times of what is free. The last place
    is kept for a key that has none. One key alone so gets three quarters, two get three sevenths each."""
    return free > 0 and (not own or (free > 1 and own < 3 * free))


def while_free(group: int, own: int, free: int) -> bool:
    """No share is kept for others: for what ends by itself, so that whoever waits has a turn soon."""
    return free > 0


class FairQueue:
    """At most `total` at once, and of a key no more than `rule` says. For one event loop."""

    def __init__(self, rule: Rule, total: int) -> None:
        self._rule = rule
        self._free = total
        self._groups: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        # Keys in the order of their turns. Whoever waits is kept by the rule, never by a newcomer.
        self._waiting: dict[tuple[str, str], deque[asyncio.Future[None]]] = {}

    def may(self, key: str, group: str = "") -> bool:
        """Whether one more of this key would not have to wait."""
        return self._rule(self._groups[group], self._taken[key], self._free)

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """A place, however long it takes to get one, given back at the end of the block."""
        await self.take(key, None)
        try:
            yield
        finally:
            self.give_back(key)

    async def take(self, key: str, seconds: float | None, group: str = "") -> bool:
        """Wait for a place, at most so long (None: for ever); whether there is one, which then has to be given back."""
        if self.may(key, group):
            self._enter(key, group)
            return True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((key, group), deque()).append(place)
        try:
            await asyncio.wait([place], timeout=seconds)
        except asyncio.CancelledError:
            if place.done():
                self.give_back(key, group)
            else:
                self._leave(key, group, place)
            raise
        if not place.done():
            self._leave(key, group, place)
        return place.done()

    def give_back(self, key: str, group: str = "") -> None:
        """Free a place, and give it to who waits for it."""
        self._free += 1
        for counter, name in ((self._taken, key), (self._groups, group)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        while (following := next((each for each in self._waiting if self.may(*each)), None)) is not None:
            queue = self._waiting.pop(following)
            queue.popleft().set_result(None)
            self._enter(*following)
            if queue:
                self._waiting[following] = queue  # behind the others

    def _enter(self, key: str, group: str) -> None:
        self._free -= 1
        self._taken[key] += 1
        self._groups[group] += 1

    def _leave(self, key: str, group: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting[key, group]
        queue.remove(place)
        if not queue:
            del self._waiting[key, group]
