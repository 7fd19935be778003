"""From files to objects and back: what is published is what was cloned, and nothing is shared that can change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrepot.atomic import Folder
from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.acl import ANONYMOUS, Decision, Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.lifecycle import AclChoice, Lifecycle
from entrepot.domain.objects import BLOCK_SIZE, Object
from entrepot.domain.signing import Signer
from entrepot.domain.uploads import Intent
from entrepot.service.access import require_account
from entrepot.service.objects import WINDOW, Objects
from entrepot.service.request_bodies import RequestBody
from entrepot.service.transfer import Extent, Transfer
from entrepot.service.upload_sessions import Rules
from entrepot.service.uploads import SingleUploads
from entrepot.storage.base import Storage
from entrepot.storage.local import LocalStorage
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue
from support.storage_wrappers import Wrapped

WHO = Principal("account", "key", by_key=True)
BOB = Principal("bob", "key2", by_key=True)
SEGMENT = 2 * BLOCK_SIZE + 77
DATA = random.Random(6).randbytes(3 * SEGMENT + 5)
SIZES = [0, 1, SEGMENT, SEGMENT + 1, len(DATA)]
PRIVATE = Lifecycle(acl=AclChoice(Decision.FORBID))


@dataclass(frozen=True)
class Entry:
    name: str
    size: int
    sha256: bytes | None


class OpenFile:
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.entry = Entry(path.name, os.fstat(self._file.fileno()).st_size, None)

    def fileno(self) -> int:
        return self._file.fileno()

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, end, 50_000):
            yield os.pread(self.fileno(), min(50_000, end - at), at)

    async def close(self) -> None:
        self._file.close()


class Shelf:
    """A folder whose files are published by rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, who: Principal) -> Shelf:
        require_account(who)
        return self

    async def open(self, who: Principal, path: str) -> OpenFile:
        if not (self.root / path).exists():
            raise not_found()
        return OpenFile(self.root / path)

    async def take(
        self, who: Principal, path: str, stream: AsyncIterator[bytes], *,
        length: int | None, expected: tuple[Expected, ...], when: None,
        confirm: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> tuple[Entry, bool]:  # fmt: skip
        data = b"".join([piece async for piece in stream])
        assert [e.value for e in expected] == [hashlib.sha256(data).digest()]
        (self.root / path).write_bytes(data)
        return Entry(path, len(data), expected[0].value), True

    async def holds(self, who: Principal, path: str, sha256: bytes) -> bool:
        return hashlib.sha256((self.root / path).read_bytes()).digest() == sha256

    async def adopt(
        self, who: Principal, path: str, extents: AsyncIterable[Extent], *,
        sha256: bytes | None, size: int, when: None,
    ) -> tuple[Entry, bool]:  # fmt: skip
        with Folder.open(self.root) as folder:
            file = folder.create("staged")
            try:
                async for extent in extents:
                    at = file.size
                    file.copy(extent.fd, extent.start, extent.size)
                    await asyncio.to_thread(extent.check, file.fd, at)
                assert file.size == size
                folder.rename("staged", path)
            except BaseException:
                folder.unlink("staged")
                raise
            finally:
                file.close()
        return Entry(path, size, sha256), True


class Between(Wrapped):
    """Does something before or after bytes are taken in."""

    first: Callable[[], object] = staticmethod(lambda: None)
    then: Callable[[], object] = staticmethod(lambda: None)

    def before(self, method: str) -> None:
        if method in ("put", "adopt"):
            self.first()

    def moved(self, method: str, size: int) -> None:
        if method in ("put", "adopt"):
            self.then()


class Scene:
    def __init__(self, folder: Path, storage: Storage, quota: int | None) -> None:
        self.root = folder / "shelf"
        self.root.mkdir()
        self.now = 100.0
        self.storage = Between(storage)
        self.metadata = Catalogue(None)
        rules = Rules("0123abcd", "/files/b/", "upload", 1 << 30, 3600.0, quota=quota)
        clock = lambda: self.now  # noqa: E731
        sessions = self.metadata.sessions(rules, clock, secrets.token_bytes)
        records, objects, signer = self.metadata.uploads, self.metadata.objects, Signer(bytes(range(32)))
        self.uploads = SingleUploads(sessions, records, objects, self.storage, signer, rules, clock)
        self.objects = Objects(self.metadata.objects, self.storage, clock, 1 << 20)
        self.transfer = Transfer(Shelf(self.root).of, self.storage, self.objects, self.uploads)

    def write(self, data: bytes, name: str = "a.bin") -> Path:
        path = self.root / name
        path.write_bytes(data)
        return path

    async def publish(self, name: str = "a.bin", who: Principal = WHO, **intent: Any) -> Object:
        return await self.transfer.publish(who, name, Intent(**{"lifecycle": Lifecycle(), **intent}))

    async def upload(self, data: bytes, lifecycle: Lifecycle = Lifecycle()) -> Object:
        async def stream() -> AsyncIterator[bytes]:
            yield data

        return await self.uploads.put(WHO, Intent(lifecycle), RequestBody(stream()))

    async def keep(self, obj: Object, who: Principal = WHO) -> Entry:
        return await self.transfer.keep(who, "kept", obj.path, None)

    async def bytes_of(self, obj: Object) -> bytes:
        async with aclosing(self.objects.read(obj, 0, obj.size)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def keys(self) -> list[str]:
        return [entry.key for name in ("memory", "p1") for entry in [e async for e in self.storage.list(name)]]

    def files(self) -> list[str]:
        return sorted(os.listdir(self.root))


Play = Callable[..., None]


@pytest.fixture(params=["files", "memory"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a test with a storage that clones, and with one that cannot."""
    (tmp_path / "blobs").mkdir()

    async def run(test: Callable[[Scene], Awaitable[None]], quota: int | None) -> None:
        storage: Storage = MemoryStorage(segment_size=SEGMENT)
        if request.param == "files":
            storage = LocalStorage(tmp_path / "blobs", "p1", threads=4, segment_size=SEGMENT)
        scene = Scene(tmp_path, storage, quota)
        try:
            for account in ("account", "bob"):
                await scene.metadata.accounts.add(Account(account, f"nick-{account}", 1.0))
            await asyncio.wait_for(test(scene), 60)
        finally:
            await scene.storage.close()
            await scene.metadata.close()

    return lambda test, quota=None: asyncio.run(run(test, quota))


async def refusal(deed: Awaitable[Any]) -> Problem:
    with pytest.raises(Problem) as refused:
        await deed
    return refused.value


# Publish


@pytest.mark.parametrize("size", SIZES)
def test_a_published_file_is_an_object_with_its_bytes_and_digest_whatever_becomes_of_the_file(play, size):
    async def test(scene: Scene) -> None:
        path = scene.write(DATA[:size], "a.txt")
        obj = await scene.publish("a.txt")
        with path.open("r+b") as file:
            file.write(bytes(size))
        assert (obj.size, obj.sha256, obj.name) == (size, hashlib.sha256(DATA[:size]).digest(), "a.txt")
        assert await scene.bytes_of(obj) == DATA[:size]

    play(test)


def test_the_name_and_type_that_were_wished_count_and_else_the_bytes_decide(play):
    async def test(scene: Scene) -> None:
        scene.write(b"\x89PNG\r\n\x1a\n" + bytes(100), "picture")
        assert (await scene.publish("picture")).content_type == "image/png"
        wished = await scene.publish("picture", file_name="b.dat", content_type="application/x-own")
        assert (wished.name, wished.content_type) == ("b.dat", "application/x-own")

    play(test)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite_and_set_the_time_back(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(DATA)
    path.with_name("new").rename(path)


def cut(path: Path) -> None:
    os.truncate(path, 9)


@pytest.mark.parametrize("change", [append, overwrite_and_set_the_time_back, replace, cut])
@pytest.mark.parametrize("moment", ["first", "then"])
def test_a_file_that_changes_while_it_is_copied_is_not_published_and_leaves_nothing(play, change, moment):
    async def test(scene: Scene) -> None:
        path = scene.write(DATA)
        setattr(scene.storage, moment, lambda: change(path))
        assert (await refusal(scene.publish())).code is Code.CONFLICT
        assert await scene.keys() == []
        assert await scene.metadata.accounts.usage("account") == 0

    play(test)


def test_equal_publishes_with_a_key_give_one_object_and_other_bytes_are_refused(play):
    async def test(scene: Scene) -> None:
        path = scene.write(DATA)
        first = await scene.publish(idempotency_key="k")
        assert await scene.publish(idempotency_key="k") == first
        append(path)
        assert (await refusal(scene.publish(idempotency_key="k"))).code is Code.ALREADY_PUBLISHED
        assert await scene.metadata.accounts.usage("account") == len(DATA)

    play(test)


def test_nobody_without_an_account_publishes_and_what_is_not_there_is_not_found(play):
    async def test(scene: Scene) -> None:
        scene.write(DATA)
        assert (await refusal(scene.publish(who=ANONYMOUS))).code is Code.UNAUTHORIZED
        assert (await refusal(scene.publish("b"))).code is Code.NOT_FOUND

    play(test)


def test_a_file_larger_than_the_room_of_the_account_is_refused_before_it_is_copied(play):
    async def test(scene: Scene) -> None:
        scene.write(DATA)
        scene.storage.first = lambda: pytest.fail("it was copied")
        assert (await refusal(scene.publish())).code is Code.QUOTA_EXCEEDED

    play(test, quota=len(DATA) - 1)


def test_m5_a_file_is_not_published_with_a_key_that_was_revoked_meanwhile(play):
    async def test(scene: Scene) -> None:
        await scene.metadata.accounts.add_key(KeyRecord("key", "account", "", b"h" * 32, 1.0))
        scene.write(DATA)
        scene.metadata.interrupt("publish", lambda: scene.metadata.accounts.revoke_key("key", scene.now))
        assert (await refusal(scene.publish())).code is Code.UNAUTHORIZED
        assert await scene.metadata.accounts.usage("account") == 0
        assert await scene.keys() == []

    play(test)


@pytest.mark.parametrize("moment", ["settle", "first", "then", "publish"])
def test_a_publish_that_is_cancelled_leaves_nothing_or_a_whole_object(play, moment):
    async def test(scene: Scene) -> None:
        scene.write(DATA)
        handles = len(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(scene.publish())

        async def cancel() -> None:
            task.cancel()
            await asyncio.sleep(0)

        if moment == "settle":
            await asyncio.sleep(0)
            task.cancel()
        elif moment == "publish":
            scene.metadata.interrupt("publish", cancel)
        else:
            setattr(scene.storage, moment, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        published = await scene.metadata.accounts.usage("account") == len(DATA)
        assert len(await scene.keys()) == (4 if published else 0)
        assert published or moment in ("settle", "first")
        assert len(os.listdir("/proc/self/fd")) == handles

    play(test)


# Keep


@pytest.mark.parametrize("size", [*SIZES, (WINDOW + 2) * SEGMENT])
def test_a_kept_object_is_a_file_with_its_bytes_and_a_later_write_does_not_reach_the_object(play, size):
    data = (DATA * 4)[:size]

    async def test(scene: Scene) -> None:
        obj = await scene.upload(data)
        assert await scene.keep(obj) == Entry("kept", size, hashlib.sha256(data).digest())
        path = scene.root / "kept"
        assert path.read_bytes() == data
        assert path.stat().st_nlink == 1
        path.write_bytes(bytes(size))
        assert await scene.bytes_of(obj) == data

    play(test)


def test_only_who_may_read_an_object_keeps_it(play):
    async def test(scene: Scene) -> None:
        obj = await scene.upload(DATA, PRIVATE)
        assert (await refusal(scene.keep(obj, BOB))).code is Code.FORBIDDEN
        assert (await refusal(scene.keep(obj, ANONYMOUS))).code is Code.UNAUTHORIZED
        assert scene.files() == []
        assert (await scene.keep(obj)).size == len(DATA)
        public = await scene.upload(DATA, Lifecycle(60))
        assert await scene.keep(public, BOB)
        scene.now += 60
        assert (await refusal(scene.keep(public))).code is Code.GONE

    play(test)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("play", ["files"], indirect=True)
@pytest.mark.parametrize("damage", [flip, append, cut, os.unlink])
@pytest.mark.parametrize("number", [0, 3])
def test_damaged_bytes_are_not_kept_as_if_they_were_good(tmp_path, play, damage, number, caplog):
    async def test(scene: Scene) -> None:
        obj = await scene.upload(DATA)
        segments = await scene.metadata.segments(obj.blob_id)
        damage(tmp_path / "blobs" / segments[number].key)
        assert (await refusal(scene.keep(obj))).code is Code.INTEGRITY_FAILED
        assert scene.files() == []
        assert obj.id in caplog.text
        assert scene.objects.damaged == 1

    play(test)
