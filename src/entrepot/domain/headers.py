"""Values of HTTP headers that are read in more than one place: pure.

A header is bytes. It is kept as Latin-1, one character a byte, so that nothing of it is lost; whoever needs the text
that was meant asks `text_of`.
"""

from __future__ import annotations

from datetime import UTC


def text_of(value: str | bytes) -> str:
    """The text that a header's bytes (or their Latin-1 form) mean: UTF-8 where they are that, else Latin-1."""
    try:
        return (value.encode("latin-1") if isinstance(value, str) else value).decode("utf-8")
    except UnicodeError:
        return value if isinstance(value, str) else value.decode("latin-1")


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait by a Retry-After, which has seconds or a date (RFC 9110 section 10.2.3); None for neither."""
    if value.isascii() and value.strip().isdecimal():
        return float(value)
    if not value:
        return None
    from email.utils import parsedate_to_datetime  # takes long, and is seldom needed

    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
