"""Conditional requests (RFC 9110 section 13) and ranges (section 14): which reply a request for a file's bytes gets."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import NamedTuple

from entrepot.api.http_context import HttpContext
from entrepot.api.responses import Headers
from entrepot.domain.errors import Code, Problem
from entrepot.domain.ranges import ByteRange, Unsatisfiable, parse_ranges


class Representation(NamedTuple):
    """The state of a file that a request is held against; `etag` with its quotes, the time in epoch seconds. When
    `changes`, two states may have one time, so that no range goes by it (RFC 9110 section 13.1.5)."""

    etag: str
    modified_at: float
    size: int
    content_type: str
    changes: bool = False


async def evaluate_preconditions(
    ctx: HttpContext, file: Representation, headers: Headers
) -> tuple[int, tuple[ByteRange, ...]] | None:
    """The status and the ranges of a body that is still to be sent, with its headers added unless there are several;
    None when all was said: 304, 412, 416, and everything for HEAD."""
    if not _matches(ctx, file):
        changed = Problem(Code.PRECONDITION_FAILED, "The file is not the version that the request asks for.")
        await ctx.send_error(changed, [(b"etag", file.etag.encode())])
        return None
    if _not_modified(ctx, file):
        await ctx.reply(304, headers)
        return None
    try:
        ranges = _ranges(ctx, file)
    except Unsatisfiable:
        beyond = Problem(Code.RANGE_NOT_SATISFIABLE, f"The file has {file.size} bytes; none of them is in the range.")
        await ctx.send_error(beyond, [(b"content-range", b"bytes */%d" % file.size), (b"accept-ranges", b"bytes")])
        return None
    if len(ranges) > 1:
        return 206, ranges
    headers.append((b"content-type", file.content_type.encode("latin-1", "replace")))
    whole = ByteRange(0, file.size)
    chosen = ranges[0] if ranges else whole
    if ranges:
        headers.append((b"content-range", chosen.content_range(file.size).encode()))
    headers.append((b"content-length", b"%d" % len(chosen)))
    if ctx.method == "HEAD":
        await ctx.reply(200, headers)
        return None
    return 206 if ranges else 200, (chosen,)


def _matches(ctx: HttpContext, file: Representation) -> bool:
    """If-Match and If-Unmodified-Since."""
    wanted = ctx.header("if-match")
    if wanted is not None:
        return wanted == "*" or file.etag in tags_of(wanted)
    since = _date(ctx.header("if-unmodified-since"))
    return since is None or int(file.modified_at) <= since


def _not_modified(ctx: HttpContext, file: Representation) -> bool:
    """If-None-Match, else If-Modified-Since. The weak compare is meant here."""
    wanted = ctx.header("if-none-match")
    if wanted is not None:
        return wanted == "*" or file.etag in {tag.removeprefix("W/") for tag in tags_of(wanted)}
    since = _date(ctx.header("if-modified-since"))
    return since is not None and int(file.modified_at) <= since


def _ranges(ctx: HttpContext, file: Representation) -> tuple[ByteRange, ...]:
    """The ranges to send; none when If-Range names another version. Only GET has ranges (RFC 9110 section 14.2)."""
    header = ctx.header("range")
    if header is None or ctx.method != "GET":
        return ()
    condition = ctx.header("if-range")
    if condition not in (None, file.etag) and (file.changes or _date(condition) != int(file.modified_at)):
        return ()
    return parse_ranges(header, file.size)


def tags_of(header: str) -> frozenset[str]:
    """The ETags of a condition, with their quotes."""
    return frozenset(tag.strip() for tag in header.split(","))


def _date(text: str | None) -> int | None:
    """An HTTP date in epoch seconds; None for anything else."""
    if text is None:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None
