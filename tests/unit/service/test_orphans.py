"""What no row names is not removed at first sight, nor when it is too much (docs/threats.md H10, H14)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from entrepot.domain.objects import Blob
from entrepot.service.keeper import Keeper, Patience
from entrepot.service.orphans import FEW, OrphanReport
from support.facts import ACCOUNT, an_object
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue
from support.storage_wrappers import CountingStorage

GRACE = 100.0
NOW = 1_000_000.0


@dataclass
class Scene:
    patience: Patience = field(default_factory=lambda: Patience(1e9, orphan_grace=GRACE, clock_guard=0))
    living: bool = False
    now: float = NOW

    def __post_init__(self) -> None:
        self.metadata = Catalogue(None)
        self.storage = CountingStorage(MemoryStorage())
        self.again()

    def again(self) -> None:
        """A new process: it remembers nothing but what the catalogue does."""
        self.keeper = Keeper(
            self.metadata.housekeeping,
            self.metadata.uploads,
            self.storage,
            lambda: self.now,
            lambda: self.now,
            lambda: [] if self.living else ["memory"],
            self.patience,
        )

    async def leave(self, count: int = 1) -> list[str]:
        """Bytes of an upload that was cut short: their keys."""
        return [(await self.storage.put(_stream(), {})).segments[0].key for _ in range(count)]

    async def publish(self, key: str) -> None:
        stored = {item.key: item async for item in self.storage.list("memory")}
        (segment,) = (await MemoryStorage("other").put(_stream(), {})).segments
        assert stored[key].size == segment.size
        blob = Blob(f"blob-{key}", segment.size, None, (type(segment)(key, segment.size, segment.blocks),))
        await self.metadata.objects.publish(an_object(f"object-{key}", blob), blob)

    async def keys(self) -> set[str]:
        return {item.key async for item in self.storage.list("memory")}

    async def look(self, after: float = 0.0) -> OrphanReport:
        self.now += after
        return await self.keeper.collect_orphans()


async def _stream() -> AsyncIterator[bytes]:
    yield b"bytes"


def play(test: Callable[[Scene], Awaitable[None]], scene: Scene | None = None) -> None:
    async def run() -> None:
        one = scene or Scene()
        try:
            await one.metadata.accounts.add(ACCOUNT)
            await test(one)
        finally:
            await one.metadata.close()

    asyncio.run(run())


def test_an_orphan_goes_when_the_grace_after_its_first_sight_is_over():
    async def test(scene: Scene) -> None:
        (key,) = await scene.leave()
        assert await scene.look() == OrphanReport(1, 1, 0)
        assert await scene.look(after=GRACE - 1) == OrphanReport(1, 1, 0)
        assert await scene.keys() == {key}
        scene.again()
        assert await scene.look(after=1) == OrphanReport(1, 1, 1)
        assert await scene.keys() == set()
        assert str(await scene.look()) == "0 segments, 0 that no row names, 0 removed"

    play(test)


def test_without_grace_an_orphan_goes_at_once():
    async def test(scene: Scene) -> None:
        await scene.leave(3)
        assert await scene.look() == OrphanReport(3, 3, 3)

    play(test, Scene(Patience(1e9, orphan_grace=0)))


def test_a_key_that_became_known_stays_and_its_sight_is_forgotten():
    async def test(scene: Scene) -> None:
        (key,) = await scene.leave()
        await scene.look()
        await scene.publish(key)  # the newer catalogue is back
        assert await scene.look(after=10 * GRACE) == OrphanReport(1, 0, 0)
        assert await scene.keys() == {key}
        assert await scene.metadata.housekeeping.due_orphans(NOW, scene.now, 10) == []

    play(test)


def test_the_grace_begins_anew_for_a_key_that_was_known_in_between():
    async def test(scene: Scene) -> None:
        (key,) = await scene.leave()
        await scene.look()
        scene.living = True
        await scene.look(after=GRACE)
        scene.living = False
        await scene.look(after=GRACE)
        assert await scene.keys() == {key}
        await scene.look(after=GRACE)
        assert await scene.keys() == set()

    play(test)


def test_a_sight_of_a_clock_that_ran_ahead_makes_nothing_immortal():
    async def test(scene: Scene) -> None:
        await scene.leave()
        scene.now = NOW + 1e9
        await scene.look()
        scene.now = NOW
        assert (await scene.look()).removed == 0
        assert (await scene.look(after=GRACE)).removed == 1

    play(test)


def test_what_a_living_process_writes_is_never_noted():
    async def test(scene: Scene) -> None:
        (key,) = await scene.leave()
        for _ in range(3):
            assert await scene.look(after=10 * GRACE) == OrphanReport()
        assert await scene.keys() == {key}

    play(test, Scene(living=True))


def test_an_incarnation_whose_keys_are_all_known_is_not_listed_again_by_this_process():
    async def test(scene: Scene) -> None:
        first, second = await scene.leave(2)
        await scene.publish(first)
        assert await scene.look() == OrphanReport(2, 1, 0)
        assert await scene.look(after=GRACE) == OrphanReport(2, 1, 1)
        assert await scene.look() == OrphanReport(1, 0, 0)
        calls = scene.storage.calls["list"]
        assert await scene.look() == OrphanReport()
        assert scene.storage.calls["list"] == calls
        scene.again()  # a power cut may have brought files back
        await scene.leave()
        assert await scene.look() == OrphanReport(2, 1, 0)
        assert await scene.keys() > {first} and second not in await scene.keys()

    play(test)


def test_what_a_process_published_just_before_it_ended_is_no_orphan():
    async def test(scene: Scene) -> None:
        (key,) = await scene.leave()
        scene.living = True
        assert await scene.look() == OrphanReport()

        async def published_meanwhile() -> None:
            await scene.publish(key)

        scene.living = False
        scene.metadata.interrupt("known_keys", published_meanwhile)
        assert await scene.look() == OrphanReport(1, 0, 0)

    play(test)


def test_when_most_of_the_store_is_unknown_nothing_goes_and_the_log_says_why(caplog: pytest.LogCaptureFixture):
    async def test(scene: Scene) -> None:
        keys = await scene.leave(2 * FEW + 1)
        for key in keys[:FEW]:
            await scene.publish(key)
        (look,) = [await scene.look()]
        assert look == OrphanReport(2 * FEW + 1, FEW + 1, 0)
        assert await scene.keys() == set(keys)
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        said = record.getMessage()
        assert "catalogue is older" in said and "--max-orphan-share 1" in said
        # The operator says that they may go.
        scene.patience = Patience(1e9, orphan_grace=0, orphan_brake=1)
        scene.again()
        assert (await scene.look()).removed == FEW + 1
        assert await scene.keys() == set(keys[:FEW])

    play(test, Scene(Patience(1e9, orphan_grace=0)))


@pytest.mark.parametrize("unknown", [FEW, FEW + 1])
def test_up_to_half_of_the_store_or_a_few_go(unknown: int):
    async def test(scene: Scene) -> None:
        for key in await scene.leave(unknown if unknown > FEW else 0):
            await scene.publish(key)
        await scene.leave(unknown)
        assert (await scene.look()).removed == unknown

    play(test, Scene(Patience(1e9, orphan_grace=0)))
