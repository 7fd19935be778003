"""Content-Disposition (RFC 6266, RFC 8187): the one place where it is made, and where the name in it is read."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from entrepot.domain.headers import text_of
from entrepot.domain.names import quote_segment

# A parameter as user agents read it: blanks around `=`, values in quotes, without them up to the next semicolon, and
# with quotes that never end.
_PARAMETER = re.compile(
    r";\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*+)\"?[^;]*+|([^\";][^;]*+)?)", re.DOTALL
)
_ENCODED_WORD = re.compile(r"=\?[^?]+\?[BbQq]\?[^?]*\?=")


def make(kind: str, name: str = "") -> str:
    """`attachment; filename="caf_.png"; filename*=UTF-8''caf%C3%A9.png`: an ASCII form, the real one, no injection."""
    if not name:
        return kind
    ascii_name = "".join(c if " " <= c < "\x7f" and c not in '"\\%' else "_" for c in name)
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote_segment(name)}"


def file_name(value: str) -> str:
    """The name in a value as it came (Latin-1, one character a byte); '' when there is none. The extended form goes
    first (RFC 6266 section 4.3), then the plain one, then one in pieces (RFC 2231); of two the first."""
    found: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(f";{value}"):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) or bare.strip())
    return _extended(found.get("filename*", "")) or _plain(found.get("filename", "")) or _joined(found)


def _extended(text: str) -> str:
    """`UTF-8''caf%C3%A9.png` (RFC 8187); '' when it is not so, or when its bytes are none of that charset."""
    charset, quote, rest = text.partition("'")
    _, second, encoded = rest.partition("'")
    if not (quote and second) or charset.strip().lower() not in ("utf-8", "iso-8859-1"):
        return ""
    try:
        return unquote_to_bytes(encoded.encode("latin-1")).decode(charset.strip())
    except UnicodeDecodeError:
        return ""


def _plain(text: str) -> str:
    """Bytes above ASCII mostly are UTF-8, whatever the standards say. Encoded words (RFC 2047) are of mail, and all
    browsers read them."""
    if not _ENCODED_WORD.search(text):
        return text_of(text)
    from email.errors import HeaderParseError  # takes long, and is seldom needed
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, UnicodeError):
        return text_of(text)


def _joined(found: dict[str, str]) -> str:
    """`filename*0*=UTF-8''caf%C3%A9; filename*1=.png` (RFC 2231 section 3), as mail programs and Firefox read it."""
    charset, raw = "utf-8", b""
    for number in range(len(found)):
        piece, encoded = found.get(f"filename*{number}"), found.get(f"filename*{number}*")
        if encoded is not None:
            if not number:
                charset, _, encoded = encoded.partition("'")
                encoded = encoded.partition("'")[2]
            raw += unquote_to_bytes(encoded.encode("latin-1"))
        elif piece is not None:
            raw += piece.encode("latin-1")
        else:
            break
    return raw.decode("latin-1") if charset.lower() == "iso-8859-1" else text_of(raw)
