"""`Idempotency-Key` at `/files/upload`: a repeated request gives the first one's file, whatever became of its reply."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.inside import rows, unnamed_files
from support.server import Server
from support.talk import Reply, Talk, eventually, line

DATA = b"\x89PNG\r\n\x1a\n" + b"pixels" * 500
LIFECYCLE = '{"expiration_duration_seconds": 3600}'


def put(talk: Talk, key: str, data: bytes = DATA, **headers: str) -> Reply:
    return talk.post("/files/upload", data, **{"content_type": "image/png", "idempotency_key": key, **headers})


def made(talk: Talk, key: str) -> list[str]:
    """The URLs' paths that this key led to."""
    return [
        path
        for (path,) in rows(
            talk.server,
            "SELECT o.path FROM objects o JOIN uploads u ON u.object_id = o.id WHERE idempotency_key = ?",
            key,
        )
    ]


def states(talk: Talk, key: str) -> list[str]:
    return [state for (state,) in rows(talk.server, "SELECT state FROM uploads WHERE idempotency_key = ?", key)]


def count(talk: Talk, table: str) -> int:
    return int(rows(talk.server, f"SELECT count(*) FROM {table}")[0][0])


def test_a_repeated_request_gets_the_same_reply_and_makes_one_file(talk: Talk) -> None:
    first = put(talk, "again", x_fal_file_name="cat.png", x_fal_object_lifecycle=LIFECYCLE)
    again = put(talk, "again", x_fal_file_name="cat.png", x_fal_object_lifecycle=LIFECYCLE)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert len(made(talk, "again")) == 1
    assert talk.get(first.json()["access_url"]).body == DATA
    eventually(lambda: not unnamed_files(talk.server))


def test_a_request_of_unknown_length_may_be_repeated_too(talk: Talk) -> None:
    headers = {**talk.key, "idempotency-key": "chunked"}
    first, again = (talk.ask("POST", "/files/upload", headers, iter([b"abc", b"def"])) for _ in range(2))
    assert (first.status, again.body) == (200, first.body)


def test_the_key_with_other_bytes_is_refused_and_the_first_stay(talk: Talk) -> None:
    url = put(talk, "bytes").json()["access_url"]
    for other in (DATA + b"x", DATA[:-1], b"", DATA[::-1]):
        reply = put(talk, "bytes", other)
        assert (reply.status, reply.json()["code"]) == (412, "already_published")
    assert talk.get(url).body == DATA


def test_repeated_bytes_that_changed_on_the_way_are_to_be_sent_again(talk: Talk) -> None:
    declared: dict[str, Any] = {
        "content_md5": base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()
    }
    first = put(talk, "mangled", **declared)
    mangled = put(talk, "mangled", DATA[:-1] + b"!", **declared)
    assert (mangled.status, mangled.json()["code"]) == (400, "digest_mismatch")
    assert put(talk, "mangled", **declared).body == first.body


@pytest.mark.parametrize(
    "change",
    [
        {"x_fal_file_name": "dog.png"},
        {"content_type": "image/jpeg"},
        {"x_fal_object_lifecycle": LIFECYCLE},
    ],
)
@pytest.mark.parametrize("first", ["whole", "cut"])
def test_the_key_with_another_wish_is_refused(talk: Talk, change: dict[str, Any], first: str) -> None:
    key = f"wish-{first}-{sorted(change)}"
    broken: dict[str, Any] = {"content_md5": "AAAAAAAAAAAAAAAAAAAAAA=="} if first == "cut" else {}
    put(talk, key, **broken)
    reply = put(talk, key, **change)
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["header", "idempotency-key"])
    assert put(talk, key).status == 200


def test_keys_of_two_accounts_are_two(talk: Talk, stranger: str) -> None:
    mine, theirs = put(talk, "both"), put(talk, "both", b"other bytes", authorization=f"Key {stranger}")
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.json()["access_url"] != theirs.json()["access_url"]


def test_the_key_of_a_multipart_upload_is_another_wish(talk: Talk) -> None:
    headers: dict[str, Any] = {"content_type": "image/png", "idempotency_key": "parts"}
    assert talk.post("/files/upload/multipart", **headers).status == 200
    assert put(talk, "parts").status == 422


@pytest.mark.parametrize("key", ["x" * 256, "x" * 6000])
def test_a_key_that_is_too_long_is_refused_by_name(talk: Talk, key: str) -> None:
    reply = put(talk, key)
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["header", "idempotency-key"])


def test_an_empty_key_is_none(talk: Talk) -> None:
    assert put(talk, "").json()["access_url"] != put(talk, "").json()["access_url"]


def test_without_a_key_nothing_is_put_on_record(talk: Talk) -> None:
    before = count(talk, "uploads")
    assert talk.upload(DATA) != talk.upload(DATA)
    assert count(talk, "uploads") == before


@pytest.mark.parametrize(
    "change",
    [{"content_type": "text/html"}, {"x_fal_object_lifecycle": LIFECYCLE}, {"content_type": ""}],
)
def test_m3_a_signed_put_that_says_something_else_is_412(talk: Talk, change: dict[str, Any]) -> None:
    urls = talk.initiate("cat.png", "")
    headers: dict[str, Any] = {"content_type": "image/png"}
    first = talk.put(urls["upload_url"], DATA, **headers)
    other = talk.put(urls["upload_url"], DATA, **{**headers, **change})
    assert (other.status, other.json()["code"]) == (412, "already_published")
    again = talk.put(urls["upload_url"], DATA, **headers)
    assert (first.status, again.status, again.headers["etag"]) == (200, 200, first.headers["etag"])
    assert talk.get(urls["file_url"]).headers["content-type"] == "image/png"


# What was cut


@pytest.mark.parametrize("sent", [0, 100])
def test_after_a_cut_body_the_same_key_finishes_the_upload(talk: Talk, sent: int) -> None:
    key = f"cut-{sent}"
    headers = {**talk.key, "content_type": "image/png", "idempotency_key": key}
    with line(talk.server) as cut:
        cut.send_head("POST", "/files/upload", **headers, content_length=str(len(DATA)))
        cut.send(DATA[:sent])
        eventually(lambda: states(talk, key) == ["open"])
        cut.close()
    assert put(talk, key).status == 200
    assert (len(made(talk, key)), states(talk, key)) == (1, ["published"])


def test_after_a_cut_reply_the_same_key_gives_the_file_that_is_there(talk: Talk) -> None:
    headers = {**talk.key, "content_type": "image/png", "idempotency_key": "deaf"}
    with line(talk.server) as deaf:
        deaf.send_head("POST", "/files/upload", **headers, content_length=str(len(DATA)))
        deaf.send(DATA)
        eventually(lambda: made(talk, "deaf"))
        deaf.reset()
    (path,) = made(talk, "deaf")
    assert put(talk, "deaf").json()["access_url"].endswith(path)
    assert made(talk, "deaf") == [path]


def test_after_a_wrong_digest_the_same_key_may_be_sent_again(talk: Talk) -> None:
    wrong = put(talk, "digest", content_md5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert (wrong.status, wrong.json()["code"]) == (400, "digest_mismatch")
    assert put(talk, "digest").status == 200


def test_a_restarted_server_gives_the_same_reply(serve: Callable[..., Server]) -> None:
    server = serve()
    talk = Talk(server)
    first = put(talk, "restart")
    with line(server) as cut:
        cut.send_head("POST", "/files/upload", **talk.key, idempotency_key="half", content_length="100")
        cut.send(b"half")
        eventually(lambda: states(talk, "half") == ["open"])
        server.kill()
    server.start()
    assert put(talk, "restart").body == first.body
    assert talk.post("/files/upload", b"whole", idempotency_key="half").status == 200
    assert count(talk, "objects") == 2


# At once


def test_equal_requests_at_once_make_one_file(talk: Talk) -> None:
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: put(talk, "race", DATA * 100), range(10)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert len(made(talk, "race")) == 1
    eventually(lambda: not unnamed_files(talk.server))


def test_of_unequal_requests_at_once_one_wins_and_the_others_are_told(talk: Talk) -> None:
    bodies = [DATA * 100 + bytes([n % 2]) for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda body: put(talk, "unequal", body), bodies))
    (path,) = made(talk, "unequal")
    kept = talk.get(path).body
    assert [reply.status for reply in replies] == [200 if body == kept else 412 for body in bodies]


# What is refused before anything is on record


def test_a_refused_length_or_a_full_server_leaves_no_upload_on_record(serve: Callable[..., Server]) -> None:
    talk = Talk(serve(max_concurrent_bodies="1", max_upload_size="4M"))
    with line(talk.server) as long:
        long.send_head("POST", "/files/upload", **talk.key, idempotency_key="long", content_length="9999999")
        assert long.answer("POST").status == 413
    with line(talk.server) as holder:
        holder.send_head("POST", "/files/upload", **talk.key, content_length="4000000")
        holder.send(bytes(3_000_000))
        eventually(lambda: unnamed_files(talk.server))
        reply = put(talk, "full")
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert count(talk, "uploads") == 0


def test_nobody_s_key_is_401_and_leaves_no_record(talk: Talk) -> None:
    for credential in ("Key a:b", "Bearer x"):
        assert put(talk, "nobody", authorization=credential).status == 401
    assert talk.ask("POST", "/files/upload", {"idempotency-key": "nobody"}, DATA).status == 401
    assert states(talk, "nobody") == []
