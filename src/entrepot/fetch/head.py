"""The head of an HTTP/1.1 reply, read strictly: pure (RFC 9112). What can be read in two ways is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?")
# Fields that are no lists: of two that say the same one is meant, and of others the first.
_SINGLE = frozenset({
    "content-disposition", "content-range", "content-type", "etag", "last-modified", "location", "retry-after",
})  # fmt: skip
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Malformed(ValueError):
    """What came is not a reply; the text says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """Names are in lower case; values of one name are joined by a comma, as RFC 9110 section 5.2 has it. Values are
    Latin-1, one character a byte: the text that was meant is `domain.headers.text_of`."""

    status: int
    headers: dict[str, str]
    length: int | None
    chunked: bool


def parse(block: bytes, max_headers: int) -> Head:
    """Read a head, from the status line to the last field, without the empty line. Raises Malformed."""
    first, *lines = block.replace(b"\r\n", b"\n").split(b"\n")
    status = _STATUS.fullmatch(first)
    if not status:
        raise Malformed("it does not answer in HTTP/1.1")
    if len(lines) > max_headers:
        raise Malformed(f"its reply has more than {max_headers} headers")
    headers = _fields(lines)
    chunked = _is_chunked(headers)
    return Head(int(status[1]), headers, None if chunked else _length(headers), chunked)


def _fields(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in _unfolded(lines):
        raw, colon, rest = line.partition(b":")
        raw = raw.rstrip(b" \t")  # some servers write blanks there, which a proxy would remove (section 5.1)
        if not colon or not _NAME.fullmatch(raw) or b"\r" in line or b"\0" in line:
            raise Malformed("its reply has a header that cannot be read")
        name, value = raw.decode("ascii").lower(), rest.strip(b" \t").decode("latin-1")
        if name not in found:
            found[name] = value
        elif name not in _SINGLE:
            found[name] = f"{found[name]}, {value}"
        elif name == "location" and found[name] != value:
            raise Malformed("its reply names two places to go to")
    return found


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """A line that begins with a blank goes on with the one before it (section 5.2)."""
    whole: list[bytes] = []
    for line in lines:
        if whole and line[:1] in (b" ", b"\t"):
            whole[-1] = whole[-1].rstrip(b" \t") + b" " + line.strip(b" \t")
        else:
            whole.append(line)
    return whole


def _is_chunked(headers: dict[str, str]) -> bool:
    coding = headers.get("transfer-encoding")
    if coding is None or coding.strip().lower() == "identity":  # which once said that there is none
        return False
    if coding.strip().lower() != "chunked":
        raise Malformed("its reply has a transfer coding that was not asked for")
    return True


def _length(headers: dict[str, str]) -> int | None:
    value = headers.get("content-length")
    if value is None:
        return None
    same = {each.strip() for each in value.split(",")}  # the same one twice is one (RFC 9110 section 8.6)
    number = same.pop()
    if same or not re.fullmatch(r"[0-9]{1,18}", number):
        raise Malformed("its reply has a Content-Length that is no number")
    return int(number)
