"""Sizes in bytes as people write them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,19})\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_SUFFIXES = ("", "K", "M", "G", "T")


def parse_size(text: str) -> int:
    """Bytes, with an optional suffix K, M, G or T (powers of 1024; `KB` and `KiB` are the same). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError("it must be a number of bytes, or one with K, M, G or T")
    return int(found[1]) << 10 * _SUFFIXES.index(found[2].upper())


def format_size(count: int) -> str:
    """The shortest text that `parse_size` reads as this many bytes: `64M`, `1000`."""
    scale = 0
    while count and count % 1024 == 0 and scale < len(_SUFFIXES) - 1:
        count, scale = count // 1024, scale + 1
    return f"{count}{_SUFFIXES[scale]}"
