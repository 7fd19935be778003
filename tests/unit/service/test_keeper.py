"""A sweep on a disk or a catalogue that fails here and there: the rest is done, and nothing is told twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

import pytest

from entrepot.metadata.base import MetadataFailed
from entrepot.service.keeper import Keeper, KeeperTimes
from entrepot.storage.base import StorageFailed
from support.facts import ACCOUNT, LIMIT, a_blob, an_object, an_upload
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue
from support.sweeping import Swept, sweep


class Stuck(MemoryStorage):
    """Some keys cannot be deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck: set[str] = set()
        self.deleted: list[str] = []

    async def delete(self, keys: Sequence[str]) -> None:
        self.deleted += [key for key in keys if key not in self.stuck]
        if self.stuck.intersection(keys):
            raise StorageFailed("Operation not permitted")


class Scene:
    def __init__(self, metadata: Catalogue, storage: Stuck, keeper: Keeper) -> None:
        self.metadata, self.storage, self.keeper = metadata, storage, keeper

    async def expired(self, *names: str) -> None:
        for name in names:
            blob = a_blob(name)
            await self.metadata.objects.publish(an_object(f"o-{name}", blob, expires_at=200.0), blob)

    async def known(self, names: Collection[str]) -> set[str]:
        keys = {f"{name}/0": name for name in names}
        return {keys[key] for key in await self.metadata.housekeeping.known_keys(keys)}


def with_scene(test: Callable[[Scene], Awaitable[None]], metadata: Catalogue | None = None) -> None:
    async def run() -> None:
        storage, catalogue = Stuck(), metadata or Catalogue(None)
        keeper = Keeper(
            catalogue.housekeeping,
            catalogue.uploads,
            storage,
            lambda: 1000.0,
            lambda: 0.0,
            lambda: [],
            KeeperTimes(100.0),
        )
        scene = Scene(catalogue, storage, keeper)
        try:
            await catalogue.accounts.add(ACCOUNT)
            await test(scene)
        finally:
            await catalogue.close()

    asyncio.run(run())


def test_bytes_that_cannot_be_deleted_hold_up_no_others(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"b{i}" for i in range(9)]

    async def test(scene: Scene) -> None:
        await scene.expired(*names)
        scene.storage.stuck = {"b0/0", "b4/0"}
        swept = await sweep(scene.keeper)
        assert swept == Swept(expired=9, blobs=7, forgotten=9)
        assert await scene.known(names) == {"b0", "b4"}
        assert await sweep(scene.keeper) == Swept()
        await scene.expired("late")
        assert await sweep(scene.keeper) == Swept(expired=1, blobs=1, forgotten=1)
        scene.storage.stuck = {"b4/0"}
        assert await sweep(scene.keeper) == Swept(blobs=1)
        scene.storage.stuck = set()
        assert await sweep(scene.keeper) == Swept(blobs=1)
        assert await scene.known([*names, "late"]) == set()

    with caplog.at_level(logging.ERROR):
        with_scene(test)
    assert [record.message for record in caplog.records if "blob=b0 " in record.message] != []
    assert len(caplog.records) == 2, "each is told once"


def test_more_stuck_blobs_than_a_batch_do_not_hold_up_the_others() -> None:
    names = [f"b{i}" for i in range(20)]

    async def test(scene: Scene) -> None:
        await scene.expired(*names)
        scene.storage.stuck = {f"b{i}/0" for i in range(10)}
        assert (await sweep(scene.keeper, limit=3)).blobs == 10
        assert await scene.known(names) == {f"b{i}" for i in range(10)}

    with_scene(test)


@pytest.mark.parametrize("failing", ["expire_objects", "expire_uploads", "condemn_blobs", "forget_blob"])
def test_a_step_that_fails_keeps_no_other_from_its_work_and_is_told(failing: str) -> None:
    metadata = Catalogue()

    async def test(scene: Scene) -> None:
        await scene.expired("old")
        await metadata.housekeeping.expire_objects(500.0, 10)
        await scene.expired("b")
        await metadata.uploads.begin(an_upload("u"), LIMIT)

        async def fail(runs: str) -> None:
            if runs == failing:
                raise MetadataFailed(runs)

        metadata.hook = fail
        with pytest.raises(MetadataFailed, match=failing):
            await sweep(scene.keeper)
        metadata.hook = None
        assert await metadata.objects.get("o-old") is None, "the last step was reached"
        if failing != "expire_uploads":
            assert not await metadata.uploads.abort("u")
        if failing in ("expire_objects", "expire_uploads"):
            assert "old" not in await scene.known(["old"])

    with_scene(test, metadata)
