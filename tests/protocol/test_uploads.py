"""Single uploads: `/files/upload`, initiate and the signed PUT (docs/protocol.md 2.3, 2.4, 3.1)."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from support.inside import rows
from support.talk import Talk

DATA = b"\x89PNG\r\n\x1a\n" + b"pixels" * 500


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# One request


def test_one_request_with_the_key_itself_stores_a_file(talk: Talk) -> None:
    reply = talk.post("/files/upload", DATA, content_type="image/png", x_fal_file_name="cat.png")
    assert reply.status == 200
    told = reply.json()
    assert told["uploaded"] is True
    assert (told["file_name"], told["content_type"], told["size"]) == ("cat.png", "image/png", len(DATA))
    assert (told["digest"], told["expires_at"]) == (digest(DATA), None)
    assert talk.get(told["access_url"]).body == DATA


def test_one_request_with_a_cdn_token_stores_a_file(talk: Talk) -> None:
    assert talk.get(talk.upload(DATA, authorization=talk.token())).body == DATA


def test_a_file_without_a_name_ends_with_the_extension_of_its_type(talk: Talk) -> None:
    assert talk.upload(DATA, content_type="image/png").endswith(".png")


def test_every_upload_has_a_url_of_its_own(talk: Talk) -> None:
    assert len({talk.upload(DATA) for _ in range(5)}) == 5


def test_an_upload_of_unknown_length_is_stored(talk: Talk) -> None:
    reply = talk.ask("POST", "/files/upload", talk.key, iter([b"abc", b"def" * 70_000, b"g"]))
    assert reply.status == 200
    assert talk.get(reply.json()["access_url"]).body == b"abc" + b"def" * 70_000 + b"g"


def test_a_file_of_several_segments_comes_back_whole(talk: Talk) -> None:
    piece = hashlib.sha256(b"x").digest() * 32_768  # 1 MiB
    url = talk.upload(piece * 65 + b"tail")
    assert talk.get(url).body == piece * 65 + b"tail"
    middle = talk.get(url, range=f"bytes={64 * 1024 * 1024 - 3}-{64 * 1024 * 1024 + 2}")
    assert middle.body == piece[-3:] + piece[:3]


def test_a07_an_empty_file_is_stored_with_the_digest_of_nothing(talk: Talk) -> None:
    reply = talk.post("/files/upload", b"", content_type="text/plain")
    assert reply.json()["digest"] == digest(b"")
    got = talk.get(reply.json()["access_url"])
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
    nothing = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    assert got.headers["repr-digest"] == f"sha-256=:{nothing}:"
    assert talk.get(reply.json()["access_url"], range="bytes=0-").status == 416


def test_a07_an_empty_signed_put_is_stored(talk: Talk) -> None:
    urls = talk.initiate()
    assert talk.put(urls["upload_url"], b"").status == 200
    assert talk.get(urls["file_url"]).headers["content-length"] == "0"


def test_a_form_without_a_file_is_refused_with_what_to_send(talk: Talk) -> None:
    reply = talk.post("/files/upload", b"--x--", content_type="multipart/form-data; boundary=x")
    assert reply.status == 400
    assert "--data-binary" in reply.json()["fix"]


@pytest.mark.parametrize("content_type", ["garbage", "a/b c", "x/y\xff", "image/png\x01x"])
def test_a_content_type_that_is_none_is_refused_by_name(talk: Talk, content_type: str) -> None:
    reply = talk.post("/files/upload", DATA, content_type=content_type.encode("latin-1"))
    assert reply.status in (400, 422)
    if reply.status == 422:
        assert reply.json()["detail"][0]["loc"][-1].replace("_", "-") == "content-type"


# Digests that the sender declares


DECLARED = {
    "content-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:",
    "repr-digest": f"sha-512=:{base64.b64encode(hashlib.sha512(DATA).digest()).decode()}:",
    "content-md5": base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode(),
}


@pytest.mark.parametrize("header", DECLARED)
def test_a_right_digest_is_verified_and_accepted(talk: Talk, header: str) -> None:
    assert talk.get(talk.upload(DATA, **{header: DECLARED[header]})).body == DATA


@pytest.mark.parametrize("header", DECLARED)
def test_a10_a_wrong_digest_is_400_and_nothing_is_stored(talk: Talk, header: str) -> None:
    published = rows(talk.server, "SELECT count(*) FROM objects")
    reply = talk.post("/files/upload", DATA + b"changed", **{header: DECLARED[header]})
    assert (reply.status, reply.json()["code"]) == (400, "digest_mismatch")
    assert rows(talk.server, "SELECT count(*) FROM objects") == published


def test_a10_a_signed_put_with_a_wrong_digest_may_be_sent_again(talk: Talk) -> None:
    urls = talk.initiate()
    wrong = talk.put(urls["upload_url"], b"changed", content_digest=DECLARED["content-digest"])
    assert (wrong.status, wrong.json()["code"]) == (400, "digest_mismatch")
    assert talk.get(urls["file_url"]).status == 404
    assert talk.put(urls["upload_url"], DATA, content_digest=DECLARED["content-digest"]).status == 200
    assert talk.get(urls["file_url"]).body == DATA


@pytest.mark.parametrize("header", ["content-digest", "repr-digest"])
def test_a11_an_unknown_digest_is_400_that_names_the_known_ones(talk: Talk, header: str) -> None:
    reply = talk.post("/files/upload", DATA, **{header: "crc32c=:AAAAAA==:"})
    assert (reply.status, reply.json()["code"]) == (400, "unsupported_digest")
    assert "sha-256" in reply.json()["message"]
    assert "sha-512" in reply.json()["message"]


@pytest.mark.parametrize(
    ("header", "value"),
    [("content-digest", "sha-256=abc"), ("content-digest", "sha-256=:!:"), ("content-digest", "sha-256=:AAAA:"),
     ("content-md5", "AAAA"), ("content-md5", "not base64")],
)  # fmt: skip
def test_a_digest_of_bad_form_is_400(talk: Talk, header: str, value: str) -> None:
    assert talk.post("/files/upload", DATA, **{header: value}).status == 400


# Initiate


@pytest.mark.parametrize("storage_type", ["fal-cdn-v3", "gcs", "fal-cdn"])
def test_initiate_then_put_makes_the_file_readable(talk: Talk, storage_type: str) -> None:
    wish = {"file_name": "cat.png", "content_type": "image/png"}
    urls = talk.post_json(f"/storage/upload/initiate?storage_type={storage_type}", wish).json()
    assert talk.get(urls["file_url"]).status == 404
    assert talk.put(urls["upload_url"], DATA, content_type="image/png").status == 200
    got = talk.get(urls["file_url"])
    assert (got.body, got.headers["content-type"]) == (DATA, "image/png")


def test_initiate_with_an_unknown_storage_type_is_422_that_names_it(talk: Talk) -> None:
    reply = talk.post_json("/storage/upload/initiate?storage_type=tape", {"file_name": "a", "content_type": "a/b"})
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["query", "storage_type"])


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"{}", ["body", "file_name"]),
        (b'{"file_name": 7, "content_type": "a/b"}', ["body", "file_name"]),
        (b'{"file_name": "", "content_type": "a/b"}', ["body", "file_name"]),
        (b'{"file_name": "a", "content_type": 7}', ["body", "content_type"]),
        (b'{"file_name": "a", "content_type": "x"}', ["body", "content_type"]),
        (b"[]", ["body"]),
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"\xff\xfe", ["body"]),
        (b"[" * 30_000, ["body"]),
    ],
)
def test_initiate_names_the_field_that_is_wrong(talk: Talk, body: bytes, loc: list[str]) -> None:
    reply = talk.post("/storage/upload/initiate", body, content_type="application/json")
    assert reply.status == 422
    first = reply.json()["detail"][0]
    assert (first["loc"], set(first)) == (loc, {"loc", "msg", "type"})


def test_initiate_takes_a_body_without_a_json_type(talk: Talk) -> None:
    body = json.dumps({"file_name": "a.png"}).encode()
    assert talk.post("/storage/upload/initiate", body, content_type="text/plain").status == 200


def test_an_initiate_of_more_than_names_need_is_413(talk: Talk) -> None:
    body = json.dumps({"file_name": "a", "content_type": "a/b", "x": "x" * 40_000}).encode()
    assert talk.post("/storage/upload/initiate", body).status == 413


def test_initiate_with_an_idempotency_key_gives_the_same_answer_again(talk: Talk) -> None:
    first = talk.initiate(idempotency_key="once")
    assert talk.initiate(idempotency_key="once") == first
    assert talk.initiate(idempotency_key="twice") != first
    assert talk.put(first["upload_url"], DATA).status == 200
    assert talk.initiate(idempotency_key="once") == first


def test_an_idempotency_key_with_another_wish_is_refused(talk: Talk) -> None:
    talk.initiate(idempotency_key="mine")
    wish = {"file_name": "dog.png", "content_type": "image/png"}
    reply = talk.post_json("/storage/upload/initiate", wish, idempotency_key="mine")
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["header", "idempotency-key"]


def test_idempotency_keys_of_two_accounts_are_two(talk: Talk, stranger: str) -> None:
    mine = talk.initiate(idempotency_key="shared")
    theirs = talk.initiate(idempotency_key="shared", authorization=f"Key {stranger}")
    assert mine["file_url"] != theirs["file_url"]


# The signed PUT


def test_the_same_put_again_succeeds_and_other_bytes_are_refused(talk: Talk) -> None:
    urls = talk.initiate()
    first, again = (talk.put(urls["upload_url"], DATA) for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert first.headers["etag"] == again.headers["etag"]
    other = talk.put(urls["upload_url"], DATA + b"x")
    assert (other.status, other.json()["code"]) == (412, "already_published")
    assert talk.get(urls["file_url"]).body == DATA


def test_the_type_of_the_put_counts_before_that_of_initiate(talk: Talk) -> None:
    urls = talk.initiate(content_type="image/jpeg")
    talk.put(urls["upload_url"], DATA, content_type="image/png")
    assert talk.get(urls["file_url"]).headers["content-type"] == "image/png"


@pytest.mark.parametrize("vague", ["application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_vague_type_of_the_put_leaves_that_of_initiate(talk: Talk, vague: str) -> None:
    urls = talk.initiate(content_type="audio/x-thing")
    talk.put(urls["upload_url"], DATA, content_type=vague)
    assert talk.get(urls["file_url"]).headers["content-type"] == "audio/x-thing"


@pytest.mark.parametrize("change", ["", "?", "?signature=", "?signature=x", "?signature=a.b&signature=a.b", "?sig=a.b"])
def test_a_put_without_its_signature_is_403(talk: Talk, change: str) -> None:
    urls = talk.initiate()
    assert talk.put(urls["file_url"] + change, DATA).status == 403
    assert talk.put(urls["file_url"] + change, DATA, **talk.key).status == 403
    assert talk.get(urls["file_url"]).status == 404


def test_a_signature_is_good_for_its_own_url_only(talk: Talk) -> None:
    one, two = talk.initiate(), talk.initiate()
    query = urlsplit(one["upload_url"]).query
    assert talk.put(f"{two['file_url']}?{query}", DATA).status == 403
    assert talk.get(two["file_url"]).status == 404


def test_a_signature_does_not_read_and_is_no_token(talk: Talk) -> None:
    urls = talk.initiate(x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    talk.put(urls["upload_url"], DATA)
    assert talk.get(urls["upload_url"]).status == 403
    signature = urlsplit(urls["upload_url"]).query.partition("=")[2]
    assert talk.get(urls["file_url"], authorization=f"Bearer {signature}").status == 401
    assert talk.post("/files/upload", DATA, authorization=f"Bearer {signature}").status == 401


def test_a_token_is_no_signature(talk: Talk) -> None:
    urls = talk.initiate()
    token = talk.token().removeprefix("Bearer ")
    assert talk.put(f"{urls['file_url']}?signature={token}", DATA).status == 403


def test_a_put_of_a_url_escaped_in_another_way_is_the_same_put(talk: Talk) -> None:
    urls = talk.initiate("a b.png")
    assert talk.put(urls["upload_url"].replace("a%20b", "%61%20%62"), DATA).status == 200
    assert talk.get(urls["file_url"]).body == DATA


def test_two_puts_at_once_make_one_file(talk: Talk) -> None:
    urls = talk.initiate()
    bodies = [DATA + bytes([n % 2]) * 300_000 for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda body: talk.put(urls["upload_url"], body).status, bodies))
    assert set(statuses) == {200, 412}
    kept = talk.get(urls["file_url"]).body
    assert [status == 200 for status in statuses] == [body == kept for body in bodies]


# Names: docs/threats.md B01, B06-B08 (cosmetic here: the last component is kept, slashes are never refused)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("....//x", "x"),
        ("C:\\x", "x"),
        ("/abs/olute.png", "olute.png"),
        ("~root", "~root"),
        ("..%2f..%2fetc%2fpasswd", "..%2f..%2fetc%2fpasswd"),
        ("%252e%252e/x", "x"),
        ("..", ""),
        (".", ""),
        ("a/", "a"),
        ("CON", "CON"),
        ("a:b", "a:b"),
    ],
)
def test_b01_of_a_name_the_last_component_is_kept_on_every_door(talk: Talk, name: str, kept: str) -> None:
    reply = talk.post("/files/upload", DATA, x_fal_file_name=name)
    assert (reply.status, reply.json()["file_name"]) == (200, kept)
    assert talk.get(reply.json()["access_url"]).body == DATA
    urls = talk.initiate(name)
    assert talk.put(urls["upload_url"], DATA).status == 200
    assert talk.get(urls["file_url"]).body == DATA
    assert urlsplit(urls["file_url"]).path.count("/") == 4


@pytest.mark.parametrize(
    "path",
    [
        "/files/b/../../../../etc/passwd",
        "/files/b/..%2f..%2f..%2fetc%2fpasswd",
        "/files/b/%2e%2e/%2e%2e/etc/passwd",
        "/files/b/%252e%252e/etc/passwd",
        "/files/b/..\\..\\etc\\passwd",
        "/files/b/....//....//etc/passwd",
        "/files/b//etc/passwd",
        "/files/b/%00",
        "/files/b/x/%00/catalogue.db",
        "/files/b/",
        "/files/b",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../signing.secret",
        "/files/upload/../../signing.secret",
    ],
)
def test_b01_no_path_leads_out_of_the_store(talk: Talk, path: str) -> None:
    reply = talk.get(path)
    assert reply.status in (404, 422)
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/files/b/../../x", "/files/b/..%2fx", "/files/b/%00", "/files/b/"])
def test_b01_no_path_can_be_written_without_its_signature(talk: Talk, path: str) -> None:
    signature = urlsplit(talk.initiate()["upload_url"]).query
    assert talk.put(f"{path}?{signature}", DATA).status == 403


def test_b07_a_name_cannot_inject_headers_into_a_download(talk: Talk) -> None:
    name = 'a"b;filename=x.html\r\nX-Evil: 1\n\\é.png'
    urls = talk.initiate(name)
    talk.put(urls["upload_url"], DATA)
    reply = talk.get(urls["file_url"] + "?download=1")
    assert "x-evil" not in reply.headers
    found = [value for header, value in reply.pairs if header == "content-disposition"]
    # The backslash separates components, so that what is before it is gone; without it the rest stays as one name.
    assert found == ["attachment; filename=\"_.png\"; filename*=UTF-8''%C3%A9.png"]


def test_b07_quotes_and_semicolons_stay_inside_the_name(talk: Talk) -> None:
    url = talk.upload(DATA, x_fal_file_name=b'a"b;filename=x.html\tc.png')
    header = talk.get(url + "?download=1").headers["content-disposition"]
    assert header == (
        'attachment; filename="a_b;filename=x.htmlc.png"; '
        "filename*=UTF-8''a%22b%3Bfilename%3Dx.htmlc.png"
    )  # fmt: skip


@pytest.mark.parametrize("name", ['"; rm -rf', "<img src=x onerror=alert(1)>", "[bold]x[b]", "=cmd()", "a\x1b[31mred"])
def test_b06_a_name_is_inert_in_json_urls_and_the_log(talk: Talk, name: str) -> None:
    urls = talk.initiate(name)
    assert all(c not in urls["file_url"] for c in "\"<> ;[]\x1b'")
    talk.put(urls["upload_url"], DATA)
    talk.get(urls["file_url"])
    told = talk.get(urls["file_url"] + "nope")
    assert told.headers["content-type"] == "application/json"
    assert b"<img" not in told.body
    assert "\x1b" not in talk.server.log()


def test_b08_a_name_header_is_taken_verbatim_but_for_the_utf_8_form(talk: Talk) -> None:
    for raw, name in {
        b"caf%C3%A9.png": "caf%C3%A9.png",
        b"UTF-8''caf%C3%A9.png": "café.png",
        b"utf-8''a%2Fb%0A.png": "b.png",
        "naïve.png".encode(): "naïve.png",
        b"na\xefve.png": "naïve.png",
    }.items():
        assert talk.post("/files/upload", DATA, x_fal_file_name=raw).json()["file_name"] == name


def test_a_name_of_any_length_is_shortened_and_keeps_its_extension(talk: Talk) -> None:
    url = talk.upload(DATA, x_fal_file_name="n" * 5000 + ".tar.gz")
    assert url.endswith(".tar.gz")
    assert len(url.rpartition("/")[2]) <= 255
    assert talk.get(url).body == DATA
