"""Calls that meet in the middle of a multipart upload, in the order that hurts most."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from entrepot.domain.accounts import Account
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.multipart import Cited
from entrepot.domain.objects import Object
from entrepot.domain.signing import Signer
from entrepot.domain.uploads import Intent
from entrepot.metadata.base import Conflict, MetadataFull
from entrepot.service import multipart
from entrepot.service.keeper import Keeper, KeeperTimes
from entrepot.service.multipart import Multipart, path_of
from entrepot.service.objects import Objects
from entrepot.service.request_bodies import RequestBody
from entrepot.service.upload_sessions import Rules
from support.memory_storage import MemoryStorage
from support.metadata import Catalogue
from support.sweeping import sweep

WHO = Principal("account", "key")
LAST = [Cited(1, None), Cited(2, None)]
Deed = Callable[["Scene"], Awaitable[Any]]


class Scene:
    """An open upload of two parts, each with an attempt more than is needed."""

    def __init__(self) -> None:
        self.metadata = Catalogue()
        self.storage = MemoryStorage()
        rules = self.rules = Rules("0123abcd", "/files/b/", "upload", 1 << 20, 3600.0, max_open=5)
        self.multipart = self.with_rules(rules)
        self.keeper = Keeper(
            self.metadata.housekeeping,
            self.metadata.uploads,
            self.storage,
            lambda: 100.0,
            lambda: 0.0,
            lambda: [],
            KeeperTimes(1e9),
        )

    def with_rules(self, rules: Rules, random: Callable[[int], bytes] = secrets.token_bytes) -> Multipart:
        data, signer = self.metadata, Signer(bytes(range(32)))
        sessions = data.sessions(rules, lambda: 100.0, random)
        return Multipart(sessions, data.uploads, data.objects, self.storage, signer, rules, lambda: 100.0)

    async def begin(self) -> None:
        await self.metadata.accounts.add(Account("account", "nick", 1.0))
        begun = await self.multipart.begin(WHO, Intent(Lifecycle(), "a.bin"))
        self.path = path_of(begun.upload)
        for number, data in ((1, b"one"), (1, b"ONE"), (2, b"two"), (2, b"TWO")):
            part = await self.multipart.write(WHO, self.path, number, RequestBody(_stream(data)))
            if number == 1 and data == b"one":
                self.first_attempt = part.etag

    async def finish(self) -> Object:
        return await self.multipart.finish(WHO, self.path, LAST)

    async def finish_with_first_attempt_and_sweep(self) -> Object:
        obj = await self.multipart.finish(WHO, self.path, [Cited(1, self.first_attempt), Cited(2, None)])
        await sweep(self.keeper)
        return obj


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no keeper that digests here."""
    monkeypatch.setattr(multipart, "DIGEST_WAIT", 0.0)


def played(act: Callable[[Scene], Awaitable[Any]], before: str, deed: Deed) -> tuple[Any, Any]:
    """What an act gave, or the problem that it raised, and what the deed gave that came in between."""

    async def play() -> tuple[Any, Any]:
        scene, between = Scene(), []
        await scene.begin()

        async def remembered() -> None:
            between.append(await deed(scene))

        scene.metadata.interrupt(before, remembered)
        try:
            try:
                result: Any = await act(scene)
            except Problem as problem:
                result = problem
            return result, between[0]
        finally:
            await scene.metadata.close()

    return asyncio.run(play())


@pytest.mark.parametrize("before", ["list_parts", "segments_of_parts", "whole_digest", "account", "publish"])
def test_a_finish_that_another_one_overtakes_gives_its_object(before: str) -> None:
    result, first = played(Scene.finish, before, Scene.finish)
    assert result == first


@pytest.mark.parametrize("before", ["list_parts", "segments_of_parts", "whole_digest", "account", "publish"])
def test_m3_a_finish_that_one_of_other_parts_overtakes_is_412(before: str) -> None:
    result, first = played(Scene.finish, before, Scene.finish_with_first_attempt_and_sweep)
    assert isinstance(first, Object)
    assert isinstance(result, Problem)
    assert result.code is Code.ALREADY_PUBLISHED


@pytest.mark.parametrize("before", ["list_parts", "segments_of_parts", "whole_digest", "account", "publish"])
def test_a_finish_that_an_abort_overtakes_is_refused(before: str) -> None:
    async def abort(scene: Scene) -> None:
        await scene.multipart.abort(WHO, scene.path)
        await sweep(scene.keeper)

    result, _ = played(Scene.finish, before, abort)
    assert isinstance(result, Problem)
    assert result.code is Code.GONE


def test_an_abort_that_a_finish_overtakes_is_refused() -> None:
    result, _ = played(lambda scene: scene.multipart.abort(WHO, scene.path), "abort_upload", Scene.finish)
    assert isinstance(result, Problem)
    assert result.code is Code.ALREADY_PUBLISHED


def with_scene(test: Deed) -> None:
    async def run() -> None:
        scene = Scene()
        try:
            await scene.begin()
            await test(scene)
        finally:
            await scene.metadata.close()

    asyncio.run(run())


async def _content(scene: Scene, obj: Object) -> bytes:
    objects = Objects(scene.metadata.objects, scene.storage, lambda: 100.0, 0)
    return b"".join([piece async for piece in objects.read(obj, 0, obj.size)])


def test_a_finish_during_which_a_cited_part_is_sent_again_takes_the_new_bytes() -> None:
    async def again(scene: Scene) -> None:
        await scene.multipart.write(WHO, scene.path, 1, RequestBody(_stream(b"ONE")))
        await sweep(scene.keeper)

    for before in ("list_parts", "segments_of_parts", "blocks", "whole_digest", "account", "publish"):
        result, _ = played(Scene.finish, before, again)
        assert isinstance(result, Object), before


@pytest.mark.parametrize("harm", ["gone", "short", "rotten"])
def test_a_part_whose_bytes_are_harmed_is_named_and_repaired_by_sending_it_again(harm: str) -> None:
    async def test(scene: Scene) -> None:
        head = next(p for p in await scene.metadata.uploads.list_parts(scene.path.rpartition("/")[2]) if p.size == 3)
        cited = [Cited(1, head.etag), Cited(2, None)]
        (segment,) = await scene.metadata.segments(head.blob_id)
        kept = scene.storage._kept
        bad = {"gone": None, "short": b"o", "rotten": b"0ne"}[harm]
        if bad is None:
            del kept[segment.key]
        else:
            kept[segment.key] = type(kept[segment.key])(bad, {})
        with pytest.raises(Problem) as raised:
            await scene.multipart.finish(WHO, scene.path, cited)
        assert raised.value.code is Code.INTEGRITY_FAILED
        assert "1." in raised.value.message
        part = await scene.multipart.write(WHO, scene.path, 1, RequestBody(_stream(b"one")))
        assert (part.number, part.etag, part.size) == (1, head.etag, 3)
        await sweep(scene.keeper)
        obj = await scene.multipart.finish(WHO, scene.path, cited)
        assert await _content(scene, obj) == b"oneTWO"

    with_scene(test)


def test_the_bytes_of_an_attempt_that_was_sent_again_are_swept() -> None:
    async def test(scene: Scene) -> None:
        before = {entry.key async for entry in scene.storage.list("memory")}
        await scene.multipart.write(WHO, scene.path, 2, RequestBody(_stream(b"TWO")))
        await sweep(scene.keeper)
        after = {entry.key async for entry in scene.storage.list("memory")}
        assert len(before) == len(after) == len(before & after) + 1
        assert len((await scene.multipart.list(WHO, scene.path)).parts) == 4

    with_scene(test)


def test_a_begin_that_repeats_its_idempotency_key_is_answered_at_the_limit() -> None:
    async def test(scene: Scene) -> None:
        intent = Intent(Lifecycle(), "a.bin", idempotency_key="i")
        first = await scene.multipart.begin(WHO, intent)
        for n in range(scene.rules.max_open - 2):
            await scene.multipart.begin(WHO, Intent(Lifecycle(), f"{n}.bin"))
        assert (await scene.multipart.begin(WHO, intent)).upload == first.upload
        with pytest.raises(Problem) as raised:
            await scene.multipart.begin(WHO, Intent(Lifecycle(), "a.bin"))
        assert raised.value.code is Code.RATE_LIMITED

    with_scene(test)


@pytest.mark.parametrize("same", [True, False])
def test_a_part_that_a_finish_overtakes_is_refused_and_freed(same: bool) -> None:
    files: list[set[str]] = []

    async def keys(scene: Scene) -> set[str]:
        return {entry.key async for entry in scene.storage.list("memory")}

    async def write(scene: Scene) -> Any:
        try:
            return await scene.multipart.write(WHO, scene.path, 1, RequestBody(_stream(b"ONE" if same else b"new")))
        finally:
            files.append(await keys(scene))

    async def finish(scene: Scene) -> set[str]:
        before = await keys(scene)
        await scene.finish()
        return before

    result, before = played(write, "add_part", finish)
    assert isinstance(result, Problem)
    assert result.code is Code.ALREADY_PUBLISHED
    assert len(files[0]) == len(before) - 1  # what was received meanwhile is gone


class Restless(Scene):
    """Before every publish a part that the end cites is sent again."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.tries = 0
        publish, digest = self.metadata.objects.publish, self.multipart._digest

        async def late(*args: Any) -> Object | None:
            self.tries += 1
            await self.multipart.write(WHO, self.path, 1, RequestBody(_stream(b"ONE")))
            return await publish(*args)

        async def noted(upload: Any, parts: Any, patience: float) -> bytes | None:
            self.waits.append(patience)
            return await digest(upload, parts, 0.0)

        self.metadata.objects.publish = late  # type: ignore[assignment, method-assign]
        self.multipart._digest = noted  # type: ignore[method-assign]


def test_an_end_during_which_a_part_is_always_sent_again_is_no_defect_and_waits_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        scene = Restless()
        try:
            await scene.begin()
            monkeypatch.setattr(multipart, "DIGEST_WAIT", 3.0)
            with pytest.raises(Problem) as raised:
                await scene.finish()
            assert raised.value.code is Code.INVALID_PARTS
            assert scene.tries > 1
            assert scene.waits == [3.0] + [0.0] * (scene.tries - 1)
        finally:
            await scene.metadata.close()

    asyncio.run(test())


@pytest.mark.parametrize("failure", [MetadataFull("full"), Conflict("taken")])
def test_the_bytes_of_a_part_whose_row_was_refused_are_freed(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(scene: Scene) -> None:
        async def refuse(*args: Any) -> None:
            raise failure

        before = {entry.key async for entry in scene.storage.list("memory")}
        monkeypatch.setattr(scene.metadata.uploads, "add_part", refuse)
        with pytest.raises(type(failure)):
            await scene.multipart.write(WHO, scene.path, 1, RequestBody(_stream(b"more")))
        assert {entry.key async for entry in scene.storage.list("memory")} == before

    with_scene(test)


def test_a_part_that_is_held_is_taken_again_when_the_account_is_full() -> None:
    async def test(scene: Scene) -> None:
        rules = replace(scene.rules, quota=14)  # twelve bytes are held
        full = scene.with_rules(rules, lambda size: bytes(size))
        again = await full.write(WHO, scene.path, 1, RequestBody(_stream(b"ONE"), length=3))
        assert (again.number, again.size) == (1, 3)
        before = {entry.key async for entry in scene.storage.list("memory")}
        for number, data in ((1, b"new"), (3, b"ONE")):
            for length in (None, 3):
                with pytest.raises(Problem) as raised:
                    await full.write(WHO, scene.path, number, RequestBody(_stream(data), length=length))
                assert raised.value.code is Code.QUOTA_EXCEEDED
        assert {entry.key async for entry in scene.storage.list("memory")} == before
        assert await scene.metadata.accounts.usage("account") == 12

    with_scene(test)


def test_bodies_that_arrive_together_do_not_share_one_room() -> None:
    async def test(scene: Scene) -> None:
        rules = replace(scene.rules, quota=20)
        tight = scene.with_rules(rules)
        arrived = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"12345"
            await arrived.wait()

        slow_one = asyncio.create_task(tight.write(WHO, scene.path, 3, RequestBody(slow())))
        await asyncio.sleep(0)
        await tight.write(WHO, scene.path, 4, RequestBody(_stream(b"54321")))
        arrived.set()
        with pytest.raises(Problem) as raised:
            await slow_one
        assert raised.value.code is Code.QUOTA_EXCEEDED
        assert await scene.metadata.accounts.usage("account") == 17

    with_scene(test)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize("late", [False, True])
def test_a_declared_digest_is_held_against_the_object_that_another_call_published(late: bool) -> None:
    async def first(scene: Scene) -> None:
        obj = await scene.multipart.finish(WHO, scene.path, [Cited(1, scene.first_attempt), Cited(2, None)])
        await scene.metadata.objects.set_digest(obj.blob_id, sha256(b"oneTWO"))

    async def second(scene: Scene) -> Object:
        return await scene.multipart.finish(WHO, scene.path, LAST, 6, sha256(b"ONETWO"))

    result, _ = played(second, "publish" if late else "segments_of_parts", first)
    assert isinstance(result, Problem)
    assert result.code is Code.DIGEST_MISMATCH


def test_a_declared_digest_counts_from_when_that_of_the_whole_is_known() -> None:
    async def finish(scene: Scene) -> list[Any]:
        known: list[Any] = [await scene.multipart.finish(WHO, scene.path, LAST, None, sha256(b"other"))]
        await scene.metadata.objects.set_digest(known[0].blob_id, sha256(b"ONETWO"))
        for declared in (sha256(b"ONETWO"), None, sha256(b"other")):
            try:
                known.append(await scene.multipart.finish(WHO, scene.path, LAST, None, declared))
            except Problem as problem:
                known.append(problem.code)
        return known

    async def nothing(scene: Scene) -> None:
        pass

    (first, *again, refused), _ = played(finish, "list_parts", nothing)
    assert [obj.id for obj in again] == [first.id, first.id]
    assert refused is Code.DIGEST_MISMATCH
