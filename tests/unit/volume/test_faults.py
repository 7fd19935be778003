"""What the disk, the machine and clients that hang up can do to a deed: it is done, or nothing is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import shutil
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from entrepot.atomic import Kind, Op, observe
from entrepot.domain.errors import Code, Problem
from entrepot.volume import staging
from entrepot.volume.paths import PRIVATE
from entrepot.volume.volume import Volume
from support.disk import FailAt, Recorder, short_writes
from support.volumes import (
    OWNER,
    handles,
    make,
    names,
    open_volume,
    p,
    private,
    put,
    read,
    refused,
    runs,
    tree,
    with_volume,
)

BIG = [bytes([n]) * 400_000 for n in range(4)]  # two batches

Deed = Callable[[Volume], Awaitable[object]]


async def _adopt(volume: Volume) -> None:
    fd = os.open(f"{volume.ground.root.folder.path}/a/f", os.O_RDONLY)
    try:
        await volume.adopt(OWNER, p("new/x"), runs((fd, 0, 3)), sha256=bytes(32), size=3)
    finally:
        os.close(fd)


async def _restore(volume: Volume) -> None:
    trashed = (await volume.list_trash(OWNER)).entries[0]
    await volume.restore(OWNER, trashed.id)


async def _drop(volume: Volume) -> None:
    trashed = (await volume.list_trash(OWNER)).entries[0]
    await volume.drop_trash(OWNER, trashed.id)


DEEDS: dict[str, Deed] = {
    "put": lambda v: put(v, "new/deep/x", *BIG),
    "put a small one": lambda v: put(v, "x", b"x"),
    "replace": lambda v: put(v, "a/f", b"other"),
    "make a folder": lambda v: v.make_folder(OWNER, p("new/deep/er")),
    "rename a file": lambda v: v.rename(OWNER, p("a/f"), p("new/x")),
    "rename over a file": lambda v: v.rename(OWNER, p("a/f"), p("a/g"), overwrite=True),
    "rename a folder": lambda v: v.rename(OWNER, p("a"), p("new/x")),
    "copy a file": lambda v: v.copy(OWNER, p("a/f"), p("new/x")),
    "copy a folder": lambda v: v.copy(OWNER, p("a"), p("new/x")),
    "delete a file": lambda v: v.delete(OWNER, p("a/f")),
    "delete a folder": lambda v: v.delete(OWNER, p("a")),
    "delete for good": lambda v: v.delete(OWNER, p("a"), permanent=True),
    "restore": _restore,
    "drop": _drop,
    "adopt": _adopt,
}


@pytest.fixture(scope="module")
def template(quick_folder: Path) -> Path:
    """A volume with some files, and a folder in the trash."""

    async def fill() -> None:
        volume = open_volume(root, quota=10**9)
        await put(volume, "t/f", b"trash")
        await volume.delete(OWNER, p("t"))
        await put(volume, "a/f", b"fff")
        await put(volume, "a/b/h", b"h")
        await put(volume, "a/g", b"gg")
        await volume.close()

    root = make(quick_folder / "template")
    asyncio.run(fill())
    return root


async def _state(volume: Volume) -> tuple[dict[str, bytes | None], int]:
    """What a client can see."""
    return tree(Path(volume.ground.root.folder.path)), len((await volume.list_trash(OWNER)).entries)


async def _at_every_operation(template: Path, deed: Deed, attempt: Callable[[Volume, int], Awaitable[bool]]) -> int:
    """Run `attempt` with k = 1, 2, ... on a copy of the volume each, until it says that there is no k-th operation. It
    must leave all as it was, or done; then the deed is possible again. Returns how many operations there are."""
    results: list[tuple[dict[str, bytes | None], int]] = []
    k, more = 0, True
    while more:
        root = Path(shutil.copytree(template, template.parent / "copy", symlinks=True))
        volume = open_volume(root, quota=10**9)
        before = await _state(volume)
        if not results:
            await deed(volume)
            results = [before, await _state(volume)]
        else:
            k += 1
            open_before = handles()
            more = await attempt(volume, k)
            assert handles() == open_before
            if (state := await _state(volume)) == before != results[1]:
                await deed(volume)
                state = await _state(volume)
            assert state == results[1]
            await volume.sweep(4e9)
            assert private(root) == []
        await volume.close()
        shutil.rmtree(root)
    return k - 1


FULL = ("put", "replace", "make a folder", "rename a file", "copy a folder", "delete a folder")


@pytest.mark.parametrize(
    "deed, number",
    [(deed, errno.EIO) for deed in DEEDS.values()] + [(DEEDS[name], errno.ENOSPC) for name in FULL],
    ids=[*DEEDS, *(f"{name}, full" for name in FULL)],
)
def test_a_deed_whose_disk_fails_at_any_operation_is_done_or_not_at_all(template, deed, number):
    expected = {errno.EIO: Code.UNAVAILABLE, errno.ENOSPC: Code.INSUFFICIENT_STORAGE}[number]

    async def attempt(volume: Volume, k: int) -> bool:
        failing = FailAt(k, number)
        try:
            with observe(failing):
                await deed(volume)
        except Problem as problem:
            assert failing.failed is not None
            assert problem.code is expected, problem
        else:  # only what is tidied up afterwards may fail unheard
            assert failing.failed is None or PRIVATE in failing.failed.path
            assert failing.failed is None or failing.failed.kind not in (Kind.SYNC, Kind.SYNC_DIR)
        return failing.failed is not None

    assert asyncio.run(_at_every_operation(template, deed, attempt)) >= 3


@pytest.mark.parametrize("deed", DEEDS.values(), ids=list(DEEDS))
def test_a_client_that_hangs_up_at_any_operation_leaves_nothing_unfinished(template, deed):
    async def attempt(volume: Volume, k: int) -> bool:
        loop, count = asyncio.get_running_loop(), 0

        def cancel(op: Op) -> None:
            nonlocal count
            count += 1
            if count == k:
                loop.call_soon_threadsafe(task.cancel)

        with observe(cancel):
            task = asyncio.ensure_future(deed(volume))
            await asyncio.wait([task])
            await asyncio.sleep(0)  # what came with the last operation
        if not task.cancelled():
            task.result()
        return count >= k

    assert asyncio.run(_at_every_operation(template, deed, attempt)) >= 3


@pytest.mark.parametrize("pieces", [0, 1, 3, 7])
@with_volume
async def test_a_body_that_stops_coming_leaves_nothing_however_it_ends(volume, root, pieces):
    class Broken(Exception):
        pass

    async def body(stuck: bool) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield bytes(400_000)
        if not stuck:
            raise Broken
        waiting.set()
        await asyncio.sleep(3600)

    before, waiting = handles(), asyncio.Event()
    with pytest.raises(Broken):
        await volume.put(OWNER, p("new/f"), body(False))
    task = asyncio.create_task(volume.put(OWNER, p("new/f"), body(True)))
    await waiting.wait()
    assert await names(volume, recursive=True) == []  # what is unfinished is nowhere seen
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree(root) == {} and private(root) == [] and handles() == before


@with_volume
async def test_a_reader_that_hangs_up_frees_its_handle(volume, root):
    await put(volume, "f", *BIG)
    before = handles()
    for steps in range(6):
        task = asyncio.create_task(volume.open(OWNER, p("f")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close()
    task = asyncio.create_task(volume.stat(OWNER, p("f"), checksum=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()
    assert handles() == before


@with_volume
async def test_a_sync_that_fails_is_not_tried_again(volume, root):
    for k in range(1, 4):
        recorder, failing = Recorder(), FailAt(k, errno.EIO, Kind.SYNC, Kind.SYNC_DIR)

        def both(op: Op, recorder: Recorder = recorder, failing: FailAt = failing) -> None:
            recorder(op)
            failing(op)

        with observe(both), refused(Code.UNAVAILABLE, "Input/output error"):
            await put(volume, f"new{k}/f", b"x")
        kinds = [op.kind for op in recorder.ops]
        assert kinds.count(Kind.SYNC) + kinds.count(Kind.SYNC_DIR) == k
        assert private(root) == []


@with_volume
async def test_a_large_body_is_synced_while_it_comes_in_and_a_failure_then_is_not_forgotten(volume, root, monkeypatch):
    monkeypatch.setattr(staging, "SYNC_EVERY", 1_000_000)
    with observe(recorder := Recorder()):
        await put(volume, "f", *BIG, *BIG, *BIG)
    assert recorder.kinds().count(Kind.SYNC) > 2
    for k in range(1, recorder.kinds().count(Kind.SYNC) + 1):
        with observe(FailAt(k, errno.EIO, Kind.SYNC)), refused(Code.UNAVAILABLE):
            await put(volume, "g", *BIG, *BIG, *BIG)
    assert await names(volume) == ["f"] and private(root) == []


@with_volume
async def test_writes_that_take_a_part_at_a_time_lose_nothing(volume, root):
    with observe(short_writes):
        await put(volume, "f", b"ab" * 1500, b"c" * 1501)
        await volume.copy(OWNER, p("f"), p("g"))
    assert await read(volume, "f") == await read(volume, "g") == b"ab" * 1500 + b"c" * 1501


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@with_volume
async def test_a_system_without_handles_is_named(volume, root, number):
    with observe(FailAt(1, number, Kind.CREATE)), refused(Code.UNAVAILABLE, "too many open files"):
        await put(volume, "f", b"x")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EBUSY, errno.ENOENT])
@with_volume
async def test_what_the_system_says_of_a_rename_that_cannot_be_is_told(volume, root, number):
    await put(volume, "f", b"x")
    before = tree(root)
    for deed in (
        lambda: put(volume, "new/g", b"x"),
        lambda: volume.rename(OWNER, p("f"), p("new/g")),
        lambda: volume.copy(OWNER, p("f"), p("new/g")),
        lambda: volume.delete(OWNER, p("f")),
    ):
        with observe(FailAt(1, number, Kind.RENAME)), refused(Code.CONFLICT):
            await deed()
    assert tree(root) == before and private(root) == []


@with_volume
async def test_a_file_that_the_server_may_not_touch_is_no_defect_of_it(volume, root):
    with observe(FailAt(1, errno.EACCES, Kind.CREATE)), refused(Code.FORBIDDEN, "disk"):
        await put(volume, "f", b"x")


@pytest.mark.parametrize("change", ["replaced", "gone", "no mark", "a file"])
@with_volume
async def test_a_root_that_was_replaced_or_unmounted_is_never_written_to(volume, root, change):
    await put(volume, "a/f", b"x")
    trashed = await volume.delete(OWNER, p("a"))
    await put(volume, "g", b"x")
    away = root.parent / "away"
    match change:
        case "replaced":
            root.rename(away)
            shutil.copytree(away, root)
        case "gone":
            root.rename(away)
        case "no mark":
            (root / PRIVATE).rename(away)
        case "a file":
            root.rename(away)
            root.touch()
    before = (tree(root), tree(away))
    deeds: list[Awaitable[object]] = [
        put(volume, "new", b"x"),
        put(volume, "g", b"x"),
        volume.make_folder(OWNER, p("new")),
        volume.rename(OWNER, p("g"), p("new")),
        volume.copy(OWNER, p("g"), p("new")),
        volume.delete(OWNER, p("g")),
        volume.delete(OWNER, p("g"), permanent=True),
        volume.restore(OWNER, trashed.id),
        volume.drop_trash(OWNER, trashed.id),
        volume.adopt(OWNER, p("new"), runs(), sha256=None, size=0),
    ]
    for deed in deeds:
        with refused(Code.UNAVAILABLE, "replaced or unmounted"):
            await deed
    assert (tree(root), tree(away)) == before
    if change == "no mark":
        away.rename(root / PRIVATE)
        await put(volume, "new", b"x")


@with_volume
async def test_memory_stays_flat_whatever_the_size_of_a_body(volume, root):
    async def body(pieces: int) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield bytes(256 * 1024)

    async def peak(pieces: int) -> int:
        tracemalloc.reset_peak()
        await volume.put(OWNER, p("f"), body(pieces))
        file = await volume.open(OWNER, p("f"))
        async for _ in file.read(0, file.entry.size):
            pass
        await file.close()
        return tracemalloc.get_traced_memory()[1]

    await peak(8)
    tracemalloc.start()
    try:
        small, large = await peak(16), await peak(160)
    finally:
        tracemalloc.stop()
    assert large < small + 3 * 1024 * 1024


@with_volume
async def test_the_sweep_takes_what_crashes_left_in_staging_and_nothing_under_way(volume, root):
    folder, now = root / PRIVATE / "staging", 2_000_000_000.0

    def aged(path: Path, seconds: float) -> Path:
        os.utime(path, (now - seconds, now - seconds))
        return path

    (folder / "left").touch()
    (folder / "fresh").touch()
    for name in ("brief-left", "brief-fresh", "upload", "upload-old", "upload-active"):
        (folder / name).mkdir()
        (folder / name / "1").touch()
    for name in ("left", "brief-left", "upload", "upload/1", "upload-active"):
        aged(folder / name, 3601)
    for name in ("upload-old/1", "upload-old"):
        aged(folder / name, 7 * 86_400 + 1)
    for name in ("fresh", "brief-fresh", "upload-active/1"):
        aged(folder / name, 10)
    held = await volume.threads.run(volume.staging.create)
    held_folder = await volume.threads.run(volume.staging.create_folder)
    aged(folder / held.name, 10**7)
    aged(folder / held_folder.name, 10**7)
    await volume.sweep(now)
    kept = {"fresh", "brief-fresh", "upload", "upload-active", held.name, held_folder.name}
    assert set(os.listdir(folder)) == kept
    held.drop()
    held_folder.drop()
    held.drop()
    held_folder.drop()
    assert set(os.listdir(folder)) == kept - {held.name, held_folder.name}


@with_volume(quota=1000)
async def test_a_part_of_the_sweep_that_fails_keeps_none_of_the_others_from_its_work(volume, root, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield

    (root / PRIVATE / "staging/left").touch()
    os.utime(root / PRIVATE / "staging/left", (1, 1))
    (root / "f").write_bytes(b"by a program")
    monkeypatch.setattr(volume.gone, "sweep", fails)
    with refused(Code.UNAVAILABLE):
        await volume.sweep(2_000_000_000.0)
    assert not os.listdir(root / PRIVATE / "staging")
    assert (root / PRIVATE / "usage").read_text() == "12\n"


@with_volume
async def test_what_cannot_be_removed_keeps_nothing_else_on_the_disk(volume, root, caplog):
    for path in ("a/b/c", "a/b/stays/f", "a/b/z", "a/d"):
        await put(volume, path, b"x")

    def holds(op: Op) -> None:
        if op.path.endswith("/stays"):  # as a folder of another user, or where something is mounted
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    with observe(holds):
        await volume.delete(OWNER, p("a"), permanent=True)
        await volume.sweep(0.0)
    assert tree(root) == {} and "could not be removed" in caplog.text
    left = [path for path in private(root) if (root / PRIVATE / path).is_file()]
    assert [path.rpartition("/")[2] for path in left] == ["f"]
    await volume.sweep(0.0)
    assert private(root) == []


def test_a_folder_that_a_program_made_anew_is_not_taken_for_the_one_that_was_there(tmp_path_factory):
    """On ext4 it has the inode of the old one at once; its name is no more on the disk than that of any new folder."""
    root = make(tmp_path_factory.mktemp("disk") / "data")

    async def write_twice() -> None:
        volume = open_volume(root)
        await put(volume, "a/first", b"1")
        shutil.rmtree(root / "a")
        (root / "a").mkdir()
        with observe(recorder):
            await put(volume, "a/second", b"2")
        await volume.close()

    recorder = Recorder()
    asyncio.run(write_twice())
    assert str(root) in [op.path for op in recorder.ops if op.kind is Kind.SYNC_DIR]
