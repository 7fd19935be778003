"""Byte ranges as RFC 9110 section 14 has them (docs/threats.md E01, E02)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.ranges import MAX_RANGES, ByteRange, Unsatisfiable, parse_ranges

SIZE = 10
WHOLE: list[tuple[int, int]] = []


def parse(header: str | None, size: int = SIZE) -> list[tuple[int, int]]:
    return [(r.start, r.end) for r in parse_ranges(header, size)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-1", [(0, 2)]),  # Safari's probe
        ("bytes=-1", [(9, 10)]),
        ("bytes=-10", [(0, 10)]),
        ("bytes=-11", [(0, 10)]),
        ("bytes=0-", [(0, 10)]),
        ("bytes=9-", [(9, 10)]),
        ("bytes=9-9", [(9, 10)]),
        ("bytes=5-99", [(5, 10)]),
        (f"bytes=0-{2**64}", [(0, 10)]),
        (f"bytes=-{2**64}", [(0, 10)]),
        ("bytes=000-001", [(0, 2)]),
        ("BYTES=0-1", [(0, 2)]),
        ("bytes=0-0,2-3", [(0, 1), (2, 4)]),
        ("bytes=0-0 ,\t2-3", [(0, 1), (2, 4)]),
        ("bytes=0-0,,2-3,", [(0, 1), (2, 4)]),
        ("bytes=7-8,0-1", [(7, 9), (0, 2)]),
        ("bytes=0-1,50-60", [(0, 2)]),
        ("bytes=-0,0-1", [(0, 2)]),
    ],
)
def test_these_ranges_are_sent(header, expected):
    assert parse(header) == expected


@pytest.mark.parametrize(
    "header", ["bytes=-0", "bytes=10-", "bytes=10-10", "bytes=99-100", f"bytes={2**64}-", "bytes=10-,20-"]
)
def test_a_well_formed_header_that_matches_nothing_is_unsatisfiable(header):
    with pytest.raises(Unsatisfiable):
        parse_ranges(header, SIZE)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
def test_no_range_of_an_empty_file_is_satisfiable(header):
    with pytest.raises(Unsatisfiable):
        parse_ranges(header, 0)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=5-2",
        "bytes=0-1,5-2",
        "bytes=a-b",
        "bytes=0x0-1",
        "bytes=1.0-2",
        "bytes=+1-2",
        "bytes=--1",
        "bytes=0-1-2",
        "bytes=0 - 1",
        "bytes=0- 1",
        "bytes=0",
        "bytes=0-1;q=1",
        "bytes=\u0660-\u0661",
        "bytes:0-1",
        "foo=0-1",
        "items=0-1",
        "0-1",
    ],
)
def test_another_unit_or_bad_syntax_is_ignored(header):
    assert parse(header) == WHOLE


@pytest.mark.parametrize("header", ["bytes=0-5,5-9", "bytes=0-,0-", "bytes=2-3,0-9", "bytes=-5,-5", "bytes=0-1,0-1"])
def test_overlapping_ranges_get_the_whole_object(header):
    assert parse(header) == WHOLE


def test_ranges_up_to_the_cap_are_sent_and_more_get_the_whole_object():
    spec = ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_RANGES))
    assert len(parse(f"bytes={spec}", 100)) == MAX_RANGES
    assert parse(f"bytes={spec},50-50", 100) == WHOLE


@pytest.mark.parametrize("order", [1, -1])
def test_ten_thousand_ranges_are_not_even_parsed(order):
    spec = ",".join(f"{2 * n}-{2 * n}" for n in range(10_000)[::order])
    assert parse(f"bytes={spec}", 10**6) == WHOLE


def test_a_range_knows_its_length_and_its_header():
    part = ByteRange(2, 5)
    assert len(part) == 3
    assert part.content_range(10) == "bytes 2-4/10"


NUMBER = st.integers(0, 30)
SPEC = st.one_of(
    st.builds("{}-{}".format, NUMBER, NUMBER), st.builds("{}-".format, NUMBER), st.builds("-{}".format, NUMBER)
)


@given(
    st.one_of(st.text(), st.text("bytes=0123456789-, "), st.lists(SPEC).map(lambda s: "bytes=" + ",".join(s))), NUMBER
)
def test_what_is_sent_is_disjoint_and_inside_the_object(header, size):
    try:
        found = parse_ranges(header, size)
    except Unsatisfiable:
        return
    sent = [position for part in found for position in range(part.start, part.end)]
    assert len(sent) == len(set(sent))
    assert set(sent) <= set(range(size))
    assert all(len(part) > 0 for part in found)
    assert len(found) <= MAX_RANGES


@given(SPEC, st.integers(1, 30))
def test_one_range_is_what_slicing_gives(spec, size):
    first, _, last = spec.partition("-")
    data = bytes(range(size))
    expected = data[int(first) : int(last) + 1 if last else size] if first else data[size - min(int(last), size) :]
    if first and last and int(last) < int(first):
        assert parse_ranges(f"bytes={spec}", size) == ()
    elif expected:
        (part,) = parse_ranges(f"bytes={spec}", size)
        assert data[part.start : part.end] == expected
    else:
        with pytest.raises(Unsatisfiable):
            parse_ranges(f"bytes={spec}", size)
