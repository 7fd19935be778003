"""GET and HEAD of object URLs: headers, conditions, and what a browser may do with the bytes."""

from __future__ import annotations

import base64
import hashlib
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote, urlsplit

import pytest

from support.inside import with_metadata
from support.server import Server
from support.talk import Reply, Talk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return Talk(server).upload(PNG, content_type="image/png", x_fal_file_name="cat picture.png")


@pytest.fixture(scope="module")
def etag(server: Server, url: str) -> str:
    return Talk(server).get(url).headers["etag"]


def test_a_public_file_comes_whole_with_exact_length_and_its_stored_type(talk: Talk, url: str) -> None:
    reply = talk.get(url, accept_encoding="gzip, br")
    assert (reply.status, reply.body) == (200, PNG)
    assert reply.headers["content-length"] == str(len(PNG))
    assert reply.headers["content-type"] == "image/png"
    assert "content-encoding" not in reply.headers
    assert "transfer-encoding" not in reply.headers


def test_a_file_says_its_digest(talk: Talk, url: str) -> None:
    digest = base64.b64encode(hashlib.sha256(PNG).digest()).decode()
    assert talk.get(url).headers["repr-digest"] == f"sha-256=:{digest}:"


def test_a_part_says_the_digest_of_the_whole(talk: Talk, url: str) -> None:
    assert talk.get(url, range="bytes=0-3").headers["repr-digest"] == talk.get(url).headers["repr-digest"]


def test_the_etag_is_strong_and_not_the_digest(talk: Talk, url: str, etag: str) -> None:
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert etag != talk.get(talk.upload(PNG)).headers["etag"]


def test_last_modified_is_the_time_of_publishing(talk: Talk, url: str) -> None:
    reply = talk.get(url)
    age = parsedate_to_datetime(reply.headers["date"]) - parsedate_to_datetime(reply.headers["last-modified"])
    assert 0 <= age.total_seconds() < 3600


def test_a_public_file_may_be_kept_by_caches_for_ever(talk: Talk, url: str) -> None:
    assert talk.get(url).headers["cache-control"] == "public, max-age=31536000, immutable"


def test_bytes_of_users_never_run_in_our_origin(talk: Talk, url: str) -> None:
    headers = talk.get(url).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in headers


def test_a_plain_read_names_no_file(talk: Talk, url: str) -> None:
    assert "content-disposition" not in talk.get(url).headers


def test_download_gives_the_original_name(talk: Talk, url: str) -> None:
    header = talk.get(url + "?download=1").headers["content-disposition"]
    assert header == "attachment; filename=\"cat picture.png\"; filename*=UTF-8''cat%20picture.png"


@pytest.mark.parametrize("query", ["", "?download=0", "?download=1&download=1", "?x=1"])
def test_any_other_query_changes_nothing(talk: Talk, url: str, query: str) -> None:
    reply = talk.get(url + query)
    assert (reply.status, reply.body) == (200, PNG)
    assert "content-disposition" not in reply.headers


def test_an_unsafe_type_is_an_attachment_without_a_name(talk: Talk) -> None:
    url = talk.upload(b"<html><script>1</script>", content_type="text/html", x_fal_file_name="a.html")
    assert talk.get(url).headers["content-disposition"] == "attachment"


BROWSERS = [
    {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
]
PROGRAMS = [
    {},
    {"accept": "*/*"},
    {"accept": "application/octet-stream", "user_agent": "Mozilla/5.0 (Macintosh) Gecko/20100101 Firefox/21.0"},
    {"sec_fetch_mode": "cors", "accept": "text/html"},
    {"sec_fetch_mode": "no-cors", "accept": "image/*"},
]


def test_r03_a_browser_saves_an_attachment_under_its_own_name(talk: Talk) -> None:
    url = talk.upload(b"<html><script>1</script>", content_type="text/html", x_fal_file_name="é a.html")
    for headers in BROWSERS:
        for reply in (talk.get(url, **headers), talk.head(url, **headers)):
            told = reply.headers["content-disposition"]
            assert told == "attachment; filename=\"_ a.html\"; filename*=UTF-8''%C3%A9%20a.html"
            assert reply.headers["vary"] == "Accept, Sec-Fetch-Mode"


def test_r03_programs_that_save_under_that_name_get_none(talk: Talk) -> None:
    url = talk.upload(b"\x08\0\0\0\0\0\0\0{}", content_type="application/octet-stream", x_fal_file_name="a.bin")
    for headers in PROGRAMS:
        reply = talk.get(url, **headers)
        assert reply.headers["content-disposition"] == "attachment"
        assert reply.headers["vary"] == "Accept, Sec-Fetch-Mode"
    shown = talk.get(talk.upload(PNG, x_fal_file_name="a.png"), **BROWSERS[0]).headers
    assert "content-disposition" not in shown and "vary" not in shown


# Conditions (RFC 9110 section 13)


def test_if_none_match_with_the_etag_is_304_without_a_body(talk: Talk, url: str, etag: str) -> None:
    for value in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        reply = talk.get(url, if_none_match=value)
        assert (reply.status, reply.body) == (304, b""), value
        assert reply.headers["etag"] == etag
        assert reply.headers["cache-control"].startswith("public")
        assert reply.headers.get("content-length", str(len(PNG))) == str(len(PNG))


def test_if_none_match_with_another_etag_is_200(talk: Talk, url: str) -> None:
    assert talk.get(url, if_none_match='"other"').status == 200


def test_if_modified_since_is_304_from_the_last_change_on(talk: Talk, url: str) -> None:
    modified = talk.get(url).headers["last-modified"]
    seconds = parsedate_to_datetime(modified).timestamp()
    assert talk.get(url, if_modified_since=modified).status == 304
    assert talk.get(url, if_modified_since=formatdate(seconds + 9, usegmt=True)).status == 304
    assert talk.get(url, if_modified_since=formatdate(seconds - 1, usegmt=True)).status == 200
    assert talk.get(url, if_modified_since="yesterday").status == 200


def test_if_none_match_speaks_before_if_modified_since(talk: Talk, url: str) -> None:
    modified = talk.get(url).headers["last-modified"]
    assert talk.get(url, if_none_match='"other"', if_modified_since=modified).status == 200


def test_if_match_lets_only_this_version_through(talk: Talk, url: str, etag: str) -> None:
    assert talk.get(url, if_match=etag).status == 200
    assert talk.get(url, if_match="*").status == 200
    assert talk.get(url, if_match='"other"').status == 412
    assert talk.get(url, if_match=f"W/{etag}").status == 412


def test_if_unmodified_since_before_the_last_change_is_412(talk: Talk, url: str) -> None:
    modified = talk.get(url).headers["last-modified"]
    seconds = parsedate_to_datetime(modified).timestamp()
    assert talk.get(url, if_unmodified_since=modified).status == 200
    assert talk.get(url, if_unmodified_since=formatdate(seconds - 1, usegmt=True)).status == 412


@pytest.mark.parametrize("headers", [{"if_match": '"other"'}, {"range": "bytes=99999-"}])
def test_a_refusal_by_condition_or_range_is_an_error_like_any_other_and_no_cache_keeps_it(
    talk: Talk, url: str, headers: dict[str, str]
) -> None:
    reply = talk.get(url, **headers)
    assert reply.status in (412, 416)
    assert reply.headers["cache-control"] == "no-store"
    assert {"detail", "message", "code", "fix", "request_id"} <= reply.json().keys()


def test_conditions_speak_for_head_as_for_get(talk: Talk, url: str, etag: str) -> None:
    assert talk.head(url, if_none_match=etag).status == 304
    assert talk.head(url, if_match='"other"').status == 412


# Names and paths


@pytest.mark.parametrize(
    ("old", "new"),
    [(".png", ".pn"), (".png", ".pngx"), (".png", ".png/"), ("_cat", "_dog"), ("/files/b/", "/files/b/x"),
     ("/files/b/", "/files//b/"), ("/files/b/", "/files/b//"), ("/files/b/", "/Files/b/"), ("_cat%20picture.png", ""),
     ("_cat%20picture.png", ".png"), ("_cat", "%2Fcat"), ("_cat", "_Cat")],
)  # fmt: skip
def test_only_the_whole_url_opens_the_file(talk: Talk, url: str, old: str, new: str) -> None:
    reply = talk.get(urlsplit(url).path.replace(old, new))
    assert reply.status == 404
    assert reply.headers["cache-control"] == "no-store"


def test_another_way_to_escape_the_same_path_opens_the_same_file(talk: Talk, url: str) -> None:
    path = urlsplit(url).path
    escaped = path.replace("cat", "%63%61%74").replace("png", "%70ng")
    assert talk.get(escaped).body == PNG


def test_a_path_that_is_not_utf_8_is_422(talk: Talk, url: str) -> None:
    reply = talk.get(urlsplit(url).path + "%ff")
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["path"]


def test_a_method_that_is_not_possible_says_which_are(talk: Talk, url: str) -> None:
    for method in ("DELETE", "PATCH", "POST"):
        reply = talk.ask(method, url)
        assert reply.status == 405
        assert {"GET", "HEAD", "PUT", "OPTIONS"} == set(reply.headers["allow"].split(", "))


# Names with every difficult character


@pytest.mark.parametrize(
    "name",
    ["a#b.png", "a?b.png", "a%b.png", "a%2Fb.png", "a+b.png", "a b.png", "a;b=c.png", "é☃.png", "a&b.png",
     "a'b\".png", "~a.png", "(a).png", "[b]x[b].png", "=cmd().csv"],
)  # fmt: skip
def test_b11_every_name_makes_the_round_trip_from_upload_over_url_to_download(talk: Talk, name: str) -> None:
    data = name.encode() * 3
    url = talk.upload(data, x_fal_file_name=name.encode())
    assert url.isascii()
    assert url.endswith("_" + quote(name, safe=""))
    assert talk.get(url).body == data
    header = talk.get(url + "?download=1").headers["content-disposition"]
    assert f"filename*=UTF-8''{quote(name, safe='')}" in header


# Declared and missing types


def test_a_declared_type_is_served_verbatim(talk: Talk) -> None:
    declared = 'Audio/X-Thing; Codec="a b"'
    assert talk.get(talk.upload(b"1234", content_type=declared)).headers["content-type"] == declared


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        ("a.glb", b"glTF\x02\0\0\0", "model/gltf-binary"),
        ("a.flac", b"fLaC\0", "audio/flac"),
        ("a.m4a", b"\0\0\0\x18ftypM4A ", "audio/mp4"),
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0" + b'{"a":[]}', "application/x-safetensors"),
        ("noname", PNG, "image/png"),
        ("a.weird", b"\x01\x02\x03", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("declared", [None, "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_type_that_says_nothing_is_improved(
    talk: Talk, name: str, head: bytes, expected: str, declared: str | None
) -> None:
    extra = {} if declared is None else {"content_type": declared}
    url = talk.upload(head, x_fal_file_name=name, **extra)
    assert talk.get(url).headers["content-type"] == expected


# HEAD


def assert_same_headers(get: Reply, head: Reply) -> None:
    own = {"x-request-id", "date"}
    assert (get.status, head.body) == (head.status, b"")
    assert sorted(p for p in get.pairs if p[0] not in own) == sorted(p for p in head.pairs if p[0] not in own)


def test_c10_head_gives_the_headers_of_get_for_every_route(talk: Talk, url: str) -> None:
    private = talk.upload(PNG, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    html = talk.upload(b"<html>", content_type="text/html")
    empty = talk.upload(b"")
    nowhere = urlsplit(url).path + "nowhere"
    targets = [url, url + "?download=1", html, empty, private, nowhere, "/healthz", "/readyz", "/openapi.json"]
    for target in [*targets, "/nothing", "//files/upload"]:
        assert_same_headers(talk.get(target), talk.head(target))
    for target in ("/files/upload", "/storage/auth/token", "/storage/upload/initiate"):
        assert (talk.get(target).status, talk.head(target).status) == (405, 405)


def test_a_reply_of_the_owner_and_one_of_the_public_differ_in_caching_only(talk: Talk) -> None:
    url = talk.upload(PNG, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    assert talk.get(url).status == 403
    assert talk.get(url).headers["cache-control"] == "no-store"
    mine = talk.get(url, **talk.key)
    assert (mine.status, mine.body) == (200, PNG)
    assert mine.headers["cache-control"] == "private, no-store"


# Bytes that are not what was stored are in test_damage.py; lifetimes in test_lifecycle.py.


def test_the_catalogue_is_what_says_that_a_contradiction_was_seen(talk: Talk) -> None:
    """docs/threats.md C03: PNG bytes named .mp4 and typed audio/wav."""
    url = talk.upload(PNG, content_type="audio/wav", x_fal_file_name="a.mp4")
    reply = talk.get(url)
    assert reply.headers["content-type"] == "audio/wav"
    assert reply.headers["content-disposition"] == "attachment"
    object_id = urlsplit(url).path.rpartition("/")[2].partition("_")[0]
    obj = with_metadata(talk.server, lambda metadata: metadata.objects.get(object_id))
    assert (obj.content_type, obj.sniffed_type, obj.inline) == ("audio/wav", "image/png", False)
