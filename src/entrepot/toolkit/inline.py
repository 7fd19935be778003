"""Data URIs: the bytes of a file in the text of a URL (RFC 2397). No network."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from entrepot.domain.mediatypes import is_valid_type
from entrepot.toolkit.errors import FileTooLarge, InvalidDataUri

_DEFAULT_TYPE = "text/plain;charset=US-ASCII"
_PIECE = 64 * 1024
_HEADER = 1024  # characters before the comma
_FORM = "The form is data:<media type>;base64,<data>."
_BLANKS = b" \t\r\n\f"
_FLAG = re.compile(r";\s*[\w-]+\s*(?=;|\Z)")  # no parameter, but browsers take `data:image/svg+xml;utf8,<svg/>`


@dataclass(frozen=True, slots=True)
class Inline:
    """What a data URI holds; `content_type` with its parameters, such as a charset."""

    data: bytes
    content_type: str


def is_data_uri(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode(url: str, max_bytes: int | None = None) -> Inline:
    """Decode percent-encoding and base64 (its padding may be missing, blanks are passed over).

    Raises InvalidDataUri, FileTooLarge.
    """
    comma = url.find(",", 5, 5 + _HEADER)
    if not is_data_uri(url) or comma < 0:
        raise InvalidDataUri("The data URI has no comma before its data.", _FORM)
    kind, text = url[5:comma], url[comma + 1 :]
    marked = re.search(r";\s*base64\s*\Z", kind, re.IGNORECASE)
    kind = (kind[: marked.start()] if marked else kind).strip()
    if max_bytes is not None and len(text) * 3 // 4 > 3 * max_bytes + 4:
        raise _too_large(max_bytes)
    data = _unquoted(text)
    data = _from_base64(data) if marked else data
    if max_bytes is not None and len(data) > max_bytes:
        raise _too_large(max_bytes)
    return Inline(data, _media_type(kind))


def _media_type(kind: str) -> str:
    for each in (kind, _FLAG.sub("", kind)):  # as it is, if it is sound: a quoted value may look like a flag
        told = f"text/plain{each}" if each.startswith(";") else each or _DEFAULT_TYPE
        if is_valid_type(told):
            return told
    raise InvalidDataUri("The data URI names no sound media type.", _FORM)


def _unquoted(text: str) -> bytes:
    """Percent-decoded piece by piece: the library makes objects of every escape, thirty times the text."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise InvalidDataUri("The data URI has a character that is none (a lone surrogate).", _FORM) from None
    if b"%" not in raw:
        return raw
    data, at = bytearray(), 0
    while at < len(raw):
        end = at + _PIECE
        if (begun := raw.rfind(b"%", end - 2, end)) >= 0:
            end = begun  # an escape is not cut
        data += unquote_to_bytes(raw[at:end])
        at = end
    return bytes(data)


def _from_base64(data: bytes) -> bytes:
    bare = data.translate(None, _BLANKS).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:
        raise InvalidDataUri(f"The data URI is not in base64: {error}.", _FORM) from None


def _too_large(limit: int) -> FileTooLarge:
    return FileTooLarge(f"The data URI holds more than {limit} bytes, the limit.", "Raise the limit.")
