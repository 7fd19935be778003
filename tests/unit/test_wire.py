"""How values are spelled on HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot import wire


@given(st.floats(-62_135_596_800.0, 253_402_300_799.0))
def test_a_time_in_milliseconds_is_what_the_calendar_says(seconds: float) -> None:
    calendar = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    assert wire.timestamp_ms(seconds) == calendar.replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1_731_024_000.0, "2024-11-08T00:00:00.000Z"),
        (1_731_024_000.605, "2024-11-08T00:00:00.605Z"),
        (1_731_023_999.999_999_7, "2024-11-08T00:00:00.000Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
        (-1e300, "0001-01-01T00:00:00.000Z"),
        (1e300, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_a_time_has_three_digits_of_a_second_and_stays_in_the_calendar(seconds: float, text: str) -> None:
    assert wire.timestamp_ms(seconds) == text
