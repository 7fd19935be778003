"""How many uploads a key may have open beside the other keys of its account."""

from __future__ import annotations

import pytest

from entrepot.domain.uploads import may_begin


def begun(limit: int, held: dict[str, int], key: str, keys: list[str]) -> int:
    """How many uploads a key can begin until it is refused."""
    others = [other for other in keys if other != key]
    before = held.get(key, 0)
    while may_begin(limit, held, key, others):
        held[key] = held.get(key, 0) + 1
        assert held[key] <= 2 * limit + 2
    return held[key] - before if key in held else 0


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 5000])
def test_s2_a_key_alone_has_the_whole_limit(limit: int) -> None:
    assert begun(limit, {}, "a", ["a"]) == limit


@pytest.mark.parametrize("number", [2, 3, 7, 100, 5000])
@pytest.mark.parametrize("limit", [1, 2, 10, 5000])
def test_s2_no_key_can_keep_another_one_out(limit: int, number: int) -> None:
    keys = [f"key{n}" for n in range(min(number, 200))] + ["last"]
    held: dict[str, int] = {}
    share = max(1, limit // (2 * len(keys)))
    assert [key for key in keys if begun(limit, held, key, keys) < share] == []
    assert sum(held.values()) <= max(limit, len(keys))


def test_s2_a_key_that_is_new_begins_where_an_older_one_had_all() -> None:
    assert begun(10, {"old": 10}, "new", ["old", "new"]) == 2
