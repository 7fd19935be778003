"""A disk that fails: whatever write or sync it is, what was acknowledged stays and the rest is absent or whole."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import apsw
import pytest

from entrepot.domain.uploads import UploadState
from entrepot.metadata.base import MetadataFailed, MetadataFull
from support.facts import ACCOUNT, LIMIT, a_blob, a_part, an_object, an_upload
from support.faultvfs import Faults
from support.metadata import Catalogue

TOLD = {apsw.FullError: MetadataFull, apsw.IOError: MetadataFailed}

errors = pytest.mark.parametrize("error", TOLD)
lasting = pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])

PART, WHOLE = a_blob("p", "k1", "k2"), a_blob("whole", "k1", "k2")
BEFORE = a_blob("before")


async def prepare(store: Catalogue) -> None:
    """One object that is acknowledged, and an upload that is ready to be published."""
    await store.accounts.add(ACCOUNT)
    await store.objects.publish(an_object("o", BEFORE), BEFORE)
    await store.uploads.begin(an_upload("u"), LIMIT)
    await store.uploads.add_part(a_part("u", 1, PART), PART)


async def publish(store: Catalogue) -> None:
    assert await store.objects.publish(an_object("u-object", WHOLE), WHOLE, "u")


async def outcome(store: Catalogue) -> bool:
    """Whether the upload is published; fails unless all of it is, or nothing."""
    assert await store.objects.get("o") == an_object("o", BEFORE)
    assert await store.segments("before") == BEFORE.segments
    upload = await store.uploads.get("u")
    assert upload is not None
    done = upload.state is UploadState.PUBLISHED
    assert await store.objects.get("u-object") == (an_object("u-object", WHOLE) if done else None)
    assert await store.segments("whole") == (WHOLE.segments if done else ())
    assert await store.segments("p") == (() if done else PART.segments)
    assert await store.uploads.list_parts("u") == ([] if done else [a_part("u", 1, PART)])
    return done


async def reopened(path: Path) -> bool:
    store = Catalogue(path)
    try:
        return await outcome(store)
    finally:
        await store.close()


def after_a_kill(path: Path, folder: Path) -> Path:
    """The files as a killed process leaves them: the log is there, its index in shared memory is not."""
    folder.mkdir()
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists():
            shutil.copy(file, folder)
    return folder / path.name


async def one_fault(folder: Path, faults: Faults, k: int, error: type[apsw.Error], lasting: bool) -> bool:
    """Publish with the k-th operation failing; False when there were fewer."""
    path = folder / "catalogue.db"
    store = Catalogue(path, create=True, vfs=faults.name)
    await prepare(store)
    assert not await outcome(store)
    faults.failed = 0
    faults.arm(k, error, lasting=lasting)
    try:
        await publish(store)
        acknowledged = True
    except TOLD[error]:
        acknowledged = False
    met = faults.failed > 0
    assert met or acknowledged
    done = await reopened(after_a_kill(path, folder / "killed"))
    assert done or not acknowledged
    faults.disarm()
    assert await outcome(store) or not acknowledged
    await publish(store)
    assert await outcome(store)
    await store.close()
    assert await reopened(path)
    return met


@errors
@lasting
def test_a_publish_that_meets_a_fault_is_whole_or_absent_and_the_store_goes_on(tmp_path, error, lasting):
    with Faults() as faults:
        k = 1
        while True:
            folder = tmp_path / str(k)
            folder.mkdir()
            if not asyncio.run(one_fault(folder, faults, k, error, lasting)):
                break
            k += 1
    assert k > 5


@errors
def test_all_writes_of_a_group_hear_of_its_fault(tmp_path, error):
    async def test(store: Catalogue, faults: Faults) -> None:
        await store.accounts.add(ACCOUNT)
        faults.arm(1, error, lasting=True)
        blobs = [a_blob(f"b{i}") for i in range(50)]
        deeds = [store.objects.publish(an_object(f"o{b.id}", b), b) for b in blobs]
        answers = await asyncio.gather(*deeds, return_exceptions=True)
        assert {type(answer) for answer in answers} == {TOLD[error]}
        assert len(set(map(id, answers))) == 50
        faults.disarm()
        assert [await store.objects.get(f"o{b.id}") for b in blobs] == [None] * 50
        await store.close()

    with Faults() as faults:
        asyncio.run(test(Catalogue(tmp_path / "catalogue.db", create=True, vfs=faults.name), faults))


@errors
def test_opening_a_new_catalogue_fails_clearly_and_can_be_tried_again(tmp_path, error):
    with Faults() as faults:
        k, met = 1, True
        while met:
            path = tmp_path / f"{k}.db"
            faults.failed = 0
            faults.arm(k, error, lasting=k % 2 == 0)
            try:
                asyncio.run(Catalogue(path, create=True, vfs=faults.name).close())
            except (MetadataFull, MetadataFailed):
                assert faults.failed
            met = faults.failed > 0
            faults.disarm()
            store = Catalogue(path, create=True, vfs=faults.name)
            asyncio.run(prepare(store))
            asyncio.run(store.close())
            k += 1
    assert k > 10


@errors
def test_a_checkpoint_that_meets_a_fault_loses_nothing(tmp_path, error):
    async def one(folder: Path, faults: Faults, k: int) -> bool:
        path = folder / "catalogue.db"
        store = Catalogue(path, create=True, vfs=faults.name, checkpoints=True)
        await prepare(store)
        await publish(store)
        faults.failed = 0
        faults.arm(k, error)
        try:
            await store.database.checkpoint()
        except (MetadataFull, MetadataFailed):
            assert faults.failed
        faults.disarm()
        met = faults.failed > 0
        assert await reopened(after_a_kill(path, folder / "killed"))
        await store.database.checkpoint()
        assert await outcome(store)
        await store.close()
        assert await reopened(path)
        return met

    with Faults() as faults:
        k, met = 0, True
        while met:
            k += 1
            folder = tmp_path / str(k)
            folder.mkdir()
            met = asyncio.run(one(folder, faults, k))
    assert k > 2
