"""JSON that clients send: how large it may be, and how it is read without keeping other requests waiting.

The parser holds the interpreter's lock from beginning to end, in a thread too; so a large body is looked at first, and
one of more values than anybody needs is not parsed at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS

T = TypeVar("T")

MAX_FIELDS = 32 * 1024  # bytes: a path or a URL of 4,096 characters, each of them escaped
MAX_PARTS_LIST = MAX_PARTS * 120 + 1024  # bytes: the list of parts that completes an upload
IN_THREAD = 64 * 1024  # from this many bytes on, parsing is no work for the event loop
MAX_VALUES = 64_000  # of 10,000 parts with six fields each


async def parsed(raw: bytes, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a body; its errors are raised. Raises Problem for too many values."""
    if len(raw) < IN_THREAD:
        return parse(raw)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise Problem(Code.VALIDATION_FAILED, f"It has more than {MAX_VALUES} values.", where=("body",))
    return await asyncio.to_thread(parse, raw)
