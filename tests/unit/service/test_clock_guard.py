"""A clock that jumps destroys nothing, and makes nothing immortal (docs/threats.md H07)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from entrepot.domain.objects import Blob
from entrepot.service.clock_guard import LEAP, LONGEST_PAUSE, NOTED_EVERY
from entrepot.service.keeper import Keeper, KeeperTimes
from entrepot.service.orphans import OrphanReport
from support.facts import ACCOUNT, an_object
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue
from support.sweeping import Swept, sweep

START = 1_700_000_000.0  # November 2023
YEAR = 365 * 86_400.0
GUARD = 600.0


class Scene:
    """A store whose catalogue outlives its keepers, and two clocks."""

    def __init__(self, guard: float = GUARD) -> None:
        self.metadata, self.storage = Catalogue(None), MemoryStorage()
        self.wall, self.monotonic, self.guard = START, 50.0, guard
        self.start()

    def start(self) -> None:
        """A new keeper."""
        self.keeper = Keeper(
            self.metadata.housekeeping,
            self.metadata.uploads,
            self.storage,
            lambda: self.wall,
            lambda: self.monotonic,
            lambda: ["memory"],
            KeeperTimes(tombstone_ttl=0, orphan_grace=0, clock_guard=self.guard),
        )

    def reboot(self, off: float) -> None:
        """The machine was off for so long."""
        self.wall += off
        self.monotonic = 1.0
        self.start()

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    async def publish(self, name: str, lifetime: float) -> None:
        stored = await self.storage.put(_stream(), {})
        blob = Blob(f"blob-{name}", stored.size, stored.sha256, stored.segments)
        await self.metadata.objects.publish(replace(an_object(name, blob), expires_at=self.wall + lifetime), blob)

    async def kept(self) -> int:
        return len([item async for item in self.storage.list("memory")])


async def _stream() -> AsyncIterator[bytes]:
    yield b"bytes"


def play(test: Callable[[Scene], Awaitable[None]], guard: float = GUARD) -> None:
    async def run() -> None:
        scene = Scene(guard)
        try:
            await scene.metadata.accounts.add(ACCOUNT)
            await test(scene)
        finally:
            await scene.metadata.close()

    asyncio.run(run())


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_h07_a_leap_ahead_removes_nothing_and_is_told_with_both_times(caplog: pytest.LogCaptureFixture):
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=2 * LEAP)
        await scene.storage.put(_stream(), {})  # an orphan
        scene.wall += 10  # the first sweep of all believes the clock
        assert await sweep(scene.keeper) == Swept()
        scene.wall += YEAR
        for _ in range(3):
            assert await sweep(scene.keeper) == Swept()
            assert await scene.keeper.collect_orphans() == OrphanReport()
            scene.wait(GUARD / 4)
        assert await scene.kept() == 2
        (said,) = errors(caplog)
        assert "2024-11-13T22:13:30" in said and "2023-11-14T22:13:30" in said
        assert f"{GUARD:.0f} seconds" in said
        # Corrected: the hold ends at once, and what is over by the right clock goes.
        scene.wall -= YEAR
        assert await sweep(scene.keeper) == Swept()
        assert (await scene.keeper.collect_orphans()).removed == 1
        scene.wait(2 * LEAP)
        assert (await sweep(scene.keeper)).expired == 1
        assert await scene.kept() == 0

    play(test)


def test_h07_a_leap_that_nobody_corrects_is_believed_after_the_guard_time():
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=2 * LEAP)
        await sweep(scene.keeper)
        scene.wall += YEAR
        assert await sweep(scene.keeper) == Swept()
        scene.wait(GUARD - 1)
        assert await sweep(scene.keeper) == Swept()
        scene.wait(1)
        assert (await sweep(scene.keeper)).expired == 1
        await scene.publish("p", lifetime=10)
        scene.wait(10)
        assert (await sweep(scene.keeper)).expired == 1

    play(test)


@pytest.mark.parametrize("leap", [0.0, LEAP / 2, LEAP])
def test_h07_a_small_step_and_a_long_wait_are_believed(leap: float):
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=LEAP / 4)
        await sweep(scene.keeper)
        scene.wait(10 * YEAR)  # both clocks moved: a keeper that was stopped, or a machine that slept
        scene.wall += leap
        assert (await sweep(scene.keeper)).expired == 1

    play(test)


def test_h07_a_leap_over_a_restart_is_held_too(caplog: pytest.LogCaptureFixture):
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=LONGEST_PAUSE)
        await sweep(scene.keeper)
        scene.reboot(off=LONGEST_PAUSE + 1)
        assert await sweep(scene.keeper) == Swept()
        assert await scene.kept() == 1
        assert len(errors(caplog)) == 1
        scene.wait(GUARD)
        assert (await sweep(scene.keeper)).expired == 1

    play(test)


def test_a_pause_of_some_days_is_no_leap(caplog: pytest.LogCaptureFixture):
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=86_400)
        await sweep(scene.keeper)
        scene.reboot(off=LONGEST_PAUSE)
        assert (await sweep(scene.keeper)).expired == 1
        assert errors(caplog) == []

    play(test)


def test_h07_a_restart_does_not_end_the_doubt():
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=2 * LEAP)
        await sweep(scene.keeper)
        scene.wall += 86_400
        assert await sweep(scene.keeper) == Swept()
        scene.reboot(off=1)
        assert await sweep(scene.keeper) == Swept()
        # Corrected while it is up: then a restart knows of no doubt.
        scene.wall -= 86_400
        await sweep(scene.keeper)
        scene.reboot(off=86_400)
        assert (await sweep(scene.keeper)).expired == 1

    play(test)


def test_the_last_time_of_a_sweep_is_kept_up_without_a_commit_for_each():
    async def test(scene: Scene) -> None:
        noted = set()
        for _ in range(100):
            await sweep(scene.keeper)
            noted.add(await scene.metadata.housekeeping.fact("swept_at"))
            assert scene.wall - float(await scene.metadata.housekeeping.fact("swept_at") or 0) < NOTED_EVERY
            scene.wait(NOTED_EVERY / 10)
        assert len(noted) == 10

    play(test)


def test_h07_a_clock_that_is_set_back_makes_nothing_immortal(caplog: pytest.LogCaptureFixture):
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=1000)
        await sweep(scene.keeper)
        scene.wall -= YEAR
        await scene.publish("p", lifetime=1000)
        assert await sweep(scene.keeper) == Swept()
        scene.wait(1000)
        assert (await sweep(scene.keeper)).expired == 1
        scene.reboot(off=0)
        scene.wait(YEAR)  # the end of the first is a point of the wall clock, and comes
        await sweep(scene.keeper)
        scene.wait(GUARD)
        await sweep(scene.keeper)
        assert await scene.kept() == 0

    play(test)


def test_without_a_guard_every_clock_is_believed():
    async def test(scene: Scene) -> None:
        await scene.publish("o", lifetime=10)
        await sweep(scene.keeper)
        scene.wall += 10 * YEAR
        assert (await sweep(scene.keeper)).expired == 1

    play(test, guard=0)
