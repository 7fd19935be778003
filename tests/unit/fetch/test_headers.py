"""Response headers as user agents read them (RFC 9110, RFC 9112)."""

from __future__ import annotations

import pytest

from entrepot.fetch import Fetcher, Policy, urls
from entrepot.fetch.errors import BadReply, InvalidUrl
from entrepot.fetch.head import Malformed, parse
from support.internet import Internet, Reply, fetched

HERE = urls.read("http://a.example/x/y")


@pytest.fixture
def net():
    with Internet() as net:
        yield net


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/café.bin".encode(), "http://a.example/caf%C3%A9.bin"),
        ("/café.bin".encode("latin-1"), "http://a.example/caf%E9.bin"),
        ("/你好/ф.bin?q=é#f".encode(), "http://a.example/%E4%BD%A0%E5%A5%BD/%D1%84.bin?q=%C3%A9"),
        (b"/\x80\x85\xff", "http://a.example/%80%85%FF"),
        ("é".encode(), "http://a.example/x/%C3%A9"),
        ("?é".encode(), "http://a.example/x/y?%C3%A9"),
        ("https://bücher.example/é".encode(), "https://xn--bcher-kva.example/%C3%A9"),
        ("//bücher.example:81".encode(), "http://xn--bcher-kva.example:81/"),
        (b"/a%20b%C3%A9 c", "http://a.example/a%20b%C3%A9%20c"),
        (b"  /b  ", "http://a.example/b"),
    ],
)
def test_d03_bytes_of_a_redirect_are_encoded_as_they_are(location, url):
    assert urls.follow(HERE, location.decode("latin-1")).url == url


@pytest.mark.parametrize("location", [b"/a\x01", b"/a\x7f", b"http://b\xe9\xe9.example/", b"//user:s3cret@h/\xc3\xa9"])
def test_d03_a_redirect_that_is_no_url_stays_refused(location):
    with pytest.raises(InvalidUrl) as caught:
        urls.follow(HERE, location.decode("latin-1"))
    assert "s3cret" not in str(caught.value)


def test_d03_a_redirect_in_raw_utf_8_is_followed(net):
    paths = {"/start": b"HTTP/1.1 302 x\r\nLocation: /caf\xc3\xa9.bin\r\nContent-Length: 0\r\n\r\n"}
    net.serve(lambda request: Reply(raw=paths[request.path]) if request.path in paths else Reply(request.path.encode()))
    assert fetched(Fetcher(Policy(), net), "http://files.example.com/start") == b"/caf%C3%A9.bin"


@pytest.mark.parametrize(
    "coding", ["UTF-8", "aws-chunked", "none", "binary", "identity", "Identity, ,", "", ",", "foo", "AWS-Chunked,utf-8"]
)
def test_d04_a_word_that_is_no_coding_is_passed_over(net, coding):
    net.serve(lambda request: Reply(b"hello", headers={"Content-Encoding": coding}))
    assert fetched(Fetcher(Policy(), net), "http://files.example.com/x") == b"hello"


@pytest.mark.parametrize(
    "coding", ["GZIP", "x-gzip", "aws-chunked, gzip", "identity,br", " zstd ", "compress", "deflate", "gzip;q=1.0"]
)
def test_d04_a_coding_that_changes_bytes_is_refused(net, coding):
    net.serve(lambda request: Reply(b"hello", headers={"Content-Encoding": coding}))
    with pytest.raises(BadReply, match="encoded"):
        fetched(Fetcher(Policy(), net), "http://files.example.com/x")


@pytest.mark.parametrize(
    ("lines", "headers"),
    [
        (["A: b", "\tc", "  d"], {"a": "b c d"}),
        (["A : b"], {"a": "b"}),
        (["A: 1", "a: 2"], {"a": "1, 2"}),
        (["Content-Type: text/html", "Content-Type: text/html"], {"content-type": "text/html"}),
        (["ETag: \"1\"", "ETag: \"2\""], {"etag": '"1"'}),
        (["Location: /a", "Location: /a"], {"location": "/a"}),
        (["Content-Disposition: inline;", " filename=a"], {"content-disposition": "inline; filename=a"}),
        (["A:"], {"a": ""}),
    ],
)  # fmt: skip
def test_fields_are_unfolded_and_those_that_are_no_lists_are_one(lines, headers):
    assert parse("\r\n".join(["HTTP/1.1 200 OK", *lines]).encode(), 100).headers == headers


@pytest.mark.parametrize("lines", [["Location: /a", "Location: /b"], [" A: b"], ["A b: c"], [": x"]])
def test_fields_that_can_be_read_in_two_ways_are_refused(lines):
    with pytest.raises(Malformed):
        parse("\r\n".join(["HTTP/1.1 302 OK", *lines]).encode(), 100)
