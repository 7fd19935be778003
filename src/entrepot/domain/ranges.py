"""Byte ranges (RFC 9110 section 14) as pure values."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

# More ranges than this are answered with the whole object, as RFC 9110 section 14.2 allows (docs/threats.md E02).
MAX_RANGES = 8
_SPEC = re.compile(r"(\d*)-(\d*)\Z")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end`, `end` not included."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


class Unsatisfiable(Exception):
    """No byte of the object is in any of the ranges: 416."""


def parse_ranges(header: str | None, size: int) -> tuple[ByteRange, ...]:
    """Return the ranges to send; an empty tuple means the whole object with 200.

    A header of another unit, of bad syntax, with more than `MAX_RANGES` ranges, or whose ranges overlap or add up to
    more than the object is ignored. Raises `Unsatisfiable` when it is well formed and matches nothing.
    """
    if header is None or len(header) > 1024:
        return ()
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return ()
    parsed = [_parse_spec(spec.strip(" \t"), size) for spec in specs.split(",") if spec.strip(" \t")]
    if not parsed or len(parsed) > MAX_RANGES or any(p is None for p in parsed):
        return ()
    found = [p for p in parsed if p]
    if not found:
        raise Unsatisfiable
    if len(found) > 1 and not _disjoint(found):
        return ()
    return tuple(found)


def _parse_spec(spec: str, size: int) -> ByteRange | tuple[()] | None:
    """One `first-last`, `first-` or `-suffix`; None for bad syntax, `()` for one that matches nothing."""
    match = _SPEC.match(spec)
    if match is None or not spec.isascii():
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        length = min(int(last), size)
        return ByteRange(size - length, size) if length else ()
    if last and int(last) < int(first):
        return None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    return ByteRange(start, end) if start < size else ()


def _disjoint(ranges: list[ByteRange]) -> bool:
    ordered = sorted(ranges, key=lambda r: r.start)
    return all(a.end <= b.start for a, b in itertools.pairwise(ordered))
