"""A guard against a clock that jumped (docs/threats.md H07): what a wrong clock takes for expired and deletes can never
come back.

Access ends by the wall clock, and is there again when the clock is right. What is deleted is not, so the keeper asks
here for the time first: when the wall clock ran ahead of the time that passed, there is none, until the clock is
corrected or the guard time is over. A clock that was set back is believed: an end is a point of the wall clock, and
comes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.metadata.housekeeping import Housekeeping
from entrepot.service.access import Clock

log = logging.getLogger("entrepot.keeper")

# Seconds that the wall clock may run ahead of the other one between two sweeps of a process, and over a restart, when
# nobody knows how much time passed.
LEAP = 3600.0
LONGEST_PAUSE = 30 * 86_400.0
# The last trusted time is written down when it is older than this: a commit for every sweep would be too many.
NOTED_EVERY = 600.0

_SWEPT_AT = "swept_at"
_HELD = "clock_held"


@dataclass(frozen=True, slots=True)
class _Trusted:
    """A time that was believed, and what the other clock said then; how far later ones may run ahead of both."""

    wall: float
    monotonic: float
    leap: float

    def expected(self, monotonic: float) -> float:
        return self.wall + monotonic - self.monotonic

    def allows(self, wall: float, monotonic: float) -> bool:
        return wall <= self.expected(monotonic) + self.leap


class ClockGuard:
    """The clock to destroy by. `guard` is for how many seconds of `monotonic` a leap of `clock` holds; 0 believes every
    clock."""

    def __init__(self, housekeeping: Housekeeping, clock: Clock, monotonic: Clock, guard: float) -> None:
        self._housekeeping = housekeeping
        self._clock = clock
        self._monotonic = monotonic
        self._guard = guard
        self._trusted: _Trusted | None = None
        self._held_since: float | None = None
        self._noted: float | None = None

    async def now(self) -> float | None:
        """The time by which things may be destroyed; None while the clock is in doubt."""
        wall, monotonic = self._clock(), self._monotonic()
        if self._guard <= 0:
            return wall
        trusted = self._trusted or await self._begin(wall, monotonic)
        if not trusted.allows(wall, monotonic) and not self._is_over(monotonic):
            await self._hold(trusted, wall, monotonic)
            return None
        await self._trust(wall, monotonic)
        return wall

    async def _begin(self, wall: float, monotonic: float) -> _Trusted:
        """Go on from the time that was trusted last, before this process."""
        noted = await self._housekeeping.fact(_SWEPT_AT)
        self._noted = None if noted is None else float(noted)
        before = wall if self._noted is None else self._noted
        held = await self._housekeeping.fact(_HELD) == "yes"
        if held:
            self._noted = None  # to be noted anew as soon as the clock is believed
        self._trusted = _Trusted(before, monotonic, LEAP if held else LONGEST_PAUSE)
        return self._trusted

    def _is_over(self, monotonic: float) -> bool:
        return self._held_since is not None and monotonic - self._held_since >= self._guard

    async def _hold(self, trusted: _Trusted, wall: float, monotonic: float) -> None:
        if self._held_since is not None:
            return
        self._held_since = monotonic
        log.error(
            "the clock leapt ahead: it says %s, but by the last sweep it should be about %s. For %d seconds nothing is "
            "removed. If the clock is wrong, correct it now: afterwards all that is over by it goes for ever.",
            _text(wall), _text(trusted.expected(monotonic)), self._guard,
        )  # fmt: skip
        await self._housekeeping.set_fact(_HELD, "yes")  # a restart must not make it forgotten

    async def _trust(self, wall: float, monotonic: float) -> None:
        if self._held_since is not None:
            log.warning("the clock is believed again: it says %s", _text(wall))
            self._held_since = self._noted = None
        self._trusted = _Trusted(wall, monotonic, LEAP)
        if self._noted is None or abs(wall - self._noted) >= NOTED_EVERY:
            try:
                await self._housekeeping.set_fact(_SWEPT_AT, repr(wall))
                await self._housekeeping.set_fact(_HELD, "no")
                self._noted = wall
            except (MetadataFull, MetadataFailed) as error:  # a full disk gets room by what the sweep does next
                log.warning("the time of the sweep could not be noted: %s", error)


def _text(wall: float) -> str:
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{wall:.0f} s"
