"""A disk that fails or is full at any one operation of an upload (docs/threats.md H03, H04): the upload fails as such,
nothing of it stays, and the next one works."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from entrepot import atomic
from entrepot.api.responses import STATUS
from entrepot.atomic import Kind, Op
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server import bootstrap
from entrepot.server.core import FAILURES
from entrepot.service.request_bodies import RequestBody
from entrepot.settings import Settings
from entrepot.storage.base import StorageFailed, StorageFull
from support.disk import FailAt, Recorder
from support.faultvfs import Faults
from support.promises import Deeds, live_paths, opened, space
from support.sweeping import sweep

NOW = 1_700_000_000.0
DATA = os.urandom(3 * 4096 + 5)  # four segments
FULL = {errno.ENOSPC, errno.EDQUOT}

numbers = pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE], ids=errno.errorcode.get
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    lock = bootstrap.take_home(root)
    bootstrap.prepare(Settings(home=root))
    lock.release()
    return root


async def stream() -> AsyncIterator[bytes]:
    for start in range(0, len(DATA), 5000):
        yield DATA[start : start + 5000]


async def put(deeds: Deeds, lifetime: int | None = None) -> Object:
    (account,) = await deeds.metadata.accounts.list()
    (key,) = await deeds.metadata.accounts.list_keys()
    return await deeds.uploads.put(Principal(account.id, key.id), Intent(Lifecycle(lifetime)), RequestBody(stream()))


async def is_whole(deeds: Deeds, obj: Object) -> bool:
    return b"".join([piece async for piece in deeds.objects.read(obj, 0, obj.size)]) == DATA


async def one_upload(root: Path, tap: Callable[[Op], int | None], faults: Faults | None = None) -> Exception | None:
    """An upload of a new process that meets a fault; then one that does not. What the first one raised.

    A catalogue that cannot sync its log cannot know whether the commit will be found in it: complete or absent then.
    """
    async with opened(root, NOW, vfs=faults.name if faults else None) as deeds:
        before = live_paths(deeds.home.catalogue)
        raised: Exception | None = None
        with atomic.observe(tap):
            try:
                assert await is_whole(deeds, await put(deeds))
            except (StorageFailed, StorageFull, MetadataFailed, MetadataFull) as error:
                raised = error
        if faults:
            faults.disarm()
        more = len(live_paths(deeds.home.catalogue)) - len(before)
        assert more == 1 if raised is None else more == 0 or (faults and more == 1)
        assert await is_whole(deeds, await put(deeds)), "the next upload meets no fault"
    async with opened(root, NOW) as deeds:
        await deeds.keeper.collect_orphans()
        assert await space(deeds) == []
    return raised


@numbers
def test_a_fault_at_any_operation_of_the_storage_is_told_as_what_it_is(home: Path, number: int) -> None:
    for k in itertools.count(1):
        fault = FailAt(k, number)
        raised = asyncio.run(one_upload(home, fault))
        if fault.failed is None:
            break
        assert raised and type(raised) is (StorageFull if number in FULL else StorageFailed), fault.failed
        code = FAILURES[type(raised)]
        assert STATUS[code] == (507 if number in FULL else 503)
    assert k > 20


def test_what_failed_to_sync_is_never_synced_again_nor_published(home: Path) -> None:
    for k in itertools.count(1):
        fault, recorder = FailAt(k, errno.EIO, Kind.SYNC), Recorder()

        def tap(op: Op, fault: FailAt = fault, recorder: Recorder = recorder) -> None:
            fault(op)
            recorder(op)

        raised = asyncio.run(one_upload(home, tap))
        if fault.failed is None:
            break
        assert isinstance(raised, StorageFailed)
        assert fault.failed.path not in {op.path for op in recorder.ops if op.kind is Kind.SYNC}
    assert k > 4


def test_the_disk_may_be_full_at_any_byte(home: Path) -> None:
    for room in range(0, len(DATA), 1111):
        left = [room]

        def tap(op: Op, left: list[int] = left) -> int | None:
            if op.kind is not Kind.WRITE:
                return None
            taken = min(left[0], len(op.data))
            left[0] -= taken
            if op.data and not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return taken

        assert type(asyncio.run(one_upload(home, tap))) is StorageFull


@pytest.mark.parametrize(
    ("error", "told"), [(apsw.IOError, MetadataFailed), (apsw.FullError, MetadataFull)], ids=["I/O error", "full"]
)
def test_a_fault_at_any_operation_of_the_catalogue_is_told_as_what_it_is(home: Path, error: Any, told: type) -> None:
    with Faults() as faults:
        for k in itertools.count(1):
            armed = False

            def tap(op: Op, k: int = k) -> None:
                nonlocal armed
                if op.kind is Kind.CREATE and not armed:  # the upload has begun
                    armed = True
                    faults.failed = 0
                    faults.arm(k, error)

            raised = asyncio.run(one_upload(home, tap, faults))
            if not faults.failed:
                break
            assert raised and type(raised) is told
            assert FAILURES[type(raised)] in (Code.UNAVAILABLE, Code.INSUFFICIENT_STORAGE)
    assert k > 5


@pytest.mark.parametrize("kind", [Kind.UNLINK, Kind.RMDIR])
def test_a_sweep_that_cannot_remove_bytes_is_repeated_later(home: Path, kind: Kind) -> None:
    async def test() -> None:
        async with opened(home, NOW) as deeds:
            obj = await put(deeds, lifetime=5)
        async with opened(home, NOW + 10) as deeds:
            with atomic.observe(FailAt(1, errno.EIO, kind)), suppress(StorageFailed):
                await sweep(deeds.keeper)
            assert await deeds.metadata.segments(obj.blob_id) == ()
            await sweep(deeds.keeper)
            assert await space(deeds) == []

    asyncio.run(test())


def test_a_folder_that_cannot_be_listed_fails_the_sweep_and_deletes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    async def test() -> None:
        async with opened(home, NOW) as deeds:
            obj = await put(deeds)
        async with opened(home, NOW) as deeds:
            for k in itertools.count(1):
                left = iter(range(k - 1))

                def listdir(place: Any, left: Iterator[int] = left) -> list[str]:
                    if next(left, None) is None:
                        raise OSError(errno.EIO, "injected")
                    return real(place)

                monkeypatch.setattr(os, "listdir", listdir)
                try:
                    await deeds.keeper.collect_orphans()
                except (StorageFailed, OSError):
                    continue
                finally:
                    monkeypatch.setattr(os, "listdir", real)
                break
            assert k == 4  # the names of processes, the ended one's folder, its one bucket; then none fails
            assert await is_whole(deeds, obj)

    asyncio.run(test())
