"""When the keeper does what: deeds that come again, sooner after a failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger("entrepot.keeper")

# Seconds after which a deed that failed is tried again, if its interval is not shorter.
RETRY = 30.0


@dataclass(slots=True)
class Deed:
    """`act` is done every `interval` seconds, a number or what says it each time; when it returns True there is more to
    do, and it comes again at once.

    An exception of `survives` is logged: a full or failing disk must not end the keeper.
    """

    name: str
    interval: float | Callable[[], float]
    act: Callable[[], Awaitable[bool]]
    survives: tuple[type[Exception], ...]
    due: float = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    async def do(self) -> None:
        """Act once and settle when to act again."""
        try:
            wait = 0.0 if await self.act() else self._pause()
        except self.survives as error:
            wait = min(self._pause(), RETRY)
            log.error("%s failed and will be repeated: %s", self.name, error)
        self.due = time.monotonic() + wait

    def _pause(self) -> float:
        return self.interval() if callable(self.interval) else self.interval
