"""Origins: scheme, host and port of a server, to which clients append paths."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def parse_origin(text: str) -> str:
    """`https://host[:port]` without path, query or trailing slash. Raises ValueError, whose message never repeats the
    text: it may hold a password."""
    parts = _split(text.strip())
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("it must be an origin such as https://cdn.example.com")
    if not _has_port(parts):
        raise ValueError("its port must be from 1 to 65535")
    if parts.path not in ("", "/") or parts.query or parts.fragment or not text.isascii():
        raise ValueError("it must have no path, query or fragment, and be ASCII")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _split(text: str) -> SplitResult | None:
    if not text.isprintable() or " " in text:
        return None
    try:
        return urlsplit(text)
    except ValueError:  # brackets around what is no address
        return None


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is absent, or a number that a port can have."""
    try:
        return parts.port != 0
    except ValueError:
        return False
