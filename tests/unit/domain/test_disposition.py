"""Content-Disposition: what user agents read of it, and what `email` reads where it is right."""

from __future__ import annotations

from email.message import Message

import pytest

from entrepot.domain import disposition
from entrepot.domain.headers import retry_after, text_of

# What `email`, by which fal's package names its files, reads too.
LIKE_EMAIL = {
    "attachment": "",
    "": "",
    "inline": "",
    "attachment; filename=b.png": "b.png",
    'attachment; filename="b.png"': "b.png",
    'ATTACHMENT; FILENAME="b.png"': "b.png",
    'attachment;filename="b.png"': "b.png",
    'attachment; filename = "b.png"': "b.png",
    'attachment; foo=bar; filename="b.png"; size=3': "b.png",
    'attachment; filename="a;b.png"': "a;b.png",
    'attachment; filename="a \\"b\\".png"': 'a "b".png',
    'filename="b.png"': "b.png",
    "attachment; filename*=UTF-8''caf%C3%A9.png": "café.png",
    "attachment; filename*=utf-8'en'caf%C3%A9.png": "café.png",
    "attachment; filename*=ISO-8859-1''caf%E9.png": "café.png",
    "attachment; filename*0=long; filename*1=name.png": "longname.png",
    "attachment; filename*0*=UTF-8''caf%C3; filename*1*=%A9.png": "café.png",
    'attachment; filename=""': "",
}
# What browsers read, and `email` does not, or not so.
AS_BROWSERS = {
    "attachment; filename=a.png; filename*=UTF-8''b.png": "b.png",
    "attachment; filename*=UTF-8''b.png; filename=a.png": "b.png",
    "attachment; filename*=UTF-8''caf%E9.png; filename=b.png": "b.png",
    "attachment; filename*=KOI8-R''b.png; filename=c.png": "c.png",
    "attachment; filename*=b.png; filename=c.png": "c.png",
    'attachment; filename="one.png"; filename="two.png"': "one.png",
    'attachment; filename="never ends.png': "never ends.png",
    "attachment; filename=two words.png": "two words.png",
    "attachment; filename= b.png ;x=y": "b.png",
    'attachment; x="; filename=no.png"; filename=b.png': "b.png",
    'attachment; filename="caf\xc3\xa9.png"': "café.png",
    'attachment; filename="caf\xe9.png"': "café.png",
    "attachment; filename=\xe4\xbd\xa0.png": "你.png",
    'attachment; filename="=?UTF-8?B?Y2Fmw6kucG5n?="': "café.png",
    'attachment; filename="=?no-charset?Q?x?="': "=?no-charset?Q?x?=",
    "attachment; filename": "",
    "attachment; filename=": "",
    ";;;": "",
}


@pytest.mark.parametrize(("value", "name"), [*LIKE_EMAIL.items(), *AS_BROWSERS.items()])
def test_d03_a_name_is_read_as_browsers_do(value: str, name: str) -> None:
    assert disposition.file_name(value) == name


@pytest.mark.parametrize(("value", "name"), LIKE_EMAIL.items())
def test_a_name_that_email_reads_is_the_same(value: str, name: str) -> None:
    message = Message()
    message["content-disposition"] = value
    assert (message.get_filename() or "") == name


@pytest.mark.parametrize(
    "name", ["a.png", "a b;c.png", 'say "x".png', "100%.png", "café.png", "你好.txt", "back\\slash"]
)
def test_a_name_that_is_made_is_read_back(name: str) -> None:
    value = disposition.make("attachment", name)
    assert value.isascii() and disposition.file_name(value) == name


def test_a_long_value_is_read_in_no_time() -> None:
    for piece in (";", '"', "; filename", "; a=b", '; a="', "\\", " ", "; filename*0=x"):
        disposition.file_name("attachment" + piece * 20_000)


def test_header_bytes_are_utf_8_or_latin_1() -> None:
    assert [text_of(raw) for raw in (b"caf\xc3\xa9", "caf\xc3\xa9", b"caf\xe9", b"")] == ["café", "café", "café", ""]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("0", 0.0), ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
     ("", None), ("soon", None), ("-1", None), ("1.5", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, 1445412480.0) == seconds
