"""The contract of `storage.base.Storage`: one suite for every implementation."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.objects import BLOCK_SIZE, Segment
from entrepot.storage.base import (
    AT_ONCE,
    CHUNK_SIZE,
    SEGMENT_SIZE,
    BlobMissing,
    Storage,
    StorageFailed,
    Stored,
    StoredKey,
)
from entrepot.storage.blocks import checksums, verify
from entrepot.storage.local import LocalStorage
from entrepot.threads import BATCH_SIZE
from support.memory_storage import MemoryStorage
from support.storage_wrappers import CountingStorage

SEGMENT = 2 * CHUNK_SIZE + 3 * BLOCK_SIZE + 17  # small, and a multiple of nothing
FACTS = {"object": "o1", "name": "cat ✓.png"}

Open = Callable[..., Storage]


@pytest.fixture(params=["memory", "local", "wrapped"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens an empty storage; `segment_size` may be given."""
    if request.param == "memory":
        return partial(MemoryStorage, segment_size=SEGMENT)
    if request.param == "wrapped":
        return lambda segment_size=SEGMENT: CountingStorage(MemoryStorage(segment_size=segment_size))
    numbers = count()

    def local(segment_size: int = SEGMENT) -> LocalStorage:
        root = tmp_path / f"root-{next(numbers)}"
        root.mkdir()
        return LocalStorage(root, "process-1", threads=4, segment_size=segment_size)

    return local


def with_storage(test: Callable[..., Awaitable[None]]) -> Callable[[Open], None]:
    """Runs a test in an event loop, with an empty storage."""

    def run(make: Open) -> None:
        asyncio.run(_tell(make(), test))

    return run


async def _tell(storage: Storage, test: Callable[..., Awaitable[None]]) -> None:
    try:
        await test(storage)
    finally:
        await storage.close()


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def breaking(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise ConnectionResetError("the client hung up")


async def stalling(reached: asyncio.Event, *pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    reached.set()
    await asyncio.Event().wait()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces_of(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


async def read(storage: Storage, segment: Segment, start: int = 0, end: int | None = None) -> bytes:
    async with aclosing(storage.read(segment.key, start, segment.size if end is None else end)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read_all(storage: Storage, segments: Iterable[Segment]) -> bytes:
    return b"".join([await read(storage, segment) for segment in segments])


async def listed(storage: Storage) -> list[StoredKey]:
    """All keys, whichever of the storages it is."""
    names = ("memory", "process-1")
    return [entry for name in names for entry in [each async for each in storage.list(name)]]


# Writing and reading back

EDGES = (0, 1, BLOCK_SIZE, CHUNK_SIZE, BATCH_SIZE, SEGMENT, 2 * SEGMENT)


@pytest.mark.parametrize("size", sorted({max(0, edge + step) for edge in EDGES for step in (-1, 0, 1)}))
def test_a_body_of_any_size_comes_back_with_its_digests(make, size):
    async def test(storage: Storage) -> None:
        data = noise(size)
        stored = await storage.put(stream(*pieces_of(data, 65_000)), FACTS)
        assert stored.size == size
        assert stored.sha256 == hashlib.sha256(data).digest()
        assert [segment.size for segment in stored.segments] == [len(cut) for cut in pieces_of(data, SEGMENT)]
        assert [segment.blocks for segment in stored.segments] == [checksums(cut) for cut in pieces_of(data, SEGMENT)]
        assert await read_all(storage, stored.segments) == data

    asyncio.run(_tell(make(), test))


def test_a_body_longer_than_a_real_segment_is_cut_exactly_there(make):
    async def test(storage: Storage) -> None:
        piece = noise(1_000_003)
        stored = await storage.put(stream(*[piece] * 70), FACTS)
        assert [segment.size for segment in stored.segments] == [SEGMENT_SIZE, 70 * len(piece) - SEGMENT_SIZE]
        assert hashlib.sha256(await read_all(storage, stored.segments)).digest() == stored.sha256

    asyncio.run(_tell(make(segment_size=SEGMENT_SIZE), test))


@settings(max_examples=60)
@given(data=st.data())
def test_pieces_and_segments_of_any_size_give_the_same_bytes(data, tmp_path_factory):
    segment_size = data.draw(st.integers(1, 300))
    pieces = data.draw(st.lists(st.binary(max_size=400), max_size=12))
    whole = b"".join(pieces)

    async def test(storage: Storage) -> None:
        stored = await storage.put(stream(*pieces), FACTS)
        assert all(0 < segment.size <= segment_size for segment in stored.segments)
        assert await read_all(storage, stored.segments) == whole

    root = tmp_path_factory.mktemp("root")
    asyncio.run(_tell(LocalStorage(root, "p", threads=2, segment_size=segment_size), test))
    asyncio.run(_tell(MemoryStorage(segment_size=segment_size), test))


def test_any_range_can_be_read(make):
    body = noise(SEGMENT)

    async def test(storage: Storage) -> None:
        (segment,) = (await storage.put(stream(body), FACTS)).segments
        draw = random.Random(7)
        edges = [0, 1, BLOCK_SIZE, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, SEGMENT - 1, SEGMENT]
        for _ in range(300):
            start, end = sorted(draw.choice([draw.choice(edges), draw.randrange(SEGMENT + 1)]) for _ in "ab")
            assert await read(storage, segment, start, end) == body[start:end]

    asyncio.run(_tell(make(), test))


@with_storage
async def test_a_range_comes_in_whole_chunks_and_a_short_last_one(storage):
    (segment,) = (await storage.put(stream(noise(SEGMENT)), FACTS)).segments
    sizes = [len(chunk) async for chunk in storage.read(segment.key, BLOCK_SIZE, SEGMENT)]
    assert sizes == [CHUNK_SIZE, CHUNK_SIZE, 2 * BLOCK_SIZE + 17]


@with_storage
async def test_a_short_range_comes_at_once(storage):
    (segment,) = (await storage.put(stream(noise(SEGMENT)), FACTS)).segments
    for start, end in ((0, AT_ONCE), (17, 17 + AT_ONCE), (BLOCK_SIZE, 3 * BLOCK_SIZE)):
        assert [len(chunk) async for chunk in storage.read(segment.key, start, end)] == [end - start]


@with_storage
async def test_every_chunk_that_is_read_agrees_with_the_block_checksums(storage):
    (segment,) = (await storage.put(stream(noise(SEGMENT)), FACTS)).segments
    block = 0
    async for chunk in storage.read(segment.key, 0, SEGMENT):
        assert verify(chunk, block, segment.blocks)
        block += CHUNK_SIZE // BLOCK_SIZE


@with_storage
async def test_a_reader_that_stops_early_can_be_closed(storage):
    (segment,) = (await storage.put(stream(noise(SEGMENT)), FACTS)).segments
    chunks = storage.read(segment.key, 0, SEGMENT)
    assert len(await anext(chunks)) == CHUNK_SIZE
    await chunks.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


@with_storage
async def test_an_empty_body_has_no_segments_and_the_digest_of_nothing(storage):
    for body in (stream(), stream(b"", b"")):
        stored = await storage.put(body, FACTS)
        assert (stored.segments, stored.size, stored.sha256) == ((), 0, hashlib.sha256().digest())
    assert await listed(storage) == []


@with_storage
async def test_hashes_given_are_updated_with_the_bytes_in_order(storage):
    data = noise(3 * SEGMENT)
    md5, sha1 = hashlib.md5(), hashlib.sha1()
    await storage.put(stream(*pieces_of(data, 70_001)), FACTS, [md5, sha1])
    assert md5.digest() == hashlib.md5(data).digest()
    assert sha1.digest() == hashlib.sha1(data).digest()


@with_storage
async def test_a_body_in_single_bytes_is_one_body(storage):
    data = noise(5000)
    stored = await storage.put(stream(*pieces_of(data, 1)), FACTS)
    assert await read_all(storage, stored.segments) == data


# Keys


@with_storage
async def test_keys_of_many_writes_at_once_are_all_different(storage):
    async def put(number: int) -> str:
        (segment,) = (await storage.put(stream(b"%d" % number), FACTS)).segments
        assert await read(storage, segment) == b"%d" % number
        return segment.key

    keys = await asyncio.gather(*map(put, range(200)))
    assert len(set(keys)) == 200
    assert {entry.key for entry in await listed(storage)} == set(keys)


@with_storage
async def test_a_key_is_not_used_again_after_its_bytes_are_gone(storage):
    keys = set()
    for _ in range(5):
        (segment,) = (await storage.put(stream(b"x"), FACTS)).segments
        await storage.delete([segment.key])
        keys.add(segment.key)
    assert len(keys) == 5


@with_storage
async def test_the_listing_of_an_incarnation_tells_its_keys_and_sizes(storage):
    stored = await storage.put(stream(noise(SEGMENT + 1)), FACTS)
    other = await storage.put(stream(b"other"), {})
    segments = (*stored.segments, *other.segments)
    assert {entry.key: entry.size for entry in await listed(storage)} == {each.key: each.size for each in segments}
    (incarnation,) = {segment.key.partition("/")[0] for segment in segments}
    for stranger in ("", "other", incarnation[:-1], f"{incarnation}x", "..", "/"):
        assert [entry async for entry in storage.list(stranger)] == []


@with_storage
async def test_a_segment_is_described_by_the_facts_of_its_write(storage):
    stored = await storage.put(stream(noise(SEGMENT + 1)), FACTS)
    other = await storage.put(stream(b"other"), {})
    for segment in stored.segments:
        assert (await storage.describe(segment.key)).items() >= FACTS.items()
    assert not (await storage.describe(other.segments[0].key)).keys() & FACTS.keys()
    await storage.delete([other.segments[0].key])
    for key in (other.segments[0].key, "", "../../etc/passwd", "nothing"):
        with pytest.raises(BlobMissing):
            await storage.describe(key)


@pytest.mark.parametrize("size", [0, 1, SEGMENT, 2 * SEGMENT + 1])
def test_a_body_whose_length_is_told_is_the_same_as_one_whose_length_is_not(make, size):
    async def test(storage: Storage) -> None:
        data = noise(size)
        told = await storage.put(stream(*pieces_of(data, 65_000)), FACTS, length=size)
        untold = await storage.put(stream(*pieces_of(data, 65_000)), FACTS)
        assert (told.size, told.sha256) == (untold.size, untold.sha256)
        assert [each.blocks for each in told.segments] == [each.blocks for each in untold.segments]
        assert await read_all(storage, told.segments) == data

    asyncio.run(_tell(make(), test))


@pytest.mark.parametrize("told", [0, SEGMENT, SEGMENT + 2])
def test_a_stream_of_another_length_than_was_told_leaves_nothing(make, told):
    async def test(storage: Storage) -> None:
        with pytest.raises(StorageFailed):
            await storage.put(stream(*pieces_of(noise(SEGMENT + 1), 65_000)), FACTS, length=told)
        assert await listed(storage) == []

    asyncio.run(_tell(make(), test))


@with_storage
async def test_a_stream_that_breaks_before_the_length_that_was_told_leaves_nothing(storage):
    with pytest.raises(ConnectionResetError):
        await storage.put(breaking(b"bad"), FACTS, length=1000)
    assert await listed(storage) == []


@pytest.mark.parametrize("key", ["", "x", "../../etc/passwd", "/etc/passwd", "process-1/0/99999", "a/0/0\n", "a//0"])
def test_nothing_is_read_or_deleted_under_a_key_that_was_never_given(make, key):
    async def test(storage: Storage) -> None:
        with pytest.raises(BlobMissing):
            await anext(storage.read(key, 0, 1))
        await storage.delete([key])

    asyncio.run(_tell(make(), test))


# Deleting


@with_storage
async def test_deleted_bytes_are_missing_and_others_stay(storage):
    first, second = [(await storage.put(stream(b"x"), FACTS)).segments[0] for _ in "ab"]
    await storage.delete([first.key])
    with pytest.raises(BlobMissing):
        await read(storage, first)
    assert await read(storage, second) == b"x"
    assert [entry.key for entry in await listed(storage)] == [second.key]


@with_storage
async def test_deleting_twice_and_deleting_nothing_are_no_errors(storage):
    (segment,) = (await storage.put(stream(b"x"), FACTS)).segments
    await storage.delete([segment.key, segment.key])
    await storage.delete([segment.key])
    await storage.delete([])


@with_storage
async def test_reading_past_the_end_is_missing_bytes(storage):
    (segment,) = (await storage.put(stream(b"abc"), FACTS)).segments
    with pytest.raises(BlobMissing):
        await read(storage, segment, 0, 4)


# What fails leaves nothing


@pytest.mark.parametrize("size", [0, 1, BATCH_SIZE, SEGMENT, 3 * SEGMENT + 1])
def test_a_stream_that_breaks_leaves_nothing_and_its_error_comes_through(make, size):
    async def test(storage: Storage) -> None:
        with pytest.raises(ConnectionResetError, match="hung up"):
            await storage.put(breaking(*pieces_of(noise(size), 65_536)), FACTS)
        assert await listed(storage) == []

    asyncio.run(_tell(make(), test))


@pytest.mark.parametrize("size", [0, 1, BATCH_SIZE, SEGMENT, 3 * SEGMENT + 1])
def test_a_write_that_is_cancelled_while_it_waits_for_bytes_leaves_nothing(make, size):
    async def test(storage: Storage) -> None:
        reached = asyncio.Event()
        put = asyncio.create_task(storage.put(stalling(reached, *pieces_of(noise(size), 65_536)), FACTS))
        await reached.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        assert await listed(storage) == []

    asyncio.run(_tell(make(), test))


def test_a_write_that_is_cancelled_at_any_moment_leaves_nothing_or_everything(make):
    body = [noise(65_536)] * 40

    async def attempt(storage: Storage, turns: int) -> bool:
        put = asyncio.create_task(storage.put(stream(*body), FACTS))
        for _ in range(turns):
            await asyncio.sleep(0)
        put.cancel()
        put.cancel()
        try:
            stored = await put
        except asyncio.CancelledError:
            assert await listed(storage) == []
            return False
        await storage.delete([segment.key for segment in stored.segments])
        return True

    async def test(storage: Storage) -> None:
        for turns in range(0, 60, 3):
            await attempt(storage, turns)
        assert await listed(storage) == []

    asyncio.run(_tell(make(), test))


# Parts, which are bodies like all others


@with_storage
async def test_two_attempts_at_one_part_live_side_by_side(storage):
    facts = {**FACTS, "part": "1"}
    first, second = await asyncio.gather(storage.put(stream(b"first"), facts), storage.put(stream(b"second"), facts))
    await storage.delete([segment.key for segment in first.segments])
    assert await read_all(storage, second.segments) == b"second"


@with_storage
async def test_a_part_that_breaks_leaves_earlier_attempts_alone(storage):
    md5 = hashlib.md5()
    part = await storage.put(stream(b"good"), FACTS, [md5])
    with pytest.raises(ConnectionResetError):
        await storage.put(breaking(b"bad"), FACTS)
    assert await read_all(storage, part.segments) == b"good"
    assert md5.digest() == hashlib.md5(b"good").digest()
    assert len(await listed(storage)) == 1


# Files of the system, where a storage has to do with such


Lent = tuple[Storage, Path]


@pytest.fixture(params=["local", "wrapped"])
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Lent], Awaitable[None]]], None]:
    """Runs a test in an event loop, with an empty storage that clones files and a path for one."""
    (tmp_path / "root").mkdir()

    async def tell(test: Callable[[Lent], Awaitable[None]]) -> None:
        storage: Storage = LocalStorage(tmp_path / "root", "process-1", threads=4, segment_size=SEGMENT)
        if request.param == "wrapped":
            storage = CountingStorage(storage)
        try:
            await test((storage, tmp_path / "file"))
        finally:
            await storage.close()

    return lambda test: asyncio.run(tell(test))


async def adopted(storage: Storage, path: Path, size: int) -> Stored:
    cloning = storage.cloning()
    assert cloning
    with path.open("rb") as source:
        return await cloning.adopt(source.fileno(), size, FACTS)


def test_a_storage_without_files_says_that_it_cannot_clone():
    assert MemoryStorage().cloning() is None
    assert CountingStorage(MemoryStorage()).cloning() is None


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + BLOCK_SIZE])
def test_an_adopted_file_is_stored_as_a_body_with_its_bytes(clone, size):
    data = noise(size)

    async def test(lent: Lent) -> None:
        storage, path = lent
        path.write_bytes(data + b"what comes after")
        stored = await adopted(storage, path, size)
        body = await storage.put(stream(data), FACTS)
        path.write_bytes(bytes(size))  # which is nothing to what was stored
        assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).digest())
        assert [(s.size, s.blocks) for s in stored.segments] == [(s.size, s.blocks) for s in body.segments]
        assert await read_all(storage, stored.segments) == data
        for segment in stored.segments:
            assert (await storage.describe(segment.key)).items() >= FACTS.items()

    clone(test)


@pytest.mark.parametrize("there", [0, BLOCK_SIZE, SEGMENT, SEGMENT + 1])
def test_a_file_that_is_shorter_than_was_said_leaves_nothing(clone, there):
    async def test(lent: Lent) -> None:
        storage, path = lent
        path.write_bytes(noise(there))
        with pytest.raises(StorageFailed):
            await adopted(storage, path, 2 * SEGMENT)
        assert await listed(storage) == []

    clone(test)


def test_an_adoption_that_is_cancelled_at_any_moment_leaves_nothing_or_everything(clone):
    async def test(lent: Lent) -> None:
        storage, path = lent
        path.write_bytes(noise(3 * SEGMENT))
        for turns in range(0, 24, 3):
            adoption = asyncio.create_task(adopted(storage, path, 3 * SEGMENT))
            for _ in range(turns):
                await asyncio.sleep(0)
            adoption.cancel()
            try:
                stored = await adoption
            except asyncio.CancelledError:
                assert await listed(storage) == []
            else:
                await storage.delete([segment.key for segment in stored.segments])

    clone(test)


def test_a_segment_can_be_opened_and_read_by_its_handle(clone):
    async def test(lent: Lent) -> None:
        storage, _ = lent
        cloning = storage.cloning()
        assert cloning
        (segment,) = (await storage.put(stream(b"abc"), FACTS)).segments
        fd = await cloning.open_segment(segment.key)
        with open(fd, "rb") as handle:
            assert handle.read() == b"abc"
        await storage.delete([segment.key])
        for key in (segment.key, "../../etc/passwd"):
            with pytest.raises(BlobMissing):
                await cloning.open_segment(key)

    clone(test)


@with_storage
async def test_a_healthy_storage_says_so(storage):
    await storage.check()
