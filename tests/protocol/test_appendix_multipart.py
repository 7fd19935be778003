"""The lines of Appendices A and C that speak of multipart uploads, one test a line."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.parts import DOORS, Upload, begin
from support.server import Server, running
from support.talk import Talk

DATA = b"some bytes " * 1000
LIFECYCLE = '{"expiration_duration_seconds":3600}'


def initiated(talk: Talk, query: str = "", **headers: str) -> dict[str, Any]:
    wish = {"file_name": "日本語 é.mp4", "content_type": "video/mp4"}
    reply = talk.post_json(f"/storage/upload/initiate-multipart{query}", wish, **headers)
    assert reply.status == 200, reply.body
    return dict(reply.json())


@pytest.mark.parametrize("query", ["", "?storage_type=fal-cdn-v3", "?storage_type=gcs", "?storage_type=fal-cdn"])
def test_a2_initiate_multipart_returns_ascii_and_absolute_urls(talk: Talk, query: str) -> None:
    told = initiated(talk, query)
    for url in (told["file_url"], told["upload_url"]):
        assert url.isascii()
        assert url.startswith(f"{talk.server.url}/")
        assert not re.search(r"[\s\"'<>\\]", url)
    assert "?" not in told["file_url"]
    assert told["file_url"].endswith(".mp4")


def test_a3_the_gcs_upload_url_has_the_shape_that_clients_append_to(talk: Talk) -> None:
    told = initiated(talk, "?storage_type=gcs")
    assert re.fullmatch(rf"{re.escape(talk.server.url)}/storage/files/[^?]+/multipart/[^/?]+", told["upload_url"])


def test_a5_the_part_number_goes_before_the_query_and_the_end_too(talk: Talk) -> None:
    upload_url = urlsplit(initiated(talk)["upload_url"])
    assert upload_url.query
    base = f"{upload_url.scheme}://{upload_url.netloc}{upload_url.path}"
    part = talk.put(f"{base}/1?{upload_url.query}", DATA)
    assert part.status == 200
    body = json.dumps({"parts": [part.json()]}).encode()
    assert talk.ask("POST", f"{base}/complete?{upload_url.query}", {}, body).status == 200
    assert talk.get(base.partition("/multipart/")[0]).body == DATA


@pytest.mark.parametrize("door", DOORS)
def test_a6_a_part_reply_has_an_etag_header_and_json_of_partnumber_and_etag(talk: Talk, door: str) -> None:
    reply = begin(talk, door).put(3, DATA, accept_encoding="gzip, br, zstd")
    assert [value for name, value in reply.pairs if name == "etag"] == [f'"{reply.json()["etag"]}"']
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["partNumber"] == 3
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize("spelling", ['"{}"', "{}"], ids=["quoted", "bare"])
def test_a7_the_end_takes_unsorted_parts_and_quoted_or_bare_etags(talk: Talk, spelling: str) -> None:
    upload = begin(talk)
    pieces = {n: b"%d" % n * 50_000 for n in (4, 1, 3, 2)}
    parts = [{"partNumber": n, "etag": spelling.format(upload.put(n, d).json()["etag"])} for n, d in pieces.items()]
    upload.finished(parts)
    assert talk.get(upload.url).body == b"".join(pieces[n] for n in sorted(pieces))


@pytest.mark.parametrize("content_type", ["video/mp4", "application/json", "model/gltf-binary", "text/html"])
def test_a8_create_takes_an_empty_body_of_the_future_files_type(talk: Talk, content_type: str) -> None:
    reply = talk.post("/files/upload/multipart", b"", content_type=content_type, accept="application/json")
    assert reply.status == 200
    told = reply.json()
    upload = Upload(talk, "cdn", told["access_url"], f"{told['access_url']}/multipart/{told['uploadId']}", "", talk.key)
    upload.finished([upload.part(1, DATA)])
    assert talk.head(upload.url).headers["content-type"] == content_type


@pytest.mark.parametrize("name", ["x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"])
@pytest.mark.parametrize("door", DOORS)
def test_a10_both_lifecycle_names_are_accepted_at_every_begin(talk: Talk, door: str, name: str) -> None:
    upload = begin(talk, door, **{name: LIFECYCLE})
    assert upload.finished([upload.part(1, DATA)])["expires_at"] is not None


@pytest.mark.parametrize("tail", ["", "/1", "/complete"])
def test_a11_multipart_routes_are_never_redirected(talk: Talk, tail: str) -> None:
    upload = begin(talk)
    for method in ("PUT", "POST", "GET"):
        for path in (f"{upload.base}{tail}/", f"{upload.base}//{tail}"):
            assert talk.ask(method, path, talk.key, b"{}").status in (404, 405, 422)
    assert upload.listing().json()["parts"] == []


@pytest.mark.parametrize("tail", ["", "1", "complete"])
def test_a19_preflights_are_answered_on_multipart_routes(talk: Talk, tail: str) -> None:
    for door in DOORS:
        asked = {
            "origin": "https://app.example.com",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "content-type,authorization",
        }
        reply = talk.ask("OPTIONS", begin(talk, door).target(tail), asked)
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "PUT" in reply.headers["access-control-allow-methods"]
        assert "content-type" in reply.headers["access-control-allow-headers"]


def test_a19_pages_may_read_the_etag_of_a_part(talk: Talk) -> None:
    for door in DOORS:
        reply = begin(talk, door).put(1, DATA, origin="https://app.example.com")
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "etag" in reply.headers["access-control-expose-headers"].lower()


def test_c3_parts_go_to_every_accepted_host_with_one_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    hosts = ("v3.fal.media", "old.example.com", "cdn.example.com")
    folder = tmp_path_factory.mktemp("hosts")
    with running(folder, cdn_url="http://cdn.example.com", accepted_hosts="v3.fal.media, old.example.com") as server:
        talk = Talk(server)
        token = talk.token()
        upload = begin(talk, authorization=token, host="v3.fal.media")
        assert upload.url.startswith("http://cdn.example.com/files/b/")
        parts = [upload.part(n, b"%d" % n * 100, host=host) for n, host in enumerate(hosts, 1)]
        upload.finished(parts)
        assert talk.get(upload.url, host="old.example.com").body == b"1" * 100 + b"2" * 100 + b"3" * 100


def test_c5_multipart_replies_can_be_cut_by_grep_and_sed(talk: Talk) -> None:
    begun = talk.post("/files/upload/multipart", x_fal_file_name="a/b é.bin".encode())
    upload = begin(talk)
    part = upload.put(1, DATA)
    signed = talk.post_json("/storage/upload/initiate-multipart", {"file_name": "a/b é.bin"})
    for reply in (begun, part, upload.finish([part.json()]), upload.listing(), signed):
        assert reply.body.isascii()
        assert b"\\/" not in reply.body
        assert not re.search(rb'": |, "', reply.body)
        assert "error" not in reply.json()


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "video/mp4"])
def test_c11_the_end_is_taken_with_any_type_answers_a_json_object_and_may_be_retried(
    talk: Talk, content_type: str
) -> None:
    upload = begin(talk)
    part = upload.part(1, DATA)  # of a single part the digest is known at once
    first, again = (upload.finish([part], content_type=content_type) for _ in range(2))
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert isinstance(first.json(), dict)
    assert again.body == first.body


@pytest.mark.parametrize("door", DOORS)
def test_c11_an_upload_id_may_come_percent_quoted(talk: Talk, server: Server, door: str) -> None:
    upload = begin(talk, door, name="a b+c.bin")
    quoted = "".join(f"%{ord(c):02x}" for c in upload.id)
    other = Upload(talk, door, upload.url, upload.base.replace(upload.id, quoted), upload.query, upload.credential)
    other.finished([other.part(1, DATA)])
    assert talk.get(upload.url).body == DATA


def test_c11_name_and_lifecycle_headers_on_parts_and_the_end_are_borne(talk: Talk) -> None:
    more = {"x-fal-file-name": "other.bin", "x-fal-object-lifecycle": LIFECYCLE, "x-fal-source-request-id": "r"}
    upload = begin(talk, name="mine.bin")
    reply = talk.put(upload.target(1), DATA, **talk.key, **more)
    assert reply.status == 200
    body = json.dumps({"parts": [reply.json()]}).encode()
    done = talk.ask("POST", upload.target("complete"), {**talk.key, **more}, body)
    assert done.status == 200
    assert done.json()["file_name"] == "mine.bin"
    assert talk.get(upload.url).body == DATA


@pytest.mark.parametrize("door", DOORS)
def test_c12_the_end_of_the_url_is_the_original_name(talk: Talk, door: str) -> None:
    assert begin(talk, door, name="package-1.0.tar.gz").url.endswith("_package-1.0.tar.gz")
