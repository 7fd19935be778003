"""Multipart uploads at their three doors (docs/protocol.md 2.5, 2.6, 3.2-3.4; docs/threats.md A08-A16, A19)."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from entrepot.domain.sizes import parse_size
from support.inside import rows, segment_files, segments_of, unnamed_files
from support.parts import DOORS, Upload, alike, begin
from support.server import Server
from support.talk import Talk, eventually, line

PIECES = [bytes([n]) * 300_000 + b"piece %d" % n for n in range(1, 6)]
WHOLE = b"".join(PIECES)
MIB = 1024 * 1024


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def repr_digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def attempts(upload: Upload) -> list[tuple[int, int]]:
    """Number and size of every attempt that the upload holds."""
    return rows(upload.talk.server, "SELECT number, size FROM parts WHERE upload_id = ? ORDER BY rowid", upload.id)


@pytest.fixture
def tight(small: Server) -> Talk:
    """The server with small limits."""
    return Talk(small)


def limit(talk: Talk) -> int:
    return parse_size(talk.server.settings["max_upload_size"])


# Doors


@pytest.mark.parametrize("door", DOORS)
def test_parts_in_any_order_become_one_file_at_every_door(talk: Talk, door: str) -> None:
    upload = begin(talk, door, name="clip é.mp4")
    done = {number: upload.part(number, PIECES[number - 1]) for number in (3, 1, 5, 2, 4)}
    upload.followed()
    told = upload.finished(list(done.values()))
    assert (told["access_url"], told["uploaded"], told["size"]) == (upload.url, True, len(WHOLE))
    assert (told["file_name"], told["digest"]) == ("clip é.mp4", digest(WHOLE))
    got = talk.get(upload.url)
    assert (got.status, got.body) == (200, WHOLE)
    assert (got.headers["content-type"], got.headers["repr-digest"]) == ("video/mp4", repr_digest(WHOLE))
    middle = talk.get(upload.url, range=f"bytes={len(PIECES[0]) - 2}-{len(PIECES[0]) + 1}")
    assert (middle.status, middle.body) == (206, PIECES[0][-2:] + PIECES[1][:2])


@pytest.mark.parametrize("door", DOORS)
def test_an_unfinished_url_is_404_that_no_cache_keeps(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    upload.part(1, PIECES[0])
    for reply in (talk.get(upload.url), talk.head(upload.url), talk.get(upload.url, range="bytes=0-0")):
        assert (reply.status, reply.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize("door", DOORS)
def test_a_part_is_answered_by_an_etag_header_and_by_json(talk: Talk, door: str) -> None:
    reply = begin(talk, door).put(7, PIECES[0])
    assert reply.headers["content-type"] == "application/json"
    assert (reply.json()["partNumber"], reply.json()["size"]) == (7, len(PIECES[0]))
    assert reply.headers["etag"] == f'"{reply.json()["etag"]}"'
    assert "content-encoding" not in reply.headers


def test_the_cdn_door_takes_a_token_and_tells_access_url_and_upload_id(talk: Talk) -> None:
    reply = talk.post("/files/upload/multipart", authorization=talk.token(), content_type="application/json")
    assert (reply.status, set(reply.json())) == (200, {"access_url", "uploadId", "expires_at"})
    upload = begin(talk, authorization=talk.token())
    upload.finished(upload.parts(PIECES))
    assert talk.get(upload.url).body == WHOLE


def test_parts_need_no_authorization_at_the_signed_door_and_a_wrong_one_is_ignored(talk: Talk) -> None:
    upload = begin(talk, "rest")
    part = upload.part(1, PIECES[0], authorization="Key wrong:wrong")
    assert upload.finished([part])["size"] == len(PIECES[0])


def test_an_upload_begun_at_one_door_goes_on_at_another(talk: Talk) -> None:
    gcs = begin(talk, "gcs")
    at_cdn = Upload(talk, "cdn", gcs.url, f"{gcs.url}/multipart/{gcs.id}", "", talk.key)
    parts = [gcs.part(1, PIECES[0]), at_cdn.part(2, PIECES[1])]
    assert at_cdn.finished(parts) == gcs.finished(parts)


@pytest.mark.parametrize("door", ["cdn", "rest"])
def test_begin_needs_a_key_and_sends_nobody_away_with_a_url(talk: Talk, door: str) -> None:
    target = "/files/upload/multipart" if door == "cdn" else "/storage/upload/initiate-multipart"
    for header in ({}, {"authorization": "Key a:b"}, {"authorization": "Bearer nonsense"}):
        reply = talk.ask("POST", target, header, b'{"file_name": "a"}')
        assert reply.status == 401
        assert b"files/b/" not in reply.body


@pytest.mark.parametrize("door", DOORS)
def test_begin_with_an_idempotency_key_gives_the_same_upload_again(talk: Talk, door: str) -> None:
    first, again = (begin(talk, door, idempotency_key=f"once-{door}") for _ in range(2))
    assert first == again
    assert begin(talk, door, idempotency_key=f"twice-{door}") != first


def test_an_initiate_of_multipart_names_the_field_that_is_wrong(talk: Talk) -> None:
    reply = talk.post_json("/storage/upload/initiate-multipart", {"content_type": "a/b"})
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["body", "file_name"])
    reply = talk.post_json("/storage/upload/initiate-multipart?storage_type=tape", {"file_name": "a"})
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["query", "storage_type"])


def test_what_a_begin_says_of_the_lifetime_holds_from_the_end_on(talk: Talk) -> None:
    wish = '{"expiration_duration_seconds": 3600, "initial_acl": {"default": "forbid"}}'
    for door in DOORS:
        upload = begin(talk, door, x_fal_object_lifecycle=wish)
        told = upload.finished(upload.parts(PIECES[:1]))
        assert told["expires_at"] is not None
        assert talk.get(upload.url).status == 403
        assert talk.get(upload.url, authorization=talk.token()).body == PIECES[0]


# Who may


@pytest.mark.parametrize("change", ["", "?", "?signature=", "?signature=x", "?signature=a.b", "?sig=a.b"])
def test_without_its_signature_or_a_credential_nothing_of_an_upload_can_be_done(talk: Talk, change: str) -> None:
    upload = begin(talk, "rest")
    part = upload.part(1, PIECES[0])
    bare = Upload(talk, "rest", upload.url, upload.base, change)
    for reply in (bare.put(1, b"x"), bare.finish([part]), bare.listing(), bare.abort()):
        assert reply.status in (401, 403)
    assert attempts(upload) == [(1, len(PIECES[0]))]
    assert talk.get(upload.url).status == 404


def test_a_signature_is_good_for_its_own_upload_only(talk: Talk) -> None:
    mine, other = begin(talk, "rest"), begin(talk, "rest")
    crossed = Upload(talk, "rest", other.url, other.base, mine.query)
    for reply in (crossed.put(1, b"x"), crossed.finish([]), crossed.listing(), crossed.abort()):
        assert (reply.status, reply.json()["code"]) == (403, "forbidden")
    for target in (
        f"{mine.url}/multipart/{other.id}/1",
        f"{other.url}/multipart/{mine.id}/1",
        f"{mine.url}/multipart/{mine.id}/1/1",
        f"{mine.url}x/multipart/{mine.id}/1",
        f"{mine.url.replace('/files/b/', '/files/b/0')}/multipart/{mine.id}/1",
        mine.url,
    ):
        assert talk.put(target + mine.query, b"x").status == 403
    assert attempts(mine) == attempts(other) == []


def test_a_signature_with_any_bit_changed_is_refused(talk: Talk) -> None:
    upload = begin(talk, "rest")
    name, _, text = upload.query.partition("=")
    for at in range(0, len(text), 7):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert talk.put(f"{upload.base}/1{name}={changed}", b"x").status == 403
    assert talk.put(f"{upload.target(1)}&signature={text}", b"x").status in (401, 403)
    assert talk.put(f"{upload.target(1)}&more=1", b"x").status == 200


def test_signatures_of_single_and_of_multipart_uploads_are_two(talk: Talk) -> None:
    single, multi = talk.initiate(), begin(talk, "rest")
    query = "?" + urlsplit(single["upload_url"]).query
    assert talk.put(f"{single['file_url']}/multipart/{multi.id}/1{query}", b"x").status == 403
    assert talk.put(f"{multi.url}/multipart/{multi.id}/1{query}", b"x").status == 403
    assert talk.put(single["file_url"] + multi.query, b"x").status == 403
    assert talk.put(multi.url + multi.query, b"x").status == 403


def test_a_multipart_signature_reads_nothing_and_is_no_token(talk: Talk) -> None:
    upload = begin(talk, "rest", x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    upload.finished(upload.parts(PIECES[:1]))
    signature = upload.query.partition("=")[2]
    assert talk.get(upload.url + upload.query).status == 403
    assert talk.get(upload.url, authorization=f"Bearer {signature}").status == 401


def test_a19_an_upload_of_another_account_is_404_at_every_door(talk: Talk, stranger: str) -> None:
    theirs = {"authorization": f"Key {stranger}"}
    for door in DOORS:
        upload = begin(talk, door)
        part = upload.part(1, PIECES[0])
        for base in {f"{upload.url}/multipart/{upload.id}", upload.base}:
            other = Upload(talk, door, upload.url, base, "", theirs)
            gcs_style = "/storage/" in base
            writing = talk.ask("POST" if gcs_style else "PUT", other.target(1), theirs, b"" if gcs_style else b"x")
            for reply in (writing, other.finish([part]), other.listing(), other.abort()):
                assert (reply.status, reply.json()["code"]) == (404, "not_found")
        assert attempts(upload) == [(1, len(PIECES[0]))]
        assert upload.finished([part])["size"] == len(PIECES[0])


def test_a19_an_upload_at_the_url_of_another_object_is_404(talk: Talk, stranger: str) -> None:
    mine = begin(talk)
    theirs = begin(talk, authorization=f"Key {stranger}")
    for url, upload_id in ((mine.url, theirs.id), (theirs.url, mine.id), (mine.url, "0" * len(mine.id))):
        reply = talk.put(f"{url}/multipart/{upload_id}/1", b"x", **talk.key)
        assert (reply.status, reply.json()["code"]) == (404, "not_found")


# Lists of parts


@pytest.mark.parametrize("spelling", ['"{}"', "{}", 'W/"{}"', ' "{}" ', "null"])
def test_etags_are_taken_quoted_bare_weak_and_null(talk: Talk, spelling: str) -> None:
    upload = begin(talk)
    etags = [upload.put(n, data).json()["etag"] for n, data in enumerate(PIECES, 1)]
    listed = [
        {"partNumber": n, "etag": None if spelling == "null" else spelling.format(etag)}
        for n, etag in enumerate(etags, 1)
    ]
    upload.finished(listed[::-1])
    assert talk.get(upload.url).body == WHOLE


def test_a_missing_etag_is_as_null(talk: Talk) -> None:
    upload = begin(talk)
    upload.parts(PIECES)
    upload.finished([{"partNumber": n} for n in (2, 1, 3, 5, 4)])
    assert talk.get(upload.url).body == WHOLE


def listed(upload: Upload, parts: list[dict[str, Any]]) -> tuple[int, str, str]:
    reply = upload.finish(parts)
    return reply.status, reply.json()["code"], reply.json()["message"]


@pytest.mark.parametrize("door", DOORS)
def test_a14_a_wrong_list_is_422_that_names_the_numbers_and_the_upload_goes_on(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    one, two, three = upload.parts(PIECES[:3])
    other = {**one, "etag": begin(talk, door).part(1, PIECES[4])["etag"]}
    wrong = {
        "listed twice: 2": [one, two, two, three],
        "uploaded and not listed: 3": [two, one],
        "missing before the last: 2": [three, one],
        "never uploaded: 9": [one, two, three, {"partNumber": 9, "etag": one["etag"]}],
        "uploaded with another ETag: 1": [other, two, three],
        "uploaded and not listed: 1, 2, 3": [],
    }
    for complaint, parts in wrong.items():
        status, code, message = listed(upload, parts)
        assert (status, code) == (422, "invalid_parts")
        assert complaint in message
    assert "The list of parts is empty" in listed(begin(talk, door), [])[2]
    assert talk.get(upload.url).status == 404
    upload.finished([three, one, two])
    assert talk.get(upload.url).body == b"".join(PIECES[:3])


def test_a14_all_that_is_wrong_is_named_at_once_and_many_numbers_are_shortened(talk: Talk) -> None:
    upload = begin(talk)
    one = upload.part(1, PIECES[0])
    unknown = [{"partNumber": n, "etag": "x"} for n in range(2, 40)]
    _, _, message = listed(upload, [one, one, *unknown])
    assert "listed twice: 1" in message
    assert "never uploaded: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 28 more" in message


@pytest.mark.parametrize("number", [-1, 0, 10_001, 10**9, 10**18, 10**4000])
def test_a_number_that_no_part_can_have_is_422_at_once(talk: Talk, number: int) -> None:
    upload = begin(talk)
    one = upload.part(1, PIECES[0])
    assert listed(upload, [one, {"partNumber": number, "etag": one["etag"]}])[:2] == (422, "invalid_parts")
    assert upload.finished([one])["size"] == len(PIECES[0])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"parts"', b"7", b"{}", b"\xff", b'{"parts": 5}', b'{"parts": null}', b'{"parts": "ab"}',
        b'{"parts": {"1": "x"}}', b'{"parts": [1]}', b'{"parts": [{}]}', b'{"parts": [{"partNumber": "1"}]}',
        b'{"parts": [{"partNumber": 1.0, "etag": "x"}]}', b'{"parts": [{"partNumber": true, "etag": "x"}]}',
        b'{"parts": [{"partNumber": 1, "etag": 5}]}', b'{"parts": [{"partNumber": NaN, "etag": "x"}]}',
        b'{"parts": [{"partNumber": 1, "etag": "\\ud800"}]}', b"[" * 100_000,
        b'{"parts": [{"partNumber": 1' + b"0" * 5000 + b"}]}",
        b'{"parts": [{"partNumber": 1}], "size": -1}', b'{"parts": [{"partNumber": 1}], "size": "9"}',
        b'{"parts": [{"partNumber": 1}], "size": true}', b'{"parts": [{"partNumber": 1}], "size": 1.5}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("door", ["cdn", "gcs"])
def test_a_list_that_is_none_is_422_and_the_upload_goes_on(talk: Talk, door: str, body: bytes) -> None:
    upload = begin(talk, door)
    one = upload.part(1, PIECES[0])
    reply = talk.ask("POST", upload.target("complete"), upload.credential, body)
    assert reply.status == 422
    assert reply.json()["code"] in ("validation_failed", "invalid_parts")
    assert upload.finished([one])["size"] == len(PIECES[0])


@pytest.mark.parametrize("door", ["cdn", "gcs"])
def test_the_list_of_somebody_without_a_credential_is_not_read(talk: Talk, door: str) -> None:
    upload, body = begin(talk, door), b"[" * 100_000
    assert talk.ask("POST", upload.target("complete"), {}, body).status == 401


def test_a_list_of_many_megabytes_is_413(talk: Talk) -> None:
    upload = begin(talk)
    reply = talk.ask("POST", upload.target("complete"), upload.credential, b" " * (5 * MIB))
    assert (reply.status, reply.json()["code"]) == (413, "too_large")


def test_a_list_of_more_parts_than_there_can_be_is_422_without_a_look_at_each(talk: Talk) -> None:
    upload = begin(talk)
    one = upload.part(1, PIECES[0])
    reply = upload.finish([one] * 10_001)
    assert (reply.status, reply.json()["code"]) == (422, "invalid_parts")
    assert reply.json()["message"] == "The list has 10001 parts; 10000 are possible."
    assert upload.finished([one])["size"] == len(PIECES[0])


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "1.0", "01x", "9" * 30, "%31%00", "²", ""])
def test_a_part_number_that_is_none_is_422(talk: Talk, number: str) -> None:
    upload = begin(talk)
    reply = talk.put(f"{upload.base}/{quote(number, safe='%')}", b"x", **talk.key)
    assert reply.status == 422
    assert attempts(upload) == []


def test_parts_are_counted_from_one_to_ten_thousand(talk: Talk) -> None:
    upload = begin(talk)
    last = upload.part(10_000, b"x")
    assert "missing before the last: 1, 2, 3" in listed(upload, [last])[2]


# Attempts


@pytest.mark.parametrize("door", DOORS)
def test_a13_the_same_bytes_again_are_the_same_part_and_no_second_attempt(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    first, again = (upload.part(1, PIECES[0]) for _ in range(2))
    assert first == again
    assert attempts(upload) == [(1, len(PIECES[0]))]
    eventually(lambda: not unnamed_files(talk.server))
    upload.finished([first])


@pytest.mark.parametrize("cited", ["first", "second"])
def test_a13_other_bytes_are_a_second_attempt_and_the_end_cites_the_one_it_means(talk: Talk, cited: str) -> None:
    upload = begin(talk)
    first, second = upload.part(1, PIECES[0]), upload.part(1, PIECES[1])
    assert first["etag"] != second["etag"]
    assert attempts(upload) == [(1, len(PIECES[0])), (1, len(PIECES[1]))]
    tail = upload.part(2, b"tail")
    told = upload.finished([first if cited == "first" else second, tail])
    meant = PIECES[0 if cited == "first" else 1] + b"tail"
    assert told["digest"] in (None, digest(meant))  # the digest follows the last attempts, and must catch up
    assert talk.get(upload.url).body == meant
    eventually(lambda: talk.head(upload.url).headers.get("repr-digest") == repr_digest(meant))


def test_a13_null_means_the_last_attempt(talk: Talk) -> None:
    upload = begin(talk)
    upload.part(1, PIECES[0])
    upload.part(1, PIECES[1])
    upload.finished([{"partNumber": 1, "etag": None}])
    assert talk.get(upload.url).body == PIECES[1]


def test_a13_a_retry_that_dies_half_way_harms_nothing(talk: Talk) -> None:
    upload = begin(talk)
    held = upload.part(1, PIECES[0])
    with line(talk.server) as raw:
        raw.send_head("PUT", urlsplit(upload.target(1)).path, **talk.key, host="x", content_length="3000000")
        raw.send(b"y" * 2_000_000)
    eventually(lambda: not unnamed_files(talk.server))
    assert attempts(upload) == [(1, len(PIECES[0]))]
    upload.finished([held])
    assert talk.get(upload.url).body == PIECES[0]


def test_the_same_part_sent_by_many_at_once_is_one_attempt(talk: Talk) -> None:
    upload = begin(talk)
    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(lambda _: upload.part(1, PIECES[0]), range(20)))
    assert told.count(told[0]) == 20
    assert len(attempts(upload)) == 1
    eventually(lambda: not unnamed_files(talk.server))


@pytest.mark.parametrize("header", ["content-md5", "content-digest", "repr-digest"])
def test_a10_a_part_with_a_wrong_digest_is_400_and_an_earlier_one_stays(talk: Talk, header: str) -> None:
    right = {
        "content-md5": base64.b64encode(hashlib.md5(PIECES[0], usedforsecurity=False).digest()).decode(),
        "content-digest": repr_digest(PIECES[0]),
        "repr-digest": repr_digest(PIECES[0]),
    }
    upload = begin(talk)
    held = upload.part(1, PIECES[0], **{header: right[header]})
    wrong = upload.put(1, PIECES[1], **{header: right[header]})
    assert (wrong.status, wrong.json()["code"]) == (400, "digest_mismatch")
    assert attempts(upload) == [(1, len(PIECES[0]))]
    eventually(lambda: not unnamed_files(talk.server))
    upload.finished([held])
    assert talk.get(upload.url).body == PIECES[0]


def test_a11_an_unknown_digest_of_a_part_is_400(talk: Talk) -> None:
    reply = begin(talk).put(1, b"x", content_digest="crc32c=:AAAAAA==:")
    assert (reply.status, reply.json()["code"]) == (400, "unsupported_digest")


# Sizes


def test_a09_a_size_that_is_not_the_sum_is_422_and_the_upload_goes_on(talk: Talk) -> None:
    upload = begin(talk)
    parts = upload.parts(PIECES[:2])
    total = len(PIECES[0] + PIECES[1])
    for size in (total - 1, total + 1, 0, 10**15):
        reply = upload.finish(parts, size=size)
        assert (reply.status, reply.json()["code"]) == (422, "size_mismatch")
        assert str(total) in reply.json()["message"]
    parts.append(upload.part(3, PIECES[2]))
    upload.finished(parts, size=total + len(PIECES[2]))
    assert talk.get(upload.url).body == b"".join(PIECES[:3])


def test_a12_an_empty_part_beside_others_is_422_and_not_published(talk: Talk) -> None:
    upload = begin(talk)
    full, empty = upload.part(1, PIECES[0]), upload.part(2, b"")
    reply = upload.finish([full, empty])
    assert (reply.status, reply.json()["code"]) == (422, "empty_part")
    assert "2" in reply.json()["message"]
    assert talk.get(upload.url).status == 404
    upload.finished([full, upload.part(2, PIECES[1])])
    assert talk.get(upload.url).body == PIECES[0] + PIECES[1]


def test_a12_a_single_empty_part_is_an_empty_file(talk: Talk) -> None:
    for door in DOORS:
        upload = begin(talk, door)
        told = upload.finished([upload.part(1, b"")])
        assert (told["size"], told["digest"]) == (0, digest(b""))
        got = talk.get(upload.url)
        assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a08_a_part_may_be_as_large_as_the_largest_upload_and_no_larger(tight: Talk, over: int) -> None:
    upload, size = begin(tight), limit(tight) + over
    held = upload.part(1, b"first")
    with line(tight.server) as raw:
        raw.send_head("PUT", urlsplit(upload.target(2)).path, **tight.key, host="x", content_length=str(size))
        if over <= 0:
            raw.send(b"x" * size)
        reply = raw.answer("PUT")
    if over > 0:
        assert (reply.status, reply.json()["code"]) == (413, "too_large")
        assert attempts(upload) == [(1, 5)]
        upload.finished([held])
    else:
        assert upload.finished([held, reply.json()])["size"] == 5 + size


def test_a08_a_part_of_unknown_length_above_the_limit_is_413_and_freed(tight: Talk) -> None:
    upload = begin(tight)
    whole = [b"x" * MIB] * (limit(tight) // MIB)
    reply = upload.put(1, iter([*whole, b"x"]))
    assert (reply.status, reply.json()["code"]) == (413, "too_large")
    eventually(lambda: not unnamed_files(tight.server))
    assert upload.put(1, iter(whole)).status == 200


@pytest.mark.parametrize("size", [10 * MIB - 1, 10 * MIB, 10 * MIB + 1])
def test_a08_parts_of_the_stock_clients_size_make_a_whole(talk: Talk, size: int) -> None:
    data = hashlib.sha256(b"seed").digest() * (size // 32 + 1)
    data = data[:size]
    upload = begin(talk, "rest")
    upload.finished(upload.parts([data[at : at + 10 * MIB] for at in range(0, size, 10 * MIB)]))
    got = talk.get(upload.url)
    assert (got.headers["content-length"], got.headers["repr-digest"]) == (str(size), repr_digest(data))
    assert got.body == data


def test_a_part_larger_than_a_segment_is_read_in_order(talk: Talk) -> None:
    """A streamed body starts a new segment every 64 MiB; a part is cut the same way."""
    piece = hashlib.sha256(b"y").digest() * 32_768
    upload = begin(talk)
    parts = [upload.part(2, b"tail"), upload.part(1, iter([piece] * 70))]
    upload.followed()
    told = upload.finished(parts)
    assert told["digest"] == digest(piece * 70 + b"tail")
    assert len(segments_of(talk.server, upload.url)) == 3
    assert talk.get(upload.url, range="bytes=-6").body == piece[-2:] + b"tail"
    edge = 64 * MIB
    assert talk.get(upload.url, range=f"bytes={edge - 2}-{edge + 1}").body == piece[-2:] + piece[:2]


# The end, and after it


@pytest.mark.parametrize("door", DOORS)
def test_a16_an_end_asked_twenty_times_at_once_is_one_object_with_one_reply(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    parts = upload.parts(PIECES)
    upload.followed()
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: upload.finish(parts), range(20)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert rows(talk.server, "SELECT count(*) FROM objects WHERE path = ?", urlsplit(upload.url).path) == [(1,)]
    assert upload.finish(parts).body == replies[0].body
    assert talk.get(upload.url).body == WHOLE


def test_a16_ends_that_cite_other_attempts_at_once_are_one_object(talk: Talk) -> None:
    upload = begin(talk)
    tail = upload.part(2, b"tail")
    heads = [upload.part(1, data) for data in PIECES]
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda n: upload.finish([heads[n % 5], tail]), range(20)))
    body = talk.get(upload.url).body
    published = [data + b"tail" for data in PIECES].index(body)
    assert [reply.status for reply in replies] == [200 if n % 5 == published else 412 for n in range(20)]
    told = [reply.json() for reply in replies[published::5]]
    assert len({(each["access_url"], each["size"]) for each in told}) == 1
    assert len({each["digest"] for each in told} - {None}) <= 1
    eventually(lambda: talk.head(upload.url).headers.get("repr-digest") == repr_digest(body))


@pytest.mark.parametrize("door", DOORS)
def test_m3_a_complete_that_differs_from_the_first_is_412(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    older, *_ = upload.parts(PIECES[1:3])
    parts = [upload.part(1, PIECES[0]), upload.part(2, PIECES[1])]
    told = upload.finished(parts)
    one, two = parts
    lists = [[], [one], [two], [older, two], [one, {**two, "etag": "x"}], [one, {**two, "partNumber": 3}],
             [*parts, {**two, "partNumber": 3}], [one, one], [two, {**one, "partNumber": 1, "etag": None}]]  # fmt: skip
    for other in lists:
        refused = upload.finish(other)
        assert (refused.status, refused.json()["code"]) == (412, "already_published"), other
    assert upload.finish(parts, size=1).status == 412
    for same in (parts, parts[::-1], [{**each, "etag": each["etag"].upper()} for each in parts]):
        assert alike(told, upload.finished(same)), "an unsorted list is the same list"
        assert alike(told, upload.finished(same, size=told["size"]))
    assert upload.finish(None).status == upload.finish("x").status == 422


@pytest.mark.parametrize("door", ["cdn", "rest"])
def test_m3_a_complete_without_an_etag_may_be_repeated_so(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    parts = [{**each, "etag": None} for each in upload.parts(PIECES[:2])]
    assert alike(upload.finished(parts), upload.finished(parts))


@pytest.mark.parametrize("door", DOORS)
def test_a13_after_the_end_parts_and_aborts_are_412_and_never_409(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    parts = upload.parts(PIECES)
    told = upload.finished(parts)
    before = segment_files(talk.server)
    target = Upload(talk, "cdn", upload.url, f"{upload.url}/multipart/{upload.id}", "", talk.key)
    for reply in (target.put(1, PIECES[0]), target.put(1, b"other"), target.put(6, b"more"), target.abort()):
        assert (reply.status, reply.json()["code"]) == (412, "already_published")
    assert alike(told, upload.finished(parts))
    assert talk.get(upload.url).body == WHOLE
    eventually(lambda: segment_files(talk.server) <= before)


def test_a_part_that_arrives_during_the_end_changes_nothing(talk: Talk) -> None:
    upload = begin(talk)
    parts = upload.parts(PIECES)
    with line(talk.server) as raw:
        raw.send_head("PUT", urlsplit(upload.target(2)).path, **talk.key, host="x", content_length="3000000")
        raw.send(b"z" * 2_000_000)
        eventually(lambda: unnamed_files(talk.server))
        told = upload.finished(parts)
        raw.send(b"z" * 1_000_000)
        late = raw.answer("PUT")
    assert (late.status, late.json()["code"]) == (412, "already_published")
    eventually(lambda: not unnamed_files(talk.server))
    assert alike(told, upload.finished(parts))
    assert talk.get(upload.url).body == WHOLE


def test_parts_and_ends_that_race_publish_what_the_end_cites(talk: Talk) -> None:
    for round_ in range(2):
        upload = begin(talk)
        cited = upload.parts(PIECES)

        def act(n: int, upload: Upload = upload, cited: Any = cited, round_: int = round_) -> int:
            return upload.finish(cited).status if n == 4 else upload.put(n % 5 + 1, b"%d %d" % (round_, n)).status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(act, range(12)))
        assert set(statuses) <= {200, 412}
        assert statuses[4] == 200
        assert talk.get(upload.url).body == WHOLE


def test_the_end_moves_no_file_and_writes_no_byte_of_content(talk: Talk) -> None:
    upload = begin(talk)
    others = segment_files(talk.server)  # of which the keeper may take some away
    pieces = [hashlib.sha256(b"%d" % n).digest() * 100_000 for n in range(10)]
    parts = upload.parts(pieces)

    def files() -> set[tuple[str, int, int, int]]:
        found = ((path, path.stat()) for path in segment_files(talk.server) - others)
        return {(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found}

    before = files()
    assert len(before) == len(pieces)
    upload.finished(parts)
    assert files() == before
    assert [path.stat().st_size for path in segments_of(talk.server, upload.url)] == [len(p) for p in pieces]


def test_an_end_of_any_content_type_is_taken_and_answers_a_json_object(talk: Talk) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream", ""):
        upload = begin(talk)
        reply = upload.finish(upload.parts(PIECES[:1]), content_type=content_type)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json()["uploaded"] is True


# Aborts


@pytest.mark.parametrize("door", DOORS)
def test_an_abort_frees_every_attempt(tight: Talk, door: str) -> None:
    before = segment_files(tight.server)
    upload = begin(tight, door)
    parts = [*upload.parts(PIECES), upload.part(1, b"another attempt")]
    assert len(segment_files(tight.server) - before) == 6
    assert [upload.abort().status for _ in range(2)] == [204, 204]
    eventually(lambda: not segment_files(tight.server) - before)
    for reply in (upload.finish(parts), talk_put(upload, b"x")):
        assert (reply.status, reply.json()["code"]) == (410, "gone")
    assert tight.get(upload.url).status == 404
    assert rows(tight.server, "SELECT count(*) FROM parts WHERE upload_id = ?", upload.id) == [(0,)]


def talk_put(upload: Upload, data: bytes) -> Any:
    """A part at the CDN's door, whatever door the upload came by."""
    return upload.talk.put(f"{upload.url}/multipart/{upload.id}/1", data, **upload.talk.key)


def test_an_abort_while_a_part_arrives_frees_that_too(tight: Talk) -> None:
    before = segment_files(tight.server)
    upload = begin(tight)
    with line(tight.server) as raw:
        raw.send_head("PUT", urlsplit(upload.target(1)).path, **tight.key, host="x", content_length="3000000")
        raw.send(b"z" * 2_000_000)
        eventually(lambda: segment_files(tight.server) - before)
        assert upload.abort().status == 204
        raw.send(b"z" * 1_000_000)
        assert raw.answer("PUT").status == 410
    eventually(lambda: not segment_files(tight.server) - before)


def test_attempts_that_the_end_did_not_cite_leave_the_disk(tight: Talk) -> None:
    before = segment_files(tight.server)
    upload = begin(tight)
    upload.part(1, PIECES[0])
    cited = [upload.part(1, PIECES[1]), upload.part(2, PIECES[2])]
    upload.part(2, PIECES[3])
    upload.finished(cited)
    kept = set(segments_of(tight.server, upload.url))
    eventually(lambda: segment_files(tight.server) - before == kept)
    assert tight.get(upload.url).body == PIECES[1] + PIECES[2]


# Lists, to go on after a break


@pytest.mark.parametrize("door", DOORS)
def test_an_upload_lists_its_parts_with_size_etag_and_digest(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    assert upload.listing().json()["parts"] == []
    sent = {3: PIECES[2], 1: PIECES[0]}
    etags = {number: upload.part(number, data)["etag"] for number, data in sent.items()}
    told = upload.listing().json()
    assert (told["uploadId"], told["access_url"], told["state"]) == (upload.id, upload.url, "open")
    assert [part["partNumber"] for part in told["parts"]] == [1, 3]
    for part in told["parts"]:
        data = sent[part["partNumber"]]
        assert (part["size"], part["digest"]) == (len(data), digest(data))
        assert f'"{part["etag"]}"' == etags[part["partNumber"]]
    assert told["expires_at"].endswith("+00:00")
    upload.finished([*told["parts"], upload.part(2, PIECES[1])])
    assert upload.listing().json()["state"] == "published"
    assert talk.get(upload.url).body == b"".join(PIECES[:3])


def test_the_list_is_given_by_head_too_and_to_nobody_else(talk: Talk, stranger: str) -> None:
    upload = begin(talk, "rest")
    upload.part(1, PIECES[0])
    listing, head = upload.listing(), talk.head(upload.own_target())
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == listing.headers["content-length"]
    assert listing.headers["cache-control"] == "no-store"
    bare = upload.own_target().partition("?")[0]
    assert talk.get(bare).status == 401
    assert talk.get(bare, **talk.key).json() == listing.json()
    assert talk.get(bare, authorization=talk.token()).json() == listing.json()
    assert talk.get(bare, authorization=f"Key {stranger}").status == 404


def test_other_methods_name_those_that_there_are(talk: Talk) -> None:
    upload = begin(talk)
    for tail, allowed in (("", "DELETE, GET, HEAD"), ("1", "PUT"), ("complete", "POST")):
        reply = talk.ask("PATCH", upload.target(tail), talk.key, b"")
        assert reply.status == 405
        assert sorted(reply.headers["allow"].split(", ")) == sorted([*allowed.split(", "), "OPTIONS"])


def test_a_list_of_parts_is_json_that_grep_can_read(talk: Talk) -> None:
    upload = begin(talk)
    upload.finished(upload.parts(PIECES[:1]))
    for reply in (upload.listing(), upload.finish([])):
        assert json.loads(reply.body) and b'": ' not in reply.body
