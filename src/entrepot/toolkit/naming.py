"""The name of a downloaded file: as the server or the URL has it (protocol 7.2), made safe. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from entrepot.client.partial import HIDDEN

MAX_NAME_BYTES = 255
_PARAMETER = re.compile(r';\s*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^";\s][^;]*)', re.DOTALL)


def choose_name(url: str, headers: Mapping[str, str]) -> str:
    """The base name that Content-Disposition gives, else the URL's last segment as it is spelled, else the SHA-256 of
    the URL; the same for HEAD and GET. Always one component that names a file."""
    given = _disposition_name(headers.get("content-disposition", ""))
    if given:
        return _sound(given.replace("\\", "/").rpartition("/")[2]) or url_digest(url)
    path = urlsplit(url).path.rstrip("/")
    return _sound(path.rpartition("/")[2]) or url_digest(url)


def url_digest(url: str) -> str:
    """64 hex digits that stand for a URL."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def is_sound(name: str) -> bool:
    """Whether a downloaded file may have the name: one component, and none of our own."""
    return bool(name) and _sound(name) == name


def _sound(name: str) -> str:
    """The name if a file may have it on any system of today, else ''."""
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name) or not name.strip(". ") or "/" in name:
        return ""
    if len(name.encode()) > MAX_NAME_BYTES or name.startswith(HIDDEN):
        return ""
    return name


def _disposition_name(value: str) -> str:
    """The file name of a Content-Disposition (RFC 6266): the extended form goes first."""
    found: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        found.setdefault(name.lower(), text.strip())
    return _extended(found.get("filename*", "")) or _quoted(found.get("filename", ""))


def _extended(text: str) -> str:
    """`UTF-8''caf%C3%A9.png` (RFC 8187); '' when it is not so."""
    charset, quote, rest = text.strip('"').partition("'")
    _, second, encoded = rest.partition("'")
    if not (quote and second) or charset.lower() not in ("utf-8", "iso-8859-1"):
        return ""
    return unquote_to_bytes(encoded).decode(charset, "replace")


def _quoted(text: str) -> str:
    """A token or quoted string. Bytes above ASCII mostly are UTF-8, whatever the standard says."""
    bare = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith('"') else text
    try:
        return bare.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return bare
