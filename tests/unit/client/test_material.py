"""What is sent, cut into parts; settings and URLs; the order of an upload's steps, without any network."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.client.asking import Context
from entrepot.client.commands import Reply
from entrepot.client.errors import IntegrityError, SourceError
from entrepot.client.flows import upload, ways
from entrepot.client.material import MAX_PARTS, FileMaterial, StreamMaterial
from entrepot.client.profile import Profile
from entrepot.client.retry import Policy
from entrepot.client.sources import BytesSource, FileSource, Stream, open_path
from entrepot.client.types import MIB, FileUrl, StorageACL, StorageSettings
from entrepot.client.wish import Wish
from entrepot.domain.keys import Secret
from support.scripted import run


class Sized(BytesSource):
    """A size, and no bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(b"")
        self._size = size

    @property
    def size(self) -> int:
        return self._size


@given(st.integers(0, 1 << 45), st.integers(1, 1 << 30))
def test_the_parts_of_any_size_are_few_enough_and_cover_it(size: int, part_size: int) -> None:
    material = FileMaterial(Sized(size), part_size)
    assert 1 <= material.count <= MAX_PARTS
    start, last = material._place(material.count)
    assert start + last == size and 0 <= last <= material.part_size


def test_a_sparse_file_of_a_terabyte_needs_no_reading_to_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    source = open_path(path)
    assert isinstance(source, FileSource)
    assert FileMaterial(source, 10 * MIB).count <= MAX_PARTS
    source.close()


def test_a_stream_of_too_many_parts_is_refused_when_it_is_too_long_and_not_before() -> None:
    for count in (MAX_PARTS, MAX_PARTS + 1):
        stream = Stream(iter([bytes(1)] * count + [b""] * 2).__next__)
        stream.take = lambda size, stream=stream: BytesSource(stream._more())  # type: ignore[method-assign,misc]
        material = StreamMaterial(stream, 1, stream.take(1))
        numbers = range(1, MAX_PARTS + 2)
        if count == MAX_PARTS:
            assert [run(material.part(n), iter(()), []) for n in numbers][-1] is None
        else:
            with pytest.raises(SourceError, match="longer than 10000 parts"):
                [run(material.part(n), iter(()), []) for n in numbers]


def context() -> Context:
    return Context(lambda: 0.0, lambda: 0.5, lambda: "unique", Policy())


def said(status: int = 200, **body: Any) -> Reply:
    return Reply(status, {}, json.dumps(body).encode() if body else b"")


DAY: dict[str, Any] = {"created_at": "2026-01-01T00:00:00+00:00", "expires_at": "2026-01-02T00:00:00+00:00"}
TOKEN = said(token="t", base_url="http://a", **DAY)
ONE = [Profile("http://a", Secret("id:secret"))]


def test_a_small_file_is_a_token_and_a_request_and_what_may_pass_is_repeated() -> None:
    sent: list[str] = []
    chain = ways(ONE, ["fal_v3"], Policy())
    replies = iter([TOKEN, said(503), said(access_url="http://a/files/b/x")])
    flow = upload(context(), chain, lambda: BytesSource(b"data"), Wish("x", "text/plain"))
    assert run(flow, replies, sent) == "http://a/files/b/x"
    assert sent == [
        "POST a/storage/auth/token?storage_type=fal-cdn-v3",
        "POST a/files/upload",
        "sleep",
        "POST a/files/upload",
    ]


def stored(data: bytes) -> Reply:
    """What a server says that took these bytes of a part."""
    return said(etag=hashlib.sha256(data).hexdigest())


BEGUN = said(access_url="http://a/f", uploadId="u")
PARTS = Wish("x", "text/plain", threshold=0, part_size=4)


def test_a_large_file_is_begun_sent_and_published_and_after_401_goes_on_with_another_token() -> None:
    sent: list[str] = []
    chain = ways(ONE, ["fal_v3"], Policy())
    published = said(access_url="http://a/f", digest=None)
    replies = iter([TOKEN, BEGUN, stored(b"1234"), said(401), TOKEN, stored(b"5678"), published])
    url = run(upload(context(), chain, lambda: BytesSource(b"12345678"), PARTS), replies, sent)
    assert (url, url.size) == ("http://a/f", 8)
    token = "POST a/storage/auth/token?storage_type=fal-cdn-v3"
    assert sent == [
        token, "POST a/files/upload/multipart", "PUT a/f/multipart/u/1", "PUT a/f/multipart/u/2", token,
        "PUT a/f/multipart/u/2", "POST a/f/multipart/u/complete",
    ]  # fmt: skip


class Zeros(Sized):
    """As many zeros."""

    def read(self, start: int, size: int) -> memoryview:
        return memoryview(bytes(size))


def test_above_100_mib_a_file_goes_in_parts_of_10_mib_of_which_10_are_on_their_way() -> None:
    whole = stored(bytes(10 * MIB))
    parts = [TOKEN, BEGUN, *[whole] * 10, stored(bytes(1)), said(access_url="http://a/f", digest=None)]
    for size, replies in ((100 * MIB, [TOKEN, said(access_url="http://a/f")]), (100 * MIB + 1, parts)):
        sent: list[str] = []
        chain = ways(ONE, ["fal_v3"], Policy())
        run(upload(context(), chain, partial(Zeros, size), Wish("x", "text/plain")), iter(replies), sent)
        assert len(sent) == len(replies)
    assert Wish("x", "text/plain").concurrency == 10


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_part_that_the_server_has_other_bytes_of_is_sent_again_and_never_published(times: int) -> None:
    sent: list[str] = []
    garbled = [stored(b"1235")] * times
    replies = iter([TOKEN, BEGUN, *garbled, stored(b"1234"), said(access_url="http://a/f", digest=None)])
    flow = upload(context(), ways(ONE, ["fal_v3"], Policy()), lambda: BytesSource(b"1234"), PARTS)
    if times < Policy().attempts:
        assert run(flow, replies, sent) == "http://a/f"
        assert sent.count("PUT a/f/multipart/u/1") == times + 1 and sent[-1].endswith("complete")
    else:
        with pytest.raises(IntegrityError, match="on the way"):
            run(flow, replies, sent)
        assert not any(each.endswith("complete") for each in sent)


def test_a_url_is_a_text_that_keeps_its_facts() -> None:
    url = FileUrl("http://a/x", "sha256:00", 5, "image/png", None)
    for again in (pickle.loads(pickle.dumps(url)), copy.copy(url), copy.deepcopy(url)):
        assert (again, again.digest, again.size, again.content_type) == (url, "sha256:00", 5, "image/png")
    assert json.dumps({"url": url}) == '{"url": "http://a/x"}' and f"{url}" == "http://a/x"


def test_never_is_said_and_nothing_is_not() -> None:
    assert StorageSettings("never").header() == '{"expiration_duration_seconds": null}'
    assert StorageSettings().header() is None
    assert StorageSettings(initial_acl=StorageACL()).header() is None
