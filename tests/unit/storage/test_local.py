"""What only files on a disk can do wrong: faults, links, a root that is gone, the order of syncs."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import resource
import shutil
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path

import pytest

from entrepot.atomic import Kind, Op, observe
from entrepot.domain.objects import Segment
from entrepot.storage import local, segment_folders
from entrepot.storage.base import CHUNK_SIZE, BlobMissing, StorageFailed, StorageFull, StoredKey
from entrepot.storage.local import LocalStorage
from entrepot.threads import Threads
from support.disk import FailAt, Recorder, short_writes

SEGMENT = 300_000
PIECES = [random.Random(number).randbytes(50_000) for number in range(24)]  # two batches, four segments
BODY = b"".join(PIECES)
FACTS = {"object": "o1"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def open_local(root: Path, incarnation: str = "p1", **more) -> LocalStorage:
    return LocalStorage(root, incarnation, threads=4, segment_size=SEGMENT, **more)


def with_local(test: Callable[[LocalStorage, Path], Awaitable[None]]) -> Callable[[Path], None]:
    """Runs a test in an event loop, with an empty storage and its root."""

    async def tell(root: Path) -> None:
        storage = open_local(root)
        try:
            await test(storage, root)
        finally:
            await storage.close()

    def run(root: Path) -> None:
        asyncio.run(tell(root))

    return run


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def put(storage: LocalStorage, *pieces: bytes) -> tuple[Segment, ...]:
    return (await storage.put(stream(*pieces), FACTS)).segments


async def read(storage: LocalStorage, *segments: Segment) -> bytes:
    data = b""
    for segment in segments:
        async with aclosing(storage.read(segment.key, 0, segment.size)) as chunks:
            data += b"".join([chunk async for chunk in chunks])
    return data


async def listed(storage: LocalStorage, *incarnations: str) -> list[StoredKey]:
    return [entry for name in incarnations or ("p1", "p2") for entry in [e async for e in storage.list(name)]]


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# Faults


@pytest.mark.parametrize(
    "number, error, cause, pieces",
    [
        (errno.EIO, StorageFailed, "Input/output error", PIECES),
        (errno.EIO, StorageFailed, "Input/output error", PIECES[:1]),
        (errno.EROFS, StorageFailed, "Read-only file system", PIECES[:1]),
        (errno.EMFILE, StorageFailed, "too many open files", PIECES[:1]),
        (errno.ENFILE, StorageFailed, "too many open files", PIECES[:1]),
        (errno.ENOSPC, StorageFull, "No space left", PIECES),
        (errno.EDQUOT, StorageFull, "quota", PIECES[:1]),
    ],
    ids=["EIO, many segments", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOSPC, many segments", "EDQUOT"],
)
def test_a_write_that_fails_at_any_operation_leaves_nothing_and_the_next_one_succeeds(
    tmp_path, number, error, cause, pieces
):
    async def attempt(k: int) -> bool:
        root = tmp_path / f"root-{k}"
        root.mkdir()
        storage = open_local(root)
        before = handles()
        failing = FailAt(k, number)
        try:
            with observe(failing):
                await put(storage, *pieces)
        except error as raised:
            assert cause in str(raised)
            assert await listed(storage) == []
        assert handles() == before
        segments = await put(storage, *pieces)
        assert await read(storage, *segments) == b"".join(pieces)
        await storage.close()
        shutil.rmtree(root)
        return failing.failed is not None

    async def test() -> int:
        k = 1
        while await attempt(k):
            k += 1
        return k - 1

    operations = asyncio.run(test())
    assert operations >= (9 if len(pieces) == 1 else 25)


def test_an_adoption_that_fails_at_any_operation_leaves_nothing_and_no_handle(tmp_path, root):
    path = tmp_path / "file"
    path.write_bytes(BODY[: 2 * SEGMENT + 1])

    async def test(source: int) -> None:
        storage, k = open_local(root), 0
        before, failing = handles(), FailAt(0, errno.EIO)
        while failing.failed or not k:
            k += 1
            failing = FailAt(k, errno.EIO)
            try:
                with observe(failing):
                    await storage.adopt(source, 2 * SEGMENT + 1, FACTS)
            except StorageFailed:
                assert await listed(storage) == []
            assert handles() == before
        assert k > 15
        await storage.close()

    with path.open("rb") as source:
        asyncio.run(test(source.fileno()))


@with_local
async def test_a_sync_that_fails_fails_the_write_and_is_not_tried_again(storage, root):
    recorder, failing = Recorder(), FailAt(1, errno.EIO, Kind.SYNC)

    def both(op: Op) -> None:
        recorder(op)
        failing(op)

    with observe(both), pytest.raises(StorageFailed):
        await put(storage, b"x")
    assert recorder.kinds().count(Kind.SYNC) == 1
    assert files(root) == []


@with_local
async def test_a_file_that_cannot_be_removed_is_logged_and_does_not_hide_the_cause(storage, root):
    def refuse(op: Op) -> None:
        if op.kind in (Kind.SYNC, Kind.UNLINK):
            raise OSError(errno.ENOSPC if op.kind is Kind.SYNC else errno.EIO, "refused")

    with observe(refuse), pytest.raises(StorageFull):
        await put(storage, b"x")
    assert len(files(root)) == 1


@with_local
async def test_short_writes_lose_nothing(storage, root):
    with observe(short_writes):
        segments = await put(storage, *PIECES[:8])
    assert await read(storage, *segments) == b"".join(PIECES[:8])


@with_local
async def test_running_out_of_handles_is_said_so_and_passes(storage, root):
    with no_more_handles(), pytest.raises(StorageFailed, match="too many open files"):
        await put(storage, b"x")
    assert await read(storage, *await put(storage, b"x")) == b"x"
    assert len(await listed(storage)) == 1


@contextmanager
def no_more_handles() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_below_the_reserve_writes_are_refused_and_reads_go_on(root):
    async def test() -> None:
        writer = open_local(root)
        segments = await put(writer, b"x")
        full = open_local(root, "p2", reserve=2**62)
        with pytest.raises(StorageFull):
            await put(full, b"y")
        with pytest.raises(StorageFull):
            await full.check()
        assert await read(full, *segments) == b"x"
        await full.delete([segments[0].key])
        assert files(root) == []
        await writer.close()
        await full.close()

    asyncio.run(test())


# Durability


def synced_by_the_end(ops: list[Op]) -> None:
    """Every byte, fact and name is followed by the syncs that make it durable, in the right order."""
    for index, op in enumerate(ops):
        later = [(after.kind, after.path) for after in ops[index + 1 :]]
        parent = os.path.dirname(op.path)
        if op.kind in (Kind.CREATE, Kind.WRITE, Kind.SET_FACTS):
            rest = later[later.index((Kind.SYNC, op.path)) :]
            assert (Kind.SYNC_DIR, parent) in rest
        if op.kind is Kind.MAKE_DIR:
            assert (Kind.SYNC_DIR, parent) in later


@with_local
async def test_all_is_synced_before_put_returns(storage, root):
    with observe(recorder := Recorder()):
        await put(storage, *PIECES)
    assert recorder.kinds().count(Kind.CREATE) == 4
    assert recorder.kinds().count(Kind.SET_FACTS) == 4
    synced_by_the_end(recorder.ops)


def test_of_many_writes_at_once_none_returns_before_its_folders_are_synced(root, monkeypatch):
    monkeypatch.setattr(segment_folders, "BUCKET_SIZE", 8)
    recorder = Recorder()

    async def one(storage: LocalStorage) -> None:
        (segment,) = await put(storage, b"x")
        path = str(root / segment.key)
        # Folders that another write makes are not on this one's way, and of those on it only the first making counts:
        # the others find the folder there.
        mine = [op for op in recorder.ops if path.startswith(op.path)]
        made = [op for op in mine if op.kind is Kind.MAKE_DIR]
        first = {op.path: op for op in reversed(made)}
        synced_by_the_end([op for op in mine if op.kind is not Kind.MAKE_DIR or op is first[op.path]])

    async def test() -> None:
        storage = open_local(root)
        with observe(recorder):
            await asyncio.gather(*(one(storage) for _ in range(64)))
        await storage.close()

    asyncio.run(test())
    assert len(os.listdir(root / "p1")) == 8


@with_local
async def test_a_body_of_one_batch_takes_one_thread_hop(storage, root):
    hops: list[object] = []
    start = storage._threads.start

    def counted(work, *args, **kwargs):
        hops.append(work)
        return start(work, *args, **kwargs)

    storage._threads.start = counted
    await put(storage, *PIECES[:5])
    assert len(hops) == 1


# Folders that come and go


def test_folders_that_another_process_empties_are_removed_and_made_again(root):
    async def test() -> None:
        writer, keeper = open_local(root), open_local(root, "p2")
        with observe(recorder := Recorder()):
            for _ in range(3):
                (segment,) = await put(writer, b"x")
                await keeper.delete([segment.key])
                assert os.listdir(root) == []
        assert recorder.kinds().count(Kind.MAKE_DIR) == 6
        await writer.close()
        await keeper.close()

    asyncio.run(test())


def test_own_folders_stay(root):
    async def test() -> None:
        storage = open_local(root)
        (segment,) = await put(storage, b"x")
        await storage.delete([segment.key])
        assert os.listdir(root / "p1") == ["0"]
        await storage.close()

    asyncio.run(test())


def test_writes_and_a_keeper_that_removes_folders_do_not_disturb_each_other(root):
    async def test() -> None:
        writer, keeper = open_local(root), open_local(root, "p2")

        async def one(number: int) -> None:
            (segment,) = await put(writer, b"%d" % number)
            assert await read(writer, segment) == b"%d" % number
            await keeper.delete([segment.key])

        for _ in range(60):
            await asyncio.gather(*map(one, range(4)))
        assert await listed(writer) == []
        await writer.close()
        await keeper.close()

    asyncio.run(test())


def test_an_incarnation_that_was_used_before_replaces_nothing(root):
    async def test() -> None:
        first, second = open_local(root), open_local(root)
        (one,), (other,) = await put(first, b"one"), await put(second, b"other")
        assert one.key != other.key
        assert await read(second, one, other) == b"oneother"
        await first.close()
        await second.close()

    asyncio.run(test())


@pytest.mark.parametrize("incarnation", ["", "..", "a/b", "-a", "a b", "a\n", "x" * 65, "ü"])
def test_an_incarnation_that_is_no_plain_name_is_refused(root, incarnation):
    with pytest.raises(ValueError):
        LocalStorage(root, incarnation)


# Nothing outside the root


@with_local
async def test_a_segment_that_is_a_link_is_not_followed(storage, root):
    (segment,) = await put(storage, b"ours")
    outside = root.parent / "outside"
    outside.write_bytes(b"them")
    (root / segment.key).unlink()
    (root / segment.key).symlink_to(outside)
    with pytest.raises(BlobMissing):
        await read(storage, segment)
    assert await listed(storage) == []
    await storage.delete([segment.key])
    assert outside.read_bytes() == b"them"


@pytest.mark.parametrize("level", ["p1", "p1/0"])
def test_a_folder_that_is_a_link_is_not_followed(root, level):
    async def test() -> None:
        storage = open_local(root)
        (segment,) = await put(storage, b"ours")
        outside = root.parent / "outside"
        (root / level).rename(outside)
        (root / level).symlink_to(outside)
        before = files(outside)
        with pytest.raises(BlobMissing):
            await read(storage, segment)
        with pytest.raises(StorageFailed):
            await put(storage, b"more")
        await storage.delete([segment.key])
        assert await listed(storage) == []
        assert files(outside) == before
        await storage.close()

    asyncio.run(test())


@with_local
async def test_the_listing_passes_over_what_is_not_ours(storage, root):
    (segment,) = await put(storage, b"x")
    bucket = root / "p1" / "0"
    (root / "lost+found").mkdir()
    (root / "README").write_bytes(b"")
    (root / "p1" / "x.tmp").mkdir()
    (bucket / "notes.txt").write_bytes(b"")
    (bucket / "77").mkdir()
    (bucket / "78").symlink_to("nowhere")
    os.mkfifo(bucket / "79")
    assert [entry.key for entry in await listed(storage)] == [segment.key]


@with_local
async def test_a_pipe_in_the_place_of_a_segment_is_missing_bytes_and_blocks_nobody(storage, root):
    (segment,) = await put(storage, b"x")
    (root / segment.key).unlink()
    os.mkfifo(root / segment.key)
    with pytest.raises(BlobMissing):
        await read(storage, segment)


# The root


@pytest.mark.parametrize("then", ["replaced", "gone", "a file"])
def test_when_the_root_is_not_the_one_that_was_opened_nothing_is_written(root, then):
    async def test() -> None:
        storage = open_local(root)
        (segment,) = await put(storage, b"x")
        away = root.rename(root.parent / "away")
        match then:
            case "replaced":
                root.mkdir()
            case "a file":
                root.touch()
        replaced = pytest.raises(StorageFailed, match="replaced or unmounted")
        with replaced:
            await put(storage, b"y")
        with replaced:
            await storage.check()
        with replaced:
            await storage.delete([segment.key])
        with replaced:
            await listed(storage)
        with replaced:
            await anext(storage.read("p1/0/99", 0, 1))
        assert files(away) == [segment.key]
        if then == "replaced":
            assert os.listdir(root) == []
            root.rmdir()
            away.rename(root)
            await storage.check()
            await put(storage, b"y")
        await storage.close()

    asyncio.run(test())


def test_a_root_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(StorageFailed, match="No such file"):
        open_local(tmp_path / "missing")
    assert os.listdir(tmp_path) == []


# Reading


def test_what_is_not_in_memory_is_read_in_a_thread(root, monkeypatch):
    async def test() -> None:
        storage = open_local(root)
        segments = await put(storage, *PIECES)
        monkeypatch.setattr(local, "read_now", lambda fd, size, offset: None)
        assert await read(storage, *segments) == BODY
        await storage.close()

    asyncio.run(test())


@with_local
async def test_a_file_cut_by_hand_is_missing_bytes_before_the_first_chunk(storage, root):
    (segment,) = await put(storage, b"abc")
    os.truncate(root / segment.key, 2)
    with pytest.raises(BlobMissing):
        await read(storage, segment)


def test_a_file_cut_while_it_is_read_is_missing_bytes(root):
    async def test() -> None:
        storage = LocalStorage(root, "p1", threads=2)
        (segment,) = await put(storage, *PIECES)
        chunks = storage.read(segment.key, 0, segment.size)
        assert len(await anext(chunks)) == CHUNK_SIZE
        os.truncate(root / segment.key, CHUNK_SIZE + 1)
        with pytest.raises(BlobMissing):
            await anext(chunks)
        await storage.close()

    asyncio.run(test())


def test_an_error_of_the_disk_while_reading_is_a_failure(root, monkeypatch):
    def refuse(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def test() -> None:
        storage = open_local(root)
        segments = await put(storage, b"abc")
        for name in ("preadv", "pread"):
            monkeypatch.setattr(os, name, refuse)
            with pytest.raises(StorageFailed, match="Input/output"):
                await read(storage, *segments)
        await storage.close()

    asyncio.run(test())


@with_local
async def test_a_reader_that_is_closed_or_cancelled_frees_its_handle(storage, root):
    (segment,) = (await put(storage, *PIECES))[:1]
    before = handles()
    chunks = storage.read(segment.key, 0, segment.size)
    await anext(chunks)
    assert handles() == before + 1
    await chunks.aclose()
    assert handles() == before

    async def hold() -> None:
        async for _ in storage.read(segment.key, 0, segment.size):
            await asyncio.Event().wait()

    reader = asyncio.create_task(hold())
    await asyncio.sleep(0)
    assert handles() == before + 1
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    del reader
    await asyncio.sleep(0)
    assert handles() == before


@with_local
async def test_what_was_open_when_it_was_deleted_is_read_to_its_end(storage, root):
    (segment,) = await put(storage, b"abc")
    with pytest.raises(BlobMissing):
        await anext(storage.read(segment.key, 0, 4))
    chunks = storage.read(segment.key, 0, 3)
    assert await anext(chunks) == b"abc"
    await storage.delete([segment.key])
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


@with_local
async def test_a_key_that_cannot_be_deleted_does_not_keep_the_others(storage, root):
    keys = [(await put(storage, b"x"))[0].key for _ in range(3)]
    with observe(FailAt(1, errno.EIO, Kind.UNLINK)), pytest.raises(StorageFailed):
        await storage.delete(keys)
    assert files(root) == keys[:1]


# Cost


def test_memory_stays_flat_however_long_the_stream(root):
    async def body() -> AsyncIterator[bytes]:
        for _ in range(128):
            yield bytes(1024 * 1024)

    async def test() -> int:
        storage = LocalStorage(root, "p1")
        tracemalloc.start()
        try:
            await storage.put(body(), FACTS)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await storage.close()

    assert asyncio.run(test()) < 8 * 1024 * 1024


# Threads


def test_a_cancelled_task_waits_for_its_thread_and_its_effects():
    async def test() -> None:
        threads = Threads(2, nullcontext)
        go, started, effects = threading.Event(), threading.Event(), []

        def work() -> None:
            started.set()
            go.wait()
            effects.append("done")

        task = asyncio.create_task(threads.run(work))
        await threads.run(started.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert effects == ["done"]
        threads.end()

    asyncio.run(test())
