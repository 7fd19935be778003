"""Periodic tasks: background work that comes again and again, in small batches, each task beside the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

from entrepot.service.leases import LeaseLost, ProcessLeases, run_leased

log = logging.getLogger("entrepot.keeper")

# A task that failed is tried again after its interval, which doubles with each failure up to this many seconds. One
# with a longer interval is tried again after this many seconds, always.
LONGEST_BACKOFF = 30.0
SHORTEST_BACKOFF = 0.1
# Seconds after which a lease that another process has is asked for again.
LEASE_RETRY = 5.0


class BatchOutcome(NamedTuple):
    """The outcome of one batch: how many items it dealt with, and whether the next batch is to follow at once."""

    done: int = 0
    more: bool = False


@dataclass(slots=True)
class PeriodicTask:
    """Background work with a name for the log.

    `batch` does one bounded piece of it, at most `batch_size` items (what an item is, is the task's own matter; 0: it
    bounds itself). When that says that there is more, the next batch follows at once, after the other tasks have had a
    chance to run; else after `interval` seconds, a number or what gives it each time. `items` names what is counted,
    for the log. An `alone` task runs in one process of all, the one that has its lease. `last_success` is in epoch
    seconds.
    """

    name: str
    interval: float | Callable[[], float]
    batch: Callable[[int], Coroutine[Any, Any, BatchOutcome]]
    batch_size: int = 0
    items: str = ""
    alone: bool = False
    last_success: float | None = None

    async def repeat(self, leases: ProcessLeases, expected: tuple[type[Exception], ...]) -> NoReturn:
        """Run for ever. Any failure is logged, one that is not `expected` with its traceback, and backed off from."""
        failures = done = 0
        while True:
            try:
                batch = await self._leased_batch(leases) if self.alone else await self.batch(self.batch_size)
            except LeaseLost:
                await asyncio.sleep(min(LEASE_RETRY, self._interval()))
                continue
            except Exception as error:
                failures += 1
                self._log_failure(error, expected)
                await asyncio.sleep(self._backoff(failures))
                continue
            failures, self.last_success = 0, time.time()
            done += batch.done
            if not batch.more and done:
                if self.items:
                    log.info("%s: %d %s", self.name, done, self.items)
                done = 0
            await asyncio.sleep(0 if batch.more else self._interval())

    async def _leased_batch(self, leases: ProcessLeases) -> BatchOutcome:
        hold = partial(leases.hold, f"task {self.name}")
        if not await hold():
            raise LeaseLost
        return await run_leased(self.batch(self.batch_size), hold, leases.seconds / 4)

    def _interval(self) -> float:
        return self.interval() if callable(self.interval) else self.interval

    def _backoff(self, failures: int) -> float:
        return min(LONGEST_BACKOFF, max(SHORTEST_BACKOFF, self._interval()) * 2.0 ** min(failures - 1, 30))

    def _log_failure(self, error: Exception, expected: tuple[type[Exception], ...]) -> None:
        since = "never" if self.last_success is None else f"{time.time() - self.last_success:.0f} s ago"
        unexpected = None if isinstance(error, expected) else error
        log.error("%s failed and will be repeated (last success: %s): %s", self.name, since, error, exc_info=unexpected)


async def run_all(tasks: Iterable[PeriodicTask], leases: ProcessLeases, expected: tuple[type[Exception], ...]) -> None:
    """Run tasks side by side until cancelled."""
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task.repeat(leases, expected), name=task.name)
