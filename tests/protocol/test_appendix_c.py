"""What other people's clients do (docs/protocol.md, Appendix C): one test a line, as far as single uploads and reads
go."""

from __future__ import annotations

import json
import re
from datetime import datetime
from urllib.parse import urlsplit

import pytest

from support.server import Server, running
from support.talk import Talk

DATA = b"\x89PNG\r\n\x1a\n" + b"pixels" * 50
WISH = {"file_name": "cat.png", "content_type": "image/png"}


def test_c1_initiate_without_storage_type_is_as_fal_cdn_v3(talk: Talk) -> None:
    for query in ("", "?", "?storage_type=", "?storage_type=fal-cdn-v3", "?unknown=1"):
        urls = talk.post_json(f"/storage/upload/initiate{query}", WISH).json()
        assert talk.put(urls["upload_url"], DATA).status == 200
        assert talk.get(urls["file_url"]).body == DATA


BODIES: list[bytes] = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b"not json",
    b"\xff",
    json.dumps({"storage_type": "fal-cdn-v3"}).encode(),
    json.dumps({"expiration_seconds": 7200}).encode(),
    json.dumps({"expiration_seconds": -5}).encode(),
    json.dumps({"expiration_seconds": "x", "unknown": [1]}).encode(),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("query", ["", "?storage_type=fal-cdn-v3", "?storage_type=fal-cdn", "?storage_type=tape"])
def test_c2_a_token_is_given_whatever_else_the_call_says(talk: Talk, query: str, body: bytes) -> None:
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        reply = talk.post(f"/storage/auth/token{query}", body, content_type=content_type)
        assert reply.status == 200
        assert reply.json()["base_upload_url"] == reply.json()["base_url"]


def test_c2_an_asked_lifetime_is_given(talk: Talk) -> None:
    told = talk.post("/storage/auth/token", b'{"expiration_seconds": 7200}').json()
    lifetime = datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(told["created_at"])
    assert 7199 <= lifetime.total_seconds() <= 7200


def test_c3_one_token_works_on_every_configured_host(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("hosts")
    with running(folder, cdn_url="https://cdn.example.com", accepted_hosts="v3.fal.media,v3b.fal.media") as server:
        talk = Talk(server)
        told = talk.post("/storage/auth/token").json()
        assert told["base_url"] == "https://cdn.example.com"
        for host in ("cdn.example.com", "v3.fal.media", "v3b.fal.media", f"127.0.0.1:{server.port}"):
            url = talk.upload(DATA, host=host, authorization=f"Bearer {told['token']}")
            assert url.startswith("https://cdn.example.com/files/b/")
            assert talk.get(url, host=host).body == DATA


def test_c4_upload_takes_the_key_under_both_schemes_and_refuses_a_bare_secret_at_once(talk: Talk) -> None:
    for scheme in ("Key", "Bearer"):
        assert talk.get(talk.upload(DATA, authorization=f"{scheme} {talk.server.key}")).body == DATA
    secret = talk.server.key.partition(":")[2]
    reply = talk.post("/files/upload", DATA, authorization=f"Bearer {secret}")
    assert (reply.status, reply.headers["content-type"]) == (401, "application/json")


def test_c5_replies_can_be_cut_by_grep_and_sed(talk: Talk) -> None:
    replies = [
        talk.post("/storage/auth/token"),
        talk.post_json("/storage/upload/initiate", {"file_name": "é \"'/\\&<.png", "content_type": "image/png"}),
        talk.post("/files/upload", DATA, x_fal_file_name="é&'\".png".encode()),
    ]
    for reply in replies:
        text = reply.body.decode()
        assert not re.search(r'"\s+:|":\s|,\s+"', text), "compact"
        assert "error" not in reply.json()
        for name in ("token", "base_url", "base_upload_url", "file_url", "upload_url", "access_url"):
            if name in reply.json():
                (found,) = re.findall(rf'"{name}":"([^"]*)"', text)
                assert found == reply.json()[name], "no escapes"
                assert found.isascii()
                assert not set(found) & set(" \"'<>\\&")


def test_c6_a_name_header_of_any_bytes_is_taken_as_utf_8_else_latin_1(talk: Talk) -> None:
    for raw, name in {
        "naïve ☃.png".encode(): "naïve ☃.png",
        "naïve.png".encode("latin-1"): "naïve.png",
        b"\xff\xfe.png": "ÿþ.png",
        "日本.png".encode("shift_jis"): None,
    }.items():
        reply = talk.post("/files/upload", DATA, x_fal_file_name=raw)
        assert reply.status == 200
        assert name is None or reply.json()["file_name"] == name
        assert talk.get(reply.json()["access_url"]).body == DATA


def test_c7_the_hosts_in_replies_are_settings_and_file_urls_have_no_query(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("public")
    names = {"public_url": "https://rest.fal.media", "cdn_url": "https://v3.fal.media", "accepted_hosts": "fal.media"}
    with running(folder, **names) as server:
        talk = Talk(server)
        urls = talk.initiate(host="rest.fal.media")
        for url in (urls["file_url"], urls["upload_url"], talk.upload(DATA, host="v3.fal.media")):
            assert urlsplit(url).scheme == "https"
            assert urlsplit(url).netloc == "v3.fal.media"
        assert urlsplit(urls["file_url"]).query == ""


def test_c8_head_range_and_conditions_hold_straight_after_an_upload(talk: Talk) -> None:
    urls = talk.initiate()
    assert talk.put(urls["upload_url"], DATA, content_type="image/png").status == 200
    for url in (talk.upload(DATA, content_type="image/png"), urls["file_url"]):
        head = talk.head(url)
        assert (head.status, head.headers["content-length"], head.headers["content-type"]) == (
            200,
            str(len(DATA)),
            "image/png",
        )
        part = talk.get(url, range="bytes=0-0")
        assert (part.status, part.body, part.headers["content-range"]) == (206, DATA[:1], f"bytes 0-0/{len(DATA)}")
        assert talk.get(url, if_none_match=head.headers["etag"]).status == 304
        assert talk.get(url, if_modified_since=head.headers["last-modified"]).status == 304


def test_c8_the_other_worker_sees_a_file_as_soon_as_the_upload_is_answered(talk: Talk, server: Server) -> None:
    assert len(server.workers()) == 2
    for _ in range(40):
        assert talk.head(talk.upload(DATA)).status == 200


def test_c9_gone_is_told_from_refused(talk: Talk) -> None:
    refused = talk.upload(DATA, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    never = urlsplit(refused).path.replace("/files/b/", "/files/b/x")
    assert talk.get(refused).status == 403
    assert talk.get(never).status == 404
    # 410 of an expired file: test_lifecycle.py


def test_c10_a_signed_put_ignores_an_authorization_header(talk: Talk) -> None:
    for header in (
        f"Key {talk.server.key}",
        "Key a:b",
        "Bearer x",
        "Basic YTpi",
        "garbage",
        "Key \xff".encode("latin-1"),
    ):
        urls = talk.initiate()
        assert talk.put(urls["upload_url"], DATA, authorization=header).status == 200
        assert talk.get(urls["file_url"]).body == DATA


def test_c11_a_signed_put_bears_name_and_lifecycle_headers_and_another_type_and_is_repeated(talk: Talk) -> None:
    urls = talk.initiate()
    headers = {
        "content_type": "application/octet-stream",
        "x_fal_file_name": "other.png",
        "x_fal_object_lifecycle": '{"expiration_duration_seconds": 60}',
        "accept": "application/json",
    }
    for _ in range(2):
        reply = talk.put(urls["upload_url"], DATA, **headers)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers.get("content-type", "") != "application/json"
    assert talk.get(urls["file_url"]).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "name",
    ["model.tar.gz", "wheel-1.0-py3-none-any.whl", "a.safetensors", "b.c.d", "noext", ".hidden", "x." + "y" * 40],
)
def test_c12_the_end_of_the_url_is_the_original_name(talk: Talk, name: str) -> None:
    for url in (talk.upload(DATA, x_fal_file_name=name), talk.initiate(name)["file_url"]):
        assert urlsplit(url).path.endswith("_" + name)
    long = talk.upload(DATA, x_fal_file_name="long" * 500 + ".tar.gz")
    assert long.endswith(".tar.gz")
