"""Objects of very many segments: what a reader, a finish and a digest hold does not grow with them (I9)."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import pytest

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.objects import BLOCK_SIZE, Blob, Object, Segment
from entrepot.metadata.objects import ObjectRecords
from entrepot.service.digester import Digester
from entrepot.service.objects import WINDOW, Objects
from entrepot.storage.base import CHUNK_SIZE
from entrepot.storage.blocks import checksums
from support.facts import ACCOUNT, LIMIT, a_part, an_object, an_upload
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue

COUNT = 16_000
FEW = 16  # segments that a reader may hold
SIZE = 4 * 1024 * 1024
BLOCKS = checksums(bytes(BLOCK_SIZE)) * (SIZE // BLOCK_SIZE)  # all of them: 8 MB
WHO = Principal("account", "key")


class Zeros(MemoryStorage):
    """Every key names zeros, as many as are asked for."""

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for offset in range(start, end, CHUNK_SIZE):
            yield bytes(min(CHUNK_SIZE, end - offset))


class Counting(ObjectRecords):
    """Counts the segments that were given out with their digests."""

    given = 0

    async def segments_from(self, blob_id: str, start: int, limit: int) -> Sequence[tuple[int, Segment]]:
        found = await super().segments_from(blob_id, start, limit)
        self.given += sum(1 for _, segment in found if segment.blocks)
        return found


class CountingCatalogue(Catalogue):
    def __init__(self) -> None:
        super().__init__()
        self.objects: Counting = Counting(self.database)


def segments(count: int, size: int = SIZE, of: str = "k") -> tuple[Segment, ...]:
    blocks = checksums(bytes(size))
    return tuple(Segment(f"{of}{i}", size, blocks) for i in range(count))


def with_catalogue(test: Callable[[CountingCatalogue], Awaitable[None]]) -> None:
    async def run() -> None:
        metadata = CountingCatalogue()
        try:
            await metadata.accounts.add(ACCOUNT)
            await test(metadata)
        finally:
            await metadata.close()

    asyncio.run(run())


async def published(metadata: CountingCatalogue, parts: tuple[Segment, ...], object_id: str = "o") -> Object:
    blob = Blob(f"blob of {object_id}", sum(part.size for part in parts), None, parts)
    obj = an_object(object_id, blob)
    assert await metadata.objects.publish(obj, blob)
    return obj


async def text(objects: Objects, obj: Object, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in objects.read(obj, start, end)])


def test_many_readers_of_a_huge_object_hold_a_few_segments_each() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        obj = await published(metadata, segments(COUNT))
        objects = Objects(metadata.objects, Zeros(), lambda: 100.0, 1 << 20)
        readers = [objects.read(obj, n * 300 * SIZE + n, obj.size) for n in range(50)]
        metadata.objects.given = 0
        tracemalloc.start()
        try:
            for reader in readers:
                assert not any(await anext(reader))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            for reader in readers:
                await reader.aclose()
        assert metadata.objects.given <= 50 * FEW
        # For each a piece, what is cut out of it, and a window; all digests would be 8 MB for each.
        assert peak < 50 * (2 * CHUNK_SIZE + FEW * (len(BLOCKS) + 1000)) + 8 * CHUNK_SIZE

    with_catalogue(test)


@pytest.mark.parametrize("count", [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_range_over_the_edges_of_windows_is_read_whole(count: int) -> None:
    async def test(metadata: CountingCatalogue) -> None:
        storage = MemoryStorage(segment_size=70_000)
        data = b"".join(hashlib.sha256(bytes([n % 251, n // 251])).digest() for n in range(count * 70_000 // 32))

        async def stream() -> AsyncGenerator[bytes, None]:
            yield data

        stored = await storage.put(stream(), {})
        obj = await published(metadata, stored.segments)
        assert len(stored.segments) == count
        objects = Objects(metadata.objects, storage, lambda: 100.0, 1)
        edges = sorted({0, 1, len(data) - 1, len(data), *range(0, len(data), 70_000 * WINDOW), 70_000 - 1, 70_000})
        for start in edges:
            for end in edges:
                if start < end <= len(data):
                    assert await text(objects, obj, start, end) == data[start:end]
        assert objects.damaged == 0

    with_catalogue(test)


def test_range_after_range_of_a_window_asks_the_catalogue_once() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        obj = await published(metadata, segments(WINDOW))
        objects = Objects(metadata.objects, Zeros(), lambda: 100.0, 1)
        metadata.objects.given = 0
        for start in (0, *range(obj.size - 1, 0, -SIZE // 3)):
            assert not any(await text(objects, obj, start, start + 1))
        assert metadata.objects.given == WINDOW

    with_catalogue(test)


def test_the_windows_of_few_objects_are_kept() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        many = [await published(metadata, segments(1, of=f"{number}-"), f"o{number}") for number in range(200)]
        objects = Objects(metadata.objects, Zeros(), lambda: 100.0, 1)
        metadata.objects.given = 0
        for obj in many + many:
            assert not any(await text(objects, obj, 0, 1))
        assert metadata.objects.given == 2 * len(many)

    with_catalogue(test)


def test_the_windows_of_large_objects_outlast_reads_of_small_ones() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        large = await published(metadata, segments(WINDOW), "large")
        many = [await published(metadata, segments(1, 1000, of=f"{n}-"), f"o{n}") for n in range(100)]
        objects = Objects(metadata.objects, Zeros(), lambda: 100.0, 1 << 20)
        metadata.objects.given = 0
        for obj in (large, *many, large):
            assert not any(await text(objects, obj, 0, 1))
        assert metadata.objects.given == WINDOW + len(many)

    with_catalogue(test)


@pytest.mark.parametrize("lost", [0, 5, WINDOW, 2 * WINDOW, 3 * WINDOW - 1])
def test_rows_that_do_not_add_up_are_damage_and_never_a_short_object(lost: int) -> None:
    """The size of one segment is not what the object's size needs, as after a row that was lost."""

    async def test(metadata: CountingCatalogue) -> None:
        obj = await published(metadata, segments(3 * WINDOW, 100_000))

        class Losing(ObjectRecords):
            async def segments_from(self, blob_id: str, start: int, limit: int) -> Sequence[tuple[int, Segment]]:
                kept = [row for row in await super().segments_from(blob_id, 0, 1000) if row[1].key != f"k{lost}"]
                first = max((at for at, _ in kept if at <= start), default=None)
                return [row for row in kept if first is not None and row[0] >= first][:limit]

        losing = Losing(metadata.database)
        objects = Objects(losing, Zeros(), lambda: 100.0, 1)
        with pytest.raises(Problem) as raised:
            await text(objects, obj, 0, obj.size)
        assert raised.value.code is Code.INTEGRITY_FAILED
        with pytest.raises(Problem):
            await text(objects, obj, lost * 100_000 + 10, lost * 100_000 + 20)

    with_catalogue(test)


def test_a_reader_whose_object_goes_hears_that_it_is_gone() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        parts = segments(2 * WINDOW, CHUNK_SIZE)
        blob = Blob("big", sum(part.size for part in parts), None, parts)
        obj = an_object("o", blob, expires_at=200.0)
        await metadata.objects.publish(obj, blob)
        async with aclosing(Objects(metadata.objects, Zeros(), lambda: 100.0, 1).read(obj, 0, obj.size)) as reader:
            await anext(reader)
            await metadata.housekeeping.expire_objects(200.0, 10)
            await metadata.housekeeping.condemn_blobs(10)
            with pytest.raises(Problem) as raised:
                async for _ in reader:
                    pass
        assert raised.value.code is Code.GONE

    with_catalogue(test)


def test_the_list_of_parts_of_a_huge_upload_is_small() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        await metadata.uploads.begin(an_upload("u"), LIMIT)
        for number, segment in enumerate(segments(1000), 1):
            blob = Blob(f"p{number}", SIZE, None, (segment,))
            await metadata.uploads.add_part(a_part("u", number, blob), blob)
        tracemalloc.start()
        try:
            held = await metadata.uploads.segments_of_parts("u")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(held) == 1000
        # Without any digest a part takes 380 to 510 bytes, as the state of the interpreter has it.
        assert peak < 1000 * (len(BLOCKS) + 250)
        assert not any(segment.blocks for each in held.values() for segment in each)

    with_catalogue(test)


def test_a_digest_reads_the_segments_of_an_object_once_and_a_few_at_a_time() -> None:
    async def test(metadata: CountingCatalogue) -> None:
        obj = await published(metadata, segments(100, BLOCK_SIZE))
        digester = Digester(metadata.uploads, metadata.objects, Zeros())
        metadata.objects.given = 0
        tracemalloc.start()
        try:
            while await digester.step(BLOCK_SIZE * 3):
                assert (await metadata.objects.get("o")).sha256 is None  # type: ignore[union-attr]
        finally:
            tracemalloc.stop()
        found = await metadata.objects.get("o")
        assert found and found.sha256 == hashlib.sha256(bytes(obj.size)).digest()
        assert metadata.objects.given < 100 * (WINDOW + 2)

    with_catalogue(test)
