"""The digester among damaged, vanished and ended blobs: each of the others gets its digest."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from entrepot.domain.multipart import etag_of, fingerprint
from entrepot.domain.objects import Blob, Object
from entrepot.domain.uploads import Part
from entrepot.service.digester import INTERVAL, SOON, Digester
from entrepot.storage.base import StorageFailed
from support.facts import ACCOUNT, LIMIT, an_object, an_upload
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue


class Faulty(MemoryStorage):
    """Some keys cannot be read; counts the bytes that were."""

    def __init__(self) -> None:
        super().__init__(segment_size=4)
        self.failing: set[str] = set()
        self.bytes_read = 0

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if key in self.failing:
            raise StorageFailed("Input/output error")
        async for piece in super().read(key, start, end):
            self.bytes_read += len(piece)
            yield piece


class Scene:
    def __init__(self, metadata: Catalogue) -> None:
        self.metadata = metadata
        self.storage = Faulty()
        self.digester = Digester(metadata.uploads, metadata.objects, self.storage)

    async def published(self, object_id: str, data: bytes) -> Blob:
        stored = await self.storage.put(_stream(data), {})
        blob = Blob(f"{object_id}-blob", stored.size, None, stored.segments)
        await self.metadata.objects.publish(an_object(object_id, blob), blob)
        return blob

    async def begun(self, upload_id: str) -> None:
        await self.metadata.uploads.begin(an_upload(upload_id), LIMIT)

    async def part(self, upload_id: str, number: int, data: bytes) -> Part:
        stored = await self.storage.put(_stream(data), {})
        blob = Blob(f"{upload_id}-{number}-{stored.segments[0].key}", stored.size, stored.sha256, stored.segments)
        part = Part(upload_id, number, etag_of(stored.sha256), stored.size, stored.sha256, blob.id, float(number))
        assert await self.metadata.uploads.add_part(part, blob) == part
        return part

    async def finished(self, upload_id: str, parts: list[Part], **changes: Any) -> Object:
        held = await self.metadata.uploads.segments_of_parts(upload_id)
        segments = tuple(segment for part in parts for segment in held[part.blob_id])
        blob = Blob(f"{upload_id}-blob", sum(part.size for part in parts), None, segments)
        obj = await self.metadata.objects.publish(an_object(f"{upload_id}-object", blob, **changes), blob, upload_id)
        assert obj
        return obj

    async def digest(self, object_id: str) -> bytes | None:
        obj = await self.metadata.objects.get(object_id)
        assert obj
        return obj.sha256

    async def step(self, times: int = 1, budget: int = 1 << 20) -> None:
        for _ in range(times):
            await self.digester.step(budget)


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


def with_scene(test: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        metadata = Catalogue(None)
        try:
            await metadata.accounts.add(ACCOUNT)
            await test(Scene(metadata))
        finally:
            await metadata.close()

    asyncio.run(run())


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize("harm", ["rotten", "gone", "failing"])
def test_forty_damaged_blobs_at_the_head_do_not_starve_those_behind(
    harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(scene: Scene) -> None:
        for n in range(40):
            (key, *_) = [s.key for s in (await scene.published(f"bad{n}", b"0123456789")).segments]
            kept = scene.storage._kept
            if harm == "rotten":
                kept[key] = replace(kept[key], data=b"9" * 4)
            elif harm == "gone":
                del kept[key]
            else:
                scene.storage.failing.add(key)
        await scene.published("good", b"good bytes")
        await scene.step(4)
        assert await scene.digest("good") == sha256(b"good bytes")
        assert await scene.digest("bad0") is None
        await scene.step(4)

    with caplog.at_level(logging.ERROR):
        with_scene(test)
    assert len(caplog.records) == 40, "each is told once"


def test_a_part_that_cannot_be_read_stops_no_other_upload_until_it_is_sent_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(scene: Scene) -> None:
        await scene.begun("bad")
        first = await scene.part("bad", 1, b"first")
        (key, _) = [s.key for s in (await scene.metadata.segments(first.blob_id))]
        scene.storage.failing.add(key)
        await scene.begun("good")
        good = [await scene.part("good", 1, b"one"), await scene.part("good", 2, b"two")]
        await scene.step()
        assert await scene.metadata.uploads.whole_digest("good", fingerprint(good)) == sha256(b"onetwo")
        second = await scene.part("bad", 2, b"second")
        await scene.step(3)
        assert await scene.metadata.uploads.whole_digest("bad", fingerprint([first, second])) is None
        again = await scene.part("bad", 1, b"first")
        await scene.step()
        assert await scene.metadata.uploads.whole_digest("bad", fingerprint([again, second])) == sha256(b"firstsecond")

    with caplog.at_level(logging.ERROR):
        with_scene(test)
    assert len(caplog.records) == 1


def test_the_digest_goes_on_with_the_object_where_it_was_with_the_upload() -> None:
    async def test(scene: Scene) -> None:
        await scene.begun("other")
        await scene.part("other", 1, b"other")
        await scene.begun("u")
        parts = [await scene.part("u", n, bytes([n]) * 40) for n in range(1, 6)]
        await scene.step(1, budget=100)
        assert 0 < scene.storage.bytes_read < 200
        await scene.finished("u", parts)
        while await scene.digest("u-object") is None:
            await scene.step(1, budget=30)
        assert await scene.digest("u-object") == sha256(b"".join(bytes([n]) * 40 for n in range(1, 6)))
        assert scene.storage.bytes_read == 205, "nothing was read twice"
        await scene.step()
        assert len(scene.digester._runs) == 1

    with_scene(test)


def test_an_object_of_other_attempts_than_were_followed_has_the_digest_of_its_own() -> None:
    async def test(scene: Scene) -> None:
        await scene.begun("u")
        first = await scene.part("u", 1, b"first")
        old = await scene.part("u", 2, b"old")
        await scene.part("u", 2, b"new!")
        await scene.part("u", 3, b"third")
        await scene.step(1, budget=11)
        await scene.finished("u", [first, old])
        await scene.step(3)
        assert await scene.digest("u-object") == sha256(b"firstold")

    with_scene(test)


@pytest.mark.parametrize("end", ["aborted", "finished", "finished late", "expired"])
def test_the_run_of_an_upload_that_ended_is_dropped_though_others_are_open(end: str) -> None:
    async def test(scene: Scene) -> None:
        await scene.begun("open")
        await scene.part("open", 1, b"open")
        await scene.begun("u")
        parts = [await scene.part("u", n, b"some bytes") for n in (1, 2)]
        await scene.step(1, budget=12 if end in ("finished late", "expired") else 1 << 20)
        assert len(scene.digester._runs) == 2
        if end == "aborted":
            await scene.metadata.uploads.abort("u")
        else:
            await scene.finished("u", parts, expires_at=1.0 if end == "expired" else None)
        if end == "expired":
            await scene.metadata.housekeeping.expire_objects(2.0, 10)
            assert await scene.metadata.housekeeping.condemn_blobs(10)
        await scene.step(2)
        assert len(scene.digester._runs) == 1

    with_scene(test)


def test_a_first_part_that_is_sent_again_and_again_leaves_one_run() -> None:
    async def test(scene: Scene) -> None:
        await scene.begun("u")
        for n in range(10):
            await scene.part("u", 1, b"first %d" % n)
            await scene.step()
        assert len(scene.digester._runs) == 1

    with_scene(test)


def test_empty_objects_and_parts_have_a_digest() -> None:
    async def test(scene: Scene) -> None:
        await scene.published("empty", b"")
        await scene.published("whole", b"whole")
        await scene.step()
        assert await scene.digest("empty") == sha256(b"")
        assert await scene.digest("whole") == sha256(b"whole")
        assert not scene.digester._runs

    with_scene(test)


@pytest.mark.parametrize("huge", ["a", "z"])
def test_a_huge_backlog_holds_up_no_other_digest(huge: str) -> None:
    async def test(scene: Scene) -> None:
        await scene.begun(huge)
        await scene.part(huge, 1, bytes(4000))
        small = {}
        for upload_id in ("m", "n", "o", "p", "q", "r"):
            await scene.begun(upload_id)
            small[upload_id] = fingerprint([await scene.part(upload_id, 1, upload_id.encode())])
        await scene.published("whole", b"whole")
        await scene.step(3, budget=100)
        assert await scene.digest("whole") == sha256(b"whole")
        for upload_id, wanted in small.items():
            assert await scene.metadata.uploads.whole_digest(upload_id, wanted) == sha256(upload_id.encode())
        assert scene.storage.bytes_read < 500
        assert await scene.digester.step(100), "there is more to do at once"
        while await scene.digester.step(400):
            pass
        assert scene.storage.bytes_read == 4011, "nothing was read twice"

    with_scene(test)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_part_that_is_sent_again_while_the_digester_looks_gives_no_wrong_digest(number: int) -> None:
    async def test() -> None:
        metadata = Catalogue()
        try:
            await metadata.accounts.add(ACCOUNT)
            scene, data = Scene(metadata), {n: b"part %d" % n for n in (1, 2, 3)}
            await scene.begun("u")
            parts = [await scene.part("u", n, data[n]) for n in data]
            metadata.interrupt("segments_of_parts", lambda: scene.part("u", number, data[number]))
            await scene.step()
            right = sha256(b"".join(data.values()))
            assert await metadata.uploads.whole_digest("u", fingerprint(parts)) in (None, right)
            await scene.step()
            assert await metadata.uploads.whole_digest("u", fingerprint(parts)) == right
        finally:
            await metadata.close()

    asyncio.run(test())


def test_while_parts_come_the_next_look_is_soon() -> None:
    async def test(scene: Scene) -> None:
        now = [5.0]
        scene.digester = Digester(scene.metadata.uploads, scene.metadata.objects, scene.storage, lambda: now[0])
        await scene.begun("upload")
        await scene.step()
        assert scene.digester.pause() == INTERVAL
        await scene.part("upload", 1, b"part")
        await scene.step()
        assert scene.digester.pause() == SOON
        now[0] += 60
        assert scene.digester.pause() == INTERVAL

    with_scene(test)
