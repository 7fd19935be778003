"""Reads of the volume: ranges, conditions, HEAD, and readers that go or do not read."""

from __future__ import annotations

import hashlib
import os
import re
from email.utils import formatdate

import psutil
import pytest

from entrepot.wire import repr_digest
from support.files import Files
from support.talk import eventually, line

DATA = bytes(i % 251 for i in range(1000))
BIG = os.urandom(3 * 1024 * 1024)
BOTH = ["/files/file//data/reads/{}", "/v1/serverless/files/file/reads/{}"]


@pytest.fixture(autouse=True)
def stored(files: Files) -> None:
    if not (files.root / "reads").exists():
        files.store("reads/a", DATA)
        files.store("reads/big", BIG)
        files.store("reads/empty", b"")


@pytest.mark.parametrize("route", BOTH)
@pytest.mark.parametrize(
    ("header", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=-1", 206, 999, 1000),
        ("bytes=10-", 206, 10, 1000),
        ("bytes=0-5000", 206, 0, 1000),
        ("bytes=5-2", 200, 0, 1000),
        ("chars=0-1", 200, 0, 1000),
        ("bytes=1000-", 416, 0, 0),
    ],
)
def test_e01_ranges(files: Files, route: str, header: str, status: int, start: int, end: int) -> None:
    got = files.get(route.format("a"), **files.key, range=header)
    assert got.status == status
    if status == 416:
        assert got.headers["content-range"] == "bytes */1000"
        return
    assert (got.body, got.headers["content-length"]) == (DATA[start:end], str(end - start))
    assert got.headers.get("content-range") == (f"bytes {start}-{end - 1}/1000" if status == 206 else None)


@pytest.mark.parametrize("route", BOTH)
def test_several_ranges_come_as_parts(files: Files, route: str) -> None:
    got = files.get(route.format("big"), **files.key, range="bytes=0-9,2000000-3000000")
    kind, _, boundary = got.headers["content-type"].partition("; boundary=")
    assert (got.status, kind, int(got.headers["content-length"])) == (206, "multipart/byteranges", len(got.body))
    parts = [part.partition(b"\r\n\r\n") for part in got.body.split(f"--{boundary}".encode())[1:-1]]
    assert [body[:-2] for _, _, body in parts] == [BIG[:10], BIG[2000000:3000001]]
    assert b"application/octet-stream" in parts[0][0]


@pytest.mark.parametrize("name", ["a", "big", "empty"])
def test_a_download_tells_length_digest_etag_and_time(files: Files, name: str) -> None:
    data = {"a": DATA, "big": BIG, "empty": b""}[name]
    for route in BOTH:
        got = files.get(route.format(name), **files.key)
        assert (got.status, got.body, got.headers["content-length"]) == (200, data, str(len(data)))
        assert got.headers["repr-digest"] == repr_digest(hashlib.sha256(data).digest())
        assert re.fullmatch(r'"[\w-]{22}"', got.headers["etag"])
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["last-modified"] == formatdate((files.root / "reads" / name).stat().st_mtime, usegmt=True)


@pytest.mark.parametrize("route", [*BOTH, "/files/list//data/reads", "/v1/serverless/files/list/reads?limit=1",
                                   "/v1/serverless/files/stat/reads/{}", "/v1/serverless/files/usage/reads",
                                   "/v1/serverless/files/trash?limit=1", "/v1/serverless/files/list/none",
                                   "/v1/none"])  # fmt: skip
def test_c10_head_equals_get(files: Files, route: str) -> None:
    for extra in ({}, {"if_none_match": "*"}, {"if_match": '"x"'}):
        got, head = (way(route.format("a"), **files.key, **extra) for way in (files.get, files.head))
        varying = {"date", "x-request-id", "content-length"} if got.status >= 400 else {"date", "x-request-id"}
        assert head.status == got.status
        assert head.body == b""
        assert {k: v for k, v in head.headers.items() if k not in varying} == {
            k: v for k, v in got.headers.items() if k not in varying
        }


def test_conditions_follow_the_file(files: Files) -> None:
    etag = files.store("reads/changing", b"one").headers["etag"]
    target = "/v1/serverless/files/file/reads/changing"

    def status(**headers: str) -> int:
        return files.get(target, **files.key, **headers).status

    assert (status(if_none_match=etag), status(if_match=etag)) == (304, 200)
    assert (status(if_none_match=f"W/{etag}"), status(if_none_match='"other"')) == (304, 200)
    assert status(range="bytes=0-0", if_range=etag) == 206
    (files.root / "reads" / "changing").write_bytes(b"two")  # a program on the disk, in place
    assert (status(if_none_match=etag), status(if_match=etag)) == (200, 412)
    assert status(range="bytes=0-0", if_range=etag) == 200
    second = formatdate((files.root / "reads" / "changing").stat().st_mtime, usegmt=True)
    assert status(range="bytes=0-0", if_range=second) == 200, "two states may be of one second"
    future, past = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"
    assert (status(if_modified_since=future), status(if_modified_since=past)) == (304, 200)
    assert (status(if_unmodified_since=future), status(if_unmodified_since=past)) == (200, 412)


def test_a_digest_is_not_told_of_bytes_that_changed_on_the_disk(files: Files) -> None:
    files.store("reads/touched", b"one")
    with (files.root / "reads" / "touched").open("r+b") as file:
        file.write(b"TWO")
    got = files.get(BOTH[1].format("touched"), **files.key)
    assert (got.body, "repr-digest" in got.headers) == (b"TWO", False)
    assert (
        files.v1("GET", "stat/reads/touched?checksum=1").json()["checksum_sha256"] == hashlib.sha256(b"TWO").hexdigest()
    )


def test_a_folder_is_no_file(files: Files) -> None:
    for root in ("/files/file//data", "/v1/serverless/files/file/"):
        assert "The volume is a folder." in files.get(root, **files.key).body.decode()
    for route in BOTH:
        got = files.get(route.format(""), **files.key)
        assert (got.status, "reads is a folder" in got.body.decode()) == (409, True)
        assert files.get(route.format("none"), **files.key).status == 404
        assert files.get(route.format("a/below"), **files.key).status == 404


def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was(files: Files) -> None:
    (files.root / "reads" / "replaced").write_bytes(b"1" * 16_000_000)
    with line(files.server, receive_buffer=65536) as slow:
        slow.send_head("GET", BOTH[1].format("replaced"), **files.key)
        head = slow.head()
        assert head.header("content-length") == b"16000000"
        files.store("reads/replaced", b"2")
        assert slow.receive_exactly(16_000_000) == b"1" * 16_000_000
    assert files.read("reads/replaced") == b"2"


def test_a_file_that_is_cut_while_it_is_sent_ends_the_connection(files: Files) -> None:
    path = files.root / "reads" / "cut"
    path.write_bytes(b"1" * 60_000_000)
    with line(files.server, receive_buffer=4096) as slow:
        slow.send_head("GET", BOTH[1].format("cut"), **files.key)
        assert slow.head().header("content-length") == b"60000000"
        os.truncate(path, 1000)
        assert len(slow.rest()) < 60_000_000


def test_a_reader_that_goes_leaves_no_open_file(files: Files) -> None:
    path = files.root / "reads" / "left"
    path.write_bytes(b"1" * 60_000_000)
    for _ in range(3):
        with line(files.server, receive_buffer=4096) as gone:
            gone.send_head("GET", BOTH[0].format("left"), **files.key)
            assert gone.head().status == 200
            gone.reset()

    def still_open() -> list[str]:
        return [
            f.path for pid in files.server.workers() for f in psutil.Process(pid).open_files() if f.path == str(path)
        ]

    eventually(lambda: not still_open())
