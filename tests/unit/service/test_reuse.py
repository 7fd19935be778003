"""What is stored again without its bytes, while the sweep is about: a row without bytes never comes to be."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.objects import Object
from entrepot.domain.signing import Signer
from entrepot.domain.uploads import EXISTING_FLOOR, Intent
from entrepot.service.request_bodies import RequestBody
from entrepot.service.upload_sessions import Rules
from entrepot.service.uploads import SingleUploads
from entrepot.storage.base import StorageFailed
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue

WHO = Principal("account", "key")
DATA = bytes(EXISTING_FLOOR)
SHA256 = hashlib.sha256(DATA).digest()
MORTAL = Intent(Lifecycle(60))
Deed = Callable[["Scene"], Awaitable[Any]]


class Scene:
    """One file that ends in a minute; `before` names a call of the catalogue before which `deed` is done."""

    def __init__(self) -> None:
        self.now = 100.0
        self.metadata = Catalogue(None)
        self.storage = MemoryStorage()
        rules = Rules("0123abcd", "/files/b/", "upload", 1 << 30, 3600.0)
        sessions = self.metadata.sessions(rules, lambda: self.now, secrets.token_bytes)
        self.uploads = SingleUploads(
            sessions, self.metadata.uploads, self.metadata.objects, self.storage, Signer(bytes(range(32))), rules,
            lambda: self.now,
        )  # fmt: skip

    async def store(self) -> Object:
        await self.metadata.accounts.add(Account("account", "nick", 1.0))
        return await self.uploads.put(WHO, MORTAL, RequestBody(stream()))

    async def reuse(self, who: Principal = WHO, key: str | None = None) -> Object:
        return await self.uploads.reuse(who, Intent(Lifecycle(), idempotency_key=key), SHA256, len(DATA))

    def interrupt(self, before: str, deed: Deed) -> None:
        self.metadata.interrupt(before, lambda: deed(self))

    async def condemn(self) -> None:
        """The first half of a sweep: the bytes are still there."""
        assert await self.metadata.housekeeping.expire_objects(1e9, 10)
        assert len(await self.metadata.housekeeping.condemn_blobs(10)) == 1

    async def sweep(self) -> None:
        assert await self.metadata.housekeeping.expire_objects(1e9, 10)
        for condemned in await self.metadata.housekeeping.condemn_blobs(10):
            await self.storage.delete(condemned.keys)
            await self.metadata.housekeeping.forget_blob(condemned.blob_id)


async def stream() -> AsyncIterator[bytes]:
    yield DATA


def play(test: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        try:
            await test(scene)
        finally:
            await scene.metadata.close()

    asyncio.run(run())


async def is_not_held(asked: Awaitable[Object]) -> bool:
    with pytest.raises(Problem) as refused:
        await asked
    return refused.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("before", ["held_blob", "segments_from", "blocks", "account", "publish"])
@pytest.mark.parametrize("half", [Scene.condemn, Scene.sweep])
@pytest.mark.parametrize("key", [None, "key"])
def test_what_the_sweep_takes_meanwhile_is_not_held(
    before: str, half: Deed, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(scene: Scene) -> None:
        await scene.store()
        scene.interrupt(before, half)
        assert await is_not_held(scene.reuse(key=key))
        assert await scene.metadata.accounts.usage("account") == 0
        assert "damaged" not in caplog.text
        sent = await scene.uploads.put(WHO, Intent(Lifecycle(), idempotency_key=key), RequestBody(stream()))
        assert (await scene.reuse()).blob_id == sent.blob_id

    play(test)


@pytest.mark.parametrize(("before", "key"), [("publish", None), ("publish", "key"), ("begin_upload", "key")])
def test_m5_no_bytes_are_linked_with_a_key_that_was_revoked_meanwhile(before: str, key: str | None) -> None:
    async def test(scene: Scene) -> None:
        await scene.store()
        await scene.metadata.accounts.add_key(KeyRecord("key", "account", "", b"h" * 32, 1.0))

        async def revoke(scene: Scene) -> None:
            await scene.metadata.accounts.revoke_key("key", scene.now)

        scene.interrupt(before, revoke)
        with pytest.raises(Problem) as refused:
            await scene.reuse(key=key)
        assert refused.value.code is Code.UNAUTHORIZED
        assert await scene.metadata.accounts.usage("account") == len(DATA)

    play(test)


def test_a_file_that_ends_in_the_moment_of_the_link_leaves_its_bytes_to_the_new_one() -> None:
    async def test(scene: Scene) -> None:
        first = await scene.store()

        async def expire(scene: Scene) -> None:
            assert await scene.metadata.housekeeping.expire_objects(1e9, 10)

        scene.interrupt("publish", expire)
        linked = await scene.reuse()
        assert (linked.blob_id, linked.sha256, linked.size) == (first.blob_id, SHA256, len(DATA))
        assert await scene.metadata.housekeeping.condemn_blobs(10) == []
        assert await scene.metadata.segments(linked.blob_id)

    play(test)


def test_a_file_is_held_to_the_second_of_its_end() -> None:
    async def test(scene: Scene) -> None:
        await scene.store()
        scene.now = 159.9
        assert await scene.reuse()
        assert await scene.metadata.housekeeping.expire_objects(1e9, 10)

    play(test)

    async def late(scene: Scene) -> None:
        await scene.store()
        scene.now = 160.0
        assert await is_not_held(scene.reuse())

    play(late)


@pytest.mark.parametrize("key", [None, "key"])
def test_bytes_that_cannot_be_read_are_asked_for_again_and_the_log_says_so(
    key: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> AsyncIterator[bytes]:
        raise StorageFailed("the disk")
        yield b""

    async def test(scene: Scene) -> None:
        obj = await scene.store()
        with monkeypatch.context() as broken:
            broken.setattr(scene.storage, "read", fails)
            assert await is_not_held(scene.reuse(key=key))
        assert f"damaged bytes: blob={obj.blob_id}" in caplog.text
        assert await scene.reuse(key=key)

    play(test)


@pytest.mark.parametrize("who", [ANONYMOUS, Principal("account", "key", "/files/b/0123abcd/x"), Principal("account")])
def test_an_upload_signature_or_nobody_may_not_ask(who: Principal) -> None:
    async def test(scene: Scene) -> None:
        await scene.store()
        with pytest.raises(Problem) as refused:
            await scene.reuse(who)
        assert refused.value.code is Code.UNAUTHORIZED

    play(test)
