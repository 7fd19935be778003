"""How sizes, times and lifetimes are written for people, and read from them: pure."""

from __future__ import annotations

import argparse
import math
import re
import unicodedata
from datetime import datetime

from entrepot.domain.sizes import parse_size

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_LIFETIME = re.compile(r"(\d{1,12})([smhdwy]?)")


def size(count: float) -> str:
    """`512 B`, `1.2 GB`: powers of 1000."""
    scale = _scale(count)
    return f"{_number(count, scale)} {_UNITS[scale]}"


def share(done: float, total: float) -> str:
    """`1.2 of 4.0 GB`: both in the unit of the total."""
    scale = _scale(total)
    return f"{_number(done, scale)} of {_number(total, scale)} {_UNITS[scale]}"


def _scale(count: float) -> int:
    scale = 0
    # What would be rounded up to 1000.0 is one of the next unit.
    while scale < len(_UNITS) - 1 and round(count / 1000**scale, 1) >= 1000:
        scale += 1
    return scale


def _number(count: float, scale: int) -> str:
    return f"{count / 1000**scale:.1f}" if scale else f"{count:.0f}"


def cells(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def duration(seconds: float) -> str:
    """`0:34`, `12:05`, `1:02:03`; days as `2 d 3 h`."""
    whole = max(0, math.ceil(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(when: datetime, now: datetime) -> str:
    """`26 Nov 14:00` in this machine's zone; with the year when it is not this one."""
    local, today = when.astimezone(), now.astimezone()
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local.day} {_MONTHS[local.month - 1]}{year} {local:%H:%M}"


def parse_lifetime(text: str) -> str | int:
    """`never`, `immediate` or seconds: `3600`, `90m`, `12h`, `45d`, `2w`, `1y`. Raises ArgumentTypeError."""
    if text in ("never", "immediate"):
        return text
    found = _LIFETIME.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no lifetime; it is never, immediate, or a number of seconds or with s, m, h, d, w or y: 12h"
        )
    return int(found[1]) * _SECONDS[found[2]]


def parse_count(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def parse_seconds(text: str) -> float:
    """Seconds, more than none. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def parse_bytes(text: str) -> int:
    """A size such as `16M`, more than none. Raises ArgumentTypeError."""
    try:
        count = parse_size(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; it is a number of bytes, or one with K, M, G or T")
    return count


def parse_tag(text: str) -> str:
    """An entity tag. Raises ArgumentTypeError."""
    if not text.strip() or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no entity tag; entrepot files ls --json tells it")
    return text.strip()
