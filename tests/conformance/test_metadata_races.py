"""What holds when two connections write at once: the contract of the metadata's aggregates, for every database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from entrepot.domain.accounts import Account
from entrepot.domain.objects import Blob
from entrepot.domain.uploads import UploadState
from entrepot.metadata.base import Conflict, KeyEnded
from support.facts import ACCOUNT, LIMIT, a_blob, a_key, a_part, an_object, an_upload
from support.metadata import Catalogue

ROUNDS = 25

Race = Callable[[Catalogue, Catalogue], Awaitable[None]]
Play = Callable[[Race], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a race with two connections to one database, which knows one account."""

    async def run(race: Race) -> None:
        one = Catalogue(tmp_path / "catalogue.db", create=True)
        other = Catalogue(tmp_path / "catalogue.db")
        try:
            await one.accounts.add(ACCOUNT)
            await race(one, other)
        finally:
            await one.close()
            await other.close()

    return lambda race: asyncio.run(run(race))


async def at_once(*writes: Awaitable[Any]) -> list[Any]:
    """The results of these writes, refusals too; an error of the database is no refusal."""
    results = await asyncio.gather(*writes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Conflict | KeyEnded):
            raise result
    return results


def test_a_blob_is_linked_or_condemned_and_never_both(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            blob = a_blob(f"b{n}")
            await one.objects.publish(an_object(f"first-{n}", blob, expires_at=200.0), blob)
            await one.housekeeping.expire_objects(200.0, 10)
            link = replace(blob, segments=())
            writes = [one.objects.publish(an_object(f"o{n}", link), link), other.housekeeping.condemn_blobs(10)]
            linked, condemned = await at_once(*(writes if n % 2 else reversed(writes)))
            if not n % 2:
                linked, condemned = condemned, linked
            is_dying = f"b{n}" in {each.blob_id for each in condemned}
            assert is_dying is isinstance(linked, Conflict)
            assert await other.segments(blob.id) == (() if is_dying else blob.segments)
            assert (await other.objects.get(f"o{n}") is None) is is_dying
            again = {each.blob_id for each in await other.housekeeping.condemn_blobs(10)}
            assert (blob.id in again) is is_dying
            await one.housekeeping.forget_blob(blob.id)

    play(race)


def test_no_more_uploads_are_begun_than_the_limit_allows(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        begins = [(one, other)[n % 2].uploads.begin(an_upload(f"u{n}"), 7) for n in range(20)]
        assert sum(upload is not None for upload in await at_once(*begins)) == 7
        assert len(await one.uploads.list_open()) == 7

    play(race)


def test_one_idempotency_key_begins_one_upload(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            wanted = [an_upload(f"u{n}-{i}", idempotency_key=f"key-{n}") for i in range(6)]
            begun = await at_once(*((one, other)[i % 2].uploads.begin(each, LIMIT) for i, each in enumerate(wanted)))
            assert len({upload.id for upload in begun}) == 1
        assert len(await one.uploads.list_open()) == ROUNDS

    play(race)


Ending = Callable[[Catalogue, str], Awaitable[Any]]


async def publish(store: Catalogue, upload_id: str) -> Any:
    blob = a_blob(f"{upload_id}-whole")
    return await store.objects.publish(an_object(f"{upload_id}-object", blob), blob, upload_id)


async def abort(store: Catalogue, upload_id: str) -> Any:
    return await store.uploads.abort(upload_id)


async def expire(store: Catalogue, upload_id: str) -> Any:
    return await store.housekeeping.expire_uploads(1000.0, 10)


@pytest.mark.parametrize("end", [publish, abort, expire])
def test_a_part_comes_before_the_end_of_its_upload_or_leaves_nothing(play: Play, end: Ending) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            upload_id = f"u{n}"
            await one.uploads.begin(an_upload(upload_id), LIMIT)
            blobs = [a_blob(f"{upload_id}-p{i}") for i in range(4)]
            parts = [one.uploads.add_part(a_part(upload_id, i, blob), blob) for i, blob in enumerate(blobs, 1)]
            *added, _ = await at_once(*parts, end(other, upload_id))
            assert await one.uploads.list_parts(upload_id) == []
            wanted = {blob.id for blob, part in zip(blobs, added, strict=True) if part}
            assert {each.blob_id for each in await other.housekeeping.condemn_blobs(10)} == wanted
            for blob in blobs:
                await other.housekeeping.forget_blob(blob.id)
            assert await one.housekeeping.known_keys([f"{blob.id}/0" for blob in blobs]) == set()
        held = ROUNDS * 100 if end is publish else 0
        assert await one.accounts.usage(ACCOUNT.id) == held

    play(race)


@pytest.mark.parametrize("end", [abort, expire])
def test_of_a_publish_and_another_end_one_wins(play: Play, end: Ending) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            await one.uploads.begin(an_upload(f"u{n}"), LIMIT)
            published, ended = await at_once(publish(one, f"u{n}"), end(other, f"u{n}"))
            assert (published is None) is bool(ended)
            assert (await other.objects.get(f"u{n}-object") is None) is bool(ended)
            upload = await other.uploads.get(f"u{n}")
            assert upload and upload.state is (UploadState.ABORTED if ended else UploadState.PUBLISHED)

    play(race)


def test_two_publishes_of_one_upload_give_one_object(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            await one.uploads.begin(an_upload(f"u{n}"), LIMIT)
            blobs = [a_blob(f"b{n}-{i}") for i in range(2)]
            objects = [an_object(f"u{n}-object", blob) for blob in blobs]
            answers = await at_once(
                one.objects.publish(objects[0], blobs[0], f"u{n}"), other.objects.publish(objects[1], blobs[1], f"u{n}")
            )
            assert answers[0] == answers[1] == await one.objects.get(f"u{n}-object")
            assert len(await one.housekeeping.known_keys([blob.segments[0].key for blob in blobs])) == 1

    play(race)


def test_who_follows_the_parts_of_an_upload_misses_none(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        await one.uploads.begin(an_upload("u"), LIMIT)
        looks: list[tuple[int, int]] = []

        async def send(store: Catalogue, numbers: range) -> None:
            for number in numbers:
                blob = a_blob(f"p{number}")
                await store.uploads.add_part(a_part("u", number, blob), blob)

        async def follow() -> None:
            while not looks or looks[-1][1] < 40:
                version = (await one.uploads.growing()).get("u", 0)
                looks.append((version, len(await one.uploads.list_parts("u"))))
                await asyncio.sleep(0)

        await asyncio.gather(send(one, range(1, 21)), send(other, range(21, 41)), follow())
        last = (await other.uploads.growing())["u"]
        assert [look for look in looks if look[1] < 40 and look[0] >= last] == []
        assert [version for version, _ in looks] == sorted(version for version, _ in looks)

    play(race)


def test_a_taken_id_is_a_conflict_for_one_and_the_writes_beside_it_are_kept(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            blob = Blob(f"shared{n}", 0, None, ())
            pairs = (
                [store.accounts.add_key(a_key(f"k{n}")) for store in (one, other)],
                [store.accounts.add(Account(f"{store is one}{n}", f"nick{n}", 1.0)) for store in (one, other)],
                [
                    store.objects.publish(an_object(f"o{n}", own := a_blob(f"{store is one}{n}")), own)
                    for store in (one, other)
                ],
                [
                    store.objects.publish(an_object(f"{store is one}-s{n}", own), own)
                    for store in (one, other)
                    for own in (a_blob(f"{store is one}-s{n}", f"segment{n}"),)
                ],
            )
            beside = [store.objects.publish(an_object(f"{store is one}b{n}", blob), blob) for store in (one, other)]
            answers = await at_once(*(write for pair in pairs for write in pair), *beside)
            taken = [isinstance(answer, Conflict) for answer in answers]
            assert [sum(taken[at : at + 2]) for at in (0, 2, 4, 6, 8)] == [1, 1, 1, 1, 0]

    play(race)


def test_a_key_that_was_revoked_by_another_writes_nothing_more(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            await one.accounts.add_key(a_key(f"k{n}"))
            early, late = a_blob(f"early{n}"), a_blob(f"late{n}")
            await at_once(
                one.objects.publish(an_object(f"early{n}", early), early, None, f"k{n}"),
                other.accounts.revoke_key(f"k{n}", 50.0),
            )
            with pytest.raises(KeyEnded):
                await one.objects.publish(an_object(f"late{n}", late), late, None, f"k{n}")
            assert await one.housekeeping.known_keys([f"late{n}/0"]) == set()

    play(race)


def test_a_lease_is_taken_by_one_of_two(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(ROUNDS):
            now = 100.0 + 10 * n
            taken = await at_once(one.leases.take("sweep", "a", now, 10.0), other.leases.take("sweep", "b", now, 10.0))
            assert sorted(taken) == [False, True]
        await one.leases.release("sweep", "a")
        await other.leases.release("sweep", "b")
        assert await one.leases.take("sweep", "c", 100.0, 10.0)

    play(race)


def test_two_keepers_at_once_end_each_object_and_upload_once(play: Play) -> None:
    async def race(one: Catalogue, other: Catalogue) -> None:
        for n in range(40):
            blob, part = a_blob(f"b{n}"), a_blob(f"p{n}")
            await one.objects.publish(an_object(f"o{n}", blob, expires_at=200.0), blob)
            await one.uploads.begin(an_upload(f"u{n}"), LIMIT)
            await one.uploads.add_part(a_part(f"u{n}", 1, part), part)

        async def drain(step: Callable[[float, int], Awaitable[int]], now: float) -> int:
            total = 0
            while count := await step(now, 3):
                total += count
            return total

        stores = (one, other)
        ended = await at_once(*(drain(s.housekeeping.expire_objects, 200.0) for s in stores))
        assert sum(ended) == 40
        ended = await at_once(*(drain(s.housekeeping.expire_uploads, 1000.0) for s in stores))
        assert sum(ended) == 40
        assert await one.accounts.usage(ACCOUNT.id) == 0
        first, second = await at_once(*(store.housekeeping.condemn_blobs(1000) for store in stores))
        dying = {each.blob_id for each in [*first, *second]}
        assert dying == {f"{kind}{n}" for kind in "bp" for n in range(40)}
        await at_once(*(store.housekeeping.forget_blob(blob_id) for blob_id in dying for store in stores))
        assert await one.housekeeping.condemn_blobs(10) == []
        ended = await at_once(*(drain(s.housekeeping.forget_ended, 1e9) for s in stores))
        assert sum(ended) == 80

    play(race)
