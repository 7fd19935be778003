"""Work under a lease: renewed while it goes on, ended when the lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar

from entrepot.metadata.leases import Leases
from entrepot.service.access import Clock

T = TypeVar("T")


class LeaseLost(Exception):
    """Another process has the lease, or the work was cancelled."""


async def run_leased(work: Coroutine[Any, Any, T], renew: Callable[[], Awaitable[bool]], every: float) -> T:
    """The result of `work`. `renew` is called every so many seconds; once it says False the work is cancelled. Raises
    LeaseLost, and what either raises."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=every))[0]:
            if not await renew():
                raise LeaseLost
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])  # until it has freed what it held


class ProcessLeases:
    """The named leases that one process holds. `living` names the processes of this server that are alive."""

    def __init__(
        self, leases: Leases, holder: str, clock: Clock, seconds: float, living: Callable[[], Collection[str]]
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._living = living
        self._until: dict[str, float] = {}
        self.holder = holder
        self.seconds = seconds

    async def hold(self, name: str) -> bool:
        """Take a lease, or keep it: it is renewed when half of its time is over. False while another has it."""
        now = self._clock()
        if now <= self._until.get(name, 0.0) - self.seconds / 2:
            return True
        taken = await self._leases.take(name, self.holder, now, self.seconds)
        if taken:
            self._until[name] = now + self.seconds
        else:
            self._until.pop(name, None)
        return taken

    async def release_dead(self) -> None:
        """End the leases of processes that are gone."""
        if dead := set(await self._leases.holders()) - set(self._living()):
            await self._leases.release_all_of(dead)
