"""Origins: scheme, host and maybe a port; nothing else, and no part of the text in an error."""

from __future__ import annotations

import pytest

from entrepot.domain.origins import parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Media.Example", "https://media.example"),
        (" http://192.0.2.7:8000/ ", "http://192.0.2.7:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_origin_is_normalised(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "x", "ftp://h", "http://", "http://h:99999", "http://h:0", "http://h:s3cret", "http://h/path", "http://h?q",
        "http://h#f", "http://u:s3cret@h", "http://u:s3cret/x@h", "http://é", "http://[s3cret]", "http://[::1",
        "http://a b", "http://h\x00:1", "http://h\r\nx:y",
    ],
)  # fmt: skip
def test_what_is_not_an_origin_is_refused_without_repeating_it(text):
    with pytest.raises(ValueError, match=r"^it") as caught:
        parse_origin(text)
    assert "s3cret" not in str(caught.value)
