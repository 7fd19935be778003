"""A request's body as it arrives."""

from __future__ import annotations

import asyncio

import pytest

from entrepot.api.http_context import HttpContext, Message, MinRate
from entrepot.domain.errors import Code, Problem


def test_a30_time_in_which_nothing_is_read_does_not_count_against_the_client() -> None:
    messages = [b"1", b"2", b"3"]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": messages.pop(0), "more_body": True}

    async def test() -> None:
        scope = {"method": "PUT", "path": "/", "headers": []}
        body = HttpContext(scope, receive, receive, "id", MinRate(1000, 0.05)).body(60)  # type: ignore[arg-type]
        for number in b"123":
            assert await anext(body) == b"%c" % number
            await asyncio.sleep(0.1)  # a slot, or the disk
        with pytest.raises(Problem) as refused:
            await anext(body)
        assert refused.value.code is Code.TIMED_OUT

    asyncio.run(test())
