"""Sizes: what is read, what is refused, and that a size is written as it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1000", 1000), ("1K", 1024), ("5 m", 5 << 20), ("5MB", 5 << 20), ("5MiB", 5 << 20), (" 2T ", 2 << 40)],
)
def test_a_size_may_have_a_suffix(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "0x10", "1_000", "5P", "٣K", "9" * 5000, "5 5"])
def test_malformed_size_is_refused(text):
    with pytest.raises(ValueError, match="it must be a number of bytes"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_size_survives_formatting(count):
    assert parse_size(format_size(count)) == count
