"""The conformance checklist (docs/protocol.md, Appendix A): the lines that hold without multipart uploads, one test a
line."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest

from support.talk import Talk, line

DATA = b"\x89PNG\r\n\x1a\n" + b"pixels" * 50
CDN = "fal-cdn-v3"


def test_a1_a_token_reply_has_what_stock_clients_index(talk: Talk) -> None:
    told = talk.post("/storage/auth/token?storage_type=fal-cdn-v3", b"{}").json()
    assert {"token", "token_type", "base_url", "created_at", "expires_at"} <= told.keys()
    assert told["token_type"] == "Bearer"
    assert not told["base_url"].endswith("/")
    assert urlsplit(told["base_url"]).path == ""
    for name in ("created_at", "expires_at"):
        assert told[name].endswith("+00:00")
    lifetime = datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(told["created_at"])
    assert timedelta(hours=1) < lifetime <= timedelta(days=30)


@pytest.mark.parametrize("seconds", [1, 60, 3600])
def test_a1_a_token_asked_for_less_lives_for_more_than_an_hour_all_the_same(talk: Talk, seconds: int) -> None:
    told = talk.post("/storage/auth/token", b'{"expiration_seconds": %d}' % seconds).json()
    lifetime = datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(told["created_at"])
    assert lifetime > timedelta(hours=1)


def test_a2_initiate_returns_ascii_and_absolute_urls(talk: Talk) -> None:
    for name in ("cat.png", "é☃.png", "a b#c?d.png", "日本語.png"):
        for url in talk.initiate(name).values():
            assert url.isascii()
            assert not set(url) & set(' "<>\\^`{|}')
            assert urlsplit(url).scheme in ("http", "https")
            assert urlsplit(url).netloc


def test_a3_initiate_accepts_fal_cdn_v3_and_gcs(talk: Talk) -> None:
    for storage_type in (CDN, "gcs"):
        wish = {"file_name": "é.png", "content_type": "image/png"}
        urls = talk.post_json(f"/storage/upload/initiate?storage_type={storage_type}", wish).json()
        assert talk.put(urls["upload_url"], DATA).status == 200
        assert talk.get(urls["file_url"]).body == DATA


def test_a4_a_signed_put_ignores_authorization_and_is_answered_with_nothing_that_parses_as_json(talk: Talk) -> None:
    for authorization in ({}, talk.key, {"authorization": "Key wrong:wrong"}):
        reply = talk.put(talk.initiate()["upload_url"], DATA, **authorization)
        assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
        assert "json" not in reply.headers.get("content-type", "")
        assert reply.headers["access-control-allow-origin"] == "*"


def test_a9_upload_works_without_a_name_and_with_an_empty_body(talk: Talk) -> None:
    for headers in ({}, {"content_type": "image/png"}, {"x_fal_file_name": ""}):
        for body in (b"", DATA):
            reply = talk.post("/files/upload", body, **headers)
            assert (reply.status, reply.json()["uploaded"]) == (200, True)
            assert talk.get(reply.json()["access_url"]).body == body


@pytest.mark.parametrize(
    "name", ["X-Fal-Object-Lifecycle", "X-Fal-Object-Lifecycle-Preference", "x-fal-OBJECT-Lifecycle"]
)
def test_a10_both_lifecycle_names_are_accepted_on_every_upload_route(talk: Talk, name: str) -> None:
    lifecycle = {name: '{"initial_acl":{"default":"forbid"},"expiration_duration_seconds":3600}'}
    urls = talk.initiate(**lifecycle)
    talk.put(urls["upload_url"], DATA)
    for url in (talk.upload(DATA, **lifecycle), urls["file_url"]):
        assert talk.get(url).status == 403
        assert "x-entrepot-expires-at" in talk.get(url, **talk.key).headers


@pytest.mark.parametrize(
    "path", ["/files/upload", "/files/upload/", "//files/upload", "/storage/upload/initiate/", "/storage//auth/token"]
)
def test_a11_uploads_are_never_redirected_and_double_slashes_are_kept(talk: Talk, path: str) -> None:
    with line(talk.server) as wire:
        wire.send_head("POST", path, **talk.key, content_length="0")
        reply = wire.answer("POST")
    assert not 300 <= reply.status < 400
    assert reply.status == (200 if path == "/files/upload" else 404)


@pytest.mark.parametrize("path", ["/storage/auth/token", "/storage/upload/initiate", "/files/upload", "/files/b/x/y"])
def test_a19_preflights_are_answered_on_rest_and_cdn(talk: Talk, path: str) -> None:
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "PUT" if "/b/" in path else "POST",
        "access-control-request-headers": "authorization,content-type,x-fal-object-lifecycle",
    }
    reply = talk.ask("OPTIONS", path, asked)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert asked["access-control-request-method"] in reply.headers["access-control-allow-methods"]
    for header in asked["access-control-request-headers"].split(","):
        assert header in reply.headers["access-control-allow-headers"]


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000, 3_000_000])
def test_a20_an_object_comes_with_exact_length_and_no_encoding(talk: Talk, size: int) -> None:
    data = b"compressible " * (size // 13) + b"." * (size % 13)
    url = talk.upload(data, content_type="text/plain")
    for encoding in ("identity", "gzip, deflate, br, zstd", "*"):
        reply = talk.get(url, accept_encoding=encoding)
        assert reply.headers["content-length"] == str(size)
        assert "content-encoding" not in reply.headers
        assert reply.body == data


def test_a24_rest_errors_have_detail_as_text_or_as_a_list_of_fields(talk: Talk) -> None:
    assert isinstance(talk.ask("POST", "/storage/auth/token").json()["detail"], str)
    (field,) = talk.post("/storage/upload/initiate", b"{}").json()["detail"]
    assert set(field) == {"loc", "msg", "type"}
    assert all(isinstance(step, str | int) for step in field["loc"])
