"""JSON bodies of requests: their bounds, and how they are parsed and validated without keeping other requests waiting.

The parser holds the interpreter's lock from beginning to end, in a thread too; so a large body is looked at first, and
one of more values than anybody needs is not parsed at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from entrepot import wire
from entrepot.api.http_context import HttpContext
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS

T = TypeVar("T")

MAX_FIELDS = 32 * 1024  # bytes: a path or a URL of 4,096 characters, each of them escaped
MAX_PARTS_LIST = MAX_PARTS * 120 + 1024  # bytes: the list of parts that completes an upload
IN_THREAD = 64 * 1024  # from this many bytes on, parsing is no work for the event loop
MAX_VALUES = 64_000  # of 10,000 parts with six fields each
_MAX_NAME = 64  # characters of a field's name in an error


async def read(ctx: HttpContext, model: TypeAdapter[T], limit: int, stall_timeout: float) -> T:
    """The value of a request's JSON body of any content type, of at most `limit` bytes. Raises Problem and
    ClientGone."""
    return await parsed(await ctx.read_body(limit, stall_timeout), lambda raw: validated(model, raw))


def validated(model: TypeAdapter[T], raw: bytes) -> T:
    """The value of a JSON body; no body is None. Raises Problem(VALIDATION_FAILED)."""
    try:
        value = wire.strict_json(raw) if raw.strip() else None
    except ValueError as error:
        raise Problem(Code.VALIDATION_FAILED, f"It is not valid JSON: {error}", where=("body",)) from None
    try:
        return model.validate_python(value)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False), "body") from None


def invalid(errors: Sequence[Any], *where: str) -> Problem:
    """The first error of pydantic's as a problem."""
    first = errors[0]
    loc = (each if isinstance(each, int) else str(each)[:_MAX_NAME] for each in first["loc"])
    message = _MESSAGES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return Problem(Code.VALIDATION_FAILED, message, where=(*where, *loc))


_MESSAGES = {"missing": "The field is required.", "extra_forbidden": "There is no such field."}


async def parsed(raw: bytes, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a body; its errors are raised. Raises Problem for too many values."""
    if len(raw) < IN_THREAD:
        return parse(raw)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise Problem(Code.VALIDATION_FAILED, f"It has more than {MAX_VALUES} values.", where=("body",))
    return await asyncio.to_thread(parse, raw)
