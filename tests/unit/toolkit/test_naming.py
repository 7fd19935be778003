"""Names of downloaded files."""

import pytest

from entrepot.client.partial import HIDDEN
from entrepot.toolkit.naming import choose_name, url_digest

URL = "http://files.example.com/a/photo.png?x=1"


def disposition(value: str) -> dict[str, str]:
    return {"content-disposition": value}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "photo.png"),
        ("http://h/a%20b.png", "a%20b.png"),
        ("http://h/a/b/", "b"),
        ("http://h/%2e%2e", "%2e%2e"),
        ("http://h/.bashrc", ".bashrc"),
        ("http://h/a\\b", "a\\b"),
    ],
)
def test_the_last_segment_of_the_url_is_the_name_as_it_is_spelled(url, name):
    assert choose_name(url, {}) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('attachment; filename="b.png"', "b.png"),
        ("attachment; filename=b.png", "b.png"),
        ("attachment; filename=b.png; filename*=UTF-8''%C3%A9.png", "é.png"),
        ('attachment; filename="a \\"b\\".png"', 'a "b".png'),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\..\\\\evil.exe"', "evil.exe"),
        ("attachment; filename*=UTF-8''..%2F..%2Fx", "x"),
        ('attachment; filename="caf\xc3\xa9.png"', "café.png"),
        ('attachment; filename="one"; filename="two"', "one"),
    ],
)
def test_the_base_name_of_content_disposition_goes_first(value, name):
    assert choose_name(URL, disposition(value)) == name


@pytest.mark.parametrize("bad", ["..", ".", "/", "a/", "a/..", "...", " ", "a\x01b", "a%00b", "x" * 256, f"{HIDDEN}x"])
def test_b12_a_name_that_is_none_becomes_the_hash_of_the_url(bad):
    quoted = "".join(f"%{ord(c):02X}" for c in bad if c != "%") if "%" not in bad else bad
    assert choose_name(URL, disposition(f"attachment; filename*=UTF-8''{quoted}")) == url_digest(URL)


@pytest.mark.parametrize("bad", ["..", ".", "/", "a/..", "x" * 300])
def test_b12_the_same_in_the_plain_form(bad):
    assert choose_name(URL, disposition(f'attachment; filename="{bad}"')) == url_digest(URL)


@pytest.mark.parametrize("url", ["http://h", "http://h/", "http://h/..", "http://h/.", "http://h/" + "x" * 256])
def test_a_url_without_a_name_has_its_hash(url):
    assert choose_name(url, {}) == url_digest(url)


def test_a_disposition_without_a_name_leaves_it_to_the_url():
    assert choose_name(URL, disposition("attachment")) == "photo.png"
