"""Range requests (RFC 9110 section 14), docs/threats.md E01 and E02."""

from __future__ import annotations

import re

import pytest

from support.server import Server
from support.talk import Talk

SIZE = 1000
DATA = bytes(i % 251 for i in range(SIZE))
BIG = bytes(range(256)) * 4 * 1024 * 2  # 2 MiB: not from the cache of small files


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return Talk(server).upload(DATA, content_type="video/mp4", x_fal_file_name="clip.mp4")


@pytest.fixture(scope="module")
def big(server: Server) -> str:
    return Talk(server).upload(BIG)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-1", 0, 2),  # the question that Safari asks first
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-5000", 0, SIZE),
        ("bytes=0-", 0, SIZE),
        ("bytes=999-", 999, SIZE),
        ("bytes=10-5000", 10, SIZE),
        ("bytes= 5-9 ", 5, 10),
        ("Bytes=5-9", 5, 10),
        ("bytes=5-9,", 5, 10),
        ("bytes=5-9,2000-", 5, 10),
        (f"bytes=0-{2**64}", 0, SIZE),
        (f"bytes=-{2**64}", 0, SIZE),
    ],
)
def test_e01_a_range_gives_exactly_its_bytes(talk: Talk, url: str, header: str, start: int, end: int) -> None:
    reply = talk.get(url, range=header)
    assert (reply.status, reply.body) == (206, DATA[start:end])
    assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert reply.headers["content-length"] == str(end - start)
    assert reply.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    "header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=2000-,3000-", f"bytes={2**64}-"]
)
def test_e01_a_range_without_any_byte_is_416_with_the_size(talk: Talk, url: str, header: str) -> None:
    reply = talk.get(url, range=header)
    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "header",
    ["bytes=5-2", "bytes=", "bytes", "foo=0-1", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=0x1-2", "bytes=0-1;", "0-1",
     "bytes=0-1, 5-2", "bytes=\N{SUPERSCRIPT TWO}-", "bytes=0 -1", ""],
)  # fmt: skip
def test_e01_what_is_no_range_gives_the_whole_file(talk: Talk, url: str, header: str) -> None:
    reply = talk.get(url, range=header.encode("latin-1"))
    assert (reply.status, reply.body) == (200, DATA)
    assert "content-range" not in reply.headers


def test_an_empty_file_has_no_ranges(talk: Talk) -> None:
    url = talk.upload(b"")
    for header in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        reply = talk.get(url, range=header)
        assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (65535, 65537),
        (65536, 131072),
        (1, 2 * 1024 * 1024),
        (524287, 524289),
        (1024 * 1024, 1024 * 1024 + 700000),
    ],
)
def test_ranges_across_blocks_and_pieces_give_exactly_their_bytes(talk: Talk, big: str, start: int, end: int) -> None:
    reply = talk.get(big, range=f"bytes={start}-{end - 1}")
    assert (reply.status, reply.body == BIG[start:end]) == (206, True)


def parts_of(body: bytes, content_type: str) -> list[tuple[bytes, bytes, bytes]]:
    """Content-Type, Content-Range and bytes of each part of multipart/byteranges."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", content_type)
    assert boundary
    mark = b"\r\n--" + boundary[1].encode()
    first, *parts, last = body.split(mark)
    assert (first, last) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, data = part.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if line)
        found.append((fields[b"Content-Type"], fields[b"Content-Range"], data))
    return found


def test_several_ranges_come_as_parts_in_the_order_asked_for(talk: Talk, url: str) -> None:
    reply = talk.get(url, range="bytes=500-509, 0-4, -1")
    assert reply.status == 206
    assert reply.headers["content-length"] == str(len(reply.body))
    assert "content-range" not in reply.headers
    assert parts_of(reply.body, reply.headers["content-type"]) == [
        (b"video/mp4", b"bytes 500-509/1000", DATA[500:510]),
        (b"video/mp4", b"bytes 0-4/1000", DATA[:5]),
        (b"video/mp4", b"bytes 999-999/1000", DATA[-1:]),
    ]


def test_several_ranges_of_a_large_file_come_as_parts_too(talk: Talk, big: str) -> None:
    reply = talk.get(big, range="bytes=0-599999,700000-1999999")
    found = parts_of(reply.body, reply.headers["content-type"])
    assert [data for _, _, data in found] == [BIG[:600000], BIG[700000:2000000]]


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-9,5-14",
        "bytes=0-999,0-999",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 18, 2)),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(10_000, 0, -1)),
    ],
)
def test_e02_overlapping_or_too_many_ranges_give_the_whole_file_once(talk: Talk, url: str, header: str) -> None:
    reply = talk.get(url, range=header)
    assert (reply.status, reply.body) == (200, DATA)


def test_if_range_with_the_current_etag_or_date_gives_the_range(talk: Talk, url: str) -> None:
    whole = talk.get(url)
    for validator in (whole.headers["etag"], whole.headers["last-modified"]):
        assert talk.get(url, range="bytes=0-1", if_range=validator).status == 206


@pytest.mark.parametrize("validator", ['"other"', 'W/"other"', "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"])
def test_if_range_with_anything_else_gives_the_whole_file(talk: Talk, url: str, validator: str) -> None:
    reply = talk.get(url, range="bytes=0-1", if_range=validator)
    assert (reply.status, reply.body) == (200, DATA)


def test_if_range_with_the_weak_form_of_the_etag_gives_the_whole_file(talk: Talk, url: str) -> None:
    etag = talk.get(url).headers["etag"]
    assert talk.get(url, range="bytes=0-1", if_range=f"W/{etag}").status == 200


def test_if_range_does_not_save_an_unsatisfiable_range_of_another_version(talk: Talk, url: str) -> None:
    assert talk.get(url, range="bytes=5000-", if_range='"other"').status == 200


def test_a_not_modified_file_is_304_whatever_range_is_asked_for(talk: Talk, url: str) -> None:
    etag = talk.get(url).headers["etag"]
    assert talk.get(url, range="bytes=0-1", if_none_match=etag).status == 304
    assert talk.get(url, range="bytes=5000-", if_none_match=etag).status == 304


def test_head_has_no_ranges(talk: Talk, url: str) -> None:
    for header in ("bytes=0-1", "bytes=5000-"):
        reply = talk.head(url, range=header)
        assert (reply.status, reply.headers["content-length"]) == (200, str(SIZE))
        assert reply.headers["accept-ranges"] == "bytes"
