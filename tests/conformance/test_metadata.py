"""The contract of `metadata.base.Catalogue`: one suite for every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.accounts import Account, AccountState, KeyRecord
from entrepot.domain.acl import Acl, Decision, Rule
from entrepot.domain.lifecycle import UNSET, AclChoice, Lifecycle
from entrepot.domain.objects import Blob, Object, ObjectState, Segment
from entrepot.domain.uploads import EXISTING_FLOOR, Draft, Finish, Part, Upload, UploadKind, UploadState
from entrepot.metadata.base import Conflict, KeyEnded, MetadataFailed
from entrepot.metadata.housekeeping import Condemned
from entrepot.metadata.uploads import MAX_ATTEMPTS
from support.facts import ACCOUNT, DIGEST, LIMIT, a_blob, a_key, a_part, a_segment, an_object, an_upload
from support.metadata import Catalogue

Open = Callable[[], Catalogue]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens an empty store."""
    numbers = count()
    if request.param == "memory":
        return lambda: Catalogue(None)
    return lambda: Catalogue(tmp_path / f"catalogue-{next(numbers)}.db", create=True)


def with_store(test: Callable[[Catalogue], Awaitable[None]]) -> Callable[[Open], None]:
    """Runs a test in an event loop, with a store that knows one account."""

    def run(make: Open) -> None:
        asyncio.run(_tell(make(), test))

    return run


async def _tell(store: Catalogue, test: Callable[[Catalogue], Awaitable[None]]) -> None:
    try:
        await store.accounts.add(ACCOUNT)
        await test(store)
    finally:
        await store.close()


async def publish(store: Catalogue, object_id: str, blob: Blob | None = None, **changes) -> Object:
    blob = blob or a_blob(f"{object_id}-blob")
    obj = an_object(object_id, blob, **changes)
    assert await store.objects.publish(obj, blob) == obj
    return obj


async def begin(store: Catalogue, upload_id: str, *blobs: Blob, **changes) -> Upload:
    """An open upload with one part for each of these blobs."""
    upload = await store.uploads.begin(an_upload(upload_id, **changes), LIMIT)
    assert upload
    for number, blob in enumerate(blobs, 1):
        assert await store.uploads.add_part(a_part(upload_id, number, blob), blob)
    return upload


# Accounts


@with_store
async def test_an_account_is_read_as_it_was_added(store):
    account = Account("a2", "Łucja ✓", 5.5, Lifecycle(60, AclChoice(Decision.HIDE)), AccountState.SUSPENDED)
    await store.accounts.add(account)
    assert await store.accounts.get("a2") == account


@with_store
async def test_an_unknown_account_is_none(store):
    assert await store.accounts.get("nobody") is None


@pytest.mark.parametrize("account", [replace(ACCOUNT, nickname="other"), replace(ACCOUNT, id="other")])
def test_a_taken_account_id_or_nickname_is_a_conflict(make, account):
    @with_store
    async def test(store):
        with pytest.raises(Conflict):
            await store.accounts.add(account)
        assert await store.accounts.list() == [ACCOUNT]

    test(make)


@with_store
async def test_accounts_are_found_by_nickname_and_by_id(store):
    await store.accounts.add(Account("a2", "zoë", 2.0))
    found = await store.accounts.ids_of(["nick", "a2", "zoë", "nobody"])
    assert dict(found) == {"nick": "account", "a2": "a2", "zoë": "a2"}
    assert dict(await store.accounts.ids_of([])) == {}


@with_store
async def test_a_nickname_never_stands_in_for_the_account_with_that_id(store):
    await store.accounts.add(Account("impostor", "account", 2.0))
    assert dict(await store.accounts.ids_of(["account"])) == {"account": "account"}


@with_store
async def test_accounts_are_listed_oldest_first(store):
    await store.accounts.add(Account("a3", "third", 3.0))
    await store.accounts.add(Account("a0", "zeroth", 0.5))
    assert [account.id for account in await store.accounts.list()] == ["a0", "account", "a3"]


# Keys


@with_store
async def test_a_key_is_read_as_it_was_added(store):
    await store.accounts.add_key(a_key(name="Laptop 🖥"))
    assert await store.accounts.key("key") == a_key(name="Laptop 🖥")
    assert (await store.accounts.key("key")).valid


@with_store
async def test_an_unknown_key_is_none(store):
    assert await store.accounts.key("nothing") is None


@with_store
async def test_a_taken_key_id_is_a_conflict(store):
    await store.accounts.add_key(a_key())
    with pytest.raises(Conflict):
        await store.accounts.add_key(a_key(name="other"))
    assert (await store.accounts.key("key")).name == "laptop"


@with_store
async def test_a_key_carries_the_state_of_its_account(store):
    await store.accounts.add(Account("a2", "two", 2.0, state=AccountState.SUSPENDED))
    await store.accounts.add_key(a_key(account_id="a2"))
    assert (await store.accounts.key("key")).account_state is AccountState.SUSPENDED


@with_store
async def test_keys_are_listed_oldest_first_with_revoked_ones(store):
    await store.accounts.add_key(a_key("k2", created_at=9.0))
    await store.accounts.add_key(a_key("k1", created_at=3.0))
    await store.accounts.revoke_key("k1", 10.0)
    assert await store.accounts.list_keys() == [
        a_key("k1", created_at=3.0, revoked_at=10.0),
        a_key("k2", created_at=9.0),
    ]


@with_store
async def test_a_second_revoke_keeps_the_first_time(store):
    await store.accounts.add_key(a_key())
    assert await store.accounts.revoke_key("key", 10.0) is True
    assert await store.accounts.revoke_key("key", 20.0) is True
    assert (await store.accounts.key("key")).revoked_at == 10.0


@with_store
async def test_revoking_what_is_not_there_is_false(store):
    assert await store.accounts.revoke_key("nothing", 10.0) is False


# Uploads


@with_store
async def test_an_upload_is_found_by_its_id_and_by_its_object(store):
    upload = await store.uploads.begin(an_upload("u"), LIMIT)
    assert upload == an_upload("u")
    assert await store.uploads.get("u") == await store.uploads.of_object("u-object") == upload
    assert await store.uploads.get("u-object") is await store.uploads.of_object("u") is None


@with_store
async def test_a_taken_upload_id_or_object_id_is_a_conflict(store):
    await store.uploads.begin(an_upload("u"), LIMIT)
    for upload in (an_upload("u", "other"), an_upload("v", "u-object")):
        with pytest.raises(Conflict):
            await store.uploads.begin(upload, LIMIT)


@with_store
async def test_a_repeated_idempotency_key_gives_the_first_upload_and_records_nothing(store):
    first = await begin(store, "u", idempotency_key="i", fingerprint=b"one")
    again = await store.uploads.begin(an_upload("v", idempotency_key="i", fingerprint=b"two"), LIMIT)
    assert again == first
    assert await store.uploads.get("v") is None


@with_store
async def test_twenty_begins_at_once_with_one_idempotency_key_give_one_upload(store):
    uploads = [an_upload(f"u{i}", idempotency_key="i") for i in range(20)]
    answers = await asyncio.gather(*(store.uploads.begin(upload, LIMIT) for upload in uploads))
    assert len({upload.id for upload in answers}) == 1


@with_store
async def test_an_idempotency_key_still_gives_the_upload_after_it_is_published(store):
    await begin(store, "u", idempotency_key="i")
    await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), "u")
    again = await store.uploads.begin(an_upload("v", idempotency_key="i"), LIMIT)
    assert (again.id, again.state) == ("u", UploadState.PUBLISHED)


@with_store
async def test_an_idempotency_key_is_free_again_after_an_abort(store):
    await begin(store, "u", idempotency_key="i")
    await store.uploads.abort("u")
    assert (await begin(store, "v", idempotency_key="i")).id == "v"


@with_store
async def test_idempotency_keys_of_two_accounts_are_strangers(store):
    await store.accounts.add(Account("a2", "two", 2.0))
    await begin(store, "u", idempotency_key="i")
    other = an_upload("v", idempotency_key="i")
    other = replace(other, draft=replace(other.draft, account_id="a2"))
    assert await store.uploads.begin(other, LIMIT) == other


@with_store
async def test_an_upload_is_found_by_its_account_and_idempotency_key_until_it_is_aborted(store):
    first = await begin(store, "u", idempotency_key="i")
    assert await store.uploads.with_idempotency_key(ACCOUNT.id, "i") == first
    assert (
        await store.uploads.with_idempotency_key(ACCOUNT.id, "j")
        is await store.uploads.with_idempotency_key("a2", "i")
        is None
    )
    await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), "u")
    assert (await store.uploads.with_idempotency_key(ACCOUNT.id, "i")).state is UploadState.PUBLISHED
    await begin(store, "v", idempotency_key="j")
    await store.uploads.abort("v")
    assert await store.uploads.with_idempotency_key(ACCOUNT.id, "j") is None


@with_store
async def test_as_many_uploads_are_open_as_the_limit_allows(store):
    await store.accounts.add(Account("a2", "two", 2.0))
    assert await store.uploads.begin(an_upload("u1"), 2) and await store.uploads.begin(an_upload("u2"), 2)
    assert await store.uploads.begin(an_upload("u3"), 2) is None
    assert await store.uploads.get("u3") is None
    other = an_upload("v")
    assert await store.uploads.begin(replace(other, draft=replace(other.draft, account_id="a2")), 2)
    await store.uploads.abort("u1")
    await store.objects.publish(an_object("u2-object", a_blob("b")), a_blob("b"), "u2")
    assert await store.uploads.begin(an_upload("u4"), 1)


@with_store
async def test_of_twenty_begins_at_once_as_many_are_taken_as_the_limit_allows(store):
    answers = await asyncio.gather(*(store.uploads.begin(an_upload(f"u{i}"), 7) for i in range(20)))
    assert [answer is None for answer in answers].count(False) == 7


@with_store
async def test_a_repeated_idempotency_key_is_no_new_upload_at_the_limit(store):
    first = await begin(store, "u", idempotency_key="i")
    assert await store.uploads.begin(an_upload("v", idempotency_key="i"), 1) == first
    assert await store.uploads.begin(an_upload("v", idempotency_key="j"), 1) is None


@with_store
async def test_an_idempotency_key_of_an_upload_whose_time_is_over_begins_a_new_one(store):
    await begin(store, "u", a_blob("p"), idempotency_key="i", expires_at=200.0)
    almost = an_upload("v", idempotency_key="i", created_at=199.9)
    assert (await store.uploads.begin(almost, 1)).id == "u"
    late = replace(almost, created_at=200.0)
    assert await store.uploads.begin(late, 1) == late
    assert (await store.uploads.get("u")).state is UploadState.ABORTED
    assert await store.housekeeping.condemn_blobs(10) == [Condemned("p", ("p/0",))]


@with_store
async def test_uploads_without_an_idempotency_key_are_never_the_same(store):
    await begin(store, "u")
    assert (await begin(store, "v")).id == "v"


def of_key(upload_id: str, key_id: str) -> Upload:
    upload = an_upload(upload_id)
    return replace(upload, draft=replace(upload.draft, key_id=key_id))


@with_store
async def test_s2_a_key_cannot_begin_the_uploads_of_the_other_keys(store):
    for key_id in ("a", "b", "gone"):
        await store.accounts.add_key(a_key(key_id))
    await store.accounts.revoke_key("gone", 3.0)
    began = [await store.uploads.begin(of_key(f"a{n}", "a"), 8) for n in range(8)]
    assert [upload is not None for upload in began] == [True] * 6 + [False] * 2, "b has two of the eight to itself"
    assert await store.uploads.begin(of_key("b", "b"), 8)
    assert await store.uploads.begin(of_key("a-free", "a"), None), "without a limit"
    assert {upload.id for upload in await store.uploads.list_open()} == {*(f"a{n}" for n in range(6)), "a-free", "b"}
    assert sorted(store.accounts.live_keys(ACCOUNT.id)) == ["a", "b"]


@with_store
async def test_s2_the_uploads_of_a_revoked_key_are_aborted_and_their_parts_freed(store):
    for key_id in ("key", "b"):
        await store.accounts.add_key(a_key(key_id))
    for n in range(3):
        await begin(store, f"u{n}", a_blob(f"p{n}"))
    await store.uploads.begin(of_key("other", "b"), LIMIT)
    assert await store.uploads.abort_revoked(10) == 0
    await store.accounts.revoke_key("key", 60.0)
    assert [await store.uploads.abort_revoked(2) for _ in range(3)] == [2, 1, 0]
    assert [upload.id for upload in await store.uploads.list_open()] == ["other"]
    assert (await store.uploads.get("u0")).state is UploadState.ABORTED
    assert await store.accounts.usage(ACCOUNT.id) == 0
    assert {each.blob_id for each in await store.housekeeping.condemn_blobs(10)} == {"p0", "p1", "p2"}


@pytest.mark.parametrize("how", ["revoked", "suspended"])
def test_m5_nothing_is_begun_received_or_published_with_a_key_that_ended(make, how):
    @with_store
    async def test(store):
        state = AccountState.SUSPENDED if how == "suspended" else AccountState.ACTIVE
        await store.accounts.add(Account("other", "other", 1.0, state=state))
        await store.accounts.add_key(a_key("ended", account_id="other"))
        if how == "revoked":
            assert not store.accounts.is_ended_key("ended", 60.0)
            await store.accounts.revoke_key("ended", 50.0)
        assert store.accounts.is_ended_key("ended", 60.0)
        await begin(store, "u", a_blob("p"))
        blob, part = a_blob("b"), a_blob("q")
        with pytest.raises(KeyEnded):
            await store.uploads.begin(of_key("v", "ended"), None)
        with pytest.raises(KeyEnded):
            await store.uploads.add_part(a_part("u", 2, part), part, "ended")
        for upload_id in (None, "u"):
            with pytest.raises(KeyEnded):
                await store.objects.publish(an_object("u-object", blob), blob, upload_id, "ended")
        assert await store.objects.get("u-object") is None
        assert (await store.uploads.get("u")).state is UploadState.OPEN
        assert await store.housekeeping.known_keys(["b/0", "q/0"]) == set()
        assert await store.objects.publish(an_object("u-object", blob), blob, "u", "key")

    test(make)


@with_store
async def test_m3_what_an_upload_was_finished_with_is_kept(store):
    await begin(store, "u")
    assert (await store.uploads.get("u")).finish is None
    blob = a_blob("b")
    await store.objects.publish(an_object("u-object", blob), blob, "u", None, Finish(b"f" * 32, DIGEST))
    await store.objects.publish(an_object("u-object", blob), blob, "u", None, Finish(b"g" * 32))
    told = await store.uploads.get("u")
    assert (told.finish, told.finish_sha256) == (b"f" * 32, DIGEST)


@with_store
async def test_abort_ends_an_open_upload_once(store):
    await begin(store, "u", a_blob("p1"))
    assert await store.uploads.abort("u") is True
    assert await store.uploads.abort("u") is False
    assert await store.uploads.abort("nothing") is False
    assert (await store.uploads.get("u")).state is UploadState.ABORTED


@with_store
async def test_abort_forgets_the_parts_and_leaves_their_blobs_to_the_sweep(store):
    await begin(store, "u", a_blob("p1"), a_blob("p2"))
    await store.uploads.abort("u")
    assert await store.uploads.list_parts("u") == []
    condemned = await store.housekeeping.condemn_blobs(10)
    assert set(condemned) == {Condemned("p1", ("p1/0",)), Condemned("p2", ("p2/0",))}


@with_store
async def test_a_published_upload_is_not_aborted(store):
    await begin(store, "u")
    await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), "u")
    assert await store.uploads.abort("u") is False
    assert (await store.uploads.get("u")).state is UploadState.PUBLISHED


# Parts


@with_store
async def test_parts_are_listed_by_number_then_by_time_with_every_attempt(store):
    await begin(store, "u")
    wanted = [a_part("u", 1, a_blob("d"), 7.0), a_part("u", 2, a_blob("b"), 5.0), a_part("u", 2, a_blob("a"), 6.0)]
    for part in reversed(wanted):
        assert await store.uploads.add_part(part, a_blob(part.blob_id)) == part
    assert await store.uploads.list_parts("u") == wanted
    assert await store.uploads.list_parts("nothing") == []


@pytest.mark.parametrize("ended", ["aborted", "published", "unknown"])
def test_a_part_of_an_upload_that_is_not_open_is_refused_and_leaves_nothing(make, ended):
    @with_store
    async def test(store):
        if ended != "unknown":
            await begin(store, "u")
        if ended == "aborted":
            await store.uploads.abort("u")
        if ended == "published":
            await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), "u")
        assert await store.uploads.add_part(a_part("u", 1, a_blob("p")), a_blob("p")) is None
        assert await store.uploads.list_parts("u") == []
        assert await store.housekeeping.known_keys(["p/0"]) == set()

    test(make)


@with_store
async def test_the_blob_of_a_part_is_readable_and_is_not_swept(store):
    await begin(store, "u", a_blob("p", "k1", "k2"))
    assert await store.segments("p") == (a_segment("k1"), a_segment("k2"))
    assert await store.housekeeping.condemn_blobs(10) == []


@with_store
async def test_an_attempt_with_the_same_number_and_etag_takes_the_place_of_the_first(store):
    await begin(store, "u", a_blob("p1"), a_blob("p2"))
    again = replace(a_part("u", 1, a_blob("p1"), 70.0), blob_id="new")
    assert await store.uploads.add_part(again, a_blob("new")) == again
    assert await store.uploads.list_parts("u") == [again, a_part("u", 2, a_blob("p2"))]
    assert await store.accounts.usage(ACCOUNT.id) == 200
    assert await store.housekeeping.condemn_blobs(10) == [Condemned("p1", ("p1/0",))]
    whole = a_blob("whole", "new/0", "p2/0")
    assert await store.objects.publish(an_object("u-object", whole), whole, "u")


@with_store
async def test_an_attempt_with_another_etag_or_number_is_one_more(store):
    await begin(store, "u", a_blob("p"))
    others = [a_part("u", 1, a_blob("q")), replace(a_part("u", 2, a_blob("p")), blob_id="r")]
    for part in others:
        await store.uploads.add_part(part, a_blob(part.blob_id))
    assert await store.uploads.list_parts("u") == [a_part("u", 1, a_blob("p")), *others]


@with_store
async def test_of_many_attempts_at_a_part_the_last_stay_and_the_others_are_left_to_the_sweep(store):
    await begin(store, "u", a_blob("other"))
    attempts = [a_part("u", 2, a_blob(f"p{n}"), 60.0 + n) for n in range(MAX_ATTEMPTS + 2)]
    for part in attempts:
        await store.uploads.add_part(part, a_blob(part.blob_id))
    assert await store.uploads.list_parts("u") == [a_part("u", 1, a_blob("other")), *attempts[2:]]
    assert await store.accounts.usage(ACCOUNT.id) == 100 * (MAX_ATTEMPTS + 1)
    assert {each.blob_id for each in await store.housekeeping.condemn_blobs(10)} == {"p0", "p1"}


@with_store
async def test_the_number_of_a_growing_upload_grows_with_every_attempt(store):
    await begin(store, "empty")
    await begin(store, "still", a_blob("s"))
    await begin(store, "u", a_blob("p"))
    seen = [await store.uploads.growing()]
    for part in (a_part("u", 2, a_blob("q")), replace(a_part("u", 1, a_blob("p")), blob_id="r")):
        await store.uploads.add_part(part, a_blob(part.blob_id))
        seen.append(await store.uploads.growing())
    assert seen[0]["u"] < seen[1]["u"] < seen[2]["u"]
    assert {each["still"] for each in seen} == {seen[0]["still"]}
    assert {frozenset(each) for each in seen} == {frozenset({"u", "still"})}


@with_store
async def test_the_segments_of_parts_come_without_their_digests_which_are_asked_for_by_key(store):
    await begin(store, "u", a_blob("p", "k1", "k2"), a_blob("q", "k3"))
    bare = {key: replace(a_segment(key), blocks=b"") for key in ("k1", "k2", "k3")}
    assert dict(await store.uploads.segments_of_parts("u")) == {"p": (bare["k1"], bare["k2"]), "q": (bare["k3"],)}
    assert await store.objects.blocks("k1") == a_segment("k1").blocks
    assert await store.objects.blocks("nothing") is None


@with_store
async def test_a_part_never_takes_a_segment_from_another(store):
    await begin(store, "u", a_blob("p"))
    with pytest.raises(Conflict):
        await store.uploads.add_part(a_part("u", 2, a_blob("q", "p/0")), a_blob("q", "p/0"))
    assert await store.segments("p") == (a_segment("p/0"),)
    assert len(await store.uploads.list_parts("u")) == 1


# Publishing


@with_store
async def test_a_published_object_is_read_with_its_blob(store):
    obj = await publish(store, "o", a_blob("b", "k1", "k2"))
    assert await store.objects.get("o") == obj
    assert await store.segments("b") == (a_segment("k1"), a_segment("k2"))


@with_store
async def test_an_unknown_object_is_none_and_an_unknown_blob_has_no_segments(store):
    assert await store.objects.get("nothing") is None
    assert await store.segments("nothing") == ()


@with_store
async def test_an_empty_object_has_no_segments(store):
    obj = await publish(store, "o", Blob("b", 0, b"e" * 32, ()))
    assert await store.objects.get("o") == obj
    assert await store.segments("b") == ()


@with_store
async def test_publishing_ends_the_upload(store):
    await begin(store, "u")
    obj = an_object("u-object", a_blob("b"))
    assert await store.objects.publish(obj, a_blob("b"), "u") == obj
    assert await store.uploads.get("u") == an_upload("u", state=UploadState.PUBLISHED)


@with_store
async def test_publishing_again_gives_the_first_object_and_records_nothing(store):
    await begin(store, "u")
    first = await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), "u")
    again = await store.objects.publish(an_object("u-object", a_blob("c"), name="other"), a_blob("c"), "u")
    assert again == first
    assert await store.housekeeping.known_keys(["b/0", "c/0"]) == {"b/0"}


@with_store
async def test_twenty_publishes_at_once_make_one_object_and_one_answer(store):
    await begin(store, "u")
    blobs = [a_blob(f"b{i}") for i in range(20)]
    answers = await asyncio.gather(*(store.objects.publish(an_object("u-object", b), b, "u") for b in blobs))
    assert len(set(map(repr, answers))) == 1
    assert await store.objects.get("u-object") == answers[0]
    assert len(await store.housekeeping.known_keys([f"b{i}/0" for i in range(20)])) == 1


@with_store
async def test_publishing_an_aborted_or_unknown_upload_is_none_and_records_nothing(store):
    await begin(store, "u")
    await store.uploads.abort("u")
    for upload_id in ("u", "nothing"):
        assert await store.objects.publish(an_object("u-object", a_blob("b")), a_blob("b"), upload_id) is None
    assert await store.objects.get("u-object") is None
    assert await store.housekeeping.known_keys(["b/0"]) == set()


@with_store
async def test_of_an_abort_and_a_publish_at_once_exactly_one_wins(store):
    for i in range(20):
        await begin(store, f"u{i}")
        obj, blob = an_object(f"u{i}-object", a_blob(f"b{i}")), a_blob(f"b{i}")
        deeds = [store.objects.publish(obj, blob, f"u{i}"), store.uploads.abort(f"u{i}")]
        published, aborted = await asyncio.gather(*deeds)
        assert (published is None) is aborted
        assert (await store.objects.get(obj.id) is None) is aborted


@with_store
async def test_an_object_id_that_exists_is_a_conflict_and_keeps_its_bytes(store):
    first = await publish(store, "o")
    await begin(store, "u", object_id="o")
    for upload_id in (None, "u"):
        with pytest.raises(Conflict):
            await store.objects.publish(an_object("o", a_blob("c")), a_blob("c"), upload_id)
    assert await store.objects.get("o") == first
    assert await store.housekeeping.known_keys(["c/0"]) == set()
    assert (await store.uploads.get("u")).state is UploadState.OPEN


@with_store
async def test_an_upload_becomes_only_its_own_object(store):
    await begin(store, "u")
    with pytest.raises(Conflict):
        await store.objects.publish(an_object("other", a_blob("b")), a_blob("b"), "u")
    assert await store.objects.get("other") is None


@with_store
async def test_the_segments_of_parts_move_under_the_new_blob(store):
    await begin(store, "u", a_blob("p1", "k1", "k2"), a_blob("p2", "k3"))
    whole = a_blob("whole", "k1", "k2", "k3")
    assert await store.objects.publish(an_object("u-object", whole), whole, "u")
    assert await store.segments("whole") == whole.segments
    assert await store.segments("p1") == await store.segments("p2") == ()
    assert await store.uploads.list_parts("u") == []
    assert await store.housekeeping.condemn_blobs(10) == []


@with_store
async def test_a_segment_of_a_part_moves_by_its_key_and_keeps_its_digests(store):
    await begin(store, "u", a_blob("p1", "k1"), a_blob("p2", "k2"))
    held = await store.uploads.segments_of_parts("u")
    whole = Blob("whole", 200, None, held["p2"] + held["p1"])
    assert await store.objects.publish(an_object("u-object", whole), whole, "u")
    assert await store.segments("whole") == (a_segment("k2"), a_segment("k1"))


@with_store
async def test_no_segment_is_recorded_without_the_digests_of_all_its_blocks(store):
    await begin(store, "u", a_blob("p", "k"))
    for stranger, error in {
        Segment("new", 100, b""): Conflict,
        Segment("k", 99, b""): Conflict,
        Segment("new", 100, b"1234567"): MetadataFailed,
        Segment("new", 65537, b"12345678"): MetadataFailed,
    }.items():
        blob = Blob("b", stranger.size, None, (stranger,))
        for upload_id in ("u", None):
            with pytest.raises(error):
                await store.objects.publish(an_object("u-object", blob), blob, upload_id)
        with pytest.raises(error):
            await store.uploads.add_part(a_part("u", 2, blob), blob)
    assert await store.housekeeping.known_keys(["new"]) == set()
    assert len(await store.uploads.list_parts("u")) == 1
    assert await store.segments("p") == (a_segment("k"),)


@with_store
async def test_a_window_of_segments_begins_with_the_one_that_holds_the_byte(store):
    sizes = [65536, 1, 100_000, 7]
    segments = tuple(a_segment(f"k{i}", size) for i, size in enumerate(sizes))
    await publish(store, "o", Blob("b", sum(sizes), None, segments))
    placed = list(zip([0, 65536, 65537, 165537], segments, strict=True))
    for byte, first in {0: 0, 1: 0, 65535: 0, 65536: 1, 65537: 2, 165536: 2, 165537: 3, 165543: 3}.items():
        assert list(await store.objects.segments_from("b", byte, 10)) == placed[first:]
        assert list(await store.objects.segments_from("b", byte, 2)) == placed[first : first + 2]
    assert list(await store.objects.segments_from("nothing", 0, 10)) == []


@with_store
async def test_a_dying_blob_shows_no_window_of_segments(store):
    await publish(store, "o", a_blob("b"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert len(await store.objects.segments_from("b", 0, 10)) == 1
    await store.housekeeping.condemn_blobs(10)
    assert list(await store.objects.segments_from("b", 0, 10)) == []


@with_store
async def test_the_order_of_segments_is_that_of_the_new_blob(store):
    await begin(store, "u", a_blob("p1", "k1"), a_blob("p2", "k2"), a_blob("p3", "k3"))
    whole = a_blob("whole", "k3", "k1", "k2")
    await store.objects.publish(an_object("u-object", whole), whole, "u")
    assert await store.segments("whole") == whole.segments


@with_store
async def test_attempts_that_were_not_cited_are_left_to_the_sweep(store):
    await begin(store, "u", a_blob("p1", "k1"), a_blob("p2", "k2"))
    whole = a_blob("whole", "k1")
    await store.objects.publish(an_object("u-object", whole), whole, "u")
    assert await store.housekeeping.condemn_blobs(10) == [Condemned("p2", ("k2",))]
    assert await store.segments("whole") == whole.segments


@with_store
async def test_an_upload_may_end_in_the_blob_of_its_only_part(store):
    part = a_blob("p")
    await begin(store, "u", part)
    await store.objects.publish(an_object("u-object", part), part, "u")
    assert await store.housekeeping.condemn_blobs(10) == []
    assert await store.segments("p") == part.segments


@with_store
async def test_publishing_takes_no_segment_from_a_stranger(store):
    await publish(store, "o", a_blob("b", "k1"))
    await begin(store, "u", a_blob("p", "k2"))
    await begin(store, "v")
    for stolen in ("k1", "k2"):
        blob = a_blob("thief", "k0", stolen)
        for upload_id in (None, "v"):
            with pytest.raises(Conflict):
                await store.objects.publish(an_object("v-object", blob), blob, upload_id)
    assert await store.segments("b") == (a_segment("k1"),)
    assert await store.segments("p") == (a_segment("k2"),)
    assert await store.housekeeping.known_keys(["k0"]) == set()


@with_store
async def test_publishing_takes_a_segment_of_a_part_once(store):
    part = a_blob("p", "k")
    await begin(store, "u", part)
    for twice in (
        a_blob("whole", "k", "k"),
        replace(a_blob("whole", "k", "k"), segments=(Segment("k", 100, b""),) * 2),
    ):
        with pytest.raises(Conflict):
            await store.objects.publish(an_object("u-object", twice), twice, "u")
    assert await store.objects.get("u-object") is None
    assert await store.segments("p") == part.segments


@with_store
async def test_publishing_takes_no_segment_from_a_part_whose_blob_has_an_object(store):
    part = a_blob("p", "k")
    await begin(store, "u", part)
    await publish(store, "o", part)
    whole = a_blob("whole", "k")
    with pytest.raises(Conflict):
        await store.objects.publish(an_object("u-object", whole), whole, "u")
    assert await store.segments("p") == part.segments


@with_store
async def test_two_objects_share_a_blob(store):
    blob = a_blob("b")
    await publish(store, "o1", blob)
    link = replace(blob, segments=())
    obj = an_object("o2", link)
    assert await store.objects.publish(obj, link) == obj == await store.objects.get("o2")
    assert await store.segments("b") == blob.segments


@with_store
async def test_a_dying_blob_is_not_linked(store):
    await publish(store, "o", a_blob("b"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.condemn_blobs(10)
    with pytest.raises(Conflict):
        await store.objects.publish(an_object("o2", a_blob("b")), a_blob("b"))
    assert await store.objects.get("o2") is None
    assert await store.segments("b") == ()


@with_store
async def test_a_forgotten_blob_is_not_linked(store):
    link = replace(a_blob("b"), segments=())
    with pytest.raises(Conflict):
        await store.objects.publish(an_object("o", link), link)
    assert await store.objects.get("o") is None


@with_store
async def test_a_blob_that_somebody_let_go_of_is_live_until_it_is_condemned(store):
    blob = a_blob("b")
    await publish(store, "o", blob, expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert await store.segments("b") == blob.segments
    await publish(store, "o2", blob)
    assert await store.housekeeping.condemn_blobs(10) == []
    assert await store.segments("b") == blob.segments


# What is held


def a_large_blob(blob_id: str, size: int = EXISTING_FLOOR, sha256: bytes | None = DIGEST) -> Blob:
    return Blob(blob_id, size, sha256, (a_segment(f"{blob_id}/0", size),))


async def held(store: Catalogue, account_id: str = ACCOUNT.id, now: float = 100.0, **changes) -> str | None:
    return await store.objects.held_blob(
        account_id, **{"sha256": DIGEST, "size": EXISTING_FLOOR, "now": now, **changes}
    )


@with_store
async def test_a_blob_is_held_by_its_digest_and_its_size(store):
    await publish(store, "o", a_large_blob("b"))
    assert await held(store) == "b"
    assert await held(store, sha256=DIGEST[::-1]) is await held(store, size=EXISTING_FLOOR + 1) is None


@with_store
async def test_a_blob_without_a_digest_is_held_once_it_has_one(store):
    await publish(store, "o", a_large_blob("b", sha256=None))
    assert await held(store) is None
    await store.objects.set_digest("b", DIGEST)
    assert await held(store) == "b"


@with_store
async def test_a_blob_below_the_floor_is_not_looked_for(store):
    for size in (1, EXISTING_FLOOR - 1):
        await publish(store, f"o{size}", a_large_blob(f"b{size}", size))
        assert await held(store, size=size) is None


@with_store
async def test_what_another_account_holds_is_not_held(store):
    await store.accounts.add(Account("a2", "two", 2.0))
    await publish(store, "o", a_large_blob("b"))
    assert await held(store, "a2") is await held(store, "nobody") is None
    await publish(store, "o2", a_large_blob("b2"), account_id="a2")
    assert (await held(store), await held(store, "a2")) == ("b", "b2")


@with_store
async def test_of_several_blobs_the_newest_is_held(store):
    for blob_id in ("b2", "b3", "b1"):
        await publish(store, f"of-{blob_id}", a_large_blob(blob_id))
    assert await held(store) == "b1"


@with_store
async def test_a_blob_is_held_as_long_as_one_object_of_the_account_lives(store):
    blob = a_large_blob("b")
    await publish(store, "o", blob, expires_at=200.0)
    assert await held(store, now=199.9) == "b"
    assert await held(store, now=200.0) is None
    await publish(store, "o2", blob, expires_at=300.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert await held(store, now=200.0) == "b"
    await store.housekeeping.expire_objects(300.0, 10)
    assert await held(store, now=200.0) is None


@with_store
async def test_a_dying_or_forgotten_blob_and_one_of_a_part_are_not_held(store):
    await begin(store, "u", a_large_blob("p"))
    assert await held(store) is None
    await publish(store, "o", a_large_blob("b"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.condemn_blobs(10)
    assert await held(store) is None
    await store.housekeeping.forget_blob("b")
    assert await held(store) is None


@with_store
async def test_a_held_blob_becomes_the_blob_of_one_more_object(store):
    blob = a_large_blob("b")
    await publish(store, "o", blob)
    await begin(store, "u")
    link = replace(blob, segments=())
    obj = an_object("u-object", link)
    assert await store.objects.publish(obj, link, "u") == obj
    assert await store.objects.get("u-object") == obj
    assert await store.segments("b") == blob.segments
    assert await store.accounts.usage(ACCOUNT.id) == 2 * EXISTING_FLOOR


# Expiry


@with_store
async def test_an_object_expires_at_its_exact_instant(store):
    await publish(store, "o", expires_at=200.25)
    assert await store.housekeeping.expire_objects(200.2499, 10) == 0
    assert (await store.objects.get("o")).state is ObjectState.LIVE
    assert await store.housekeeping.expire_objects(200.25, 10) == 1
    assert await store.housekeeping.expire_objects(300.0, 10) == 0


@with_store
async def test_an_expired_object_keeps_its_row_and_lets_go_of_its_blob(store):
    obj = await publish(store, "o", expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert await store.objects.get("o") == replace(obj, state=ObjectState.EXPIRED, blob_id="")


@with_store
async def test_an_object_without_expiry_lives_for_ever(store):
    await publish(store, "o")
    assert await store.housekeeping.expire_objects(1e15, 10) == 0


@with_store
async def test_expiry_takes_the_longest_overdue_up_to_the_limit(store):
    for i in (3, 1, 2):
        await publish(store, f"o{i}", expires_at=100.0 + i)
    assert await store.housekeeping.expire_objects(200.0, 2) == 2
    assert (await store.objects.get("o3")).state is ObjectState.LIVE
    assert await store.housekeeping.expire_objects(200.0, 2) == 1
    assert await store.housekeeping.expire_objects(200.0, 2) == 0


@with_store
async def test_open_uploads_expire_at_their_exact_instant_with_their_parts(store):
    await begin(store, "u", a_blob("p"), expires_at=200.0)
    await begin(store, "v", a_blob("q"), expires_at=300.0)
    assert await store.housekeeping.expire_uploads(199.9, 10) == 0
    assert await store.housekeeping.expire_uploads(200.0, 10) == 1
    assert (await store.uploads.get("u")).state is UploadState.ABORTED
    assert (await store.uploads.get("v")).state is UploadState.OPEN
    assert await store.uploads.list_parts("u") == []
    assert await store.housekeeping.condemn_blobs(10) == [Condemned("p", ("p/0",))]


@with_store
async def test_uploads_expire_up_to_the_limit_and_ended_ones_never(store):
    for i in range(3):
        await begin(store, f"u{i}")
    await begin(store, "done")
    await store.objects.publish(an_object("done-object", a_blob("b")), a_blob("b"), "done")
    assert [await store.housekeeping.expire_uploads(1000.0, 2) for _ in range(3)] == [2, 1, 0]
    assert (await store.uploads.get("done")).state is UploadState.PUBLISHED


# Sweeping


@with_store
async def test_what_is_referred_to_is_never_condemned(store):
    await publish(store, "o")
    await begin(store, "u", a_blob("p"))
    assert await store.housekeeping.condemn_blobs(10) == []


@with_store
async def test_a_shared_blob_survives_the_first_expiry_and_not_the_last(store):
    blob = a_blob("b")
    await publish(store, "o1", blob, expires_at=200.0)
    await publish(store, "o2", blob, expires_at=300.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert await store.housekeeping.condemn_blobs(10) == []
    assert await store.segments("b") == blob.segments
    await store.housekeeping.expire_objects(300.0, 10)
    assert await store.housekeeping.condemn_blobs(10) == [Condemned("b", ("b/0",))]


@with_store
async def test_no_reader_reaches_a_dying_blob(store):
    await publish(store, "o", a_blob("b"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.condemn_blobs(10)
    assert await store.segments("b") == ()


@with_store
async def test_a_sweep_that_was_cut_short_goes_on_with_all_that_is_dying(store):
    for i in range(5):
        await publish(store, f"o{i}", a_blob(f"b{i}"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    first = await store.housekeeping.condemn_blobs(2)
    assert len(first) == 2
    second = await store.housekeeping.condemn_blobs(2)
    assert len(second) == 4 and set(first) < set(second)
    for condemned in second:
        await store.housekeeping.forget_blob(condemned.blob_id)
    assert len(await store.housekeeping.condemn_blobs(2)) == 1


@with_store
async def test_shared_blobs_do_not_hide_those_behind_them_from_the_sweep(store):
    for i in range(5):
        await publish(store, f"a{i}", a_blob(f"b{i}"), expires_at=200.0)
    for i in range(4):
        await publish(store, f"c{i}", a_blob(f"b{i}"))
    await store.housekeeping.expire_objects(200.0, 10)
    assert await store.housekeeping.condemn_blobs(1) == [Condemned("b4", ("b4/0",))]


@with_store
async def test_a_condemned_blob_names_its_keys_in_order_and_an_empty_one_none(store):
    await publish(store, "o1", a_blob("b", "k2", "k1"), expires_at=200.0)
    await publish(store, "o2", Blob("empty", 0, None, ()), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    assert set(await store.housekeeping.condemn_blobs(10)) == {Condemned("b", ("k2", "k1")), Condemned("empty", ())}


@with_store
async def test_forgetting_a_blob_is_repeatable_and_spares_what_is_not_dying(store):
    await publish(store, "o1", a_blob("b1"), expires_at=200.0)
    await publish(store, "o2", a_blob("b2"))
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.forget_blob("b1")
    assert await store.housekeeping.known_keys(["b1/0"]) == {"b1/0"}
    await store.housekeeping.condemn_blobs(10)
    for blob_id in ("b1", "b1", "b2", "nothing"):
        await store.housekeeping.forget_blob(blob_id)
    assert await store.housekeeping.known_keys(["b1/0", "b2/0"]) == {"b2/0"}
    assert await store.housekeeping.condemn_blobs(10) == []


@with_store
async def test_known_keys_are_those_of_any_row_dying_ones_too(store):
    await publish(store, "o1", a_blob("b1"), expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.condemn_blobs(10)
    await publish(store, "o2", a_blob("b2", "k1", "k2"))
    await begin(store, "u", a_blob("p"))
    asked = ["b1/0", "k1", "k2", "p/0", "stranger", ""]
    assert await store.housekeeping.known_keys(asked) == {"b1/0", "k1", "k2", "p/0"}
    assert await store.housekeeping.known_keys([]) == set()
    assert await store.housekeeping.known_keys([f"stranger/{i}" for i in range(5000)]) == set()


@with_store
async def test_ended_uploads_and_objects_are_forgotten_after_their_time(store):
    await publish(store, "live")
    await publish(store, "gone", expires_at=200.0)
    await begin(store, "open")
    await begin(store, "late", expires_at=210.0)
    await begin(store, "done", expires_at=180.0)
    await begin(store, "asked again", expires_at=500.0)
    await store.objects.publish(an_object("done-object", a_blob("b"), published_at=190.0), a_blob("b"), "done")
    await store.objects.publish(
        an_object("asked again-object", a_blob("c"), published_at=190.0), a_blob("c"), "asked again"
    )
    await store.housekeeping.expire_objects(205.0, 10)
    await store.housekeeping.expire_uploads(220.0, 10)
    assert await store.housekeeping.forget_ended(190.0, 10) == 0
    assert await store.housekeeping.forget_ended(190.1, 10) == 1
    assert await store.uploads.get("done") is None and await store.objects.get("done-object")
    assert await store.housekeeping.forget_ended(200.1, 10) == 1
    assert await store.objects.get("gone") is None
    assert await store.housekeeping.forget_ended(500.0, 10) == 1
    assert await store.uploads.get("asked again")
    assert await store.housekeeping.forget_ended(1e9, 10) == 1
    assert await store.uploads.get("late") is None
    assert await store.uploads.get("open") and await store.objects.get("live")


@with_store
async def test_forgetting_stops_at_the_limit(store):
    for i in range(3):
        await publish(store, f"o{i}", expires_at=200.0)
        await begin(store, f"u{i}", expires_at=200.0)
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.expire_uploads(200.0, 10)
    assert [await store.housekeeping.forget_ended(201.0, 4) for _ in range(3)] == [4, 2, 0]


@with_store
async def test_publishing_an_upload_whose_object_was_forgotten_is_none(store):
    await begin(store, "u")
    blob = a_blob("b")
    await store.objects.publish(an_object("u-object", blob, published_at=300.0, expires_at=200.0), blob, "u")
    await store.housekeeping.expire_objects(200.0, 10)
    await store.housekeeping.forget_ended(250.0, 10)
    assert await store.objects.publish(an_object("u-object", a_blob("c")), a_blob("c"), "u") is None
    assert await store.objects.get("u-object") is None


# Leases


@with_store
async def test_a_lease_is_held_by_one_until_it_is_over(store):
    assert await store.leases.take("sweep", "a", 100.0, 10.0) is True
    assert await store.leases.take("sweep", "b", 109.9, 10.0) is False
    assert await store.leases.take("sweep", "b", 110.0, 10.0) is True
    assert await store.leases.take("sweep", "a", 111.0, 10.0) is False


@with_store
async def test_a_lease_is_renewed_by_its_holder(store):
    await store.leases.take("sweep", "a", 100.0, 10.0)
    assert await store.leases.take("sweep", "a", 105.0, 10.0) is True
    assert await store.leases.take("sweep", "b", 112.0, 10.0) is False


@with_store
async def test_two_leases_are_strangers(store):
    await store.leases.take("sweep", "a", 100.0, 10.0)
    assert await store.leases.take("digest", "b", 100.0, 10.0) is True


# The whole


@with_store
async def test_a_healthy_store_passes_its_check_and_its_checkpoint(store):
    await store.housekeeping.check()
    await store.database.checkpoint()


def test_a_closed_store_fails_clearly_and_closes_again(make):
    async def test(store):
        await store.close()
        await store.close()
        for deed in (store.objects.get("o"), store.housekeeping.check(), store.uploads.abort("u")):
            with pytest.raises(MetadataFailed):
                await deed

    asyncio.run(test(make()))


def test_close_finishes_what_is_queued(make):
    async def test(store):
        deeds = [asyncio.ensure_future(store.accounts.add(Account(f"a{i}", f"n{i}", 1.0))) for i in range(600)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*deeds)

    asyncio.run(test(make()))


@with_store
async def test_a_conflict_harms_no_write_beside_it(store):
    deeds = [store.accounts.add_key(a_key(f"k{i % 30}")) for i in range(60)]
    answers = await asyncio.gather(*deeds, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None)] * 30 + [Conflict] * 30
    assert len(await store.accounts.list_keys()) == 30


# Values come back as they went in

texts = st.text(st.characters(codec="utf-8"), max_size=20)
ids = st.uuids().map(str)
times = st.floats(0, 1e11)
digests = st.binary(min_size=32, max_size=32)
decisions = st.sampled_from(Decision)
rules = st.lists(st.builds(Rule, texts, decisions), max_size=4).map(tuple)
acls = st.builds(Acl, decisions, rules)
lifetimes = st.none() | st.integers(0, 100 * 366 * 86_400)
choices = st.builds(AclChoice, st.none() | decisions, rules)
lifecycles = st.builds(Lifecycle, st.just(UNSET) | lifetimes, st.just(UNSET) | choices)
blocks = st.integers(1, 8).flatmap(lambda count: st.binary(min_size=8 * count, max_size=8 * count))
segments = st.builds(lambda key, b, cut: Segment(key, len(b) * 8192 - cut, b), ids, blocks, st.integers(0, 65535))
account = st.just(ACCOUNT.id)

accounts = st.builds(Account, ids, ids | texts, times, lifecycles, st.sampled_from(AccountState))
keys = st.builds(KeyRecord, ids, account, texts, digests, times, st.none() | times)
drafts = st.builds(Draft, ids, texts, texts, account, texts, st.none() | texts, lifecycles, st.none() | texts)
uploads = st.builds(
    Upload, ids, drafts, st.sampled_from(UploadKind), times, times, st.just(UploadState.OPEN),
    st.none() | ids, st.none() | digests,
)  # fmt: skip


@st.composite
def published(draw: st.DrawFn) -> tuple[Object, Blob]:
    parts = tuple(draw(st.lists(segments, max_size=4, unique_by=lambda part: part.key)))
    blob = Blob(draw(ids), sum(part.size for part in parts), draw(st.none() | digests), parts)
    fields = st.tuples(texts, st.none() | texts, st.booleans(), acls, times, st.none() | times)
    content_type, sniffed_type, inline, acl, published_at, expires_at = draw(fields)
    obj = Object(
        draw(ids), draw(texts), draw(texts), ACCOUNT.id, blob.id, blob.size, blob.sha256, content_type, sniffed_type,
        inline, acl, published_at, expires_at, request_id=draw(st.none() | texts),
    )  # fmt: skip
    return obj, blob


def test_every_value_comes_back_as_it_went_in(make):
    @settings(max_examples=60)
    @given(accounts, keys, uploads, published())
    def test(one, key, upload, pair):
        @with_store
        async def write_and_read(store):
            await store.accounts.add(one)
            assert await store.accounts.get(one.id) == one
            await store.accounts.add_key(key)
            assert await store.accounts.key(key.id) == key
            assert await store.uploads.begin(upload, LIMIT) == upload == await store.uploads.get(upload.id)
            obj, blob = pair
            assert await store.objects.publish(obj, blob) == obj == await store.objects.get(obj.id)
            assert await store.segments(blob.id) == blob.segments

        write_and_read(make)

    test()


def test_every_part_comes_back_as_it_went_in(make):
    numbers, sizes = st.integers(1, 10_000), st.integers(0, 2**40)
    fields = st.lists(st.tuples(numbers, texts, sizes, digests, times), max_size=5, unique_by=lambda row: row[:2])

    @settings(max_examples=30)
    @given(fields)
    def test(rows):
        @with_store
        async def write_and_read(store):
            await begin(store, "u")
            parts = [Part("u", n, etag, size, sha, f"b{i}", at) for i, (n, etag, size, sha, at) in enumerate(rows)]
            for part in parts:
                assert await store.uploads.add_part(part, Blob(part.blob_id, 0, None, ()))
            assert await store.uploads.list_parts("u") == sorted(parts, key=lambda p: (p.number, p.received_at))

        write_and_read(make)

    test()
