"""Several connections for one file: only where it is faster, and never other bytes."""

from __future__ import annotations

import os
import threading

import pytest

from entrepot.fetch import Fetcher, Policy
from entrepot.toolkit import ranges
from entrepot.toolkit.download import Wish, download
from support.internet import Internet, Reply, Request

URL = "http://files.example.com/file.bin"
BODY = os.urandom(6_000_011)


class Origin:
    """Serves ranges. From its `limit`-th request on a range is refused with 429; `etag` changes after `changes`."""

    def __init__(self, net: Internet) -> None:
        self.limit = self.changes = 10**9
        self.guard = threading.Lock()
        self.count = 0
        self.site = net.serve(self.answer)

    def answer(self, request: Request) -> Reply:
        with self.guard:
            self.count += 1
            number = self.count
        etag, body = ('"2"', BODY[::-1]) if number > self.changes else ('"1"', BODY)
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if "range" not in request.headers or request.headers["if-range"] != etag:
            return Reply(body, headers=headers)
        begin, _, end = request.headers["range"].removeprefix("bytes=").partition("-")
        whole = not end or int(end) == len(body) - 1
        if number >= self.limit and not whole:
            return Reply(status=429)
        last = int(end or len(body) - 1)
        headers["Content-Range"] = f"bytes {begin}-{last}/{len(body)}"
        return Reply(body[int(begin) : last + 1], 206, headers)


@pytest.fixture
def origin():
    with Internet() as net:
        origin = Origin(net)
        origin.net = net  # type: ignore[attr-defined]
        yield origin


@pytest.fixture
def get(origin, tmp_path, monkeypatch):
    """With sizes and times that make a small file on the loopback worth several connections."""
    monkeypatch.setattr(ranges, "SMALLEST", 1)
    monkeypatch.setattr(ranges, "PIECE", 100_000)
    monkeypatch.setattr(ranges, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(ranges, "FAST", float("inf"))
    monkeypatch.setattr(ranges, "GAIN", 0.0)

    def get(connections: int = 4) -> bytes:
        wish = Wish(URL, tmp_path / "target", connections=connections)
        return download(wish, Fetcher(Policy(), origin.net)).read_bytes()

    return get


def asked_ranges(origin: Origin) -> int:
    return sum("range" in request.headers for request in origin.site.requests)


def test_the_rest_comes_by_ranges_and_is_the_same(get, origin, tmp_path):
    assert get() == BODY
    assert asked_ranges(origin) > 10
    assert os.listdir(tmp_path / "target") == ["file.bin"]


def test_one_connection_stays_one(get, origin):
    assert get(connections=1) == BODY
    assert asked_ranges(origin) == 0


def test_a_fast_one_stays_alone(get, origin, monkeypatch):
    monkeypatch.setattr(ranges, "FAST", 0)
    assert get() == BODY
    assert asked_ranges(origin) == 0


def test_where_several_are_not_faster_one_goes_on(get, origin, monkeypatch):
    monkeypatch.setattr(ranges, "GAIN", float("inf"))
    assert get() == BODY
    asked = [request.headers["range"] for request in origin.site.requests if "range" in request.headers]
    sizes = [int(end) - int(begin) for begin, end in (text.removeprefix("bytes=").split("-") for text in asked)]
    assert max(sizes) > 1_000_000


@pytest.mark.parametrize("limit", [2, 5, 20])
def test_where_the_server_refuses_more_one_goes_on(get, origin, limit):
    origin.limit = limit
    assert get() == BODY


@pytest.mark.parametrize("changes", [1, 2, 7, 30])
def test_e15_where_the_file_changes_between_ranges_it_begins_anew(get, origin, changes):
    origin.changes = changes
    assert get() == BODY[::-1]


def test_e15_a_range_that_ends_early_is_no_range_of_zeros(get, origin):
    """A 206 without a length that the end of the connection ends."""
    answer = origin.site.handler

    def short(request: Request) -> Reply:
        reply = answer(request)
        if reply.status == 206 and request.headers["range"] != f"bytes=0-{len(BODY) - 1}":
            head = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            whole = reply.headers["Content-Range"].partition("-")[2].startswith(f"{len(BODY) - 1}/")
            body = reply.body if whole else reply.body[:-1]
            return Reply(raw=f"HTTP/1.1 206 x\r\n{head}\r\n".encode() + body)
        return reply

    origin.site.handler = short
    assert get() == BODY
