"""`POST /files/upload/existing`: to store once more what the account holds, without sending its bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrepot import wire
from support.inside import add_account, rows, segment_files, segments_of
from support.parts import begin
from support.server import Server
from support.talk import Reply, Talk, eventually

MIB = 1024 * 1024
Serve = Callable[..., Server]


def content(seed: str, size: int = MIB) -> bytes:
    """A picture, as far as its head goes, that no other test has."""
    return b"\x89PNG\r\n\x1a\n" + hashlib.shake_128(seed.encode()).digest(size - 8)


def named(data: bytes) -> str:
    return wire.repr_digest(hashlib.sha256(data).digest())


def again(talk: Talk, data: bytes, **headers: Any) -> Reply:
    """Ask for one more file of these bytes."""
    return talk.post(f"{wire.EXISTING_UPLOAD}?size={len(data)}", **{"repr_digest": named(data), **headers})


def blobs(talk: Talk, *urls: str) -> set[Any]:
    return {rows(talk.server, "SELECT blob_nr FROM objects WHERE path = ?", urlsplit(url).path)[0][0] for url in urls}


def is_not_held(reply: Reply) -> bool:
    return (reply.status, reply.json()["code"]) == (404, "not_found") and "holds no file" in reply.json()["message"]


# What is held


def test_what_is_held_becomes_one_more_file_of_the_same_bytes(talk: Talk) -> None:
    data = content("held")
    first = talk.post("/files/upload", data, content_type="image/png", x_fal_file_name="cat.png").json()
    on_disk = segment_files(talk.server)
    lifecycle = '{"expiration_duration_seconds": 3600, "initial_acl": {"default": "hide"}}'
    reply = again(talk, data, content_type="image/x-cat", x_fal_file_name="dog.png", x_fal_object_lifecycle=lifecycle)
    told = reply.json()
    assert (reply.status, told["uploaded"]) == (200, True)
    assert (told["file_name"], told["content_type"], told["size"]) == ("dog.png", "image/x-cat", MIB)
    assert told["digest"] == first["digest"]
    assert told["expires_at"] is not None
    assert told["access_url"] != first["access_url"]
    assert blobs(talk, told["access_url"]) == blobs(talk, first["access_url"])
    assert segment_files(talk.server) <= on_disk
    assert talk.get(told["access_url"]).status == 404
    assert talk.get(told["access_url"], **talk.key).body == talk.get(first["access_url"]).body == data


def test_the_bytes_decide_on_the_type_as_they_do_when_they_are_sent(talk: Talk) -> None:
    data = content("type")
    for headers in ({}, {"x_fal_file_name": "a.txt"}, {"content_type": "application/octet-stream"}):
        sent, linked = talk.post("/files/upload", data, **headers).json(), again(talk, data, **headers).json()
        assert linked["content_type"] == sent["content_type"] == "image/png"
        shown = [talk.head(told["access_url"]).headers.get("content-disposition") for told in (sent, linked)]
        assert shown == [None, None]


def test_a_token_and_a_further_file_of_the_new_one_do_as_well(talk: Talk) -> None:
    data = content("token")
    url = talk.upload(data)
    one, two = (again(talk, data, authorization=talk.token()).json()["access_url"] for _ in range(2))
    assert len({url, one, two}) == 3
    assert len(blobs(talk, url, one, two)) == 1


def test_a_file_that_came_in_parts_is_found_once_its_digest_is_known(talk: Talk) -> None:
    upload = begin(talk)
    data = content("parts", 3 * MIB)
    parts = upload.parts([data[:MIB], data[MIB:]])
    upload.followed()
    upload.finished(parts)
    assert talk.get(again(talk, data).json()["access_url"]).body == data


def test_the_second_file_lives_on_when_the_first_has_expired(serve: Serve) -> None:
    talk = Talk(serve(sweep_interval="0.1"))
    data = content("outlives")
    first = talk.upload(data, x_fal_object_lifecycle='{"expiration_duration_seconds": 4}')
    second = again(talk, data).json()["access_url"]
    eventually(lambda: blobs(talk, first) == {None})
    assert rows(talk.server, "SELECT count(*) FROM blobs WHERE state = 'dying'") == [(0,)]
    assert talk.get(second).body == data
    assert again(talk, data).status == 200


# What is not


@pytest.mark.parametrize(("size", "found"), [(MIB - 1, False), (MIB, True), (MIB + 1, True)])
def test_only_files_from_the_floor_on_are_found(talk: Talk, size: int, found: bool) -> None:
    data = content("floor", size)
    talk.upload(data)
    reply = again(talk, data)
    assert reply.status == 200 if found else is_not_held(reply)


def test_other_bytes_and_other_sizes_are_not_held(talk: Talk) -> None:
    data = content("other")
    talk.upload(data)
    assert is_not_held(again(talk, data[::-1]))
    for size in (0, 7, MIB - 1, MIB + 1, 2 * MIB, 10**18 - 1):
        reply = talk.post(f"{wire.EXISTING_UPLOAD}?size={size}", repr_digest=named(data))
        assert is_not_held(reply), size


def test_what_another_account_holds_is_not_held_even_when_all_may_read_it(talk: Talk, stranger: str) -> None:
    data = content("theirs")
    talk.upload(data)
    theirs = again(talk, data, authorization=f"Key {stranger}").json()
    nobodys = again(talk, content("nobody's"), authorization=f"Key {stranger}").json()
    assert {**theirs, "request_id": ""} == {**nobodys, "request_id": ""}
    mine = talk.upload(data, authorization=f"Key {stranger}")
    linked = again(talk, data, authorization=f"Key {stranger}")
    assert linked.status == 200
    assert blobs(talk, linked.json()["access_url"]) == blobs(talk, mine)


def test_an_expired_file_is_not_held_even_before_the_sweep(talk: Talk) -> None:
    data = content("expired")
    url = talk.upload(data, x_fal_object_lifecycle='{"expiration_duration_seconds": 1}')
    eventually(lambda: talk.get(url).status == 410)
    assert is_not_held(again(talk, data))


# Who may ask


@pytest.mark.parametrize("decision", ["forbid", "hide"])
def test_an_owner_s_private_file_is_held_and_the_new_one_has_rules_of_its_own(talk: Talk, decision: str) -> None:
    data = content(decision)
    talk.upload(data, x_fal_object_lifecycle=f'{{"initial_acl": {{"default": "{decision}"}}}}')
    assert talk.get(again(talk, data).json()["access_url"]).body == data


def test_nobody_learns_what_is_held(talk: Talk) -> None:
    data = content("nobody")
    talk.upload(data)
    signature = urlsplit(talk.initiate()["upload_url"]).query
    asked = {"repr-digest": named(data)}
    target = f"{wire.EXISTING_UPLOAD}?size={MIB}"
    for reply in (
        talk.ask("POST", target, asked),
        talk.ask("POST", f"{target}&{signature}", asked),
        again(talk, data, authorization="Key a:b"),
        again(talk, data, authorization=f"Bearer {signature.partition('=')[2]}"),
    ):
        assert (reply.status, reply.json()["code"]) == (401, "unauthorized")


def test_a_revoked_key_and_its_token_learn_nothing(talk: Talk) -> None:
    data = content("revoked")
    talk.upload(data)
    key = add_account(talk.server, "leaver")
    token = talk.token(authorization=f"Key {key}")
    assert is_not_held(again(talk, data, authorization=token))
    talk.server.run("keys", "revoke", key.partition(":")[0], "--home", str(talk.server.home))
    assert again(talk, data, authorization=f"Key {key}").status == 401
    assert again(talk, data, authorization=token).status == 401


# Damage


def flip(url: str, talk: Talk) -> None:
    (path,) = segments_of(talk.server, url)
    data = bytearray(path.read_bytes())
    data[70_000 - 65_536] ^= 1
    path.write_bytes(data)


def remove(url: str, talk: Talk) -> None:
    segments_of(talk.server, url)[0].unlink()


@pytest.mark.parametrize("harm", [flip, remove])
def test_damaged_bytes_are_not_held_and_are_again_when_they_were_sent(
    talk: Talk, harm: Callable[[str, Talk], None]
) -> None:
    data = content(harm.__name__)
    url = talk.upload(data)
    harm(url, talk)
    assert is_not_held(again(talk, data))
    logged = [entry["message"] for entry in talk.server.log_lines() if entry["logger"] == "entrepot.uploads"]
    assert any("damaged bytes" in message for message in logged)
    sound = talk.upload(data)
    assert blobs(talk, again(talk, data).json()["access_url"]) == blobs(talk, sound)


# Room


def test_a_file_that_is_linked_counts_as_one_that_is_sent(serve: Serve) -> None:
    talk = Talk(serve(account_quota="3M"))
    data = content("quota")
    talk.upload(data)
    assert again(talk, data, idempotency_key="second").status == 200
    assert again(talk, data).status == 200
    full = again(talk, data)
    assert (full.status, full.json()["code"]) == (413, "quota_exceeded")
    assert again(talk, data, idempotency_key="second").status == 200


# Repeated


def test_a_repeated_call_gives_the_first_answer(talk: Talk) -> None:
    data = content("repeated")
    talk.upload(data)
    first, repeated = (again(talk, data, idempotency_key="linked") for _ in range(2))
    assert (first.status, repeated.body) == (200, first.body)
    other = again(talk, content("another"), idempotency_key="linked")
    assert (other.status, other.json()["code"]) == (412, "already_published")
    wish = again(talk, data, idempotency_key="linked", x_fal_file_name="a.png")
    assert (wish.status, wish.json()["detail"][0]["loc"]) == (422, ["header", "idempotency-key"])
    # The bytes themselves are one more way to say the same.
    assert talk.post("/files/upload", data, idempotency_key="linked").body == first.body


def test_a_repeated_call_gives_the_first_answer_when_nothing_is_held_any_more(talk: Talk) -> None:
    data = content("gone")
    lifecycle = '{"expiration_duration_seconds": 3}'
    talk.upload(data, x_fal_object_lifecycle=lifecycle)
    first = again(talk, data, idempotency_key="gone", x_fal_object_lifecycle=lifecycle)
    eventually(lambda: talk.get(first.json()["access_url"]).status == 410)
    assert is_not_held(again(talk, data))
    assert again(talk, data, idempotency_key="gone", x_fal_object_lifecycle=lifecycle).body == first.body


def test_a_key_that_found_nothing_is_good_for_the_bytes(talk: Talk) -> None:
    data = content("then sent")
    before = rows(talk.server, "SELECT count(*) FROM uploads")
    assert is_not_held(again(talk, data, idempotency_key="then sent"))
    assert rows(talk.server, "SELECT count(*) FROM uploads") == before
    sent = talk.post("/files/upload", data, idempotency_key="then sent")
    assert sent.status == 200
    assert again(talk, data, idempotency_key="then sent").body == sent.body


def test_equal_calls_at_once_make_one_file(talk: Talk) -> None:
    data = content("at once")
    talk.upload(data)
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: again(talk, data, idempotency_key="at once"), range(10)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1


# What is asked wrongly


DIGEST = named(b"")
SHORT = base64.b64encode(b"short").decode()


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        (None, 422, "validation_failed"),
        ("", 422, "validation_failed"),
        (",", 422, "validation_failed"),
        (f"{DIGEST}, {DIGEST}", 422, "validation_failed"),
        (f"{DIGEST}, md5=:{base64.b64encode(bytes(16)).decode()}:", 422, "validation_failed"),
        (f"sha-512=:{base64.b64encode(bytes(64)).decode()}:", 422, "validation_failed"),
        ("crc32c=:AAAAAA==:", 400, "unsupported_digest"),
        (f"{DIGEST}, crc32c=:AAAAAA==:", 400, "unsupported_digest"),
        ("sha-256=:!:", 400, "invalid_request"),
        (f"sha-256=:{SHORT}:", 400, "invalid_request"),
        (DIGEST.replace(":", ""), 400, "invalid_request"),
        ("sha-256", 400, "invalid_request"),
    ],
)
def test_a_digest_that_is_not_one_sha_256_is_refused(talk: Talk, value: str | None, status: int, code: str) -> None:
    headers = {} if value is None else {"repr-digest": value}
    reply = talk.ask("POST", f"{wire.EXISTING_UPLOAD}?size={MIB}", {**talk.key, **headers})
    assert (reply.status, reply.json()["code"]) == (status, code)
    if status == 422:
        assert reply.json()["detail"][0]["loc"] == ["header", "repr-digest"]


@pytest.mark.parametrize("header", ["content-digest", "content-md5"])
def test_a_digest_of_the_empty_body_is_none_of_the_file(talk: Talk, header: str) -> None:
    value = DIGEST if header == "content-digest" else base64.b64encode(bytes(16)).decode()
    for more in ({}, {"repr-digest": DIGEST}):
        reply = talk.ask("POST", f"{wire.EXISTING_UPLOAD}?size={MIB}", {**talk.key, header: value, **more})
        assert (reply.status, reply.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(
    "query",
    ["", "?", "?size=", "?size=-1", "?size=+1", "?size=1e9", "?size=0x10", "?size=1.5", f"?size={2**64}",
     f"?size={'9' * 5000}", "?size=1048576&size=1048576", "?size=%D9%A1", "?size=1%00", "?Size=1048576", "?size=%20"],
)  # fmt: skip
def test_a_size_that_is_none_is_refused_by_name(talk: Talk, query: str) -> None:
    reply = talk.post(f"{wire.EXISTING_UPLOAD}{query}", repr_digest=DIGEST)
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["query", "size"])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_not_taken(talk: Talk, chunked: bool) -> None:
    data = content("body")
    talk.upload(data)
    headers = {**talk.key, "repr-digest": named(data)}
    reply = talk.ask("POST", f"{wire.EXISTING_UPLOAD}?size={MIB}", headers, iter([data]) if chunked else data)
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert wire.UPLOAD in reply.json()["fix"]


def test_a_type_that_is_none_is_refused_by_name(talk: Talk) -> None:
    data = content("no type")
    talk.upload(data)
    assert again(talk, data, content_type="garbage").status == 422
    assert again(talk, data, x_fal_object_lifecycle="{").status == 422
    assert again(talk, data, content_type="multipart/form-data; boundary=x").status == 400
