"""The name of a downloaded file: as the server or the URL has it, made safe. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

from entrepot.client.partial import HIDDEN
from entrepot.domain import disposition
from entrepot.domain.mediatypes import OCTET_STREAM, bare_type, extension_for, type_for_name
from entrepot.domain.names import FILE_NAME_BYTES, shorten

_ENDING = re.compile(r"[^.]\.[A-Za-z][A-Za-z0-9]{0,15}\Z")
# How signed URLs are known (all of these parameters), and what in them says who may read, until when, and not what.
_SIGNING = ("algorithm", "credential", "date", "expires", "security-token", "signature", "signedheaders")
_SIGNATURES: tuple[tuple[set[str], set[str]], ...] = (
    ({"x-amz-signature"}, {f"x-amz-{name}" for name in _SIGNING}),
    ({"x-goog-signature"}, {f"x-goog-{name}" for name in _SIGNING}),
    ({"awsaccesskeyid", "signature"}, {"awsaccesskeyid", "signature", "expires", "x-amz-security-token"}),
    ({"googleaccessid", "signature"}, {"googleaccessid", "signature", "expires"}),
    ({"key-pair-id", "signature"}, {"key-pair-id", "signature", "expires", "policy"}),
    ({"sig", "sv"}, {
        "se", "sig", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "srt", "ss", "st", "sv",
    }),
)  # fmt: skip


def choose_name(url: str, headers: Mapping[str, str]) -> str:
    """The base name that Content-Disposition gives, else the URL's last segment as it is spelled, else the SHA-256 of
    the URL; the same for HEAD and GET. Always one component that names a file; one that is too long is cut before its
    extension."""
    given = disposition.file_name(headers.get("content-disposition", ""))
    if given:
        return _sound(given.replace("\\", "/").rpartition("/")[2]) or url_digest(url)
    path = urlsplit(url).path.rstrip("/")
    return _sound(path.rpartition("/")[2]) or url_digest(url)


def with_ending(name: str, content_type: str) -> str:
    """The name, with the usual extension of its type where it has none."""
    if type_for_name(name) or _ENDING.search(name) or bare_type(content_type) == OCTET_STREAM:
        return name
    ending = extension_for(content_type)
    return shorten(name, FILE_NAME_BYTES - len(ending)) + ending


def own_name(name: str, url: str, digits: int = 8) -> str:
    """The name for a URL where another URL's file has `name` already: `adapter-1a2b3c4d.safetensors`."""
    return shorten(name, FILE_NAME_BYTES, f"-{identity(url)[:digits]}")


def url_digest(url: str) -> str:
    """64 hex digits that stand for a URL, letter by letter."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def identity(url: str) -> str:
    """64 hex digits that stand for what a URL names. Fragments are left out, and the signatures of object stores, which
    differ each time: host, path and all other parameters are the same for the same file."""
    bare, mark, query = url.partition("#")[0].partition("?")
    fields = [(piece.partition("=")[0].lower(), piece) for piece in query.split("&")]
    names = {name for name, _ in fields}
    for known_by, without in _SIGNATURES:
        if known_by <= names:
            fields = [(name, piece) for name, piece in fields if name not in without]
            mark = "?" if fields else ""
    return url_digest(bare + mark + "&".join(piece for _, piece in fields))


def is_sound(name: str) -> bool:
    """Whether a downloaded file may have the name: one component, and none of our own."""
    return bool(name) and _sound(name) == name


def _sound(name: str) -> str:
    """The name, if a file may have it on any system of today, short enough; else ''."""
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name) or not name.strip(". ") or "/" in name:
        return ""
    if name.startswith(HIDDEN):
        return ""
    short = shorten(name, FILE_NAME_BYTES)
    return short if short == name or "." in short else ""  # what says nothing of the file but part of a long name
