"""Sizes, times and lifetimes as people write them."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import pytest

from entrepot.cli import formats


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_a_size_has_one_decimal_and_never_four_digits_before_it(count, text):
    assert formats.size(count) == text


def test_both_numbers_of_a_share_are_in_one_unit():
    assert formats.share(1_200_000_000, 4_000_000_000) == "1.2 of 4.0 GB"
    assert formats.share(5_000_000, 4_000_000_000) == "0.0 of 4.0 GB"
    assert formats.share(1, 6) == "1 of 6 B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (33.2, "0:34"), (725, "12:05"), (3723, "1:02:03"), (200_000, "2 d 7 h"), (-1, "0:00")],
)
def test_a_time_is_rounded_up(seconds, text):
    assert formats.duration(seconds) == text


def test_a_moment_has_its_year_only_when_it_is_another():
    now = datetime.now(UTC).replace(month=6, day=15, hour=12)
    assert formats.moment(now, now).startswith("15 Jun ")
    assert formats.moment(now.replace(year=now.year + 1), now).startswith(f"15 Jun {now.year + 1} ")


@pytest.mark.parametrize(
    ("text", "value"),
    [("never", "never"), ("immediate", "immediate"), ("3600", 3600), ("90m", 5400), ("12h", 43200), ("45d", 3888000),
     ("1y", 31536000), ("2w", 1209600), ("30s", 30)],
)  # fmt: skip
def test_a_lifetime_is_a_word_or_a_number_with_a_unit(text, value):
    assert formats.parse_lifetime(text) == value


@pytest.mark.parametrize("text", ["", "soon", "1.5h", "-1", "1 h", "h", "1x", "9" * 13])
def test_what_is_no_lifetime_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no lifetime"):
        formats.parse_lifetime(text)


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "x"])
def test_a_time_out_is_a_number_above_none(text):
    with pytest.raises(argparse.ArgumentTypeError):
        formats.parse_seconds(text)
