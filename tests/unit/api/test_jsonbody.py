"""How JSON of clients is read: large bodies in a thread, and only when they have no more values than anybody needs."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from pydantic import TypeAdapter

from entrepot.api.jsonbody import IN_THREAD, MAX_PARTS_LIST, MAX_VALUES, parsed, validated
from entrepot.api.models import CompleteMultipart
from entrepot.domain.errors import Problem
from entrepot.domain.multipart import MAX_PARTS


@pytest.mark.parametrize(("size", "beside"), [(IN_THREAD - 1, False), (IN_THREAD, True)])
def test_m4_a_large_body_is_parsed_beside_the_loop(size: int, beside: bool) -> None:
    where = asyncio.run(parsed(b" " * size, lambda raw: threading.get_ident()))
    assert (where != threading.get_ident()) is beside


@pytest.mark.parametrize("value", [b"[],", b"{},", b"1,", b"[", b'{"a":'])
def test_m4_too_many_values_are_not_parsed(value: bytes) -> None:
    parses: list[bytes] = []
    with pytest.raises(Problem, match="values"):
        asyncio.run(parsed(value * (MAX_VALUES + 1) + b" " * IN_THREAD, parses.append))
    assert not parses


def test_m4_the_longest_list_of_parts_fits() -> None:
    parts = [{"partNumber": number, "etag": f'"{"f" * 64}"'} for number in range(1, MAX_PARTS + 1)]
    raw = json.dumps({"parts": parts, "size": 10**15, "digest": "sha256:" + "0" * 64}).encode()
    assert len(raw) <= MAX_PARTS_LIST
    model = TypeAdapter(CompleteMultipart)
    cited, _, _ = asyncio.run(parsed(raw, lambda raw: validated(model, raw))).cited()
    assert len(cited) == MAX_PARTS
