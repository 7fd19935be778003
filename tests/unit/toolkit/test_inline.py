"""Data URIs."""

import base64
import tracemalloc
from urllib.parse import unquote_to_bytes

import pytest

from entrepot.toolkit import inline
from entrepot.toolkit.errors import FileTooLarge, InvalidDataUri


@pytest.mark.parametrize(
    ("url", "data", "kind"),
    [
        ("data:,hello%20world", b"hello world", "text/plain;charset=US-ASCII"),
        ("data:text/plain;base64,aGVsbG8=", b"hello", "text/plain"),
        ("DATA:text/plain;BASE64,aGVsbG8=", b"hello", "text/plain"),
        ("data:text/plain;base64,aGVsbG8", b"hello", "text/plain"),
        ("data:text/plain;base64,aGVs\nbG8=", b"hello", "text/plain"),
        ("data:text/plain;base64,aGVsbG8%3D", b"hello", "text/plain"),
        ("data:;base64,_-8=", b"\xff\xef", "text/plain;charset=US-ASCII"),
        ("data:text/html;charset=utf-8,caf%C3%A9", "café".encode(), "text/html;charset=utf-8"),
        ("data:text/html;charset=utf-8;base64,Y2Fmw6k=", "café".encode(), "text/html;charset=utf-8"),
        ("data:;charset=utf-8,x", b"x", "text/plain;charset=utf-8"),
        ("data:,", b"", "text/plain;charset=US-ASCII"),
        ("data:,a,b", b"a,b", "text/plain;charset=US-ASCII"),
        ("data:,é", "é".encode(), "text/plain;charset=US-ASCII"),
        ("data:image/svg+xml;utf8,<svg/>", b"<svg/>", "image/svg+xml"),
        ("data:image/svg+xml;utf8;charset=utf-8,<svg/>", b"<svg/>", "image/svg+xml;charset=utf-8"),
        ('data:text/plain;x="a;b;c",x', b"x", 'text/plain;x="a;b;c"'),
        ("data:;utf8,x", b"x", "text/plain;charset=US-ASCII"),
    ],
)
def test_e13_a_data_uri_is_decoded(url, data, kind):
    assert inline.decode(url) == inline.Inline(data, kind)


@pytest.mark.parametrize("url", ["data:", "data:text/plain", "data:text/plain;base64", "data:" + "x" * 2000 + ",a"])
def test_e13_one_without_a_comma_is_refused(url):
    with pytest.raises(InvalidDataUri, match="comma"):
        inline.decode(url)


@pytest.mark.parametrize("data", ["a", "aGVsb", "a===b", "a*b=", "%ff%fe"])
def test_e13_bad_base64_is_refused(data):
    with pytest.raises(InvalidDataUri, match="base64"):
        inline.decode(f"data:text/plain;base64,{data}")


@pytest.mark.parametrize("kind", ["nonsense", "a/b/c", "text/ plain", "text/plain;x y", "\r\nx"])
def test_e13_a_wrong_type_is_refused(kind):
    with pytest.raises(InvalidDataUri, match="media type"):
        inline.decode(f"data:{kind},x")


def test_e13_a_huge_one_is_decoded_or_refused_by_the_limit():
    data = bytes(range(256)) * 48_000
    url = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    assert inline.decode(url).data == data
    assert inline.decode(url, len(data)).data == data
    for limit in (len(data) - 1, 1000):
        with pytest.raises(FileTooLarge):
            inline.decode(url, limit)


@pytest.mark.parametrize("shift", range(4))
def test_escapes_are_decoded_wherever_they_lie_and_in_little_memory(shift):
    url = "data:," + "x" * shift + "%41" * 1_000_000 + "%4"
    tracemalloc.start()
    try:
        assert inline.decode(url).data == b"x" * shift + b"A" * 1_000_000 + b"%4"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["%", "%%%", "a%4", "%zz%41", "%é", "é%41" * 50_000, "%%4" * 50_000, "%4%" * 50_000])
def test_odd_escapes_are_what_the_library_makes_of_them(text):
    assert inline.decode(f"data:,{text}").data == unquote_to_bytes(text)


def test_a_character_that_is_none_is_refused():
    with pytest.raises(InvalidDataUri, match="surrogate"):
        inline.decode("data:,\ud800")
