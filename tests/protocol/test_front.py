"""What every request must be, and what is looked at before its body: framing, host, credential, size."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from entrepot import wire
from entrepot.api import app as api
from support import rawhttp
from support.archives import zipped
from support.files import FORM, form
from support.inprocess import InProcess
from support.talk import Talk, line

MIB = 1024 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# All that anybody may ask for. A new route is closed unless it is named here and in the tables.
PUBLIC = {
    (method, path)
    for method in ("GET", "HEAD")
    for path in ("/files/b/{store}/{name}", "/healthz", "/readyz", "/openapi.json")
}
FILLED = {"upload_id": "0" * 32, "part_number": "1", "part": "1", "hash": "a" * 64, "key": "s/n"}
NESTED = b"[" + b",".join([b"[]"] * (2 * MIB // 3)) + b"]"
HOST = {"host": "media.example.com"}


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("front")) as app:
        yield app


def filled(template: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: FILLED.get(name[1], "x"), template)


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """All path templates of both planes, and their methods."""
    found: dict[str, set[str]] = {}
    for route in api.ROUTES:
        found.setdefault(route.template, set()).add(route.method)
    return found


def messages(body: bytes) -> list[dict[str, Any]]:
    return [{"type": "http.request", "body": body, "more_body": False}]


# S1: who asks, before what is asked


@pytest.mark.parametrize("credential", ["", "Key a:b", "Bearer a.b", "Basic eDp5", "signature"])
def test_s1_no_route_reads_a_body_before_the_right(
    inside: InProcess, known: dict[str, set[str]], credential: str
) -> None:
    assert len(known) > 40
    for template, methods in known.items():
        for method in METHODS:
            headers = {**HOST, "content-length": str(len(NESTED))}
            target = filled(template) + ("?signature=a.b" if credential == "signature" else "")
            if credential not in ("", "signature"):
                headers["authorization"] = credential
            kind, status = inside.events(method, target, headers, *messages(NESTED))[0]
            assert kind == "status", (method, template)
            if (method, template) in PUBLIC:
                assert status in (200, 401, 404), (method, template)
            elif method in methods or (method == "HEAD" and "GET" in methods):
                assert status in (401, 403), (method, template)
            else:
                assert status in (401, 403, 404, 405), (method, template)


@pytest.mark.parametrize("target", [
    "POST /storage/auth/token", "POST /storage/upload/initiate", "POST /storage/files/s/n/multipart/0/complete",
    "POST /files/b/s/n/multipart/0/complete?signature=x", "POST /files/rename/x",
])  # fmt: skip
def test_s1_who_writes_first_still_reads_the_refusal(talk: Talk, target: str) -> None:
    method, path = target.split()
    assert talk.ask(method, path, {}, NESTED).status in (401, 403)


JSON_ROUTES = {
    "/storage/auth/token": 128 * 1024,
    "/storage/upload/initiate": 32 * 1024,
    "/storage/upload/initiate-multipart": 32 * 1024,
    "/storage/files/s/n/multipart/0/complete": 1_201_024,
    "/files/b/s/n/multipart/0/complete": 1_201_024,
    "/files/missing_hashes": 4 * MIB,
    **{f"/files/{each}": 32 * 1024 for each in ("rename/x", "dir/check_hash/x", "file/url/x")},
    **{
        f"/v1/serverless/files/{each}": 32 * 1024
        for each in ("rename/x", "copy/x", "dir/x", "publish/x", "keep/x", "trash/x/restore", "file/url/x")
    },
    f"/files/app/multipart/{'a' * 64}/initiate": 32 * 1024,
    f"/files/app/multipart/{'a' * 64}/{'0' * 32}/complete": 1_201_024,
    f"/files/file/multipart/x/{'0' * 32}/complete": 1_201_024,
    f"/v1/serverless/files/file/multipart/x/{'0' * 32}/complete": 1_201_024,
}


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_s1_a_json_body_is_bounded_before_it_is_read(inside: InProcess, path: str) -> None:
    limit = JSON_ROUTES[path]
    head = {**HOST, "authorization": f"Key {inside.key}"}
    long = {**head, "content-length": str(limit + 1)}
    assert inside.events("POST", path, long, *messages(b" "))[0] == ("status", 413)
    pieces = [{"type": "http.request", "body": b" " * limit, "more_body": True}] * 2
    done = inside.events("POST", path, {**head, "transfer-encoding": "chunked"}, *pieces, *messages(b""))
    assert done[:3] == [("receive", 1), ("receive", 2), ("status", 413)]


@pytest.mark.parametrize("target", [
    "PUT /files/b/s/n", "GET /files/b/s/n/multipart/0", "PUT /files/b/s/n/multipart/0/1",
    "POST /files/b/s/n/multipart/0/complete",
])  # fmt: skip
def test_s1_a_query_of_many_fields_is_refused_unread(inside: InProcess, target: str) -> None:
    method, path = target.split()
    query = "?signature=x" + "&a" * 30_000
    assert inside.events(method, path + query, {**HOST, "content-length": "9"}, *messages(b""))[0] == ("status", 422)


# M4: lists of parts


def test_m4_a_list_of_too_many_values_is_refused(talk: Talk) -> None:
    begun = talk.post_json("/storage/upload/initiate-multipart", {"file_name": "a"}).json()["upload_url"]
    plain, _, query = begun.partition("?")
    gcs = talk.post_json("/storage/upload/initiate-multipart?storage_type=gcs", {"file_name": "a"}).json()["upload_url"]
    upload = talk.post("/v1/serverless/files/file/multipart/m4/initiate").json()["upload_id"]
    targets = [
        f"{plain}/complete?{query}", f"{gcs}/complete", f"/files/file/multipart/m4/{upload}/complete",
        f"/v1/serverless/files/file/multipart/m4/{upload}/complete",
    ]  # fmt: skip
    many = b",".join([b"[]"] * 350_000)
    for target in targets:
        for body, status in ((b'{"x":[' + many + b"]}", 422), (b'{"parts":' + b"[" * 60_000, 422), (NESTED, 413)):
            assert talk.post(target, body).status in (status, 400 if status == 422 and "/v1/" in target else status)


# L1: framing


@pytest.mark.parametrize("headers", [
    {"content-length": "3", "transfer-encoding": "chunked"}, {"transfer-encoding": "gzip, chunked"},
    {"transfer-encoding": "chunked, chunked"}, {"transfer-encoding": "identity"}, {"transfer-encoding": ""},
    {"transfer-encoding": "chunked", "trailer": "Content-Length"},
    {"transfer-encoding": "chunked", "trailer": "X-Checksum"},
])  # fmt: skip
def test_l1_a_body_framed_in_two_ways_is_refused(inside: InProcess, headers: dict[str, str]) -> None:
    for target in ("/files/upload", "/storage/auth/token", "/v1/serverless/files/file/x", "/healthz"):
        head = {**HOST, "authorization": f"Key {inside.key}", **headers}
        assert inside.events("POST", target, head, *messages(b"abc"))[0] == ("status", 400)


@pytest.mark.parametrize("trailer", [b"Content-Length: 3", b"Transfer-Encoding: gzip", b"Host: a", b"X-Any: thing"])
def test_l1_trailer_fields_publish_nothing(talk: Talk, trailer: bytes) -> None:
    urls = talk.initiate()
    path = urls["upload_url"].partition(str(talk.server.port))[2]
    body = b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"
    for method, target in (("PUT", path), ("PUT", "/v1/serverless/files/file/l1"), ("POST", "/storage/auth/token")):
        with line(talk.server) as raw:
            raw.send(rawhttp.request(method, target, {**talk.key, "transfer-encoding": "chunked"}, body))
            answer = raw.answer(method)
        assert (answer.status, b"railer" in answer.body) == (400, True)
    assert talk.get(urls["file_url"]).status == 404
    assert talk.get("/v1/serverless/files/stat/l1", **talk.key).status == 404


def test_l1_two_framings_end_the_connection(talk: Talk) -> None:
    """The ASGI server hides the length and reads the chunks; nothing behind them is taken for a request."""
    head = {**talk.key, "content-length": "3", "transfer-encoding": "chunked"}
    next_request = rawhttp.request("GET", "/healthz", {})
    with line(talk.server) as raw:
        raw.send(rawhttp.request("POST", "/files/upload", head, rawhttp.chunk(b"hello") + b"0\r\n\r\n" + next_request))
        assert raw.rest().count(b"HTTP/1.1 ") == 1


# L2: a client that closes its half


def test_l2_nothing_is_published_that_nobody_is_told_of(inside: InProcess) -> None:
    head = {**HOST, "authorization": f"Key {inside.key}"}
    begun = inside.post("/storage/upload/initiate", {"file_name": "a"})
    put = _path(begun.json()["upload_url"])
    for method, target, body, more in (
        ("POST", "/files/upload", b"hello", {}),
        ("POST", "/files/upload", form(b"hello"), {"content-type": FORM}),
        ("PUT", put, b"hello", {}),
        ("PUT", "/v1/serverless/files/file/l2", b"hello", {}),
        ("POST", "/files/file/local/l2", form(b"hello"), {"content-type": FORM}),
        ("POST", "/files/file/local/l2?unzip=true", form(zipped(("a", b"hello")).getvalue()), {"content-type": FORM}),
    ):
        length = {"content-length": str(len(body))}
        done = inside.events(method, target, {**head, **length, **more}, *messages(body), {"type": "http.disconnect"})
        assert done == [("receive", 1), ("receive", 2), ("status", 400)], target
    assert inside.get(_path(begun.json()["file_url"])).status == 404
    assert inside.get("/v1/serverless/files/stat/l2").status == 404
    assert not [path for path in (inside.root.parent / "blobs").rglob("*") if path.is_file()]
    assert inside.ask("PUT", put, b"hello").status == 200, "it can be sent again"


def test_l2_a_half_closed_request_gets_no_reply_or_a_whole_one(talk: Talk) -> None:
    url = _path(talk.upload(b"hello"))
    for request in (rawhttp.request("GET", url), rawhttp.request("POST", "/storage/auth/token", talk.key)):
        with line(talk.server) as raw:
            raw.send(request)
            with contextlib.suppress(OSError):
                raw.half_close()
            assert raw.rest().partition(b"\r\n")[0] in (b"", b"HTTP/1.1 200 OK")


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


# L4: numbers


@pytest.mark.parametrize("number", ["01", "+1", "%2B1", "%201", "1%20", "1_0", "%EF%BC%91", "1.0", "0x1", "1%0A", "-0"])
def test_l4_a_number_has_one_spelling(talk: Talk, number: str) -> None:
    begun = talk.post_json("/storage/upload/initiate-multipart", {"file_name": "a"}).json()["upload_url"]
    plain, _, query = begun.partition("?")
    assert talk.put(f"{plain}/{number}?{query}", b"x").status == 422
    gcs = talk.post_json("/storage/upload/initiate-multipart?storage_type=gcs", {"file_name": "a"}).json()["upload_url"]
    assert talk.post(f"{gcs}/{number}").status == 422
    assert talk.get(f"/v1/serverless/files/list?limit={number}", **talk.key).status == 400
    digest = wire.repr_digest(bytes(32))
    assert talk.post(f"/files/upload/existing?size={number}", repr_digest=digest).status == 422


@pytest.mark.parametrize("number", ["0", "1", "9", "10", "123456789"])
def test_l4_plain_numbers_are_numbers(number: str) -> None:
    assert wire.whole_number(number) == int(number)


def test_l4_an_escaped_digit_is_the_same_path(talk: Talk) -> None:
    plain, _, query = (
        talk.post_json("/storage/upload/initiate-multipart", {"file_name": "a"}).json()["upload_url"].partition("?")
    )
    assert talk.put(f"{plain}/%31?{query}", b"x").json()["partNumber"] == 1


# L5: types


@pytest.mark.parametrize("kind", [
    "image/png, text/html", "image", "image/", "/png", "image/png/x", "im age/png", "image/png;x", "image/p\xf1g",
    "image/png; x=\"", "text/html image/png", "a/" + "b" * 254, "image/png\xa0",
])  # fmt: skip
def test_l5_a_type_that_is_none_is_refused_everywhere(talk: Talk, kind: str) -> None:
    header = {"content-type": kind.encode("latin-1")}
    urls, plain = talk.initiate(), talk.post_json("/storage/upload/initiate-multipart", {"file_name": "a"}).json()
    part = plain["upload_url"].replace("?", "/1?")
    existing = {"repr-digest": wire.repr_digest(bytes(32))}
    for method, target, more in (
        ("POST", "/files/upload", {}), ("PUT", urls["upload_url"], {}), ("PUT", part, {}),
        ("POST", "/files/upload/multipart", {}), ("POST", "/files/upload/existing?size=9999999", existing),
        ("PUT", "/v1/serverless/files/file/l5", {}),
    ):  # fmt: skip
        status = talk.ask(method, target, {**talk.key, **header, **more}, b"").status
        assert status == (400 if "/v1/" in target else 422), target
    for target in ("/storage/upload/initiate", "/storage/upload/initiate-multipart"):
        assert talk.post_json(target, {"file_name": "a", "content_type": kind}).status == 422
    body = form(b"x").replace(b"application/octet-stream", kind.encode())
    assert talk.post("/files/upload", body, content_type=FORM).status == 422
    assert talk.post("/files/file/local/l5", body, content_type=FORM).status == 422


def test_l5_a_type_given_twice_is_refused(talk: Talk) -> None:
    pairs = [(b"Host", b"localhost"), (b"Authorization", talk.key["authorization"].encode()), (b"Content-Length", b"0")]
    twice = [(b"Content-Type", b"image/png"), (b"Content-Type", b"text/html")]
    with line(talk.server) as raw:
        assert raw.ask(rawhttp.request("POST", "/files/upload", [*pairs, *twice])).status == 422


# L7: the host


@pytest.mark.parametrize("host", [
    b"", b"a b", b"a, b", b"a:b", b"a:b:c", b"a:99999", b"user@a", b"a/b", b"a?b", b"[::1", b"::1", b":80", b"a\\b",
    b"a%", b"<a>", b"a#b", b"\xe9.example",
])  # fmt: skip
def test_l7_a_host_that_is_none_is_refused(talk: Talk, host: bytes) -> None:
    for target in ("/healthz", "/files/b/x/y", "/nothing"):
        with line(talk.server) as raw:
            assert raw.ask(rawhttp.request("GET", target, [(b"Host", host)])).status == 400


@pytest.mark.parametrize("host", [
    b"localhost", b"A.example:80", b"127.0.0.1:8000", b"[::1]:80", b"[fe80::1%25eth0]", b"my_host", b"example.com.",
    b"example.com:", b"xn--bcher-kva.example",
])  # fmt: skip
def test_l7_hosts_as_clients_send_them_are_taken(talk: Talk, host: bytes) -> None:
    with line(talk.server) as raw:
        assert raw.ask(rawhttp.request("GET", "/healthz", [(b"Host", host)])).status == 200


def test_l7_a_request_without_one_host_or_a_path_is_refused(talk: Talk) -> None:
    asked = {
        b"GET /healthz HTTP/1.1\r\n\r\n": 400,
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n": 400,
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
        b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n": 400,
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n": 400,
        b"GET /healthz HTTP/1.0\r\n\r\n": 200,
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n": 204,
    }
    for request, status in asked.items():
        with line(talk.server) as raw:
            assert raw.ask(request).status == status, request


# L9: how long a token lives


@pytest.mark.parametrize(("asked", "seconds"), [
    ("2147483648", 2_592_000), ("2592000", 2_592_000), ("2592001", 2_592_000), ("1e20", 2_592_000),
    ("1e400", 2_592_000), ("9" * 500, 2_592_000), ("100000.5", 100_000), ("100000", 100_000), ("1", 3_700),
    ('"2147483648"', 86_400), ("NaN", 86_400), ("-1", 86_400), ("0", 86_400), ("true", 86_400), ("null", 86_400),
    ("-1e400", 86_400), ("[9]", 86_400),
])  # fmt: skip
def test_l9_a_token_lives_as_long_as_asked_up_to_30_days(talk: Talk, asked: str, seconds: int) -> None:
    reply = talk.post("/storage/auth/token", b'{"expiration_seconds": %s}' % asked.encode()).json()
    lived = _epoch(reply["expires_at"]) - _epoch(reply["created_at"])
    assert seconds - 2 < lived <= seconds + 1


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# W4: a form with one file


def field(name: str, data: bytes, file_name: str | None = None, kind: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"'
    head += "" if file_name is None else f'; filename="{file_name}"'
    return head.encode() + (f"\r\nContent-Type: {kind}" if kind else "").encode() + b"\r\n\r\n" + data + b"\r\n"


def upload_form(talk: Talk, *fields: bytes, **headers: str) -> Any:
    body = b"".join(fields) + b"--b--\r\n"
    return talk.post("/files/upload", body, content_type="multipart/form-data; boundary=b", **headers)


@pytest.mark.parametrize("name", ["file", "file_upload", "anything"])
def test_w4_a_form_with_one_file_is_an_upload_of_it(talk: Talk, name: str) -> None:
    reply = upload_form(talk, field("note", b"text"), field(name, b"GIF89a", "x.gif", "image/gif"), field("more", b"y"))
    told = reply.json()
    assert (reply.status, told["file_name"], told["content_type"], told["size"]) == (200, "x.gif", "image/gif", 6)
    got = talk.get(told["access_url"])
    assert (got.body, got.headers["content-type"]) == (b"GIF89a", "image/gif")


def test_w4_a_file_without_a_type_is_judged_as_others(talk: Talk) -> None:
    assert upload_form(talk, field("file", b"words", "a.txt")).json()["content_type"] == "text/plain"
    assert upload_form(talk, field("file", b"x", "a.png"), x_fal_file_name="b.bin").json()["file_name"] == "b.bin"


@pytest.mark.parametrize("fields", [
    (), (field("file", b"text"),), (field("file", b"", ""),),
    (field("a", b"1", "a.bin"), field("b", b"2", "b.bin")), (field("a", b"1", "a.bin"), field("a", b"2", "a.bin")),
], ids=["none", "text", "nothing chosen", "two", "two of a name"])  # fmt: skip
def test_w4_any_other_form_is_refused_and_told_how(talk: Talk, fields: tuple[bytes, ...]) -> None:
    reply = upload_form(talk, *fields)
    assert (reply.status, "-F file_upload=@FILE" in reply.json()["fix"]) == (400, True)


def test_w4_the_right_comes_before_the_form(talk: Talk) -> None:
    assert upload_form(talk, field("file", bytes(MIB), "a.bin"), authorization="Key a:b").status == 401


def test_w4_a_form_above_the_limit_is_refused_unread(inside: InProcess) -> None:
    head = {**HOST, "authorization": f"Key {inside.key}", "content-type": FORM, "content-length": str(2**50)}
    assert inside.events("POST", "/files/upload", head, *messages(b""))[0] == ("status", 413)


def test_w4_a_put_takes_the_bytes_as_they_are(talk: Talk) -> None:
    reply = talk.put(talk.initiate()["upload_url"], form(b"x"), content_type=FORM)
    assert (reply.status, "POST to /files/upload" in reply.json()["fix"]) == (400, True)
