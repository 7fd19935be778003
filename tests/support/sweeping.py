"""A whole sweep: what the keeper's periodic tasks do one batch at a time, until nothing is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from entrepot.service.keeper import Keeper
from entrepot.service.tasks import BatchOutcome


@dataclass(frozen=True)
class Swept:
    """The items that each task of a sweep dealt with."""

    expired: int = 0
    uploads: int = 0
    blobs: int = 0
    forgotten: int = 0


async def sweep(keeper: Keeper, limit: int = 500) -> Swept:
    """Run the tasks of retention one after another. One that fails keeps no other from its work; the first failure is
    raised when all are done."""
    done: list[int] = []
    failures: list[Exception] = []
    for batch in (keeper.expire_objects, keeper.expire_uploads, keeper.delete_blobs, keeper.forget_ended):
        try:
            done.append(await drained(batch, limit))
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return Swept(*done)


async def drained(batch: Callable[[int], Awaitable[BatchOutcome]], limit: int) -> int:
    """Repeat a batch until there is no more; how many items it dealt with."""
    done = 0
    while (outcome := await batch(limit)).more:
        done += outcome.done
    return done + outcome.done
